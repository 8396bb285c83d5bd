//! The documents name tests as proof; each of them has to be there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between backticks in the last column of the tables of a text.
fn named(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .collect()
}

/// The text of a file that a document names: from the root, or among the tests of this crate.
fn file(name: &str) -> Option<String> {
    [
        "",
        "component-host",
        "component-host/tests",
        "component-host/examples",
    ]
    .iter()
    .map(|folder| root().join(folder).join(name))
    .find_map(|path| std::fs::read_to_string(path).ok())
}

/// The name of a test, and of nothing else that a table names.
fn is_test(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(letters) && name.matches('_').count() >= 2
}

/// What is wrong with a document whose tests are in the file named last, or else in `default`; and how
/// many tests it names.
fn check(text: &str, default: &str) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    let mut found = BTreeSet::new();
    let default = file(default).unwrap_or_default();
    let mut current = default.clone();
    for name in named(text) {
        if name.ends_with(".rs") || name.starts_with("wast/") {
            match file(name) {
                Some(text) => current = text,
                None => wrong.push(format!("there is no file `{name}`")),
            }
        } else if is_test(name) {
            let function = format!("fn {name}(");
            if !current.contains(&function) && !default.contains(&function) {
                wrong.push(format!(
                    "there is no test `{name}` in the file named before it"
                ));
            }
            found.insert(name);
        }
    }
    (wrong, found.len())
}

#[test]
fn every_test_that_a_document_names_is_there() {
    for (document, default, at_least) in [
        ("docs/FAULTS.md", "", 110),
        ("docs/START-FUNCTIONS.md", "start_functions.rs", 35),
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let (wrong, count) = check(&text, default);
        assert!(wrong.is_empty(), "{document}:\n{}", wrong.join("\n"));
        assert!(count >= at_least, "{document} names {count} tests only");
    }
}

#[test]
fn a_name_that_is_none_is_found_out() {
    let row = "| what | `documents.rs`: `every_test_that_a_document_names_is_there` |";
    assert_eq!(check(row, ""), (Vec::new(), 1));
    let (wrong, _) = check("| what | `documents.rs`: `a_test_that_is_not_there` |", "");
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let (wrong, _) = check("| what | `no_such_file.rs` |", "");
    assert_eq!(wrong.len(), 1, "{wrong:?}");
}
