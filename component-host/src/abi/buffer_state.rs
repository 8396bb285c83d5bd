//! Spec: ### Buffer State

use super::alignment::alignment;
use super::canon_lift::CanonicalOptions;
use super::component_instances::InstanceId;
use super::context::{LiftLowerContext, Scope};
use super::element_size::elem_size;
use super::loading::{
    in_bounds, is_aligned, load_list_from_valid_range, valid_range, valid_range_mut,
};
use super::options::{LiftLower, Peer};
use super::storing::store_list_into_valid_range;
use super::type_predicates::none_or_number_type;
use crate::engine::Context;
use crate::error::{Error, bug, trap_if};
use crate::trap::Trap;
use crate::types::Type;
use crate::val::Val;
use std::rc::Rc;

/// `Buffer.MAX_LENGTH`
const MAX_LENGTH: u64 = (1 << 28) - 1;

/// A part of a guest's memory that a stream or a future is read into, or written from.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    opts: Rc<CanonicalOptions>,
    inst: InstanceId,
    ptr: u64,
    pub(crate) progress: u32,
    length: u32,
}

impl Buffer {
    /// Checks the range that a guest gave.
    pub(crate) fn new(
        cx: &Context<'_>,
        t: Option<&Type>,
        opts: &Rc<CanonicalOptions>,
        inst: InstanceId,
        ptr: u64,
        length: u64,
    ) -> Result<Buffer, Error> {
        trap_if!(length > MAX_LENGTH, Trap::ListTooLong);
        if let Some(t) = t
            && length > 0
        {
            trap_if!(
                !is_aligned(ptr, alignment(t, opts.ptr_type)),
                Trap::UnalignedPointer
            );
            let byte_length = length.saturating_mul(elem_size(t, opts.ptr_type));
            let memory = opts
                .memory
                .as_ref()
                .map_or(&[][..], |memory| memory.data(cx));
            trap_if!(
                !in_bounds(memory, ptr, byte_length),
                Trap::PointerOutOfBounds
            );
        }
        Ok(Buffer {
            opts: Rc::clone(opts),
            inst,
            ptr,
            progress: 0,
            length: length as u32,
        })
    }

    pub(crate) fn remain(&self) -> u32 {
        self.length - self.progress
    }

    fn advance(&mut self, t: Option<&Type>, n: u32) {
        if let Some(t) = t {
            self.ptr += u64::from(n) * elem_size(t, self.opts.ptr_type);
        }
        self.progress += n;
    }
}

/// Copies `n` elements from one buffer into another: `dst.write(src.read(n))`.
pub(crate) fn transfer(
    cx: &mut Context<'_>,
    t: Option<&Type>,
    src: &mut Buffer,
    dst: &mut Buffer,
    n: u32,
) -> Result<(), Error> {
    if let Some(t) = t {
        if none_or_number_type(Some(t)) {
            transfer_bytes(cx, u64::from(n) * elem_size(t, src.opts.ptr_type), src, dst)?;
        } else {
            let mut lift = LiftLowerContext::new(cx, &src.opts, src.inst, Scope::None, Peer::Guest);
            let Val::List(values) =
                load_list_from_valid_range(&mut lift, src.ptr, u64::from(n), t)?
            else {
                return Err(bug!("the elements of a stream are not a list"));
            };
            let mut lower =
                LiftLowerContext::new(cx, &dst.opts, dst.inst, Scope::None, Peer::Guest);
            store_list_into_valid_range(&mut lower, &values, dst.ptr, t)?;
        }
    }
    src.advance(t, n);
    dst.advance(t, n);
    Ok(())
}

/// Numbers are the same bytes on both sides.
fn transfer_bytes(
    cx: &mut Context<'_>,
    byte_length: u64,
    src: &Buffer,
    dst: &Buffer,
) -> Result<(), Error> {
    let mut lift = LiftLowerContext::new(cx, &src.opts, src.inst, Scope::None, Peer::Guest);
    lift.charge(byte_length)?;
    let bytes = valid_range(lift.memory()?, src.ptr, byte_length)?.to_vec();
    let mut lower = LiftLowerContext::new(cx, &dst.opts, dst.inst, Scope::None, Peer::Guest);
    valid_range_mut(lower.memory_mut()?, dst.ptr, byte_length)?.copy_from_slice(&bytes);
    Ok(())
}
