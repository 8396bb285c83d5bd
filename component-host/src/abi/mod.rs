//! The Canonical ABI, in the order of CanonicalABI.md.
//!
//! Each file implements the section that its first line names, under the specification's own
//! names; a file without such a line is ours, and stands beside what it serves.

// ## Component Instances, ## Concurrency
pub(crate) mod component_instances;

pub(crate) mod threads;

pub(crate) mod tasks;
pub(crate) mod turns;

// ## Canonical ABI Options, ## Lifting and Lowering Context
pub(crate) mod options;

pub(crate) mod context;

// ## Runtime State
pub(crate) mod table_state;

pub(crate) mod resource_state;

pub(crate) mod waitable_state;

pub(crate) mod subtask_state;

pub(crate) mod buffer_state;
pub(crate) mod host_buffer;

pub(crate) mod stream_state;

pub(crate) mod host_ends;

// ## Despecialization, ## Type Predicates, ## Alignment, ## Element Size
pub(crate) mod despecialization;
pub(crate) mod type_predicates;

pub(crate) mod alignment;
pub(crate) mod element_size;
pub(crate) mod layout;

// ## Loading, ## Storing
pub(crate) mod loading;
pub(crate) mod storing;
pub(crate) mod strings;

// ## Flattening, ## Flat Lifting, ## Flat Lowering, ## Lifting and Lowering Values
pub(crate) mod flattening;

pub(crate) mod flat_lifting;
pub(crate) mod flat_lowering;

pub(crate) mod values;

// ## Canonical Definitions
pub(crate) mod builtins;
pub(crate) mod finish;

pub(crate) mod canon_lift;
pub(crate) mod canon_lower;
pub(crate) mod direct;
pub(crate) mod host_call;
mod resolve;
mod watched;

mod canon_resource;
pub(crate) mod destructors;
pub(crate) mod host_resources;

pub(crate) mod canon_task;
mod canon_waitable;

pub(crate) mod canon_subtask;

pub(crate) mod canon_stream;
pub(crate) mod canon_thread;

mod canon_error_context;

#[cfg(any(test, fuzzing))]
pub(crate) mod mock;
#[cfg(any(test, fuzzing))]
pub(crate) mod random;
#[cfg(test)]
mod tests;
