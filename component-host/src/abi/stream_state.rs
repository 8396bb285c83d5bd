//! Spec: ### Stream and Future State

use super::buffer_state::{Buffer, transfer};
use super::component_instances::{Handle, InstanceId};
use super::host_buffer::HostBuffer;
use super::host_ends::{Accepts, HostEnd};
use super::type_predicates::none_or_number_type;
use super::waitable_state::{EventCode, EventTuple, Waitable, WaitableId};
use crate::arena::Id;
use crate::engine::Context;
use crate::error::{Error, bug, trap_if};
use crate::store::{Blame, State};
use crate::trap::Trap;
use crate::types::Type;
use std::rc::Rc;

pub(crate) type EndId = Id<End>;

/// One end of a stream or a future.
///
/// ```text
///            copy (1)                cancel (2)
///   Idle ─────────────► Copying ───────────────► CancellingCopy
///    ▲ │                  │  event delivered (3)       │
///    └─┼──────────────────┴────────────────────────────┘
///      └────────► Done   (4: the other end is gone, or a future has its value)
/// ```
/// 1: [`copy`]; 2: `State::cancel_end_copy`; 3, 4: `State::end_event`.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) waitable: Waitable,
    pub(crate) kind: EndKind,
    pub(crate) t: Option<Type>,
    pub(crate) state: EndState,
    /// The other end, unless it was dropped.
    pub(crate) other: Option<EndId>,
    pub(crate) buffer: Option<Buffer>,
    /// The host's buffer of a copy that is over, until the host asks for it.
    pub(crate) finished: Option<HostBuffer>,
    pub(crate) holder: Holder,
    pub(crate) index: Option<u32>,
    /// Set while the element type is not known: the host made it, and says what it accepts.
    pub(crate) open: Option<Accepts>,
    /// The host's handle of this end, which is told of events.
    pub(crate) host: Option<Rc<HostEnd>>,
    /// How far the copy had come when its event became pending.
    progress: u32,
}

/// Which of the four kinds of end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndKind {
    pub(crate) future: bool,
    pub(crate) readable: bool,
}

/// Who has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It is in the table of this instance.
    Instance(InstanceId),
    /// The host has it; it counts as a handle.
    Host,
    /// It was lifted and is about to be lowered.
    Passing,
    /// The host has given it, as an argument or an element, to be lowered later.
    Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndState {
    Idle,
    Copying,
    CancellingCopy,
    Done,
}

/// `CopyResult`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyResult {
    Completed = 0,
    Dropped = 1,
    Cancelled = 2,
}

impl EndKind {
    fn event_code(self) -> EventCode {
        match (self.future, self.readable) {
            (false, true) => EventCode::StreamRead,
            (false, false) => EventCode::StreamWrite,
            (true, true) => EventCode::FutureRead,
            (true, false) => EventCode::FutureWrite,
        }
    }
}

impl End {
    fn new(kind: EndKind, t: Option<Type>, holder: Holder) -> End {
        End {
            waitable: Waitable::default(),
            kind,
            t,
            state: EndState::Idle,
            other: None,
            buffer: None,
            finished: None,
            holder,
            index: None,
            open: None,
            host: None,
            progress: 0,
        }
    }

    /// The copy with this buffer is over; the host asks for what is in its own.
    fn finish(&mut self, buffer: Buffer) {
        if let Buffer::Host(buffer) = buffer {
            self.finished = Some(buffer);
        }
    }

    pub(crate) fn copying_or_cancelling(&self) -> bool {
        matches!(self.state, EndState::Copying | EndState::CancellingCopy)
    }
}

impl State {
    pub(crate) fn end(&self, id: EndId) -> Result<&End, Error> {
        self.ends
            .get(id)
            .ok_or_else(|| bug!("stream or future end {id:?} is gone"))
    }

    pub(crate) fn end_mut(&mut self, id: EndId) -> Result<&mut End, Error> {
        self.ends
            .get_mut(id)
            .ok_or_else(|| bug!("stream or future end {id:?} is gone"))
    }

    /// `new_stream`, `new_future`: the readable and the writable end.
    pub(crate) fn new_ends(
        &mut self,
        future: bool,
        t: Option<Type>,
        holder: Holder,
    ) -> Result<(EndId, EndId), Error> {
        self.check_handles(2)?;
        self.check_waitables(2)?;
        let kind = |readable| EndKind { future, readable };
        let reader = self.ends.insert(End::new(kind(true), t.clone(), holder));
        let writer = self.ends.insert(End::new(kind(false), t, holder));
        self.end_mut(reader)?.other = Some(writer);
        self.end_mut(writer)?.other = Some(reader);
        Ok((reader, writer))
    }

    /// Looks up an end of the given kind and type in an instance's table.
    pub(crate) fn end_handle(
        &self,
        inst: InstanceId,
        i: u32,
        kind: EndKind,
        t: Option<&Type>,
    ) -> Result<EndId, Error> {
        if let Handle::End(id) = self.instance(inst).handles.get(i)? {
            let end = self.end(*id)?;
            if end.kind == kind && end.t.as_ref() == t {
                return Ok(*id);
            }
        }
        Err(Trap::HandleWrongType {
            index: i,
            detail: "",
        }
        .into())
    }

    /// `End.notify`
    fn notify_end(&mut self, id: EndId, progress: u32) -> Result<(), Error> {
        self.end_mut(id)?.progress = progress;
        self.set_pending_event(WaitableId::End(id));
        Ok(())
    }

    /// `stream_event`, `future_event`: what came of the copy, now that somebody asks.
    pub(super) fn end_event(&mut self, id: EndId) -> Result<EventTuple, Error> {
        let end = self.end_mut(id)?;
        let code = end.kind.event_code();
        let index = end.index.unwrap_or(0);
        let dropped = end.other.is_none();
        end.buffer = None;
        if end.kind.future {
            let (state, result) = match (end.progress, dropped) {
                (1, _) => (EndState::Done, CopyResult::Completed),
                (_, true) => (EndState::Done, CopyResult::Dropped),
                (_, false) => (EndState::Idle, CopyResult::Cancelled),
            };
            end.state = state;
            return Ok((code, index, result as u32));
        }
        let (state, result) = match (dropped, end.state) {
            (true, _) => (EndState::Done, CopyResult::Dropped),
            (false, EndState::CancellingCopy) => (EndState::Idle, CopyResult::Cancelled),
            (false, _) => (EndState::Idle, CopyResult::Completed),
        };
        end.state = state;
        Ok((code, index, result as u32 | (end.progress << 4)))
    }

    /// `End.cancel`
    pub(crate) fn cancel_end_copy(&mut self, id: EndId) -> Result<(), Error> {
        let end = self.end_mut(id)?;
        end.state = EndState::CancellingCopy;
        if !end.waitable.pending_event {
            self.notify_end(id, 0)?;
        }
        Ok(())
    }

    /// `End.drop`
    pub(crate) fn drop_end(&mut self, id: EndId) -> Result<(), Error> {
        self.join_set(WaitableId::End(id), None);
        let Some(mut end) = self.ends.remove(id) else {
            return Ok(());
        };
        self.forget_host_end(&mut end);
        if let Some(other) = end.other
            && let Some(peer) = self.ends.get_mut(other)
        {
            peer.other = None;
            if peer.state != EndState::Done && !peer.waitable.pending_event {
                self.notify_end(other, 0)?;
            }
        }
        Ok(())
    }
}

/// `End.copy`: reads into, or writes from, the buffer as much as the other end is ready for.
pub(crate) fn copy(cx: &mut Context<'_>, id: EndId, mut buffer: Buffer) -> Result<(), Error> {
    let state = cx.data_mut();
    let end = state.end_mut(id)?;
    end.state = EndState::Copying;
    let readable = end.kind.readable;
    let Some(other) = end.other else {
        debug_assert!(end.waitable.pending_event);
        end.finish(buffer);
        return Ok(());
    };
    let Some(mut theirs) = state.end_mut(other)?.buffer.take() else {
        state.end_mut(id)?.buffer = Some(buffer);
        return Ok(());
    };
    let n = buffer.remain().min(theirs.remain());
    if n > 0 {
        let moved = match readable {
            true => transfer_checked(cx, (id, other), &mut theirs, &mut buffer, n),
            false => transfer_checked(cx, (id, other), &mut buffer, &mut theirs, n),
        };
        let state = cx.data_mut();
        if let Err(error) = moved {
            // The other end has had no part in it, and waits on.
            state.end_mut(other)?.buffer = Some(theirs);
            state.end_mut(id)?.finish(buffer);
            return Err(error);
        }
        state.notify_end(id, buffer.progress())?;
        state.notify_end(other, theirs.progress())?;
        state.end_mut(id)?.finish(buffer);
        let end = state.end_mut(other)?;
        match theirs.takes_more() {
            false => end.finish(theirs),
            true => end.buffer = Some(theirs),
        }
        return Ok(());
    }
    if buffer.remain() > 0 || (readable && theirs.remain() == 0) {
        // The other end asked for nothing, and now knows that somebody is here.
        let progress = theirs.progress();
        debug_assert!(progress == 0 || theirs.remain() == 0);
        state.notify_end(other, progress)?;
        state.end_mut(other)?.finish(theirs);
        state.end_mut(id)?.buffer = Some(buffer);
    } else {
        state.end_mut(other)?.buffer = Some(theirs);
        state.end_mut(id)?.finish(buffer);
        state.notify_end(id, 0)?;
    }
    Ok(())
}

fn transfer_checked(
    cx: &mut Context<'_>,
    (id, other): (EndId, EndId),
    src: &mut Buffer,
    dst: &mut Buffer,
    n: u32,
) -> Result<(), Error> {
    let (end, peer) = (cx.data().end(id)?, cx.data().end(other)?);
    let within = matches!(end.holder, Holder::Instance(_)) && end.holder == peer.holder;
    let t = end.t.clone();
    trap_if!(
        within && !none_or_number_type(t.as_ref()),
        Trap::EndMisused(INTRA_COMPONENT)
    );
    let inst = src.inst();
    transfer(cx, t.as_ref(), src, dst, n).inspect_err(|error| {
        // What cannot be lifted is the fault of whoever wrote it, also when the host reads it.
        if error.trap().is_some() && cx.data().native.is_empty() {
            cx.data_mut().blame = inst.map(|inst| Blame { inst, thread: None });
        }
    })
}

const INTRA_COMPONENT: &str =
    "cannot read from and write to intra-component future/stream with non-numeric payload";

/// `End.forward`: joins what is on the far sides of a readable and a writable end.
pub(crate) fn forward(cx: &mut Context<'_>, src: EndId, dst: EndId) -> Result<(), Error> {
    let state = cx.data_mut();
    let (writable, readable) = (state.end(src)?.other, state.end(dst)?.other);
    let (Some(writable), Some(readable)) = (writable, readable) else {
        state.drop_end(src)?;
        return state.drop_end(dst);
    };
    if writable == dst {
        state.drop_end(src)?;
        return state.drop_end(dst);
    }
    for id in [src, dst] {
        if let Some(mut end) = state.ends.remove(id) {
            state.forget_host_end(&mut end);
        }
    }
    state.end_mut(writable)?.other = Some(readable);
    state.end_mut(readable)?.other = Some(writable);
    let remain = |end: EndId| -> Result<Option<u32>, Error> {
        Ok(cx.data().end(end)?.buffer.as_ref().map(Buffer::remain))
    };
    if let (Some(write), Some(read)) = (remain(writable)?, remain(readable)?) {
        let smaller = if read > write { writable } else { readable };
        if let Some(buffer) = cx.data_mut().end_mut(smaller)?.buffer.take() {
            copy(cx, smaller, buffer)?;
        }
    }
    Ok(())
}
