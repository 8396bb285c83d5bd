//! Spec: ### `canon {stream,future}.new`, `.{read,write}`, `.cancel-{read,write}`,
//! `.drop-{readable,writable}`, `.forward`

use super::buffer_state::{Buffer, GuestBuffer};
use super::canon_lift::CanonicalOptions;
use super::canon_lower::write_results;
use super::component_instances::{Handle, InstanceId};
use super::finish::{Finish, Then};
use super::host_ends::not_usable;
use super::options::Peer;
use super::stream_state::{End, EndId, EndKind, EndState, Holder, copy, forward};
use super::threads::{Block, Until};
use super::waitable_state::WaitableId;
use crate::engine::{Context, CoreVal, HostOutcome};
use crate::error::{Error, trap_if};
use crate::store::{State, Store, StoreId};
use crate::trap::Trap;
use crate::types::Type;
use crate::val::{FutureAny, StreamAny};
use std::panic::Location;
use std::rc::Rc;

/// `BLOCKED`
pub(super) const BLOCKED: u32 = 0xffff_ffff;

/// The type of a stream or a future.
#[derive(Debug)]
pub(crate) struct EndType {
    pub(crate) future: bool,
    pub(crate) t: Option<Type>,
}

impl EndType {
    fn kind(&self, readable: bool) -> EndKind {
        EndKind {
            future: self.future,
            readable,
        }
    }
}

/// Returns both ends: the readable one's index in the low half.
pub(crate) fn new_ends(state: &mut State, inst: InstanceId, ty: &EndType) -> Result<u64, Error> {
    state.check_leave(inst)?;
    let (reader, writer) = state.new_ends(ty.future, ty.t.clone(), Holder::Instance(inst))?;
    let mut indices = [0; 2];
    for (end, index) in [reader, writer].into_iter().zip(&mut indices) {
        *index = state.add_handle(inst, Handle::End(end))?;
        state.end_mut(end)?.index = Some(*index);
    }
    Ok(u64::from(indices[0]) | (u64::from(indices[1]) << 32))
}

/// `copy`
pub(crate) fn copy_end(
    cx: &mut Context<'_>,
    inst: InstanceId,
    (ty, readable, opts): (&EndType, bool, &Rc<CanonicalOptions>),
    (i, ptr, length): (u32, u64, u64),
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data();
    state.check_leave(inst)?;
    let id = state.end_handle(inst, i, ty.kind(readable), ty.t.as_ref())?;
    let end = state.end(id)?;
    trap_if!(
        end.copying_or_cancelling(),
        Trap::EndMisused("cannot have concurrent operations active on a future/stream")
    );
    trap_if!(
        end.state == EndState::Done,
        Trap::EndMisused(done(end.kind, Use::Copy))
    );
    trap_if!(
        end.waitable.wset.is_some() && !opts.async_,
        Trap::WaitableSyncInSet
    );
    let buffer = GuestBuffer::new(cx, ty.t.as_ref(), opts, inst, ptr, length)?;
    copy(cx, id, Buffer::Guest(buffer))?;
    wait_for_end(cx, id, opts.async_, results)
}

/// `cancel_copy`
pub(crate) fn cancel_copy(
    cx: &mut Context<'_>,
    inst: InstanceId,
    (ty, readable, async_): (&EndType, bool, bool),
    i: u32,
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    state.check_leave(inst)?;
    let id = state.end_handle(inst, i, ty.kind(readable), ty.t.as_ref())?;
    let end = state.end(id)?;
    trap_if!(
        end.state != EndState::Copying || end.waitable.sync_waiter.is_some(),
        Trap::EndMisused("cannot cancel: no asynchronous operation is in progress")
    );
    trap_if!(
        end.waitable.wset.is_some() && !async_,
        Trap::WaitableSyncInSet
    );
    state.cancel_end_copy(id)?;
    wait_for_end(cx, id, async_, results)
}

/// Returns the payload of the end's event, waits for it, or says that there is none yet.
fn wait_for_end(
    cx: &mut Context<'_>,
    id: EndId,
    async_: bool,
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let waitable = WaitableId::End(id);
    let state = cx.data_mut();
    let payload = if state.has_pending_event(waitable) {
        state.get_pending_event(waitable)?.2
    } else if async_ {
        BLOCKED
    } else {
        let thread = state.current_thread()?;
        state.set_sync_waiter(waitable, Some(thread));
        state.pending = Some(Block::Wait(Until::Pending(waitable), Then::EndEvent(id)));
        return Ok(HostOutcome::Suspend);
    };
    write_results(results, &[CoreVal::I32(payload as i32)])?;
    Ok(HostOutcome::Return)
}

/// A synchronous copy, or the cancellation of one, is over.
pub(super) fn finish_end_event(state: &mut State, id: EndId) -> Result<Finish, Error> {
    let waitable = WaitableId::End(id);
    state.set_sync_waiter(waitable, None);
    let payload = state.get_pending_event(waitable)?.2;
    Ok(Finish::Value(Some(CoreVal::I32(payload as i32))))
}

/// `drop`
pub(crate) fn drop_end(
    state: &mut State,
    inst: InstanceId,
    ty: &EndType,
    readable: bool,
    i: u32,
) -> Result<(), Error> {
    state.check_leave(inst)?;
    let id = state.end_handle(inst, i, ty.kind(readable), ty.t.as_ref())?;
    let end = state.end(id)?;
    trap_if!(
        end.copying_or_cancelling(),
        Trap::EndMisused(busy(end.kind))
    );
    trap_if!(
        ty.future && !readable && end.state != EndState::Done,
        Trap::EndMisused("cannot drop future write end without first writing a value")
    );
    state.remove_handle(inst, i)?;
    state.drop_end(id)
}

/// `forward`
pub(crate) fn forward_ends(
    cx: &mut Context<'_>,
    inst: InstanceId,
    ty: &EndType,
    ri: u32,
    wi: u32,
) -> Result<(), Error> {
    let state = cx.data_mut();
    state.check_leave(inst)?;
    let mut ends = [None; 2];
    for ((readable, i), found) in [(true, ri), (false, wi)].into_iter().zip(&mut ends) {
        // The first is taken before the second is looked up.
        trap_if!(!readable && wi == ri, Trap::UnknownHandleIndex(wi));
        let id = state.end_handle(inst, i, ty.kind(readable), ty.t.as_ref())?;
        let end = state.end(id)?;
        let busy = if ty.future {
            "cannot forward busy future"
        } else {
            "cannot forward busy stream"
        };
        trap_if!(end.copying_or_cancelling(), Trap::EndMisused(busy));
        trap_if!(
            end.state == EndState::Done,
            Trap::EndMisused(done(end.kind, Use::Forward))
        );
        let in_set = if ty.future {
            "cannot forward future while it's in a waitable set"
        } else {
            "cannot forward stream while it's in a waitable set"
        };
        trap_if!(end.waitable.wset.is_some(), Trap::EndMisused(in_set));
        *found = Some((i, id));
    }
    // Both are fit before either is taken: a trap in between would lose the first.
    let [Some((ri, src)), Some((wi, dst))] = ends else {
        return Ok(());
    };
    state.remove_handle(inst, ri)?;
    state.remove_handle(inst, wi)?;
    forward(cx, src, dst)
}

/// `lift_async_value`: takes a readable end out of its instance's table.
pub(super) fn lift_end(
    state: &mut State,
    inst: InstanceId,
    future: bool,
    t: Option<&Type>,
    i: u32,
    peer: Peer,
) -> Result<EndId, Error> {
    let kind = EndKind {
        future,
        readable: true,
    };
    let id = state.end_handle(inst, i, kind, t)?;
    let end = state.end(id)?;
    trap_if!(end.copying_or_cancelling(), Trap::EndMisused(busy(kind)));
    trap_if!(
        end.state == EndState::Done,
        Trap::EndMisused(done(kind, Use::Lift))
    );
    let in_set = if future {
        "cannot lift future while it's in a waitable set"
    } else {
        "cannot lift stream while it's in a waitable set"
    };
    trap_if!(end.waitable.wset.is_some(), Trap::EndMisused(in_set));
    state.remove_handle(inst, i)?;
    state.end_mut(id)?.index = None;
    let holder = match peer {
        Peer::Guest => Holder::Passing,
        Peer::Host => Holder::Host,
    };
    state.set_holder(id, holder)?;
    Ok(id)
}

/// `lower_async_value`: puts a readable end into an instance's table.
pub(super) fn lower_end(
    state: &mut State,
    inst: InstanceId,
    future: bool,
    t: Option<&Type>,
    id: Option<EndId>,
) -> Result<u32, Error> {
    let kind = EndKind {
        future,
        readable: true,
    };
    let on_its_way = |end: &End| {
        let passing = matches!(end.holder, Holder::Passing | Holder::Given);
        passing && end.kind == kind && end.state == EndState::Idle
    };
    let id = id.filter(|id| state.ends.get(*id).is_some_and(on_its_way));
    let id = id.ok_or_else(not_usable)?;
    state.fix_type(id, t)?;
    let index = state.add_handle(inst, Handle::End(id))?;
    let end = state.end_mut(id)?;
    (end.holder, end.index) = (Holder::Instance(inst), Some(index));
    Ok(index)
}

/// Drops an end that the host has.
fn close<T>(
    store: &Store<T>,
    at: &'static Location<'static>,
    future: bool,
    id: impl FnOnce(StoreId) -> Option<u64>,
) -> Result<(), Error> {
    store.inner.enter("close a stream or a future", at, |cx| {
        let state = cx.data_mut();
        match id(state.id) {
            Some(id) => state.close_by_id(future, id),
            None => Err(not_usable()),
        }
    })?
}

impl StreamAny {
    /// Closes the stream: whoever writes to it learns that the readable end was dropped.
    ///
    /// # Errors
    ///
    /// `Type` when it was passed on or closed before, or belongs to another store; `Refused` with
    /// `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn close<T: 'static>(self, store: &Store<T>) -> Result<(), Error> {
        close(store, Location::caller(), false, |store| self.id_in(store))
    }
}

impl FutureAny {
    /// Closes the future: whoever writes to it learns that the readable end was dropped.
    ///
    /// # Errors
    ///
    /// `Type` when it was passed on or closed before, or belongs to another store; `Refused` with
    /// `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn close<T: 'static>(self, store: &Store<T>) -> Result<(), Error> {
        close(store, Location::caller(), true, |store| self.id_in(store))
    }
}

fn busy(kind: EndKind) -> &'static str {
    match (kind.future, kind.readable) {
        (false, true) => "cannot remove busy stream",
        (false, false) => "cannot drop busy stream",
        (true, true) => "cannot remove busy future",
        (true, false) => "cannot drop busy future",
    }
}

/// What was attempted with an end that is done.
#[derive(Clone, Copy)]
enum Use {
    Copy,
    Lift,
    Forward,
}

fn done(kind: EndKind, attempted: Use) -> &'static str {
    match (kind.future, kind.readable, attempted) {
        (false, true, Use::Copy) => {
            "cannot read from stream after being notified that the writable end dropped"
        }
        (false, true, Use::Lift) => {
            "cannot lift stream after being notified that the writable end dropped"
        }
        (false, true, Use::Forward) => {
            "cannot forward stream after being notified that the writable end dropped"
        }
        (false, false, Use::Forward) => {
            "cannot forward stream after being notified that the readable end dropped"
        }
        (false, false, _) => {
            "cannot write to stream after being notified that the readable end dropped"
        }
        (true, true, Use::Copy) => "cannot read from future after previous read succeeded",
        (true, true, Use::Lift) => "cannot lift future after previous read succeeded",
        (true, true, Use::Forward) => "cannot forward future after previous read succeeded",
        (true, false, Use::Forward) => "cannot forward future after previous write succeeded",
        (true, false, _) => {
            "cannot write to future after previous write succeeded or readable end dropped"
        }
    }
}
