//! Spec: ## Canonical ABI Options, ## Lifting and Lowering Context
//!
//! What lifting and lowering ask of the world around them: the options of one canonical
//! definition, and a context that reaches the guest's memory, its `realloc` and its handles.

use crate::component::definitions::StringEncoding;
use crate::error::Error;
use crate::transit::Transit;
use crate::types::{ResourceType, Type};
use crate::val::{ErrorContextAny, ResourceAny, Val};

/// The type of pointers and lengths: that of the addresses of the memory in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PtrType {
    I32,
    I64,
}

/// The spec's `ptr_size`, in bytes.
pub(crate) fn ptr_size(ptr_type: PtrType) -> u32 {
    match ptr_type {
        PtrType::I32 => 4,
        PtrType::I64 => 8,
    }
}

/// Who is on the other side of the boundary that the values cross.
///
/// The suite's texts for a bad pointer differ: one family for a value that the host reads or
/// writes, another for one that goes from guest to guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Host,
    Guest,
}

/// The options that decide a core function's type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlattenOptions {
    pub(crate) async_: bool,
    pub(crate) callback: bool,
    /// That of the `memory` option; 32 bits when there is none.
    pub(crate) ptr_type: PtrType,
}

/// The spec's `LiftLowerContext`: one side of one call, whose values are lifted or lowered.
pub(crate) trait LiftLower {
    fn string_encoding(&self) -> StringEncoding;

    fn ptr_type(&self) -> PtrType;

    fn peer(&self) -> Peer;

    /// The memory of the options. An error is our bug: the validator required one.
    fn memory(&self) -> Result<&[u8], Error>;

    /// The memory of the options, to be written.
    fn memory_mut(&mut self) -> Result<&mut [u8], Error>;

    /// Calls the guest's `realloc`. It runs guest code, and the memory may grow: what was
    /// borrowed from it must be borrowed again. What it returns is not checked here.
    fn reallocate(
        &mut self,
        old: u64,
        old_byte_length: u64,
        alignment: u32,
        new_byte_length: u64,
    ) -> Result<u64, Error>;

    fn lift_own(&mut self, index: u32, rt: ResourceType) -> Result<ResourceAny, Error>;

    fn lift_borrow(&mut self, index: u32, rt: ResourceType) -> Result<ResourceAny, Error>;

    fn lower_own(&mut self, resource: &ResourceAny, rt: ResourceType) -> Result<u32, Error>;

    fn lower_borrow(&mut self, resource: &ResourceAny, rt: ResourceType) -> Result<u32, Error>;

    fn lift_stream(&mut self, index: u32, t: Option<&Type>) -> Result<Val, Error>;

    fn lift_future(&mut self, index: u32, t: Option<&Type>) -> Result<Val, Error>;

    /// Called with a [`Val::Stream`] only.
    fn lower_stream(&mut self, value: &Val, t: Option<&Type>) -> Result<u32, Error>;

    /// Called with a [`Val::Future`] only.
    fn lower_future(&mut self, value: &Val, t: Option<&Type>) -> Result<u32, Error>;

    fn lift_error_context(&mut self, index: u32) -> Result<ErrorContextAny, Error>;

    fn lower_error_context(&mut self, value: &ErrorContextAny) -> Result<u32, Error>;

    /// Takes `bytes` from the call's budget of host memory. Called *before* the host allocates,
    /// since a guest chooses the lengths, and may let many lists share the same bytes of memory.
    fn charge(&mut self, bytes: u64) -> Result<(), Error>;

    /// Takes `bytes` from the budget for values that the embedder wants as [`Val`]s, which are
    /// larger than what they are made from.
    fn charge_tree(&mut self, bytes: u64) -> Result<(), Error>;

    /// Lets go what was lifted of values that turned out to be no good.
    fn abandon(&mut self, lifted: Transit) {
        drop(lifted);
    }
}
