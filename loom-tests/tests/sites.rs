//! Every memory ordering of the executor has a name, and every name is weakened by a test that sees
//! a model fail, or is explained here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Orderings that no model can see fail, each with the reason.
const EXPLAINED: [(&str, &str); 1] = [(
    "waker.watch",
    "Who drops the last waker sees WATCHED in one word and must then see PARKED in another, where \
     it was set before. Both looks are read-modify-writes, and loom runs those in one order for \
     all words: it never lets the second one miss what came before the first. A machine may.",
)];

/// The texts of all files of a folder.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut texts: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    texts.sort();
    assert!(!texts.is_empty(), "{}: no files", folder.display());
    texts
}

fn source() -> Vec<(String, String)> {
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../executor/src"))
}

/// The names of the places where `function` is called with one.
fn names(text: &str, function: &str) -> Vec<String> {
    let call = format!("{function}(\"");
    let calls = text.split(&call).skip(1);
    let names = calls.filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned()));
    names.collect()
}

/// The names of all orderings, fences and bugs that can be switched on.
fn sites() -> BTreeSet<String> {
    let mut sites = BTreeSet::new();
    for (file, text) in source() {
        if file == "sync.rs" {
            continue;
        }
        for function in [" at", "(at", "acquire_fence", "planted"] {
            sites.extend(names(&text, function));
        }
    }
    sites
}

#[test]
fn every_site_is_weakened_by_a_test_or_explained() {
    let tests = texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let planted = |site: &str| {
        let quoted = format!("\"{site}\"");
        let mut tests = tests.iter().filter(|(file, _)| file != "sites.rs");
        tests.any(|(_, text)| text.contains("assert_needed(") && text.contains(&quoted))
    };
    let sites = sites();
    assert!(sites.len() >= 15, "the search finds too few: {sites:?}");
    for site in &sites {
        let explained = EXPLAINED.iter().any(|(name, _)| name == site);
        assert!(
            planted(site) != explained,
            "`{site}` is to be planted by a test or explained, and not both"
        );
    }
    for (site, reason) in EXPLAINED {
        assert!(sites.contains(site), "`{site}` is explained and gone");
        assert!(reason.len() > 50);
    }
}

#[test]
fn no_ordering_is_without_a_name() {
    let strong = ["Acquire", "Release", "AcqRel", "SeqCst"];
    for (file, text) in source() {
        // The seams themselves: what is behind the names, and the stand-ins.
        if file == "sync.rs" || file == "strong.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let strong = strong
                .iter()
                .any(|ordering| code.contains(&format!("Ordering::{ordering}")));
            assert!(
                !strong || code.contains("at(\""),
                "{file}:{}: an ordering without a name: {line}",
                number + 1
            );
        }
    }
}
