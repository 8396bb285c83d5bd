//! Builds test programs and runs them, until the first test fails or nothing more is to be expected.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;

/// A test program.
pub struct Program {
    path: PathBuf,
    folder: PathBuf,
    effort: Effort,
}

/// What a run takes of the processor, and for how long it is asleep at most.
#[derive(Clone, Copy)]
struct Effort {
    work: Duration,
    sleep: Duration,
}

impl Effort {
    /// More than this is a hang.
    fn limit(self) -> Self {
        Self {
            work: Duration::from_secs(5) + 2 * self.work,
            sleep: Duration::from_secs(5) + 3 * self.sleep,
        }
    }
}

/// A test of it, and which mutants it comes by.
pub struct Test {
    name: String,
    pub reached: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fails(String),
    Hangs,
}

pub struct Error {
    pub file: String,
    pub at: usize,
    pub code: String,
    pub text: String,
}

fn cargo(command: &str, tree: &Path, target: &Path, what: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .arg(command)
        .args(what)
        .args(["--locked", "--quiet", "--message-format=json"]);
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", target);
    cargo
        .env("RUSTFLAGS", "--cap-lints=allow")
        .stderr(Stdio::null());
    cargo
}

fn messages(mut cargo: Command, reason: &str) -> (bool, Vec<Value>) {
    let output = cargo.output().unwrap();
    let lines = output
        .stdout
        .split(|it| *it == b'\n')
        .filter(|it| !it.is_empty());
    let values = lines.map(|it| serde_json::from_slice::<Value>(it).unwrap());
    let values = values.filter(|it| it["reason"] == reason).collect();
    (output.status.success(), values)
}

/// What the compiler says against a tree.
pub fn errors(tree: &Path, target: &Path, what: &[&str]) -> Vec<Error> {
    let (success, messages) = messages(cargo("check", tree, target, what), "compiler-message");
    let mut errors = Vec::new();
    for message in messages.iter().map(|it| &it["message"]) {
        let spans = message["spans"].as_array().unwrap();
        if let Some(span) = spans
            .iter()
            .find(|it| it["is_primary"] == true)
            .filter(|_| message["level"] == "error")
        {
            // The crate of the models has its source beside it.
            let file = span["file_name"].as_str().unwrap();
            let file = file.rfind("executor/src/").map_or(file, |at| &file[at..]);
            errors.push(Error {
                file: file.to_owned(),
                at: span["byte_start"].as_u64().unwrap() as usize,
                code: message["code"]["code"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                text: message["rendered"].as_str().unwrap().to_owned(),
            });
        }
    }
    assert!(
        success || !errors.is_empty(),
        "cargo fails in {}",
        tree.display()
    );
    errors
}

/// Builds test programs; `None` if that fails.
pub fn build(tree: &Path, target: &Path, what: &[&str]) -> Option<Vec<Program>> {
    let mut what = what.to_vec();
    what.push("--no-run");
    let (success, messages) = messages(cargo("test", tree, target, &what), "compiler-artifact");
    if !success {
        return None;
    }
    let mut programs = Vec::new();
    for message in &messages {
        let name = message["target"]["name"].as_str().unwrap();
        // That one reads the source, which is not what it was.
        if let Some(path) = message["executable"].as_str().filter(|_| name != "sites") {
            let folder = Path::new(message["manifest_path"].as_str().unwrap());
            programs.push(Program {
                path: path.into(),
                folder: folder.parent().unwrap().to_owned(),
                effort: Effort {
                    work: Duration::from_secs(5),
                    sleep: Duration::from_secs(1),
                },
            });
        }
    }
    Some(programs)
}

/// Each program with its tests, from the quickest to the slowest. All tests pass without a mutant.
pub fn reached(programs: Vec<Program>, target: &Path) -> Vec<(Program, Vec<Test>)> {
    let tests = |mut it: Program| {
        let tests = it.tests(&target.join("reached"));
        let (verdict, effort) = it.run(&[], &[]);
        assert_eq!(verdict, None, "{} without a mutant", it.path.display());
        it.effort = effort;
        (it, tests)
    };
    let mut programs: Vec<_> = programs.into_iter().map(tests).collect();
    programs.sort_by_key(|(program, _)| program.effort.work);
    programs
}

impl Program {
    fn command(&self, environment: &[(&str, String)], tests: &[&str]) -> Command {
        let mut command = Command::new("sh");
        // A mutant that allocates for ever is to fail before the machine does.
        command.args(["-c", "ulimit -v 8000000 -c 0; exec \"$0\" \"$@\""]);
        command.arg(&self.path).args(tests).arg("--test-threads=8");
        if !tests.is_empty() {
            command.arg("--exact");
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        // Debug frames are large, and larger with all mutants in them.
        command
            .env("RUST_MIN_STACK", "8388608")
            .env("RUST_BACKTRACE", "0")
            // A failure is enough; the smallest one takes its time.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command.current_dir(&self.folder).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    fn tests(&self, list: &Path) -> Vec<Test> {
        let names = self.command(&[], &[]).arg("--list").output().unwrap();
        let names = String::from_utf8(names.stdout).unwrap();
        let names = names.lines().filter_map(|line| line.strip_suffix(": test"));
        let tests = names.map(|name| {
            let _ = fs::remove_file(list);
            let output = self
                .command(&[("MUTANTS_REACHED", list.display().to_string())], &[name])
                .output()
                .unwrap();
            assert!(output.status.success(), "{name} fails without a mutant");
            let numbers = fs::read_to_string(list).unwrap_or_default();
            Test {
                name: name.to_owned(),
                reached: numbers.lines().map(|line| line.parse().unwrap()).collect(),
            }
        });
        tests.collect()
    }

    /// Runs these tests, or all; returns the first one that fails.
    pub fn fails(&self, environment: &[(&str, String)], tests: &[&Test]) -> Option<Verdict> {
        let names: Vec<_> = tests.iter().map(|it| &*it.name).collect();
        self.run(environment, &names).0
    }

    fn run(&self, environment: &[(&str, String)], tests: &[&str]) -> (Option<Verdict>, Effort) {
        let limit = self.effort.limit();
        let mut child = self.command(environment, tests).spawn().unwrap();
        let failed = Arc::new(Mutex::new(String::new()));
        let over = Arc::new(AtomicBool::new(false));
        let reader = {
            let (output, failed, over) =
                (child.stdout.take().unwrap(), failed.clone(), over.clone());
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                for line in lines {
                    if let Some(name) = line.strip_suffix(" ... FAILED") {
                        *failed.lock().unwrap() = name.trim_start_matches("test ").to_owned();
                        over.store(true, Ordering::Release);
                    }
                }
            })
        };
        let start = Instant::now();
        let mut since = start;
        let mut effort = Effort {
            work: Duration::ZERO,
            sleep: Duration::ZERO,
        };
        let verdict = loop {
            if over.load(Ordering::Acquire) {
                break Some(Verdict::Fails(failed.lock().unwrap().clone()));
            }
            if let Some(status) = child.try_wait().unwrap() {
                break (!status.success()).then(|| Verdict::Fails(status.to_string()));
            }
            let work = work(child.id());
            if work > effort.work {
                (effort.work, since) = (work, Instant::now());
            }
            effort.sleep = effort.sleep.max(since.elapsed());
            if effort.sleep > limit.sleep || work > limit.work {
                break Some(Verdict::Hangs);
            }
            if start.elapsed() > 10 * (limit.work + limit.sleep) {
                break Some(Verdict::Hangs);
            }
            thread::sleep(Duration::from_millis(5));
        };
        let group = format!("-{}", child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = child.wait();
        reader.join().unwrap();
        // It may have failed between the two looks.
        let failed = std::mem::take(&mut *failed.lock().unwrap());
        match verdict {
            Some(Verdict::Fails(_)) | None if !failed.is_empty() => {
                (Some(Verdict::Fails(failed)), effort)
            }
            verdict => (verdict, effort),
        }
    }
}

/// The processor time of a process.
fn work(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default().split(' ');
    let times = fields.skip(11).take(4);
    // In hundredths of a second.
    let ticks: u64 = times.filter_map(|it| it.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}
