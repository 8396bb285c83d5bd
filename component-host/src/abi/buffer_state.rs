//! Spec: ### Buffer State

use super::alignment::alignment;
use super::canon_lift::CanonicalOptions;
use super::component_instances::InstanceId;
use super::context::{LiftLowerContext, Scope};
use super::element_size::elem_size;
use super::host_buffer::{HostBuffer, Items, Next, unit};
use super::loading::{
    in_bounds, is_aligned, load_list_from_valid_range, valid_range, valid_range_mut,
};
use super::options::{LiftLower, Peer};
use super::storing::store_list_into_valid_range;
use super::type_predicates::none_or_number_type;
use crate::engine::{Context, same_memory};
use crate::error::{Error, bug, trap_if};
use crate::transit::Transit;
use crate::trap::Trap;
use crate::types::Type;
use crate::val::{receive_list, send_list};
use std::rc::Rc;

/// `Buffer.MAX_LENGTH`
pub(crate) const MAX_LENGTH: u64 = (1 << 28) - 1;

/// A part of a guest's memory that a stream or a future is read into, or written from.
#[derive(Debug)]
pub(crate) struct GuestBuffer {
    opts: Rc<CanonicalOptions>,
    inst: InstanceId,
    ptr: u64,
    progress: u32,
    length: u32,
}

impl GuestBuffer {
    /// Checks the range that a guest gave.
    pub(crate) fn new(
        cx: &Context<'_>,
        t: Option<&Type>,
        opts: &Rc<CanonicalOptions>,
        inst: InstanceId,
        ptr: u64,
        length: u64,
    ) -> Result<GuestBuffer, Error> {
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
        Ok(GuestBuffer {
            opts: Rc::clone(opts),
            inst,
            ptr,
            progress: 0,
            length: length as u32,
        })
    }

    fn advance(&mut self, t: Option<&Type>, n: u32) {
        if let Some(t) = t {
            self.ptr += u64::from(n) * elem_size(t, self.opts.ptr_type);
        }
        self.progress += n;
    }
}

/// What a stream or a future is read into, or written from.
#[derive(Debug)]
pub(crate) enum Buffer {
    Guest(GuestBuffer),
    Host(HostBuffer),
}

impl Buffer {
    pub(crate) fn remain(&self) -> u32 {
        match self {
            Buffer::Guest(buffer) => buffer.length - buffer.progress,
            Buffer::Host(buffer) => buffer.remain(),
        }
    }

    /// Whether the copy may go on after a part of it. What the host reads is kept by the host, and a
    /// value may be large: so it is asked first. The bytes of a chunk it has asked for.
    pub(crate) fn takes_more(&self) -> bool {
        match self {
            Buffer::Guest(_) => self.remain() > 0,
            Buffer::Host(buffer) => self.remain() > 0 && !buffer.holds_values(),
        }
    }

    /// How many elements were copied.
    pub(crate) fn progress(&self) -> u32 {
        match self {
            Buffer::Guest(buffer) => buffer.progress,
            Buffer::Host(buffer) => buffer.progress(),
        }
    }

    /// The instance whose memory it is.
    pub(crate) fn inst(&self) -> Option<InstanceId> {
        match self {
            Buffer::Guest(buffer) => Some(buffer.inst),
            Buffer::Host(_) => None,
        }
    }

    fn advance(&mut self, t: Option<&Type>, n: u32) {
        match self {
            Buffer::Guest(buffer) => buffer.advance(t, n),
            Buffer::Host(buffer) => buffer.advance(n),
        }
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
    match (&mut *src, &mut *dst) {
        (Buffer::Guest(src), Buffer::Guest(dst)) => between_guests(cx, t, src, dst, n)?,
        (Buffer::Guest(src), Buffer::Host(dst)) => to_host(cx, t, src, dst, n)?,
        (Buffer::Host(src), Buffer::Guest(dst)) => from_host(cx, t, src, dst, n)?,
        (Buffer::Host(src), Buffer::Host(dst)) => dst.take_from(src, n)?,
    }
    src.advance(t, n);
    dst.advance(t, n);
    Ok(())
}

fn between_guests(
    cx: &mut Context<'_>,
    t: Option<&Type>,
    src: &GuestBuffer,
    dst: &GuestBuffer,
    n: u32,
) -> Result<(), Error> {
    let Some(t) = t else { return Ok(()) };
    if none_or_number_type(Some(t)) {
        let byte_length = u64::from(n) * elem_size(t, src.opts.ptr_type);
        return transfer_bytes(cx, byte_length, src, dst);
    }
    let values = src.lift(cx, t, n, Peer::Guest)?;
    dst.lower(cx, t, values, Peer::Guest)
}

/// Numbers are the same bytes on both sides.
///
/// Two memories of one store cannot be borrowed at a time, so the bytes go by way of a piece of
/// the native stack, which stays in the processor's cache: each memory is gone through once, and
/// nothing is allocated. Within one memory there is nothing in between; ranges may overlap there.
fn transfer_bytes(
    cx: &mut Context<'_>,
    byte_length: u64,
    src: &GuestBuffer,
    dst: &GuestBuffer,
) -> Result<(), Error> {
    let length = src.bytes(cx, byte_length, <[u8]>::len)?;
    dst.bytes_mut(cx, byte_length)?;
    let (Some(from), Some(to)) = (src.opts.memory, dst.opts.memory) else {
        return Ok(());
    };
    if same_memory(cx, from, to) {
        // Both ranges were found to be in the memory.
        let (start, target) = (src.ptr as usize, dst.ptr as usize);
        from.data_mut(cx).copy_within(start..start + length, target);
        return Ok(());
    }
    let mut piece = [0; PIECE];
    for done in (0..length).step_by(PIECE) {
        let bytes = &mut piece[..PIECE.min(length - done)];
        let (done, size) = (done as u64, bytes.len() as u64);
        bytes.copy_from_slice(valid_range(from.data(&*cx), src.ptr + done, size)?);
        valid_range_mut(to.data_mut(&mut *cx), dst.ptr + done, size)?.copy_from_slice(bytes);
    }
    Ok(())
}

/// In bytes.
const PIECE: usize = 8 << 10;

fn to_host(
    cx: &mut Context<'_>,
    t: Option<&Type>,
    src: &GuestBuffer,
    dst: &mut HostBuffer,
    n: u32,
) -> Result<(), Error> {
    match (&mut dst.items, t) {
        (Items::Bytes(items), Some(Type::U8)) => {
            src.bytes(cx, n.into(), |bytes| items.extend_from_slice(bytes))
        }
        (Items::Bytes(_), _) => Err(bug!("bytes are read from a stream of {t:?}")),
        (Items::Vals(items), Some(t)) => {
            let values = src.lift(cx, t, n, Peer::Host)?;
            items.append(&mut receive_list(&mut values.read(), t)?);
            Ok(())
        }
        (Items::Vals(items), None) => {
            items.extend((0..n).map(|_| unit()));
            Ok(())
        }
    }
}

fn from_host(
    cx: &mut Context<'_>,
    t: Option<&Type>,
    src: &HostBuffer,
    dst: &GuestBuffer,
    n: u32,
) -> Result<(), Error> {
    match (src.next(n), t) {
        (Next::Bytes(bytes), Some(Type::U8)) => {
            dst.bytes_mut(cx, n.into())?.copy_from_slice(bytes);
            Ok(())
        }
        (Next::Bytes(_), _) => Err(bug!("bytes are written to a stream of {t:?}")),
        (Next::Vals(values), Some(t)) => {
            let mut sent = Transit::new();
            send_list(values, t, &mut sent)?;
            dst.lower(cx, t, sent, Peer::Host)
        }
        (Next::Vals(_), None) => Ok(()),
    }
}

impl GuestBuffer {
    fn lift(&self, cx: &mut Context<'_>, t: &Type, n: u32, peer: Peer) -> Result<Transit, Error> {
        let mut lift = LiftLowerContext::new(cx, &self.opts, self.inst, Scope::None, peer)
            .for_copy()
            .for_vals(peer == Peer::Host);
        let mut values = Transit::new();
        let lifted = load_list_from_valid_range(&mut lift, self.ptr, n.into(), t, &mut values);
        match lifted {
            Ok(()) => Ok(values),
            Err(error) => {
                lift.abandon(values);
                Err(error)
            }
        }
    }

    fn lower(
        &self,
        cx: &mut Context<'_>,
        t: &Type,
        values: Transit,
        peer: Peer,
    ) -> Result<(), Error> {
        let mut lower =
            LiftLowerContext::new(cx, &self.opts, self.inst, Scope::None, peer).for_copy();
        store_list_into_valid_range(&mut lower, &mut values.read(), self.ptr, t)
    }

    /// Reads so many bytes, which the guest pays for.
    fn bytes<R>(
        &self,
        cx: &mut Context<'_>,
        byte_length: u64,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        let mut lift =
            LiftLowerContext::new(cx, &self.opts, self.inst, Scope::None, Peer::Guest).for_copy();
        lift.charge(byte_length)?;
        valid_range(lift.memory()?, self.ptr, byte_length).map(read)
    }

    /// So many bytes, to be written.
    fn bytes_mut<'a>(
        &self,
        cx: &'a mut Context<'_>,
        byte_length: u64,
    ) -> Result<&'a mut [u8], Error> {
        let memory = self
            .opts
            .memory
            .as_ref()
            .map_or(&mut [][..], |memory| memory.data_mut(cx));
        valid_range_mut(memory, self.ptr, byte_length)
    }
}
