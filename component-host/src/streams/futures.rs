//! The two ends of a future, in the hands of the embedder.

use super::element::{self, Element};
use super::{AsStore, OwnedEnd, gone};
use crate::abi::host_buffer::HostBuffer;
use crate::abi::host_ends::Copied;
use crate::error::{Result, bug};
use crate::val::{FutureAny, Val};
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Reads a future of `V`: it is a [`Future`] of the value.
///
/// The output is an error of kind `Closed` when the writable end went without a value, `Type` when
/// the future is not one that this end can read. It counts as one of the store's handles. Dropping
/// it closes it: whoever writes learns that the readable end was dropped.
pub struct FutureReader<V = Val> {
    end: OwnedEnd,
    value: PhantomData<fn() -> V>,
}

/// Writes the value of a future of `V`.
///
/// Dropping it without a value closes the future: whoever reads learns that the writable end was
/// dropped.
pub struct FutureWriter<V = Val> {
    end: OwnedEnd,
    value: PhantomData<fn(V)>,
}

impl<V: Element> FutureReader<V> {
    /// Makes the readable end that a guest gave usable.
    ///
    /// Nothing is checked yet: reading it says when the future has a value of another type, belongs
    /// to another store, or was passed on, closed or used before.
    pub fn new(store: &impl AsStore, future: FutureAny) -> FutureReader<V> {
        let id = store
            .weak()
            .0
            .upgrade()
            .and_then(|store| future.id_in(store.id));
        FutureReader::from_end(OwnedEnd::unclaimed::<V>(store, true, id))
    }

    pub(super) fn from_end(end: OwnedEnd) -> FutureReader<V> {
        let value = PhantomData;
        FutureReader { end, value }
    }

    /// Has the value of this future become that of another one.
    ///
    /// # Errors
    ///
    /// As for [`StreamReader::forward`](super::StreamReader::forward).
    pub fn forward(self, writer: FutureWriter<V>) -> Result<()> {
        self.end.forward(writer.end)
    }

    /// The future as a value, to be passed on.
    pub fn into_any(self) -> FutureAny {
        match self.end.into_id() {
            Some((store, id)) => FutureAny::in_store(store, id),
            None => FutureAny::of_no_store(),
        }
    }

    /// Closes the future; so does dropping it.
    pub fn close(self) {}
}

impl<V: Element> Future for FutureReader<V> {
    type Output = Result<V>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<V>> {
        let mut buffer = Some(HostBuffer::sink(element::empty::<V>(), 1));
        let copied = ready!(self.end.poll_copy(cx, &mut buffer))?;
        let Copied::Over { buffer, .. } = copied else {
            return Poll::Ready(Err(bug!("a read is over and is not")));
        };
        let items = buffer.map_or_else(element::empty::<V>, HostBuffer::into_items);
        let value = element::from_items(items).and_then(|mut items| items.pop());
        Poll::Ready(value.ok_or_else(gone))
    }
}

impl<V: Element> FutureWriter<V> {
    pub(super) fn from_end(end: OwnedEnd) -> FutureWriter<V> {
        let value = PhantomData;
        FutureWriter { end, value }
    }

    /// Writes the value, and waits until it was read.
    ///
    /// # Errors
    ///
    /// `Closed` when the readable end was dropped before; `Type` when the value is not of the
    /// future's type.
    ///
    /// # Cancellation
    ///
    /// Dropping this gives the value up, unless it was read already.
    pub async fn write(self, value: V) -> Result<()> {
        let buffer = HostBuffer::source(element::into_items(vec![value]));
        let mut write = Write {
            end: self.end,
            buffer: Some(buffer),
        };
        let copied = poll_fn(|cx| write.end.poll_copy(cx, &mut write.buffer)).await?;
        let Copied::Over { buffer, .. } = copied else {
            return Err(bug!("a write is over and is not"));
        };
        write.buffer = buffer.filter(|buffer| !buffer.is_empty());
        match write.buffer {
            None => Ok(()),
            Some(_) => Err(gone()),
        }
    }

    /// Closes the future; so does dropping it.
    pub fn close(self) {}
}

/// A write in progress; a value that was not read is dropped with it.
struct Write {
    end: OwnedEnd,
    buffer: Option<HostBuffer>,
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(unread) = self.buffer.take() {
            self.end.discard(unread);
        }
    }
}

impl<V> Unpin for FutureReader<V> {}

impl<V: Element> From<FutureReader<V>> for Val {
    fn from(reader: FutureReader<V>) -> Val {
        Val::Future(reader.into_any())
    }
}

impl<V> fmt::Debug for FutureReader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutureReader").finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for FutureWriter<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutureWriter").finish_non_exhaustive()
    }
}
