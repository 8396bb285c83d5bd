//! The tables: what each executor takes, and how ours compares.

use std::fmt::Write;

use crate::case::Offer;
use crate::goal::{self, Goal};
use crate::measure::Figure;

/// Ours, in tables.
const OURS: &str = "ours";

/// What came of one workload on one executor.
#[derive(Debug)]
pub struct Entry {
    /// The executor.
    pub executor: &'static str,
    /// What it offers.
    pub offer: Offer,
    /// The figure, or why there is none.
    pub outcome: Result<Figure, String>,
}

/// A workload on all executors.
#[derive(Debug)]
pub struct Row {
    /// The workload with its sizes.
    pub workload: String,
    /// What one operation is.
    pub operation: &'static str,
    /// The executors, in the order of the columns.
    pub entries: Vec<Entry>,
}

impl Row {
    fn median(&self, executor: &str) -> Option<f64> {
        let entry = self.entries.iter().find(|e| e.executor == executor)?;
        entry.outcome.as_ref().ok().map(Figure::median)
    }

    /// The quickest executor but ours.
    fn best(&self, with_handles: bool) -> Option<(&'static str, f64)> {
        self.entries
            .iter()
            .filter(|e| e.executor != OURS && (!with_handles || e.offer == Offer::Handles))
            .filter_map(|e| Some((e.executor, e.outcome.as_ref().ok()?.median())))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The most that ours may take: nothing where nobody else was measured.
    fn bound(&self, goal: Goal) -> Option<f64> {
        match goal {
            Goal::OfBestWithHandles(part) => Some(part * self.best(true)?.1),
            Goal::OfBest(part) => Some(part * self.best(false)?.1),
            Goal::MoreThanBest(more) => Some(more + self.best(false)?.1),
            Goal::Of(name, part) => Some(part * self.median(name)?),
        }
    }
}

/// How ours compares: one line a workload, times in nanoseconds an operation.
pub fn ratios(rows: &[Row]) -> String {
    let mut table = String::from(
        "| workload | per | ours | best with handles | ratio | best of anything | ratio | goal | |\n\
         |---|---|---:|---:|---:|---:|---:|---|---|\n",
    );
    for row in rows {
        let Some(ours) = row.median(OURS) else {
            continue;
        };
        let cells = |best: Option<(&str, f64)>| match best {
            Some((name, time)) => (format!("{name} {}", digits(time)), ratio(ours / time)),
            None => ("–".into(), "–".into()),
        };
        let (handles, handles_ratio) = cells(row.best(true));
        let (any, any_ratio) = cells(row.best(false));
        let goal = goal::of(&row.workload);
        let verdict = match goal.and_then(|goal| row.bound(goal)) {
            Some(bound) if ours <= bound => "met",
            Some(_) => "missed",
            None => "",
        };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {handles} | {handles_ratio} | {any} | {any_ratio} | {} | {verdict} |",
            row.workload,
            row.operation,
            digits(ours),
            goal.map_or("–".into(), words),
        );
    }
    table
}

/// What every executor takes, in nanoseconds an operation.
pub fn times(rows: &[Row]) -> String {
    let mut executors: Vec<_> = Vec::new();
    for entry in rows.iter().flat_map(|row| &row.entries) {
        if !executors.contains(&entry.executor) {
            executors.push(entry.executor);
        }
    }
    let mut table = String::from("| workload |");
    executors.iter().for_each(|name| {
        let _ = write!(table, " {name} |");
    });
    table += "\n|---|";
    executors.iter().for_each(|_| table += "---:|");
    table.push('\n');
    for row in rows {
        let _ = write!(table, "| `{}` |", row.workload);
        for name in &executors {
            let cell = row.median(name).map_or("–".into(), digits);
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

/// Who could not do what, and why: one line for each reason.
pub fn absences(rows: &[Row]) -> String {
    let mut reasons: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for row in rows {
        for entry in &row.entries {
            let Err(reason) = &entry.outcome else {
                continue;
            };
            match reasons
                .iter_mut()
                .find(|known| (known.0, known.1) == (entry.executor, reason))
            {
                Some(known) => known.2.push(&row.workload),
                None => reasons.push((entry.executor, reason, vec![&row.workload])),
            }
        }
    }
    let mut list = String::new();
    for (executor, reason, workloads) in reasons {
        let workloads = match workloads.len() {
            n if n == rows.len() => "everything".into(),
            _ => format!("`{}`", workloads.join("`, `")),
        };
        let _ = writeln!(list, "- {executor}, {workloads}: {reason}");
    }
    list
}

fn words(goal: Goal) -> String {
    match goal {
        Goal::OfBestWithHandles(part) => format!("≤ {part} × best with handles"),
        Goal::OfBest(part) => format!("≤ {part} × best"),
        Goal::MoreThanBest(more) => format!("≤ best + {more} ns"),
        Goal::Of(name, part) => format!("≤ {part} × {name}"),
    }
}

fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn digits(time: f64) -> String {
    match time {
        t if t < 10.0 => format!("{t:.1}"),
        t => format!("{t:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_compared_with_the_best_of_each_kind() {
        let rows = [row("yield/tasks=1000", 20.0)];
        let table = ratios(&rows);
        let expected = "| `yield/tasks=1000` | yield | 20 | b 40 | 0.50 | set 10 | 2.00 \
                        | ≤ 0.4 × best with handles | missed |";
        assert!(table.contains(expected), "{table}");
        assert!(ratios(&[row("yield/tasks=1000", 16.0)]).contains("| met |"));
    }

    #[test]
    fn who_could_not_run_is_named_with_the_reason() {
        let rows = [row("yield/tasks=1000", 20.0), row("ping_pong", 1.0)];
        assert_eq!(absences(&rows), "- ring, everything: no io_uring\n");
        assert!(times(&rows).contains("| workload | ours | a | b | set | ring |"));
    }

    fn row(workload: &str, ours: f64) -> Row {
        let entry = |executor, offer, time| Entry {
            executor,
            offer,
            outcome: Ok(Figure::new(vec![time])),
        };
        let mut entries = vec![
            entry(OURS, Offer::Handles, ours),
            entry("a", Offer::Handles, 50.0),
            entry("b", Offer::Handles, 40.0),
            entry("set", Offer::Less, 10.0),
        ];
        entries.push(Entry {
            executor: "ring",
            offer: Offer::Handles,
            outcome: Err("no io_uring".into()),
        });
        Row {
            workload: workload.into(),
            operation: "yield",
            entries,
        }
    }
}
