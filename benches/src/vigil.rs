//! Names the workload that is running when it panics or hangs.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::Label;

/// What is running, and since when.
static RUNNING: Mutex<Option<(String, Instant)>> = Mutex::new(None);

/// Lets a panic name the workload in which it happened, and ends the process with the name of a
/// workload that runs for longer than `limit`: a lost wake is a wrong result too.
pub fn keep(limit: Duration) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if expected() {
            return;
        }
        if let Some(name) = running() {
            eprintln!("{name}: stopped by a panic");
        }
        default(info);
    }));
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(500));
            let late = match &*RUNNING.lock().expect("no holder panics") {
                Some((name, since)) if since.elapsed() > limit => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = late {
                eprintln!("{name}: does not end: nothing within {limit:?}");
                std::process::exit(1);
            }
        }
    });
}

/// Says what runs from now on.
pub fn enter(label: &Label) {
    *RUNNING.lock().expect("no holder panics") = Some((label.to_string(), Instant::now()));
}

/// Nothing runs.
pub fn leave() {
    *RUNNING.lock().expect("no holder panics") = None;
}

fn running() -> Option<String> {
    let running = RUNNING.lock().expect("no holder panics");
    running.as_ref().map(|(name, _)| name.clone())
}

thread_local! {
    static EXPECTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn expected() -> bool {
    EXPECTED.with(std::cell::Cell::get)
}

/// Whether panics of this thread are what a workload measures, from now on.
pub fn expect_panics(expect: bool) {
    EXPECTED.with(|expected| expected.set(expect));
}
