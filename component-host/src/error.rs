//! Says what went wrong, where, by whom, and what to do about it: the one error of this crate.
//!
//! An [`Error`] has a [kind](ErrorKind) and a [chain](Error::chain): the boundaries that were on
//! the stack when it happened, innermost first. `Display` prints both, like a backtrace, and a
//! [hint](Error::hint) when there is something to do about it.

use crate::chain::{EnteredAs, Frame, write_chain};
use crate::trap::Trap;
use std::fmt;
use vestibule_executor::Refused;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a failed operation of this crate returns; one pointer in size.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    chain: Vec<Frame>,
}

/// The kinds of failure.
///
/// Whatever guests and host functions do, an instantiation or a call ends well or in one of `Trap`,
/// `Host`, `HostPanic`, `Refused`, `Limit`, `Link`, `Invalid` and `Poisoned`. `Type`, `Resource` and
/// `Closed` are for what the embedder asks for and gives: they come before guest code runs, or
/// instead of what a stream would have given. In a host function they are its own failure, so that
/// the guest's call ends in `Host`.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest did what the specification forbids. The instances on its stack are locked down.
    /// A [deadlock](Trap::Deadlock) is one too, for the specification; it has no stack.
    Trap(Trap),
    /// A host function returned this error, or a result that is not of the import's type.
    Host(Box<dyn std::error::Error + 'static>),
    /// A host function, or a future it returned, panicked with this text.
    HostPanic(String),
    /// The executor or the store refused an operation that is not allowed in its present state.
    Refused(Refused),
    /// A component's imports could not be satisfied, or a name was not found.
    Link(String),
    /// The bytes are not a valid component.
    Invalid {
        /// What is wrong.
        message: String,
        /// Where, in bytes from the start of the input, when it is known.
        offset: Option<usize>,
    },
    /// A limit was reached.
    Limit(LimitError),
    /// The instance, or the one it waits for, was locked down by an earlier trap.
    Poisoned {
        /// The instance that trapped.
        by: String,
    },
    /// A value or an argument list did not have the type that was asked for.
    Type(String),
    /// A resource was used that the embedder may not use, or may no longer use.
    Resource(String),
    /// The other end of a stream or a future was dropped, or the store was.
    Closed,
    /// A broken invariant of this crate. Please report it.
    Bug(String),
}

/// Names a limit that was reached, its value, and how to raise it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitError {
    /// The limit's name, as in `Config`.
    pub limit: &'static str,
    /// Its value when it was reached.
    pub value: u64,
    /// Its unit, in the plural.
    pub unit: &'static str,
    /// How to raise it.
    pub hint: &'static str,
}

/// For a start function that waits for what cannot happen yet.
const WAIT_LATER: &str = "a start function cannot wait for async work: let it record what it \
    wants and let the host do it afterwards (`Caller::defer`), or move the work to an exported \
    `init` (`Linker::instantiate_then`), or to the first call that needs it";

/// For a host function that, called by a start function, would drive the executor.
const DEFER: &str = "a host function that a start function calls cannot block or drive the \
    executor: let it hand the work to `Caller::defer`, or import an `async func` that an exported \
    `init` awaits (`Linker::instantiate_then`)";

impl Error {
    /// Makes an error of the given kind, with an empty chain.
    pub fn new(kind: ErrorKind) -> Error {
        Error(Box::new(Inner {
            kind,
            chain: Vec::new(),
        }))
    }

    /// Wraps an error of the embedder's, as host functions return it.
    pub fn host(error: impl Into<Box<dyn std::error::Error + 'static>>) -> Error {
        Error::new(ErrorKind::Host(error.into()))
    }

    pub(crate) fn link(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Link(message.into()))
    }

    pub(crate) fn ty(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Type(message.into()))
    }

    pub(crate) fn resource(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Resource(message.into()))
    }

    pub(crate) fn invalid(message: impl Into<String>, offset: Option<usize>) -> Error {
        Error::new(ErrorKind::Invalid {
            message: message.into(),
            offset,
        })
    }

    pub(crate) fn limit(
        limit: &'static str,
        value: u64,
        unit: &'static str,
        hint: &'static str,
    ) -> Error {
        Error::new(ErrorKind::Limit(LimitError {
            limit,
            value,
            unit,
            hint,
        }))
    }

    /// The error that a host function's error is for its guest: what is no outcome of a run of
    /// guest code is the host function's own failure.
    pub(crate) fn of_host_function(self) -> Error {
        match self.kind() {
            ErrorKind::Type(_) | ErrorKind::Resource(_) | ErrorKind::Closed => Error::host(self),
            _ => self,
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Takes the kind out of the error.
    pub fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// The trap, when this is one.
    pub fn trap(&self) -> Option<&Trap> {
        match &self.0.kind {
            ErrorKind::Trap(trap) => Some(trap),
            _ => None,
        }
    }

    /// The refusal, when this is one, or when a host function passed one on.
    pub fn refused(&self) -> Option<&Refused> {
        match &self.0.kind {
            ErrorKind::Refused(refused) => Some(refused),
            ErrorKind::Host(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// The boundaries that were on the stack, innermost first.
    pub fn chain(&self) -> &[Frame] {
        &self.0.chain
    }

    /// What to do about it, when that is more than the kind itself says.
    ///
    /// A start function that cannot wait is told which of the patterns for deferred
    /// initialisation to use.
    pub fn hint(&self) -> Option<&'static str> {
        let in_start = self.chain().iter().any(|frame| {
            let start = EnteredAs::Start;
            matches!(frame, Frame::CoreFunction { entered_as, .. } if *entered_as == start)
        });
        match (&self.0.kind, in_start) {
            (ErrorKind::Trap(Trap::CannotBlockSyncTask), true) => Some(WAIT_LATER),
            (ErrorKind::Refused(_), true) => Some(DEFER),
            (ErrorKind::Host(error), true) if error.is::<Refused>() => Some(DEFER),
            _ => None,
        }
    }

    pub(crate) fn push_frame(&mut self, frame: Frame) {
        self.0.chain.push(frame);
    }

    #[must_use]
    pub(crate) fn with_frame(mut self, frame: Frame) -> Error {
        self.push_frame(frame);
        self
    }
}

/// Reports a broken invariant: a panic in debug builds, an error in release builds.
macro_rules! bug {
    ($($arg:tt)*) => {{
        let message = format!($($arg)*);
        debug_assert!(false, "{message}");
        $crate::Error::new($crate::ErrorKind::Bug(message))
    }};
}
pub(crate) use bug;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.kind)?;
        write_chain(f, &self.0.chain)?;
        match self.hint() {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Trap(trap) => write!(f, "wasm trap: {trap}"),
            ErrorKind::Host(error) => write!(f, "host function failed: {error}"),
            ErrorKind::HostPanic(text) => write!(f, "host function panicked: {text}"),
            ErrorKind::Refused(refused) => write!(f, "{refused}"),
            ErrorKind::Link(message) | ErrorKind::Type(message) | ErrorKind::Resource(message) => {
                f.write_str(message)
            }
            ErrorKind::Invalid {
                message,
                offset: Some(offset),
            } => {
                write!(f, "invalid component: {message} (at offset {offset:#x})")
            }
            ErrorKind::Invalid {
                message,
                offset: None,
            } => {
                write!(f, "invalid component: {message}")
            }
            ErrorKind::Limit(limit) => write!(f, "{limit}"),
            ErrorKind::Poisoned { by } => write!(
                f,
                "cannot enter component instance: it was locked down when {by} trapped"
            ),
            ErrorKind::Closed => f.write_str(
                "closed: the other end of the stream or future was dropped, or its store was",
            ),
            ErrorKind::Bug(message) => write!(f, "internal error, please report it: {message}"),
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "limit reached: {} is {} {}; {}",
            self.limit, self.value, self.unit, self.hint
        )
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("chain", &self.0.chain)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Host(error) => Some(&**error),
            ErrorKind::Refused(refused) => Some(refused),
            ErrorKind::Trap(trap) => Some(trap),
            ErrorKind::Limit(limit) => Some(limit),
            _ => None,
        }
    }
}

impl std::error::Error for LimitError {}

impl From<Trap> for Error {
    fn from(trap: Trap) -> Error {
        Error::new(ErrorKind::Trap(trap))
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        Error::new(ErrorKind::Refused(refused))
    }
}

/// Traps with the given [`Trap`] when the condition holds: the guest's fault, never ours.
macro_rules! trap_if {
    ($condition:expr, $trap:expr) => {
        if $condition {
            return Err($crate::Error::from($trap));
        }
    };
}
pub(crate) use trap_if;
