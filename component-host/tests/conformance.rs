//! Runs the official test suite, and compares what fails with the list of what may.
//!
//! The suite travels inside the package `wasm-tools`, on which this one depends under a condition
//! that never holds: `cargo metadata` downloads it and says where it is, and nothing compiles it.

#[path = "common/suite.rs"]
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/conformance/expected-failures.txt"
);

/// It shows the score, between two markers.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

const HEADER: &str = "\
# The directives of the official suite that fail, one a line: `path:line kind # reason`.
# `VESTIBULE_BLESS=1 cargo test --test conformance` takes off what passes now; it adds nothing,
# unless the list is empty.
";

/// Which directive: in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    path: String,
    line: u64,
    kind: String,
}

/// What came of the suite: for each directive, why it failed, if it did.
type Results = BTreeMap<Key, Option<String>>;

/// The failures that may be, each with its reason.
type List = BTreeMap<Key, String>;

#[test]
fn the_official_suite_passes_but_for_the_failures_that_are_listed() {
    let results = run(&suite());
    print!("{}", score(&results));
    let mut list = parse_list(&fs::read_to_string(LIST).unwrap_or_default());
    if std::env::var_os("VESTIBULE_BLESS").is_some_and(|value| value == "1") {
        list = bless(&results, list);
        fs::write(LIST, print_list(&list)).expect("the list can be written");
        let readme = fs::read_to_string(README).expect("there is a README");
        if let Some(old) = readme_score(&readme) {
            let readme = readme.replace(old, &score(&results));
            fs::write(README, readme).expect("the README can be written");
        }
    }
    let mut problems = judge(&results, &list);
    problems.extend(judge_readme(&score(&results)));
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// The specification lets a host choose among ready threads. One script relies on an order: see
/// `docs/SCHEDULING.md` and `ordered_script.rs`.
const ORDERED: &str = "async/async-calls-sync.wast";

#[test]
fn the_async_suite_passes_under_every_order_of_ready_threads() {
    let suite = suite();
    let seeds = if cfg!(feature = "heavy-tests") {
        100
    } else {
        20
    };
    for seed in 0..seeds {
        let seed = seed.to_string();
        let (results, _) = report(
            &suite,
            &["--seed", &seed, "async", "values/post-return.wast"],
        );
        assert!(results.len() > 600, "directives of the async suite");
        for (key, failure) in results {
            let failure = failure.filter(|_| key.path != ORDERED);
            assert_eq!(failure, None, "seed {seed}: {key}");
        }
    }
}

/// The folder of the suite's scripts.
fn suite() -> PathBuf {
    suite::folder("test")
}

/// Runs the whole suite.
fn run(suite: &Path) -> Results {
    let (results, code) = report(suite, &["."]);
    let failed = results.values().flatten().count();
    assert_eq!(code, Some(i32::from(failed > 0)), "the exit code");
    // A suite that shrinks unnoticed would pass.
    assert_eq!(results.len(), 1731, "directives in the suite");
    results
}

/// Runs scripts of the suite; gives the results and the exit code.
fn report(suite: &Path, args: &[&str]) -> (Results, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["wast", "--json"])
        .args(args)
        .current_dir(suite)
        // The suite is written in today's grammar; its predecessor is not accepted.
        .env("WAST_STRICT_COMPONENT_INDICES", "1")
        .output()
        .expect("the built binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.is_empty(), "the runner said: {stderr}");
    let stdout = String::from_utf8(output.stdout).expect("the report is text");
    let (results, totals) = read_report(&stdout);
    let failed = results.values().flatten().count();
    assert_eq!(
        totals,
        (results.len() - failed, failed),
        "the report's totals are not its own"
    );
    (results, output.status.code())
}

fn read_report(text: &str) -> (Results, (usize, usize)) {
    let (mut results, mut totals) = (Results::new(), None);
    for line in text.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let count = |name: &str| object[name].as_u64().and_then(|n| usize::try_from(n).ok());
        if let (Some(passed), Some(failed)) = (count("passed"), count("failed")) {
            totals = Some((passed, failed));
            continue;
        }
        let path = object["path"]
            .as_str()
            .expect("a file has a path")
            .replace('\\', "/");
        let path = path.strip_prefix("./").unwrap_or(&path);
        for directive in object["directives"].as_array().into_iter().flatten() {
            let key = Key {
                path: path.to_owned(),
                line: directive["line"].as_u64().expect("a directive has a line"),
                kind: directive["kind"]
                    .as_str()
                    .expect("a directive has a kind")
                    .to_owned(),
            };
            let failure = match directive["outcome"].as_str() {
                Some("pass") => None,
                Some("fail") => Some(directive["message"].as_str().unwrap_or_default().to_owned()),
                other => panic!("{key}: unknown outcome {other:?}"),
            };
            let twice = results.insert(key.clone(), failure);
            assert!(twice.is_none(), "{key} names two directives");
        }
    }
    (results, totals.expect("the totals come last"))
}

/// Files and directives that pass, by folder and in all.
fn score(results: &Results) -> String {
    #[derive(Default)]
    struct Score<'a> {
        files: BTreeSet<&'a str>,
        failed_files: BTreeSet<&'a str>,
        directives: usize,
        failed: usize,
    }
    let mut folders: BTreeMap<&str, Score<'_>> = BTreeMap::new();
    for (key, failure) in results {
        let folder = key.path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        // After all folders, since their names are in lower case and this one is not compared.
        for name in [folder, "~"] {
            let score = folders.entry(name).or_default();
            score.files.insert(&key.path);
            score.directives += 1;
            if failure.is_some() {
                score.failed_files.insert(&key.path);
                score.failed += 1;
            }
        }
    }
    let mut text = String::from("| folder | files | directives |\n|---|---|---|\n");
    for (folder, score) in folders {
        let name = if folder == "~" { "all" } else { folder };
        let _ = writeln!(
            text,
            "| {name} | {} of {} | {} of {} |",
            score.files.len() - score.failed_files.len(),
            score.files.len(),
            score.directives - score.failed,
            score.directives
        );
    }
    text
}

/// The table that the README shows.
fn readme_score(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once("<!-- score -->\n")?;
    rest.split_once("<!-- /score -->").map(|(table, _)| table)
}

/// What is wrong with the README.
fn judge_readme(score: &str) -> Option<String> {
    let readme = fs::read_to_string(README).unwrap_or_default();
    match readme_score(&readme) {
        Some(shown) if shown == score => None,
        _ => Some(format!("the README shows another score than:\n{score}")),
    }
}

/// What is wrong with the results, given the list.
fn judge(results: &Results, list: &List) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, failure) in results {
        match (failure, list.contains_key(key)) {
            (Some(message), false) => problems.push(format!("{key} fails: {message}")),
            (None, true) => problems.push(format!("{key} passes: take it off the list")),
            (Some(_), true) | (None, false) => {}
        }
    }
    for key in list.keys().filter(|key| !results.contains_key(key)) {
        problems.push(format!("{key} is listed, and there is no such directive"));
    }
    problems
}

/// The list without what passes or is gone; when it is empty, all that fails.
fn bless(results: &Results, list: List) -> List {
    let failing = |key: &Key| results.get(key).and_then(|failure| failure.as_deref());
    if list.is_empty() {
        let failures = results
            .keys()
            .filter_map(|key| Some((key.clone(), reason(failing(key)?))));
        return failures.collect();
    }
    list.into_iter()
        .filter(|(key, _)| failing(key).is_some())
        .collect()
}

/// The first line of a message, and not all of a long one.
fn reason(message: &str) -> String {
    const LONGEST: usize = 160;
    let line = message.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    let start: String = line.chars().take(LONGEST).collect();
    format!("{}..", start.trim_end())
}

fn parse_list(text: &str) -> List {
    let mut list = List::new();
    let mut last: Option<Key> = None;
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (key, reason) = parse_entry(line)
            .unwrap_or_else(|| panic!("not `path:line kind # reason` in the list: {line}"));
        assert!(
            last < Some(key.clone()),
            "the list is not sorted, or has an entry twice: {line}"
        );
        last = Some(key.clone());
        list.insert(key, reason);
    }
    list
}

fn parse_entry(line: &str) -> Option<(Key, String)> {
    let (key, reason) = line.split_once(" # ")?;
    let (place, kind) = key.split_once(' ')?;
    let (path, number) = place.rsplit_once(':')?;
    if reason.trim().is_empty() {
        return None;
    }
    let key = Key {
        path: path.to_owned(),
        line: number.parse().ok()?,
        kind: kind.to_owned(),
    };
    Some((key, reason.to_owned()))
}

fn print_list(list: &List) -> String {
    let mut text = HEADER.to_owned();
    for (key, reason) in list {
        let _ = writeln!(text, "{key} # {reason}");
    }
    text
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.path, self.line, self.kind)
    }
}

fn key(line: u64) -> Key {
    Key {
        path: "a/b.wast".to_owned(),
        line,
        kind: "component instance".to_owned(),
    }
}

#[test]
fn a_list_is_read_as_it_is_written() {
    let list = List::from([
        (key(9), "one # two".to_owned()),
        (key(10), "three".to_owned()),
    ]);
    let text = print_list(&list);
    assert!(
        text.ends_with("a/b.wast:10 component instance # three\n"),
        "{text}"
    );
    assert_eq!(parse_list(&text), list);
    assert_eq!(parse_list(HEADER), List::new());
}

#[test]
fn an_entry_must_have_a_reason() {
    assert!(parse_entry("a.wast:1 invoke # why").is_some());
    for line in [
        "a.wast:1 invoke",
        "a.wast:1 invoke # ",
        "a.wast:x invoke # why",
        "a.wast # why",
    ] {
        assert!(parse_entry(line).is_none(), "{line}");
    }
}

#[test]
fn surprises_are_problems_in_both_directions() {
    let results = Results::from([
        (key(1), None),
        (key(2), None),
        (key(3), Some("new".to_owned())),
        (key(4), Some("old".to_owned())),
    ]);
    let list = [2, 4, 5].map(|line| (key(line), "known".to_owned()));
    let problems = judge(&results, &List::from(list));
    assert_eq!(
        problems,
        [
            "a/b.wast:2 component instance passes: take it off the list",
            "a/b.wast:3 component instance fails: new",
            "a/b.wast:5 component instance is listed, and there is no such directive",
        ]
    );
}

#[test]
fn blessing_only_takes_off_unless_the_list_is_empty() {
    let results = Results::from([
        (key(1), None),
        (key(2), Some("first\nsecond".to_owned())),
        (key(3), Some("new".to_owned())),
    ]);
    let list = List::from([1, 2, 7].map(|line| (key(line), "known".to_owned())));
    assert_eq!(
        bless(&results, list),
        List::from([(key(2), "known".to_owned())])
    );
    let all = List::from([(key(2), "first".to_owned()), (key(3), "new".to_owned())]);
    assert_eq!(bless(&results, List::new()), all);
}

#[test]
fn the_score_counts_files_and_directives_by_folder() {
    let results = Results::from([(key(1), None), (key(2), Some("bad".to_owned()))]);
    let expected = "\
| folder | files | directives |
|---|---|---|
| a | 0 of 1 | 1 of 2 |
| all | 0 of 1 | 1 of 2 |
";
    assert_eq!(score(&results), expected);
}
