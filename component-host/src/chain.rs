//! The call chain of an error: the boundaries that were on the stack when it happened, innermost
//! first.
//!
//! The core engine does not say in which core function a trap happened. What the host knows for
//! certain is through which core function each instance was *entered*, and which import or
//! built-in led out of it again; that is what a chain consists of.

use std::fmt;
use std::panic::Location;

/// The names of a component instance and of those around it, the outermost first.
///
/// Names are those of the name section or of the instance's definition, else indices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ComponentPath {
    names: Vec<String>,
}

/// A core function, by everything that is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreFunction {
    /// Its name in the module's name section; the name of the import when it is one.
    pub name: Option<String>,
    /// Its index in the module's function index space.
    pub index: Option<u32>,
    /// The name under which its core instance exports it.
    pub export: Option<String>,
    /// The core module: by name, else by its index in the component.
    pub module: Option<String>,
    /// The core instance: by name, else by its index in the component.
    pub instance: Option<String>,
}

/// As what a core function was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnteredAs {
    /// The start function of its module.
    Start,
    /// The component-level function of this name.
    Export(String),
    /// The callback of the async-lifted function of this name.
    Callback(String),
    /// The `post-return` of the function of this name.
    PostReturn(String),
    /// The `realloc` of a canonical definition.
    Realloc,
    /// The destructor of a resource type.
    Destructor,
    /// A thread that `thread.new-indirect` made.
    Thread,
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
        defined_at: &'static Location<'static>,
    },
    /// A call of an import.
    Import {
        /// The calling component instance.
        component: ComponentPath,
        /// The import's name in the calling component, such as `wasi:clocks/wall-clock@0.2.0#now`.
        name: String,
        /// Its type, as WIT writes it.
        ty: String,
        /// Whether the store had not called it before: what is made at the first use may not have
        /// been made yet.
        first_call: bool,
    },
    /// A core function that was entered from outside its module.
    CoreFunction {
        /// The component instance.
        component: ComponentPath,
        /// As what it was entered.
        entered_as: EnteredAs,
        /// Which function it is.
        function: CoreFunction,
    },
    /// What a thread on the stack was waiting for.
    Waiting(String),
    /// The phase that was declared, or the call that the host made.
    Phase {
        /// What was being done, such as ``instantiating component `app` ``.
        what: String,
        /// Where the host asked for it.
        entered_at: &'static Location<'static>,
    },
    /// Any other step.
    Note(String),
}

impl ComponentPath {
    pub(crate) fn new(names: Vec<String>) -> ComponentPath {
        ComponentPath { names }
    }

    /// The names, the outermost component's first.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Display for ComponentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("component ")?;
        for (i, name) in self.names.iter().enumerate() {
            let arrow = if i == 0 { "" } else { " → " };
            write!(f, "{arrow}`{name}`")?;
        }
        Ok(())
    }
}

impl fmt::Display for CoreFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_ref().or(self.export.as_ref()), self.index) {
            (Some(name), Some(index)) => write!(f, "`{name}` (function {index})")?,
            (Some(name), None) => write!(f, "`{name}`")?,
            (None, Some(index)) => write!(f, "`(unnamed)` (function {index})")?,
            (None, None) => f.write_str("an unnamed core function")?,
        }
        if let Some(module) = &self.module {
            write!(f, " of core module `{module}`")?;
        }
        if let Some(instance) = &self.instance {
            write!(f, ", instance `{instance}`,")?;
        }
        Ok(())
    }
}

impl fmt::Display for EnteredAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnteredAs::Start => f.write_str("start function"),
            EnteredAs::Export(name) => write!(f, "export `{name}`:"),
            EnteredAs::Callback(name) => write!(f, "callback of export `{name}`:"),
            EnteredAs::PostReturn(name) => write!(f, "post-return of export `{name}`:"),
            EnteredAs::Realloc => f.write_str("realloc"),
            EnteredAs::Destructor => f.write_str("destructor"),
            EnteredAs::Thread => f.write_str("thread"),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::HostFunction {
                import,
                type_name,
                defined_at,
            } => write!(
                f,
                "in host function `{import}` ({type_name}, defined at {defined_at})"
            ),
            Frame::Import {
                component,
                name,
                ty,
                first_call,
            } => {
                let first = if *first_call {
                    ", for the first time in this store"
                } else {
                    ""
                };
                write!(
                    f,
                    "called through import `{name}` ({ty}) of {component}{first}"
                )
            }
            Frame::CoreFunction {
                component,
                entered_as,
                function,
            } => write!(f, "from {entered_as} {function} in {component}"),
            Frame::Phase { what, entered_at } => {
                write!(f, "while {what} (at {entered_at})")
            }
            Frame::Waiting(text) => write!(f, "while waiting for {text}"),
            Frame::Note(text) => f.write_str(text),
        }
    }
}

/// Prints a chain, one line a frame.
pub(crate) fn write_chain(f: &mut fmt::Formatter<'_>, chain: &[Frame]) -> fmt::Result {
    let mut innermost = true;
    for frame in chain {
        if innermost && matches!(frame, Frame::CoreFunction { .. }) {
            innermost = false;
            f.write_str("\n    in core code; which function it was is not known to the engine")?;
        }
        write!(f, "\n    {frame}")?;
    }
    Ok(())
}
