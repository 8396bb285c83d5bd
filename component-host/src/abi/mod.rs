//! The Canonical ABI, in the order of CanonicalABI.md.
//!
//! Each file implements the section that its first line names, under the specification's own
//! names. Values come first (what they look like in memory and as core values), then the
//! run-time state, then the canonical definitions.

// Concurrency.
pub(crate) mod component_instances;
pub(crate) mod tasks;
pub(crate) mod threads;
pub(crate) mod turns;

// Values.
pub(crate) mod context;
pub(crate) mod options;

pub(crate) mod layout;

pub(crate) mod despecialization;
pub(crate) mod type_predicates;

pub(crate) mod alignment;
pub(crate) mod element_size;
pub(crate) mod loading;
pub(crate) mod storing;
pub(crate) mod strings;

pub(crate) mod flat_lifting;
pub(crate) mod flat_lowering;
pub(crate) mod flattening;
pub(crate) mod values;

// Run-time state.
pub(crate) mod buffer_state;
pub(crate) mod host_buffer;
pub(crate) mod host_ends;
pub(crate) mod resource_state;
pub(crate) mod stream_state;
pub(crate) mod subtask_state;
pub(crate) mod table_state;
pub(crate) mod waitable_state;

// Canonical definitions.
pub(crate) mod builtins;
mod canon_error_context;
pub(crate) mod canon_lift;
pub(crate) mod canon_lower;
mod canon_resource;
pub(crate) mod canon_stream;
pub(crate) mod canon_subtask;
pub(crate) mod canon_task;
pub(crate) mod canon_thread;
mod canon_waitable;
pub(crate) mod finish;
pub(crate) mod host_call;
pub(crate) mod host_resources;
mod resolve;

#[cfg(any(test, fuzzing))]
pub(crate) mod mock;
#[cfg(any(test, fuzzing))]
pub(crate) mod random;
#[cfg(test)]
mod tests;
