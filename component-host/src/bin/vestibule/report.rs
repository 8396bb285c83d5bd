//! What came of a script, and how it is shown: lines for people, JSON for programs.

use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;

/// Where a directive stands, and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Such as `component instance` or `assert_return`.
    pub(crate) kind: &'static str,
}

/// A directive, and what is wrong with it, if anything.
#[derive(Debug)]
pub(crate) struct Directive {
    pub(crate) place: Place,
    pub(crate) outcome: Result<(), String>,
}

/// One script's directives, in its order.
#[derive(Debug)]
pub(crate) struct FileReport {
    pub(crate) path: PathBuf,
    pub(crate) directives: Vec<Directive>,
    /// How to run it again in the same order, when the order was not the usual one.
    pub(crate) replay: Option<String>,
}

/// Directives and files, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    files_passed: usize,
    files: usize,
}

impl FileReport {
    fn passed(&self) -> usize {
        self.directives
            .iter()
            .filter(|directive| directive.outcome.is_ok())
            .count()
    }
}

impl Totals {
    pub(crate) fn add(&mut self, file: &FileReport) {
        let passed = file.passed();
        self.passed += passed;
        self.failed += file.directives.len() - passed;
        self.files_passed += usize::from(passed == file.directives.len());
        self.files += 1;
    }
}

/// Who reads the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Text,
    Json,
}

impl Style {
    pub(crate) fn file(self, file: &FileReport, out: &mut impl Write) -> io::Result<()> {
        match self {
            Style::Text => file_as_text(file, out),
            Style::Json => writeln!(out, "{}", file_as_json(file)),
        }
    }

    pub(crate) fn totals(self, totals: &Totals, out: &mut impl Write) -> io::Result<()> {
        let Totals {
            passed,
            failed,
            files_passed,
            files,
        } = *totals;
        match self {
            Style::Text => writeln!(out, "{passed} passed, {failed} failed"),
            Style::Json => {
                let totals = json!({
                    "passed": passed,
                    "failed": failed,
                    "files_passed": files_passed,
                    "files": files,
                });
                writeln!(out, "{totals}")
            }
        }
    }
}

fn file_as_text(file: &FileReport, out: &mut impl Write) -> io::Result<()> {
    let (path, passed, all) = (file.path.display(), file.passed(), file.directives.len());
    if passed == all {
        return writeln!(out, "PASS {path} ({all})");
    }
    writeln!(out, "FAIL {path} ({passed} of {all})")?;
    for Directive { place, outcome } in &file.directives {
        if let Err(message) = outcome {
            let message = message.trim_end().replace('\n', "\n    ");
            writeln!(out, "  line {}: {message}", place.line)?;
        }
    }
    if let Some(replay) = &file.replay {
        writeln!(out, "  {replay}")?;
    }
    Ok(())
}

fn file_as_json(file: &FileReport) -> serde_json::Value {
    let directives = file.directives.iter().map(|Directive { place, outcome }| {
        let Place { line, kind } = place;
        match outcome {
            Ok(()) => json!({ "line": line, "kind": kind, "outcome": "pass" }),
            Err(message) => {
                json!({ "line": line, "kind": kind, "outcome": "fail", "message": message })
            }
        }
    });
    let directives: Vec<_> = directives.collect();
    let mut object = json!({ "path": file.path.to_string_lossy(), "directives": directives });
    if let Some(replay) = &file.replay {
        object["replay"] = json!(replay);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[Result<(), &str>]) -> FileReport {
        let directives = outcomes
            .iter()
            .enumerate()
            .map(|(index, outcome)| Directive {
                place: Place {
                    line: index + 1,
                    kind: "assert_return",
                },
                outcome: outcome.map_err(str::to_owned),
            });
        FileReport {
            path: PathBuf::from("a.wast"),
            directives: directives.collect(),
            replay: None,
        }
    }

    fn shown(style: Style, files: &[FileReport]) -> String {
        let (mut out, mut totals) = (Vec::new(), Totals::default());
        for file in files {
            totals.add(file);
            style
                .file(file, &mut out)
                .expect("a vector can be written to");
        }
        style
            .totals(&totals, &mut out)
            .expect("a vector can be written to");
        String::from_utf8(out).expect("what is shown is text")
    }

    #[test]
    fn failures_stand_under_their_file() {
        let files = [
            report(&[Ok(())]),
            report(&[Ok(()), Err("expected 1, got 2\n    deeper")]),
        ];
        let expected = "PASS a.wast (1)\nFAIL a.wast (1 of 2)\n  line 2: expected 1, got 2\n        \
                        deeper\n2 passed, 1 failed\n";
        assert_eq!(shown(Style::Text, &files), expected);
    }

    #[test]
    fn json_has_an_object_a_file_and_the_totals_last() {
        let text = shown(Style::Json, &[report(&[Ok(()), Err("x")])]);
        let objects: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0]["path"], "a.wast");
        assert_eq!(objects[0]["directives"][1]["message"], "x");
        assert_eq!(objects[1]["passed"], 1);
        assert_eq!(objects[1]["files"], 1);
    }
}
