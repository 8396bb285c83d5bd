//! How a command fails: what it says on stderr, and its exit code.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use vestibule_component_host::Error;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A trap or an error, in full; exit code 1.
    Error(String),
    /// Bad usage that the declared arguments cannot rule out; exit code 2.
    Usage(String),
    /// What there is to say was said on stdout; exit code 1.
    Reported,
    /// Whoever read stdout has gone: there is nobody left to tell anything.
    BrokenPipe,
}

impl Failure {
    /// Says it, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::Error(text) => {
                say(&text);
                ExitCode::from(1)
            }
            Failure::Usage(text) => {
                say(&text);
                ExitCode::from(2)
            }
            Failure::Reported => ExitCode::from(1),
            Failure::BrokenPipe => ExitCode::SUCCESS,
        }
    }
}

/// Not `eprintln!`, which panics when stderr is closed.
fn say(text: &str) {
    let _ = io::Write::write_all(&mut io::stderr(), format!("error: {text}\n").as_bytes());
}

/// Failures of writing to stdout; files are read in `input.rs`, which names them.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Error(format!("cannot write to stdout: {error}")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(chain(&error))
    }
}

/// The whole chain: what happened, through which boundaries, and what it was caused by.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    // An error's own text ends with that of its source; only what lies deeper is new.
    let mut deeper = error.source().and_then(|source| source.source());
    while let Some(cause) = deeper {
        let _ = write!(text, "\n    caused by: {cause}");
        deeper = cause.source();
    }
    text
}
