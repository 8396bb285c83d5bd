//! Says what went wrong, where, by whom, and what to do about it: the one error of this crate.
//!
//! An [`Error`] has a [kind](ErrorKind) and a [chain](Error::chain): the boundaries that were on
//! the stack when it happened, innermost first. `Display` prints both, like a backtrace.

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
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest did what the specification forbids. The instances on its stack are locked down.
    Trap(Trap),
    /// A host function returned this error.
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
    /// The call can never finish: nothing is left that could wake it.
    Deadlock {
        /// The tasks that are waiting in the executor.
        pending: usize,
    },
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

/// One boundary that was on the stack when an error happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// A host function.
    HostFunction {
        /// The import it serves.
        import: String,
        /// The Rust type of the function, or of the closure.
        type_name: &'static str,
        /// Where it was given to the linker.
        defined_at: &'static std::panic::Location<'static>,
    },
    /// A call of an import.
    Import {
        /// The calling component instance.
        component: String,
        /// The import's name.
        name: String,
    },
    /// A core function that was entered from outside its module.
    CoreFunction {
        /// The component instance.
        component: String,
        /// Which role it was entered in, such as `start function` or `export`.
        role: &'static str,
        /// The function, by the name section or the export when there is one.
        name: String,
        /// The core module or core instance it belongs to, when it is known.
        module: Option<String>,
    },
    /// The phase that was declared.
    Phase(String),
    /// Any other step.
    Note(String),
}

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
        for frame in &self.0.chain {
            write!(f, "\n    {frame}")?;
        }
        Ok(())
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
            ErrorKind::Deadlock { pending } => write!(
                f,
                "wasm trap: deadlock detected: event loop cannot make further progress \
                 ({pending} tasks wait, and nothing is left to wake them)"
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

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::HostFunction {
                import,
                type_name,
                defined_at,
            } => {
                write!(
                    f,
                    "in host function `{import}` ({type_name}, defined at {defined_at})"
                )
            }
            Frame::Import { component, name } => {
                write!(f, "called through import `{name}` of {component}")
            }
            Frame::CoreFunction {
                component,
                role,
                name,
                module: Some(module),
            } => {
                write!(f, "from {role} `{name}` of {module} in {component}")
            }
            Frame::CoreFunction {
                component,
                role,
                name,
                module: None,
            } => {
                write!(f, "from {role} `{name}` in {component}")
            }
            Frame::Phase(text) | Frame::Note(text) => f.write_str(text),
        }
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
            _ => None,
        }
    }
}

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
