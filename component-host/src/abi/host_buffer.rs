//! Spec: ### Buffer State, for the embedder: what a host end reads into, or writes from.

use crate::error::Error;
use crate::val::Val;

/// The elements of a stream or a future, in the hands of the host.
#[derive(Debug)]
pub(crate) enum Items {
    /// Those of type `u8`.
    Bytes(Vec<u8>),
    /// Those of any type; an element of no type is an empty tuple.
    Vals(Vec<Val>),
}

/// What stands for an element without a payload.
pub(crate) fn unit() -> Val {
    Val::Tuple(Vec::new())
}

/// A buffer of the host's.
#[derive(Debug)]
pub(crate) struct HostBuffer {
    pub(crate) items: Items,
    /// Whether what the items carry was taken from the host already.
    pub(crate) given: bool,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// To be filled with so many items.
    Sink { length: u32 },
    /// To be emptied: so many items are gone, and so many were gone when the copy began.
    Source { gone: usize, before: usize },
}

/// The items that are copied next.
pub(crate) enum Next<'a> {
    Bytes(&'a [u8]),
    Vals(&'a [Val]),
}

impl Items {
    pub(crate) fn len(&self) -> usize {
        match self {
            Items::Bytes(items) => items.len(),
            Items::Vals(items) => items.len(),
        }
    }
}

impl HostBuffer {
    /// An empty one, to be read into.
    pub(crate) fn sink(items: Items, length: u32) -> HostBuffer {
        debug_assert!(items.len() == 0);
        let role = Role::Sink { length };
        HostBuffer {
            items,
            given: false,
            role,
        }
    }

    /// A full one, to be written from.
    pub(crate) fn source(items: Items) -> HostBuffer {
        let role = Role::Source { gone: 0, before: 0 };
        HostBuffer {
            items,
            given: false,
            role,
        }
    }

    /// Whether it was read into, and holds values of any size.
    pub(super) fn holds_values(&self) -> bool {
        let values = matches!(&self.items, Items::Vals(values) if !values.is_empty());
        values && matches!(self.role, Role::Sink { .. })
    }

    /// The values of a source that were not copied, unless what they carry was taken already.
    pub(super) fn not_given(&mut self) -> Option<&mut [Val]> {
        match (&mut self.items, &self.role) {
            (Items::Vals(values), Role::Source { gone, .. }) if !self.given => {
                values.get_mut(*gone..)
            }
            _ => None,
        }
    }

    /// The values of a source that were not copied, and whose parts were taken.
    pub(super) fn given_values(&mut self) -> Option<&mut [Val]> {
        match (&mut self.items, &self.role) {
            (Items::Vals(values), Role::Source { gone, .. }) if self.given => {
                values.get_mut(*gone..)
            }
            _ => None,
        }
    }

    /// Whether a source has been emptied.
    pub(crate) fn is_empty(&self) -> bool {
        self.remain() == 0
    }

    /// Another copy begins.
    pub(crate) fn begin(&mut self) {
        if let Role::Source { gone, before } = &mut self.role {
            *before = *gone;
        }
    }

    pub(super) fn remain(&self) -> u32 {
        let remain = match self.role {
            Role::Sink { length } => length as usize - self.items.len(),
            Role::Source { gone, .. } => self.items.len() - gone,
        };
        // One copy has at most so many; there may be more for the next.
        u32::try_from(remain).map_or(MAX_COPY, |remain| remain.min(MAX_COPY))
    }

    pub(super) fn progress(&self) -> u32 {
        let progress = match self.role {
            Role::Sink { .. } => self.items.len(),
            Role::Source { gone, before } => gone - before,
        };
        u32::try_from(progress).unwrap_or(u32::MAX)
    }

    pub(super) fn advance(&mut self, n: u32) {
        if let Role::Source { gone, .. } = &mut self.role {
            *gone += n as usize;
        }
    }

    /// The next `n` items of a source.
    pub(super) fn next(&self, n: u32) -> Next<'_> {
        let from = match self.role {
            Role::Source { gone, .. } => gone,
            Role::Sink { .. } => 0,
        };
        let range = from..from + n as usize;
        match &self.items {
            Items::Bytes(items) => Next::Bytes(&items[range]),
            Items::Vals(items) => Next::Vals(&items[range]),
        }
    }

    /// Takes items of another host buffer, when both ends are the host's.
    pub(super) fn take_from(&mut self, src: &mut HostBuffer, n: u32) -> Result<(), Error> {
        match (&mut self.items, src.next(n)) {
            (Items::Bytes(items), Next::Bytes(bytes)) => items.extend_from_slice(bytes),
            (Items::Vals(items), Next::Vals(values)) => items.extend_from_slice(values),
            (Items::Vals(items), Next::Bytes(bytes)) => {
                items.extend(bytes.iter().map(|byte| Val::U8(*byte)));
            }
            (Items::Bytes(items), Next::Vals(values)) => {
                for value in values {
                    match value {
                        Val::U8(byte) => items.push(*byte),
                        other => {
                            return Err(Error::ty(format!(
                                "a stream of bytes was read, and {} was written to it",
                                other.kind()
                            )));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The items of a sink, or those of a source that were not copied.
    pub(crate) fn into_items(self) -> Items {
        let Role::Source { gone, .. } = self.role else {
            return self.items;
        };
        match self.items {
            Items::Bytes(mut items) => {
                items.drain(..gone);
                Items::Bytes(items)
            }
            Items::Vals(mut items) => {
                items.drain(..gone);
                Items::Vals(items)
            }
        }
    }
}

impl HostBuffer {
    /// What is left, for the store to let go.
    pub(crate) fn into_unwanted(self) -> Unwanted {
        let given = self.given;
        match self.into_items() {
            Items::Bytes(_) => Unwanted::Held(Vec::new()),
            Items::Vals(values) if given => Unwanted::Given(values),
            Items::Vals(values) => Unwanted::Held(values),
        }
    }
}

/// Values that nobody wants: the ends they carry are closed, and the resources they own dropped.
#[derive(Debug)]
pub(crate) enum Unwanted {
    /// What they carry is the host's.
    Held(Vec<Val>),
    /// What they carry was given to a guest, and has not arrived.
    Given(Vec<Val>),
    /// What they carry was on its way from one guest to another.
    Passing(Vec<Val>),
}

/// `Buffer.MAX_LENGTH`
const MAX_COPY: u32 = (1 << 28) - 1;
