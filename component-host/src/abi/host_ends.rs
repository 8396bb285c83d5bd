//! The embedder's ends of streams and futures, as the store sees them.
//!
//! Spec: ## Embedding API, where the host is one more owner of ends. An end that the host has is an
//! [`End`](super::stream_state::End) like any other, held by [`Holder::Host`]; the handle that the
//! embedder uses shares a [`HostEnd`] with it, through which it is told of events.
//!
//! A pair that the host makes while guest code runs cannot be entered into the state: it waits
//! under a number among the store's [`CreatedEnds`], until its readable end is passed to a guest
//! or read.
//!
//! ```text
//!   readable:  Unclaimed ──claim──► Joined ──┐ close, or passed on
//!                  └─────────────────────────┼────► Gone
//!   writable:  Created ──── joined ► Joined ─┘
//! ```

mod closing;

use super::buffer_state::Buffer;
use super::host_buffer::{HostBuffer, Items};
use super::stream_state::{CopyResult, End, EndId, EndState, Holder, copy};
use super::waitable_state::WaitableId;
use crate::arena::Id;
use crate::engine::Context;
use crate::error::{Error, Result};
use crate::store::State;
use crate::store::signal::Signal;
use crate::types::Type;
use crate::val::Val;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// What the embedder's handle of an end and the store share.
pub(crate) struct HostEnd {
    pub(crate) link: Cell<Link>,
    /// Set when there may be something new.
    pub(crate) event: Signal,
    pub(crate) future: bool,
    pub(crate) accepts: Accepts,
}

/// Which end a handle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// A readable one by its identity, not used yet.
    Unclaimed(u64),
    /// The writable one of a pair that waits under this number.
    Created(u64),
    Joined(EndId),
    Gone,
}

/// Which element types a Rust type stands for.
#[derive(Clone, Copy)]
pub(crate) struct Accepts {
    pub(crate) check: fn(Option<&Type>) -> bool,
    pub(crate) describe: fn() -> String,
}

/// The pairs that wait to be entered into the state.
#[derive(Default)]
pub(crate) struct CreatedEnds {
    made: Cell<u32>,
    pairs: RefCell<HashMap<u64, Created>>,
}

enum Created {
    Fresh {
        future: bool,
        accepts: Accepts,
        /// None once it was dropped.
        writer: Option<Rc<HostEnd>>,
    },
    /// It was entered; this is its readable end.
    Joined(EndId),
}

/// A bit of the index that no entry of the arena has: limits are far below.
const CREATED: u64 = 1 << 31;

/// How far a copy of the host's has come.
pub(crate) enum Copied {
    Pending,
    Over {
        result: CopyResult,
        buffer: Option<HostBuffer>,
    },
}

enum Claimed {
    End(EndId),
    NotYet,
    Gone,
}

impl CreatedEnds {
    /// Makes a pair: the identity of its readable end, and the writable end.
    pub(crate) fn make(&self, future: bool, accepts: Accepts) -> (u64, Rc<HostEnd>) {
        // A number is used again after four billion: by then the pair was passed on.
        self.made.set(self.made.get().wrapping_add(1));
        let id = CREATED | (u64::from(self.made.get()) << 32);
        let writer = HostEnd::new(Link::Created(id), future, accepts);
        let pair = Created::Fresh {
            future,
            accepts,
            writer: Some(Rc::clone(&writer)),
        };
        self.pairs.borrow_mut().insert(id, pair);
        (id, writer)
    }

    fn remove(&self, id: u64) -> Option<Created> {
        self.pairs.borrow_mut().remove(&id)
    }

    /// Whether a pair is there and not entered yet: what it is, and what it accepts.
    fn fresh(&self, id: u64) -> Option<(bool, Accepts)> {
        match self.pairs.borrow().get(&id) {
            Some(Created::Fresh {
                future, accepts, ..
            }) => Some((*future, *accepts)),
            _ => None,
        }
    }

    /// The end that an identity stands for, when it is in the state.
    fn joined(&self, id: u64) -> Option<EndId> {
        if id & CREATED == 0 {
            return Id::from_bits(id);
        }
        match self.pairs.borrow().get(&id) {
            Some(Created::Joined(end)) => Some(*end),
            _ => None,
        }
    }

    /// The writable ends of the pairs that were not entered.
    pub(crate) fn writers(&self) -> Vec<Rc<HostEnd>> {
        let pairs = self.pairs.borrow();
        let writer = |pair: &Created| match pair {
            Created::Fresh { writer, .. } => writer.clone(),
            Created::Joined(_) => None,
        };
        pairs.values().filter_map(writer).collect()
    }

    fn writer_is_gone(&self, id: u64) {
        if let Some(Created::Fresh { writer, .. }) = self.pairs.borrow_mut().get_mut(&id) {
            *writer = None;
        }
    }
}

impl HostEnd {
    pub(crate) fn new(link: Link, future: bool, accepts: Accepts) -> Rc<HostEnd> {
        Rc::new(HostEnd {
            link: Cell::new(link),
            event: Signal::default(),
            future,
            accepts,
        })
    }

    fn tell(&self, link: Link) {
        self.link.set(link);
        self.event.set();
    }
}

impl State {
    /// The ends that the embedder has handles of.
    pub(crate) fn host_ends(&self) -> Vec<Rc<HostEnd>> {
        let hosts = self.ends.iter().map(|(_, end)| end.host.clone());
        hosts.flatten().collect()
    }

    fn created(&self) -> Option<Rc<CreatedEnds>> {
        let store = self.store.upgrade()?;
        Some(Rc::clone(&store.created))
    }

    /// Enters a pair into the state and returns its readable end.
    fn join_created(&mut self, id: u64, holder: Holder) -> Result<EndId> {
        let created = self.created().ok_or_else(not_usable)?;
        let Some((future, accepts)) = created.fresh(id) else {
            return Err(not_usable());
        };
        self.check_handles(2)?;
        let (reader, writer) = self.new_ends(future, None, Holder::Host)?;
        for end in [reader, writer] {
            self.count_handle()?;
            self.end_mut(end)?.open = Some(accepts);
        }
        self.set_holder(reader, holder)?;
        let host = match created.remove(id) {
            Some(Created::Fresh { writer, .. }) => writer,
            _ => None,
        };
        created
            .pairs
            .borrow_mut()
            .insert(id, Created::Joined(reader));
        match host {
            Some(host) => {
                self.end_mut(writer)?.host = Some(Rc::clone(&host));
                host.link.set(Link::Joined(writer));
                self.aftermath.tell(host);
            }
            None => self.drop_end(writer)?,
        }
        Ok(reader)
    }

    /// Who has the end now; what the host has counts as a handle.
    pub(super) fn set_holder(&mut self, id: EndId, holder: Holder) -> Result<()> {
        let end = self.end_mut(id)?;
        let before = std::mem::replace(&mut end.holder, holder);
        match (before == Holder::Host, holder == Holder::Host) {
            (true, false) => self.uncount_handle(),
            (false, true) => self.count_handle()?,
            _ => {}
        }
        Ok(())
    }

    /// Checks that the host may give a readable end of this identity where a stream or a future of
    /// `t` is expected.
    pub(super) fn check_given_end(
        &self,
        future: bool,
        t: Option<&Type>,
        id: Option<u64>,
    ) -> Result<()> {
        let (Some(id), Some(created)) = (id, self.created()) else {
            return Err(not_usable());
        };
        if let Some((is_future, accepts)) = created.fresh(id) {
            if is_future != future {
                return Err(not_usable());
            }
            self.check_handles(2)?;
            return accepts.check(t);
        }
        let end = created.joined(id).and_then(|id| self.ends.get(id));
        let usable = |end: &&End| {
            end.kind.readable
                && end.kind.future == future
                && end.holder == Holder::Host
                && end.state == EndState::Idle
        };
        let end = end.filter(usable).ok_or_else(not_usable)?;
        match end.open {
            Some(accepts) => accepts.check(t),
            None if end.t.as_ref() == t => Ok(()),
            None => Err(wrong_type()),
        }
    }

    /// Takes a readable end from the host, which gives it to a guest.
    pub(super) fn take_given_end(&mut self, id: Option<u64>) -> Result<EndId> {
        let (Some(id), Some(created)) = (id, self.created()) else {
            return Err(not_usable());
        };
        let end = match created.joined(id) {
            Some(end) => end,
            None => self.join_created(id, Holder::Given)?,
        };
        created.remove(id);
        self.set_holder(end, Holder::Given)?;
        if let Some(host) = self.end_mut(end)?.host.take() {
            host.tell(Link::Gone);
        }
        Ok(end)
    }

    /// A guest that expects elements of type `t` gets the end: from now on that is its type.
    pub(super) fn fix_type(&mut self, id: EndId, t: Option<&Type>) -> Result<()> {
        let end = self.end(id)?;
        let Some(accepts) = end.open else {
            return match end.t.as_ref() == t {
                true => Ok(()),
                false => Err(wrong_type()),
            };
        };
        accepts.check(t)?;
        let other = end.other;
        if let Some(other) = other.and_then(|other| self.ends.get(other))
            && let Some(Buffer::Host(buffer)) = &other.buffer
            && let Items::Vals(values) = &buffer.items
        {
            check_values(values, t)?;
        }
        self.give_waiting_items(other, t)?;
        for id in [Some(id), other].into_iter().flatten() {
            if let Some(end) = self.ends.get_mut(id) {
                end.open = None;
                end.t = t.cloned();
            }
        }
        Ok(())
    }

    /// The end that a handle of the host's is for.
    fn claim(&mut self, host: &Rc<HostEnd>) -> Result<Claimed> {
        let id = match host.link.get() {
            Link::Joined(end) if self.ends.get(end).is_some() => return Ok(Claimed::End(end)),
            Link::Joined(_) | Link::Gone => return Ok(Claimed::Gone),
            Link::Created(_) => return Ok(Claimed::NotYet),
            Link::Unclaimed(id) => id,
        };
        let created = self.created().ok_or_else(not_usable)?;
        let end = match created.joined(id) {
            Some(end) => end,
            None => self.join_created(id, Holder::Host)?,
        };
        let Some(claimed) = self.ends.get(end) else {
            return Err(not_usable());
        };
        let kind = claimed.kind;
        if claimed.host.as_ref().is_some_and(is_alive)
            || kind.future != host.future
            || !kind.readable
            || claimed.holder != Holder::Host
        {
            return Err(not_usable());
        }
        if claimed.open.is_none() {
            host.accepts.check(claimed.t.as_ref())?;
        }
        created.remove(id);
        self.end_mut(end)?.host = Some(Rc::clone(host));
        host.link.set(Link::Joined(end));
        Ok(Claimed::End(end))
    }
}

/// Goes on with a copy of the host's, or begins it when there is a buffer.
///
/// # Errors
///
/// `Type` when the items are not of the stream's type, with the buffer given back; what the guest
/// on the other side did wrong.
pub(crate) fn host_copy(
    cx: &mut Context<'_>,
    host: &Rc<HostEnd>,
    buffer: &mut Option<HostBuffer>,
) -> Result<Copied> {
    let state = cx.data_mut();
    let id = match state.claim(host)? {
        Claimed::End(id) => id,
        Claimed::NotYet => return Ok(Copied::Pending),
        Claimed::Gone => return Ok(dropped(buffer.take())),
    };
    let end = state.end(id)?;
    if !end.copying_or_cancelling() {
        if end.other.is_none() || end.state == EndState::Done {
            state.end_mut(id)?.state = EndState::Done;
            return Ok(dropped(buffer.take()));
        }
        let Some(source) = buffer else {
            return Ok(Copied::Pending);
        };
        if !source.given {
            source.given = state.give_items(id, &mut source.items)?;
        }
        if let Some(mut begun) = buffer.take() {
            begun.begin();
            if let Err(error) = copy(cx, id, Buffer::Host(begun)) {
                if let Some(end) = cx.data_mut().ends.get_mut(id) {
                    end.state = EndState::Idle;
                    *buffer = end.finished.take();
                }
                return Err(error);
            }
        }
    }
    over(cx.data_mut(), id)
}

/// Gives up a copy of the host's; what was copied stays copied.
pub(crate) fn host_cancel(cx: &mut Context<'_>, host: &Rc<HostEnd>) -> Result<Copied> {
    let state = cx.data_mut();
    match state.claim(host)? {
        Claimed::End(id) if state.end(id)?.copying_or_cancelling() => {
            let t = state.end(id)?.t.clone();
            state.cancel_end_copy(id)?;
            let mut copied = over(state, id)?;
            if let Copied::Over {
                buffer: Some(buffer),
                ..
            } = &mut copied
                && let Some(t) = t
                && let Some(values) = buffer.given_values()
            {
                state.take_back_parts_of(values, &t);
                buffer.given = false;
            }
            Ok(copied)
        }
        Claimed::End(_) | Claimed::NotYet | Claimed::Gone => Ok(Copied::Pending),
    }
}

/// Joins what is on the far sides of two of the host's ends.
pub(crate) fn host_forward(
    cx: &mut Context<'_>,
    src: &Rc<HostEnd>,
    dst: &Rc<HostEnd>,
) -> Result<()> {
    let state = cx.data_mut();
    if let Link::Created(id) = dst.link.get() {
        state.join_created(id, Holder::Host)?;
    }
    match (state.claim(src)?, state.claim(dst)?) {
        (Claimed::End(src), Claimed::End(dst)) => {
            for end in [src, dst] {
                if state.end(end)?.copying_or_cancelling() {
                    return Err(Error::ty(
                        "a stream or a future with a copy in progress cannot be forwarded",
                    ));
                }
            }
            state.join_types(src, dst)?;
            super::stream_state::forward(cx, src, dst)
        }
        // One far side is gone: so is the other then.
        _ => {
            state.close_host_end(src);
            state.close_host_end(dst);
            Ok(())
        }
    }
}

fn over(state: &mut State, id: EndId) -> Result<Copied> {
    if !state.has_pending_event(WaitableId::End(id)) {
        return Ok(Copied::Pending);
    }
    let end = state.end_mut(id)?;
    let buffer = end.finished.take().or_else(|| match end.buffer.take() {
        Some(Buffer::Host(buffer)) => Some(buffer),
        _ => None,
    });
    let (_, _, payload) = state.get_pending_event(WaitableId::End(id))?;
    let result = match payload & 0xf {
        0 => CopyResult::Completed,
        1 => CopyResult::Dropped,
        _ => CopyResult::Cancelled,
    };
    Ok(Copied::Over { result, buffer })
}

fn dropped(buffer: Option<HostBuffer>) -> Copied {
    let result = CopyResult::Dropped;
    Copied::Over { result, buffer }
}

impl State {
    /// Checks items that the host writes, and takes from it what they carry. While nobody knows
    /// their type, they stay the host's.
    fn give_items(&mut self, id: EndId, items: &mut Items) -> Result<bool> {
        let end = self.end(id)?;
        let Items::Vals(values) = items else {
            return Ok(true);
        };
        if end.kind.readable || end.open.is_some() {
            return Ok(false);
        }
        let t = end.t.clone();
        check_values(values, t.as_ref())?;
        if let Some(t) = t
            && (t.contents().resource || t.contents().async_value)
        {
            self.give_parts_of(values, &t)?;
        }
        Ok(true)
    }

    /// Takes from the host what the items carry that an end has waited with for its type.
    fn give_waiting_items(&mut self, id: Option<EndId>, t: Option<&Type>) -> Result<()> {
        let Some(end) = id.and_then(|id| self.ends.get_mut(id)) else {
            return Ok(());
        };
        let (Some(mut buffer), Some(id)) = (end.buffer.take(), id) else {
            return Ok(());
        };
        let mut given = Ok(());
        if let Buffer::Host(host) = &mut buffer
            && let Some(values) = host.not_given()
        {
            if let Some(t) = t {
                given = self.give_parts_of(values, t);
            }
            host.given = given.is_ok();
        }
        self.end_mut(id)?.buffer = Some(buffer);
        given
    }

    /// The ends that are joined carry elements of one type.
    fn join_types(&mut self, src: EndId, dst: EndId) -> Result<()> {
        let (from, to) = (self.end(src)?, self.end(dst)?);
        if from.kind.future != to.kind.future {
            return Err(wrong_type());
        }
        let (from_t, to_t) = (from.t.clone(), to.t.clone());
        match (from.open, to.open) {
            (None, None) if from_t == to_t => Ok(()),
            (None, None) => Err(wrong_type()),
            (Some(_), None) => self.fix_type(src, to_t.as_ref()),
            (None, Some(_)) => self.fix_type(dst, from_t.as_ref()),
            (Some(_), Some(_)) => Ok(()),
        }
    }
}

impl Accepts {
    fn check(self, t: Option<&Type>) -> Result<()> {
        if (self.check)(t) {
            return Ok(());
        }
        let found = t.map_or("no type".to_owned(), Type::to_string);
        Err(Error::ty(format!(
            "a stream or future of {} does not fit: its elements are of {found}",
            (self.describe)()
        )))
    }
}

fn check_values(values: &[Val], t: Option<&Type>) -> Result<()> {
    for (i, value) in values.iter().enumerate() {
        let checked = match (t, value) {
            (Some(t), value) => value.type_check(t),
            (None, Val::Tuple(parts)) if parts.is_empty() => Ok(()),
            (None, other) => Err(format!("expected an empty tuple, found {}", other.kind())),
        };
        checked.map_err(|problem| Error::ty(format!("element {i} of a stream: {problem}")))?;
    }
    Ok(())
}

/// Whether the embedder still has the handle: one that was given up leaves its half here.
fn is_alive(host: &Rc<HostEnd>) -> bool {
    Rc::strong_count(host) > 1
}

pub(super) fn not_usable() -> Error {
    Error::ty(
        "a stream or future was given that belongs to another store, is in use, or was passed on \
         or closed already",
    )
}

fn wrong_type() -> Error {
    Error::ty("a stream or future of another element type was given")
}

impl fmt::Debug for HostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostEnd")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.describe)())
    }
}
