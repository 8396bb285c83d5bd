//! `vestibule wast`: runs scripts, each on a thread of its own.

use crate::catch::catch;
use crate::failure::Failure;
use crate::order::{Log, Order};
use crate::report::{Directive, FileReport, Place, Style, Totals};
use crate::script::{Script, kind, parse};
use ::wast::WastDirective;
use clap::Args;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;
use vestibule_component_host::{Config, Engine};

/// Runs scripts of the official test suite.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a line for each file, with its failing directives under it, and the totals last. The exit
code is 1 when any directive failed.

Examples:
  vestibule wast tests
  vestibule wast --timeout 10s tests/async/deadlock.wast
  vestibule wast --json tests > results.jsonl")]
pub(crate) struct WastArgs {
    /// Prints one JSON object for each file, and one with the totals.
    #[arg(long)]
    json: bool,

    /// The time that one directive may take, as in 500ms, 10s, 1m. When it takes longer it fails,
    /// and the rest of its file is not run.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: humantime::Duration,

    #[command(flatten)]
    order: Order,

    /// Scripts, and folders of scripts: all files ending in .wast, at any depth.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// The native stack of a script's thread, as a main thread has it.
const STACK_BYTES: usize = 8 << 20;

/// How long to wait for what a script's thread says after its last directive.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) fn wast(args: &WastArgs, out: &mut impl Write) -> Result<(), Failure> {
    let files = collect(&args.paths)?;
    let style = if args.json { Style::Json } else { Style::Text };
    let engine = Engine::new(Config::new());
    let mut totals = Totals::default();
    for path in files {
        let report = run_file(&engine, args, path);
        totals.add(&report);
        style.file(&report, out)?;
        // A long run is watched while it goes.
        out.flush()?;
    }
    style.totals(&totals, out)?;
    out.flush()?;
    if totals.failed == 0 {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

/// The scripts that the paths stand for: files as they are given, folders sorted.
fn collect(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |error| Failure::Error(format!("cannot read {}: {error}", path.display()));
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        collect_folder(path, &mut files).map_err(unreadable)?;
        if files.len() == before {
            return Err(Failure::Error(format!(
                "there are no .wast files in {}",
                path.display()
            )));
        }
    }
    Ok(files)
}

fn collect_folder(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links to folders are not followed: they may lead back.
        if entry.file_type()?.is_dir() {
            collect_folder(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wast")
            && path.is_file()
        {
            files.push(path);
        }
    }
    Ok(())
}

/// What a script's thread tells, in this order: what it will run, and then one outcome each.
enum Event {
    Parsed(Vec<Place>),
    Unparsed(Directive),
    Ran(Result<(), String>),
    /// After the last: how to run it again in the same order.
    Order(String),
}

fn run_file(engine: &Engine, args: &WastArgs, path: PathBuf) -> FileReport {
    let (sender, events) = mpsc::channel();
    let (engine, file, order) = (engine.clone(), path.clone(), args.order.clone());
    let log = Log::default();
    let recorded = log.clone();
    // The thread is not joined: one that outlives the timeout goes on by itself, until its fuel
    // or the process ends.
    let spawned = thread::Builder::new()
        .name(path.display().to_string())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let choices = order.choices();
            run_script(
                &file,
                Script::new(engine, choices.clone(), recorded),
                &sender,
            );
            if let Some(choices) = choices {
                let _ = sender.send(Event::Order(order.how_to_replay(&choices)));
            }
        });
    let directives = match spawned {
        Ok(_) => gather(&events, *args.timeout),
        Err(error) => vec![unparsed(
            1,
            format!("cannot start a thread for it: {error}"),
        )],
    };
    let failed = directives
        .iter()
        .any(|directive| directive.outcome.is_err());
    let replay = match failed.then(|| events.recv_timeout(LAST_WORDS)) {
        Some(Ok(Event::Order(order))) => Some(order),
        // It hangs, and has left a log.
        Some(_) => args.order.how_to_replay_log(&log),
        None => None,
    };
    FileReport {
        path,
        directives,
        replay,
    }
}

fn gather(events: &Receiver<Event>, timeout: Duration) -> Vec<Directive> {
    let places = match events.recv_timeout(timeout) {
        Ok(Event::Parsed(places)) => places,
        Ok(Event::Unparsed(directive)) => return vec![directive],
        Ok(Event::Ran(_) | Event::Order(_)) => {
            return vec![unparsed(1, "it ran before it was parsed".to_owned())];
        }
        Err(error) => return vec![unparsed(1, missing(error, "parsed", timeout))],
    };
    let mut ended = None;
    let directives = places.into_iter().map(|place| {
        let outcome = match ended {
            Some(line) => Err(format!("not run: the directive of line {line} did not end")),
            None => match events.recv_timeout(timeout) {
                Ok(Event::Ran(outcome)) => outcome,
                Ok(_) => Err("its script was parsed twice".to_owned()),
                Err(error) => {
                    ended = Some(place.line);
                    Err(missing(error, "done", timeout))
                }
            },
        };
        Directive { place, outcome }
    });
    directives.collect()
}

fn missing(error: RecvTimeoutError, done: &str, timeout: Duration) -> String {
    match error {
        RecvTimeoutError::Timeout => {
            let timeout = humantime::format_duration(timeout);
            format!("expected it to be {done} within {timeout}, got a timeout")
        }
        RecvTimeoutError::Disconnected => format!("its thread ended before it was {done}"),
    }
}

/// A script that cannot be run counts as one failure.
fn unparsed(line: usize, message: String) -> Directive {
    Directive {
        place: Place {
            line,
            kind: "script",
        },
        outcome: Err(message),
    }
}

fn run_script(path: &Path, mut script: Script, events: &Sender<Event>) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let _ = events.send(Event::Unparsed(unparsed(
                1,
                format!("cannot be read: {error}"),
            )));
            return;
        }
    };
    let parsed = catch(|| {
        parse(&text, |directives| {
            run_directives(&mut script, &text, directives, events)
        })
    });
    let problem = match parsed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => {
            let (line, column) = error.span().linecol_in(&text);
            let (line, column) = (line + 1, column + 1);
            unparsed(
                line,
                format!("syntax error at {line}:{column}: {}", error.message()),
            )
        }
        Err(panic) => unparsed(1, panic),
    };
    let _ = events.send(Event::Unparsed(problem));
}

fn run_directives(
    script: &mut Script,
    text: &str,
    directives: Vec<WastDirective<'_>>,
    events: &Sender<Event>,
) {
    let places = directives.iter().map(|directive| Place {
        line: directive.span().linecol_in(text).0 + 1,
        kind: kind(directive),
    });
    if events.send(Event::Parsed(places.collect())).is_err() {
        return;
    }
    let last = directives.len().saturating_sub(1);
    for (index, directive) in directives.into_iter().enumerate() {
        let ran = catch(|| {
            let outcome = script.run(directive);
            if index == last {
                // Here, so that what goes wrong in dropping the stores is somebody's failure.
                script.drop_stores();
            }
            outcome
        });
        let outcome = ran.unwrap_or_else(|panic| {
            script.forget_stores();
            Err(panic)
        });
        // Nobody listens any more after a timeout.
        if events.send(Event::Ran(outcome)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        line: 3,
        kind: "invoke",
    };

    fn outcomes(directives: &[Directive]) -> Vec<Result<(), &str>> {
        let outcomes = directives.iter().map(|directive| &directive.outcome);
        outcomes
            .map(|outcome| outcome.as_ref().copied().map_err(String::as_str))
            .collect()
    }

    #[test]
    fn what_follows_a_directive_that_does_not_end_is_not_run() {
        let (sender, events) = mpsc::channel();
        for event in [Event::Parsed(vec![PLACE, PLACE, PLACE]), Event::Ran(Ok(()))] {
            sender.send(event).expect("somebody listens");
        }
        let directives = gather(&events, Duration::from_millis(10));
        let timeout = "expected it to be done within 10ms, got a timeout";
        let not_run = "not run: the directive of line 3 did not end";
        let expected = [Ok(()), Err(timeout), Err(not_run)];
        assert_eq!(outcomes(&directives), expected);
    }

    #[test]
    fn a_thread_that_dies_fails_what_it_was_at() {
        let (sender, events) = mpsc::channel();
        let parsed = Event::Parsed(vec![PLACE]);
        sender.send(parsed).expect("somebody listens");
        drop(sender);
        let directives = gather(&events, Duration::from_secs(60));
        let expected = [Err("its thread ended before it was done")];
        assert_eq!(outcomes(&directives), expected);
        let directives = gather(&events, Duration::from_secs(60));
        let expected = [Err("its thread ended before it was parsed")];
        assert_eq!(outcomes(&directives), expected);
    }
}
