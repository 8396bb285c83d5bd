//! A light WebAssembly Component Model host.
//!
//! Components run on an interpreter, on the single-threaded executor of `vestibule-executor`, which
//! is their only scheduler. Their start functions run under the phase of an instantiation: they may
//! yield, call into other components and wait for what has happened already; when they are really
//! blocked they trap, and everything else goes on.
//!
//! An [`Engine`] compiles [`Component`]s; a [`Store`] holds instances and the embedder's data; a
//! [`Linker`] binds imports to host functions and instantiates; a [`Func`] is called from async code,
//! or from synchronous code through [`Store::block_on`].
//!
//! ```
//! use vestibule_component_host::{Component, Engine, Linker, Store, Val};
//! use vestibule_executor::Executor;
//!
//! # fn main() -> vestibule_component_host::Result<()> {
//! let executor = Executor::new();
//! let engine = Engine::default();
//! let store = Store::new(&engine, &executor, ());
//! let component = Component::new(
//!     &engine,
//!     br#"(component
//!       (core module $M (func (export "seven") (result i32) (i32.const 7)))
//!       (core instance $m (instantiate $M))
//!       (func (export "seven") (result u32) (canon lift (core func $m "seven"))))"#,
//! )?;
//! let instance = Linker::new().instantiate(&store, &component)?;
//! let seven = instance.get_func(&store, "seven")?;
//! assert_eq!(store.block_on(seven.call(&store, &[]))?, Some(Val::U32(7)));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod config;
mod engine;

mod component;
mod init;
mod instance;
mod instance_pre;
mod linker;
mod store;

mod func;
mod resource;
mod resource_table;
mod streams;
mod transit;
pub mod typed;
mod typed_func;
pub mod types;
mod val;
mod wave;

mod chain;
mod error;
mod origin;
mod trap;

mod instantiate;
mod runtime;
mod start_report;
mod start_safety;
mod suspending;
#[cfg(feature = "tracing")]
mod tracing_observer;

mod abi;
mod arena;
mod limits;
mod versions;

#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, reason = "there for the fuzz targets alone")]
pub mod fuzzing;

pub use chain::{ComponentPath, CoreFunction, EnteredAs, Frame};
pub use component::Component;
pub use config::Config;
pub use engine::Engine;
pub use error::{Error, ErrorKind, LimitError, Result};
pub use func::{Accessor, Caller, Func};
pub use instance::Instance;
pub use instance_pre::InstancePre;
pub use linker::{Linker, LinkerInstance};
pub use resource::Resource;
pub use resource_table::ResourceTable;
pub use start_report::{Perhaps, Reachable, ReachableKind, StartFunction, StartReport};
pub use store::{
    Counters, Event, InterruptHandle, Live, Observer, Store, StoreSnapshot, ThreadInfo, Totals,
};
pub use streams::{
    AsStore, Element, FutureReader, FutureWriter, StreamReader, StreamWriter, future, stream,
};
#[cfg(feature = "tracing")]
pub use tracing_observer::TracingObserver;
pub use trap::Trap;
pub use typed::{ComponentNamedList, ComponentType, Lift, LiftList, Lower, LowerList, Mismatch};
pub use typed_func::TypedFunc;
pub use types::{FuncType, ResourceType, Type};
pub use val::{ErrorContextAny, FutureAny, ResourceAny, StreamAny, Text, Val};
/// Derive [`ComponentType`], [`Lift`](trait@Lift), [`Lower`](trait@Lower) and
/// [`Element`](trait@Element) for structs and enums.
pub use vestibule_component_host_derive::{ComponentType, Element, Lift, Lower};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
