//! Says, without running anything, what the start functions of a component can reach.
//!
//! The component is linked with stubs in a store of its own, with all start functions left out; that
//! resolves every import of every core module to the function behind it. The call graph of the core
//! modules' code is then followed from each start function. What no code says for certain is taken
//! to reach all it could: an indirect call every function of its type whose address is taken
//! anywhere, a new thread likewise, a drop the type's destructor. What is reachable only so is marked
//! with [`Perhaps`].

mod calls;
mod graph;

use crate::chain::{ComponentPath, CoreFunction};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::instantiate;
use crate::linker::Linker;
use crate::store::Store;
use std::fmt;
use vestibule_executor::Executor;

/// What the start functions of a component can reach, from [`Component::start_report`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartReport {
    /// The start functions, in the order in which they run.
    pub starts: Vec<StartFunction>,
}

/// One start function and what it can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartFunction {
    /// The component instance.
    pub component: ComponentPath,
    /// The function.
    pub function: CoreFunction,
    /// The imports and built-ins it can reach, the nearest first.
    pub reaches: Vec<Reachable>,
}

/// An import of the component, or a built-in, that a start function can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reachable {
    /// Its name: `wasi:clocks/wall-clock@0.2.0#now`, or `waitable-set.wait`.
    pub name: String,
    /// What it is.
    pub kind: ReachableKind,
    /// Whether the call may have to wait: a synchronous call of an async function, or a built-in
    /// that waits.
    pub may_block: bool,
    /// The functions from the start function to the call, the start function's first.
    pub path: Vec<String>,
    /// What in the path is over-approximated, so that it may be one that is never taken; empty when
    /// the path is made of direct calls.
    pub perhaps: Vec<Perhaps>,
}

/// A step of a path that is not certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Perhaps {
    /// An indirect call: taken to reach every function of its type whose address is taken.
    IndirectCall,
    /// A destructor, which a drop runs only when it drops an owned handle.
    Destructor,
    /// The callback of an async function, which runs only when the function asks for it.
    Callback,
    /// A new thread: taken to run every function of its type whose address is taken. When such a
    /// thread waits, the start function goes on, unless it waits for the thread.
    Thread,
}

/// What a start function can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReachableKind {
    /// An import of synchronous type.
    Import,
    /// An import of async type.
    AsyncImport,
    /// A built-in of the Canonical ABI.
    Builtin,
}

impl StartReport {
    /// What may block in a start function, with the start function.
    pub fn may_block(&self) -> impl Iterator<Item = (&StartFunction, &Reachable)> {
        self.starts.iter().flat_map(|start| {
            let blocking = start.reaches.iter().filter(|reached| reached.may_block);
            blocking.map(move |reached| (start, reached))
        })
    }
}

impl Component {
    /// Says what the start functions of this component can reach, and what of that may block.
    ///
    /// `bytes` are what the component was made of: it does not keep them.
    ///
    /// # Errors
    ///
    /// `Invalid` when `bytes` are not what the component was made of; `Limit` when the component
    /// does not fit into the limits of its engine.
    pub fn start_report(&self, bytes: &[u8]) -> Result<StartReport> {
        let binary = Component::binary(bytes)?;
        let executor = Executor::new();
        let store = Store::new(&self.engine, &executor, ());
        let mut linker = Linker::new();
        linker.define_unknown_imports_as_traps();
        let linked = linker.imports_for(&store, |imports| {
            instantiate::link_only(&store.inner, self, imports)
        })?;
        let graph = graph::Graph::new(&store.inner, linked, &binary)?;
        graph.report()
    }
}

fn unlike_the_component() -> Error {
    Error::invalid(
        "these are not the bytes that the component was made of",
        None,
    )
}

impl fmt::Display for StartReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.starts.is_empty() {
            return f.write_str("no start functions\n");
        }
        for start in &self.starts {
            write!(f, "{start}")?;
        }
        Ok(())
    }
}

impl fmt::Display for StartFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "start function {} in {}", self.function, self.component)?;
        if self.reaches.is_empty() {
            writeln!(f, "  reaches no import and no built-in")?;
        }
        for reached in &self.reaches {
            writeln!(f, "  {reached}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.may_block {
            true => "may block in start: ",
            false => "reaches: ",
        })?;
        for function in &self.path {
            write!(f, "`{function}` → ")?;
        }
        write!(f, "`{}`", self.name)?;
        match self.kind {
            ReachableKind::Import => f.write_str(" (import)")?,
            ReachableKind::AsyncImport => f.write_str(" (async import)")?,
            ReachableKind::Builtin => f.write_str(" (built-in)")?,
        }
        for (at, perhaps) in self.perhaps.iter().enumerate() {
            f.write_str(if at == 0 { ", perhaps: only by " } else { ", " })?;
            write!(f, "{perhaps}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Perhaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Perhaps::IndirectCall => "an indirect call",
            Perhaps::Destructor => "a destructor",
            Perhaps::Callback => "a callback",
            Perhaps::Thread => "a thread that it makes",
        })
    }
}
