//! The readable end of a stream, in the hands of the embedder.

use super::element::{self, Element};
use super::{AsStore, OwnedEnd, StreamWriter};
use crate::abi::host_buffer::HostBuffer;
use crate::abi::host_ends::Copied;
use crate::abi::stream_state::CopyResult;
use crate::error::{Result, bug};
use crate::val::{StreamAny, Val};
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Reads a stream of `V`, in chunks.
///
/// It is a [`Stream`] of chunks, each with at least one element. An error ends it. Of the methods of
/// `StreamExt`, `forward` has a [namesake](StreamReader::forward) here that comes first: write
/// `StreamExt::forward(reader, sink)` for that one. It counts as one of the store's handles. Dropping it closes it: whoever writes learns that the readable end was dropped.
pub struct StreamReader<V = Val> {
    end: OwnedEnd,
    chunk: u32,
    done: bool,
    element: PhantomData<fn() -> V>,
}

/// How many elements are read at a time, unless said otherwise.
const DEFAULT_CHUNK: u32 = 64 << 10;

impl<V: Element> StreamReader<V> {
    /// Makes the readable end that a guest gave usable.
    ///
    /// Nothing is checked yet: the first operation says when the stream has elements of another
    /// type, belongs to another store, or was passed on, closed or used before.
    pub fn new(store: &impl AsStore, stream: StreamAny) -> StreamReader<V> {
        let id = store
            .weak()
            .0
            .upgrade()
            .and_then(|store| stream.id_in(store.id));
        StreamReader::from_end(OwnedEnd::unclaimed::<V>(store, false, id))
    }

    pub(super) fn from_end(end: OwnedEnd) -> StreamReader<V> {
        StreamReader {
            end,
            chunk: DEFAULT_CHUNK,
            done: false,
            element: PhantomData,
        }
    }

    /// Sets how many elements one chunk has at most, from the next read on: at least one. The
    /// default is 65,536.
    #[must_use]
    pub fn chunk(mut self, elements: u32) -> StreamReader<V> {
        self.chunk = elements.max(1);
        self
    }

    /// Reads the next chunk; none when the writable end was dropped.
    ///
    /// # Errors
    ///
    /// `Type` when the stream is not one that this end can read; what the guest that writes did
    /// wrong; `Closed` when the store was dropped.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: the next read returns what this one would have.
    pub async fn read(&mut self) -> Result<Option<Vec<V>>> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<V>>>> {
        while !self.done {
            let mut buffer = Some(HostBuffer::sink(element::empty::<V>(), self.chunk));
            let copied = ready!(self.end.poll_copy(cx, &mut buffer))?;
            let Copied::Over { result, buffer } = copied else {
                return Poll::Ready(Err(bug!("a read is over and is not")));
            };
            self.done = result == CopyResult::Dropped;
            let items = buffer.map_or_else(element::empty::<V>, HostBuffer::into_items);
            if items.len() > 0 {
                let items = element::from_items(items);
                return Poll::Ready(
                    items
                        .map(Some)
                        .ok_or_else(|| bug!("elements of another type")),
                );
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Has whatever is written to this stream go to another one: both ends are given up, and what is
    /// on their far sides is joined.
    ///
    /// # Errors
    ///
    /// `Type` when the two belong to different stores, have different elements, or have a copy in
    /// progress; `Refused` with `StoreBusy` while guest code of the store runs. Both are closed then.
    pub fn forward(self, writer: StreamWriter<V>) -> Result<()> {
        self.end.forward(writer.into_end())
    }

    /// The stream as a value, to be passed on.
    ///
    /// A stream with a read in progress cannot be passed on. One that is passed on is no longer
    /// closed when it is dropped: that is left to whoever gets it.
    pub fn into_any(self) -> StreamAny {
        match self.end.into_id() {
            Some((store, id)) => StreamAny::in_store(store, id),
            None => StreamAny::of_no_store(),
        }
    }

    /// Closes the stream; so does dropping it.
    pub fn close(self) {}
}

impl<V: Element> Stream for StreamReader<V> {
    type Item = Result<Vec<V>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let read = ready!(this.poll_read(cx));
        if read.is_err() {
            this.done = true;
        }
        Poll::Ready(read.transpose())
    }
}

impl<V> Unpin for StreamReader<V> {}

impl<V: Element> From<StreamReader<V>> for Val {
    fn from(reader: StreamReader<V>) -> Val {
        Val::Stream(reader.into_any())
    }
}

impl<V> fmt::Debug for StreamReader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
