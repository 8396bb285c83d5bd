//! Closes the embedder's ends, and lets go what values carry that nobody wants.

use super::{Created, HostEnd, Link, is_alive, not_usable};
use crate::abi::buffer_state::Buffer;
use crate::abi::stream_state::{End, EndId, Holder};
use crate::error::Result;
use crate::store::State;
use crate::val::Val;
use std::rc::Rc;

impl State {
    /// The host closes an end.
    pub(crate) fn close_host_end(&mut self, host: &Rc<HostEnd>) {
        match host.link.replace(Link::Gone) {
            Link::Joined(end) => drop(self.drop_end(end)),
            Link::Created(id) => {
                if let Some(created) = self.created() {
                    created.writer_is_gone(id);
                }
            }
            Link::Unclaimed(id) => drop(self.drop_host_end(host.future, id, Holder::Host)),
            Link::Gone => {}
        }
    }

    /// The embedder closes a readable end by its identity.
    pub(in crate::abi) fn close_by_id(&mut self, future: bool, id: u64) -> Result<()> {
        let created = self.created().ok_or_else(not_usable)?;
        let end = created.joined(id).and_then(|end| self.ends.get(end));
        match end {
            Some(end) if end.holder != Holder::Host || end.copying_or_cancelling() => {
                Err(not_usable())
            }
            _ => self.drop_host_end(future, id, Holder::Host),
        }
    }

    /// Drops a readable end by its identity, if that is who has it. A handle that reads it keeps it.
    fn drop_host_end(&mut self, future: bool, id: u64, holder: Holder) -> Result<()> {
        let created = self.created().ok_or_else(not_usable)?;
        if created.fresh(id).is_some_and(|(is, _)| is == future) {
            if let Some(Created::Fresh {
                writer: Some(writer),
                ..
            }) = created.remove(id)
            {
                writer.link.set(Link::Gone);
                self.aftermath.tell(writer);
            }
            return Ok(());
        }
        let end = created.joined(id).ok_or_else(not_usable)?;
        let fits = |end: &&End| {
            end.kind.readable
                && end.kind.future == future
                && end.holder == holder
                && !end.host.as_ref().is_some_and(is_alive)
        };
        self.ends.get(end).filter(fits).ok_or_else(not_usable)?;
        created.remove(id);
        self.drop_end(end)
    }

    /// Drops the ends and the resources in a value that nobody wants: those that the host has, or
    /// those it has given.
    pub(crate) fn drop_parts_of(&mut self, value: &Val, holder: Holder) {
        match value {
            Val::Resource(resource) => self.drop_unwanted(resource),
            Val::Stream(stream) => {
                let _ = stream
                    .id_in(self.id)
                    .map(|id| self.drop_host_end(false, id, holder));
            }
            Val::Future(future) => {
                let _ = future
                    .id_in(self.id)
                    .map(|id| self.drop_host_end(true, id, holder));
            }
            // Lists of numbers may be long, and have nothing in them.
            Val::List(values) if !values.first().is_some_and(may_have_parts) => {}
            Val::List(values) | Val::Tuple(values) => {
                values
                    .iter()
                    .for_each(|value| self.drop_parts_of(value, holder));
            }
            Val::Map(entries) => {
                for (key, value) in entries {
                    self.drop_parts_of(key, holder);
                    self.drop_parts_of(value, holder);
                }
            }
            Val::Record(fields) => {
                for (_, value) in fields {
                    self.drop_parts_of(value, holder);
                }
            }
            Val::Variant(_, Some(value))
            | Val::Option(Some(value))
            | Val::Result(Ok(Some(value)) | Err(Some(value))) => self.drop_parts_of(value, holder),
            _ => {}
        }
    }

    /// An end is gone: tells the host's handle of it, and lets go of what was in its buffers.
    pub(in crate::abi) fn forget_host_end(&mut self, end: &mut End) {
        if end.holder == Holder::Host {
            self.uncount_handle();
        }
        if let Some(host) = end.host.take() {
            host.link.set(Link::Gone);
            self.aftermath.tell(host);
        }
        let buffer = match end.buffer.take() {
            Some(Buffer::Host(buffer)) => Some(buffer),
            _ => None,
        };
        for buffer in [buffer, end.finished.take()].into_iter().flatten() {
            self.aftermath.unwanted.push(buffer.into_unwanted());
        }
    }

    /// Drops what was on its way when a run failed.
    pub(crate) fn drop_passing_ends(&mut self) {
        let passing = |(id, end): (EndId, &End)| (end.holder == Holder::Passing).then_some(id);
        let passing: Vec<EndId> = self.ends.iter().filter_map(passing).collect();
        for end in passing {
            let _ = self.drop_end(end);
        }
    }
}

fn may_have_parts(value: &Val) -> bool {
    !matches!(
        value,
        Val::Bool(_)
            | Val::U8(_)
            | Val::S8(_)
            | Val::U16(_)
            | Val::S16(_)
            | Val::U32(_)
            | Val::S32(_)
            | Val::U64(_)
            | Val::S64(_)
            | Val::Float32(_)
            | Val::Float64(_)
            | Val::Char(_)
            | Val::String(_)
    )
}
