//! The writable end of a stream, in the hands of the embedder.

use super::element::{self, Element};
use super::{OwnedEnd, gone};
use crate::abi::host_buffer::HostBuffer;
use crate::abi::host_ends::Copied;
use crate::abi::stream_state::CopyResult;
use crate::error::{Error, Result, bug};
use crate::val::Val;
use futures_sink::Sink;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Writes a stream of `V`, in chunks.
///
/// It is a [`Sink`] of chunks, with room for the next one when the last was read. Of the methods of
/// `SinkExt`, `close` has a [namesake](StreamWriter::close) here that comes first and does not wait:
/// write `SinkExt::close(&mut writer)` for the one that does. Dropping it closes it: whoever reads learns that the writable end was
/// dropped, and what was not read yet is lost. [Flush](StreamWriter::flush) it before.
pub struct StreamWriter<V = Val> {
    end: OwnedEnd,
    /// What is to be written and was not handed over yet.
    buffer: Option<HostBuffer>,
    /// A copy is in progress.
    busy: bool,
    closed: bool,
    element: PhantomData<fn(V)>,
}

impl<V: Element> StreamWriter<V> {
    pub(super) fn from_end(end: OwnedEnd) -> StreamWriter<V> {
        StreamWriter {
            end,
            buffer: None,
            busy: false,
            closed: false,
            element: PhantomData,
        }
    }

    pub(super) fn into_end(mut self) -> OwnedEnd {
        self.discard();
        std::mem::replace(&mut self.end, OwnedEnd::none())
    }

    /// Writes all elements, and waits until they were read.
    ///
    /// # Errors
    ///
    /// `Closed` when the readable end was dropped before all were read; `Type` when one is not of
    /// the stream's type, and then none was written; what the guest that reads did wrong.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: they stay to be read, and the next operation waits for them.
    /// [`cancel`](StreamWriter::cancel) takes back what was not read.
    pub async fn write(&mut self, elements: Vec<V>) -> Result<()> {
        poll_fn(|cx| self.poll_written(cx)).await?;
        self.begin(elements);
        self.flush().await
    }

    /// Waits until everything that was written was read.
    ///
    /// # Errors
    ///
    /// As for [`write`](StreamWriter::write).
    pub async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// Takes back what was not read yet.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    pub fn cancel(&mut self) -> Result<Vec<V>> {
        if self.busy {
            self.buffer = self.end.cancel()?;
            self.busy = false;
        }
        let items = self.buffer.take().map(HostBuffer::into_items);
        let items = items.and_then(element::from_items);
        Ok(items.unwrap_or_default())
    }

    /// Whether the readable end was dropped, as far as this end knows.
    pub fn is_closed(&self) -> bool {
        self.closed || self.end.is_gone()
    }

    /// Closes the stream; so does dropping it.
    pub fn close(self) {}

    fn begin(&mut self, elements: Vec<V>) {
        if !elements.is_empty() {
            self.buffer = Some(HostBuffer::source(element::into_items(elements)));
        }
    }

    fn discard(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.end.discard(buffer);
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.busy || self.buffer.is_some() {
            if self.closed {
                self.discard();
                return Poll::Ready(Err(gone()));
            }
            self.busy = true;
            let polled = self.end.poll_copy(cx, &mut self.buffer);
            self.busy = polled.is_pending() && self.buffer.is_none();
            let copied = match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    self.discard();
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(copied)) => copied,
            };
            let Copied::Over { result, buffer } = copied else {
                return Poll::Ready(Err(bug!("a write is over and is not")));
            };
            self.closed = result == CopyResult::Dropped;
            self.buffer = buffer.filter(|buffer| !buffer.is_empty());
        }
        Poll::Ready(Ok(()))
    }
}

/// What is sent is read when [`poll_flush`](Sink::poll_flush) says so.
impl<V: Element> Sink<Vec<V>> for StreamWriter<V> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_written(cx))?;
        match this.is_closed() {
            true => Poll::Ready(Err(gone())),
            false => Poll::Ready(Ok(())),
        }
    }

    fn start_send(self: Pin<&mut Self>, elements: Vec<V>) -> Result<()> {
        let this = self.get_mut();
        if this.busy || this.buffer.is_some() {
            return Err(Error::ty(
                "elements were sent before the stream was ready for them",
            ));
        }
        this.begin(elements);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_written(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_written(cx))?;
        this.end.close();
        this.closed = true;
        Poll::Ready(Ok(()))
    }
}

impl<V> Drop for StreamWriter<V> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.end.discard(buffer);
        }
    }
}

impl<V> Unpin for StreamWriter<V> {}

impl<V> fmt::Debug for StreamWriter<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter")
            .field("busy", &self.busy)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
