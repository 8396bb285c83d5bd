//! The embedder's ends of streams and futures: to read what guests write, and to write what they
//! read.
//!
//! A pair is made with [`stream`] or [`future`]; its readable end is passed to a guest as a value.
//! The readable end of a guest's arrives as a [`StreamAny`] or a [`FutureAny`], and
//! [`StreamReader::new`] makes it usable. Elements go in chunks; those of type `u8` are copied
//! between the guest's memory and a `Vec<u8>` as bytes.
//!
//! # Backpressure
//!
//! Nothing is buffered between a guest and the host: a guest that writes waits until the host reads,
//! and what the host writes stays with it until the guest reads.
//!
//! # Cancellation
//!
//! A copy in progress belongs to the end, not to the future that waits for it: when that is dropped,
//! the copy goes on, and the next operation on the end waits for it first. No element is lost.
//! Dropping the end gives the copy up. What it leaves unread is dropped: the destructors of resources
//! run at the executor's next turns.

mod element;
mod element_value;
mod futures;
mod reader;
mod writer;

pub use element::Element;
pub use element_value::ElementValue;
pub use futures::{FutureReader, FutureWriter};
pub use reader::StreamReader;
pub use writer::StreamWriter;

use crate::abi::host_buffer::HostBuffer;
use crate::abi::host_ends::{self, Copied, HostEnd, Link};
use crate::abi::threads::Flow;
use crate::engine::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::func::{Accessor, Caller};
use crate::store::drive::{self, Base};
use crate::store::signal::{self, Waited};
use crate::store::{Discarded, Store, StoreInner};
use sealed::WeakStore;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::{Poll, ready};

/// Makes a stream: its readable end, to be passed to a guest, and its writable end.
///
/// It may be made anywhere, also in a host function, while the guest waits. Its elements get their
/// type where it is passed: a guest that expects other ones than `V` stands for is refused. Until
/// then whoever writes waits.
///
/// ```
/// use vestibule_component_host::{Accessor, Linker, StreamAny, stream};
///
/// # fn main() -> vestibule_component_host::Result<()> {
/// let mut linker = Linker::<()>::new();
/// linker.root().func_async("greeting", |accessor: Accessor<()>, ()| async move {
///     let (reader, mut writer) = stream::<u8>(&accessor);
///     let written = async move { writer.write(b"hello".to_vec()).await };
///     accessor.executor().spawn(written).ok();
///     Ok((reader.into_any(),))
/// })?;
/// # Ok(())
/// # }
/// ```
pub fn stream<V: Element>(store: &impl AsStore) -> (StreamReader<V>, StreamWriter<V>) {
    let (reader, writer) = make::<V>(store.weak().0, false);
    (
        StreamReader::from_end(reader),
        StreamWriter::from_end(writer),
    )
}

/// Makes a future: its readable end, to be passed to a guest, and its writable end.
///
/// As for [`stream`].
pub fn future<V: Element>(store: &impl AsStore) -> (FutureReader<V>, FutureWriter<V>) {
    let (reader, writer) = make::<V>(store.weak().0, true);
    (
        FutureReader::from_end(reader),
        FutureWriter::from_end(writer),
    )
}

fn make<V: Element>(store: Weak<StoreInner>, future: bool) -> (OwnedEnd, OwnedEnd) {
    let accepts = element::accepts::<V>();
    let made = store
        .upgrade()
        .map(|store| (store.id, store.created.make(future, accepts)));
    let end = |link, host: Option<Rc<HostEnd>>| OwnedEnd {
        host: Some(host.unwrap_or_else(|| HostEnd::new(link, future, accepts))),
        store: Weak::clone(&store),
    };
    match made {
        Some((_, (id, writer))) => (
            end(Link::Unclaimed(id), None),
            end(Link::Gone, Some(writer)),
        ),
        // The store is gone: both ends are closed.
        None => (end(Link::Gone, None), end(Link::Gone, None)),
    }
}

/// What knows its store: a [`Store`], and the [`Caller`] or [`Accessor`] of a host function.
pub trait AsStore: sealed::AsStore {}

impl<S: sealed::AsStore> AsStore for S {}

mod sealed {
    use super::StoreInner;
    use std::rc::Weak;

    /// A store, for this crate alone.
    #[allow(unnameable_types, reason = "sealed")]
    #[derive(Debug)]
    pub struct WeakStore(pub(crate) Weak<StoreInner>);

    #[allow(unnameable_types, reason = "sealed")]
    pub trait AsStore {
        fn weak(&self) -> WeakStore;
    }
}

impl<T: 'static> sealed::AsStore for Store<T> {
    fn weak(&self) -> WeakStore {
        WeakStore(Rc::downgrade(&self.inner))
    }
}

impl<T> sealed::AsStore for Caller<'_, T> {
    fn weak(&self) -> WeakStore {
        WeakStore(self.store.clone())
    }
}

impl<T> sealed::AsStore for Accessor<T> {
    fn weak(&self) -> WeakStore {
        WeakStore(self.store.clone())
    }
}

/// An end that a handle owns: closed when the handle is dropped.
struct OwnedEnd {
    /// None once the end was passed on.
    host: Option<Rc<HostEnd>>,
    store: Weak<StoreInner>,
}

impl OwnedEnd {
    /// One for a readable end of a guest's.
    fn unclaimed<V: Element>(store: &impl AsStore, future: bool, id: Option<u64>) -> OwnedEnd {
        let link = id.map_or(Link::Gone, Link::Unclaimed);
        OwnedEnd {
            host: Some(HostEnd::new(link, future, element::accepts::<V>())),
            store: store.weak().0,
        }
    }

    /// Goes on with the copy in progress, or begins one with the buffer, and waits until it is over.
    fn poll_copy(
        &self,
        cx: &mut std::task::Context<'_>,
        buffer: &mut Option<HostBuffer>,
    ) -> Poll<Result<Copied>> {
        let (Some(host), Some(store)) = (&self.host, self.store.upgrade()) else {
            return Poll::Ready(Err(gone()));
        };
        loop {
            if store.is_taken() {
                store.wait_for_release(cx.waker());
                return Poll::Pending;
            }
            host.event.reset();
            let copied = run(&store, |cx| host_ends::host_copy(cx, host, buffer))?;
            if let Copied::Over { .. } = copied {
                return Poll::Ready(Ok(copied));
            }
            let waited = host.event.poll(&store, "end of a stream or a future", cx);
            if ready!(waited)? == Waited::GivenUp {
                return Poll::Ready(Err(signal::given_up()));
            }
        }
    }

    /// Gives up the copy in progress, if there is one.
    fn cancel(&self) -> Result<Option<HostBuffer>> {
        let (Some(host), Some(store)) = (&self.host, self.store.upgrade()) else {
            return Ok(None);
        };
        match run(&store, |cx| host_ends::host_cancel(cx, host))? {
            Copied::Over { buffer, .. } => Ok(buffer),
            Copied::Pending => Ok(None),
        }
    }

    /// Joins a readable and a writable end.
    fn forward(mut self, mut writer: OwnedEnd) -> Result<()> {
        if !Weak::ptr_eq(&self.store, &writer.store) {
            return Err(Error::ty("the two ends belong to different stores"));
        }
        let Some(store) = self.store.upgrade() else {
            return Err(gone());
        };
        let (Some(src), Some(dst)) = (&self.host, &writer.host) else {
            return Err(gone());
        };
        run(&store, |cx| host_ends::host_forward(cx, src, dst))?;
        (self.host, writer.host) = (None, None);
        Ok(())
    }

    /// The identity of a readable end, which is the caller's from now on.
    fn into_id(mut self) -> Option<(crate::store::StoreId, u64)> {
        let store = self.store.upgrade()?;
        let link = self.host.take()?.link.get();
        match link {
            Link::Unclaimed(id) => Some((store.id, id)),
            Link::Joined(end) => Some((store.id, end.to_bits())),
            Link::Created(_) | Link::Gone => None,
        }
    }

    /// An end that is gone.
    fn none() -> OwnedEnd {
        OwnedEnd {
            host: None,
            store: Weak::new(),
        }
    }

    /// Drops what the elements that were not copied carry.
    fn discard(&self, buffer: HostBuffer) {
        if let Some(store) = self.store.upgrade() {
            store.discard(Discarded::Values(buffer.into_unwanted()));
        }
    }

    fn close(&mut self) {
        if let (Some(host), Some(store)) = (self.host.take(), self.store.upgrade())
            && host.link.get() != Link::Gone
        {
            store.discard(Discarded::End(host));
        }
    }

    fn is_gone(&self) -> bool {
        match &self.host {
            Some(host) => host.link.get() == Link::Gone,
            None => true,
        }
    }
}

impl Drop for OwnedEnd {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs an operation of the host's. It may run a guest's `realloc`, so it is an entry like a call.
#[track_caller]
fn run<R>(
    store: &Rc<StoreInner>,
    operation: impl FnOnce(&mut Context<'_>) -> Result<R>,
) -> Result<R> {
    let mut outcome = None;
    let base = Base::synchronous(Location::caller());
    drive::run_to_end(store, &base, "use a stream or a future", |cx| {
        outcome = Some(operation(cx)?);
        Ok(Flow::Returned)
    })?;
    outcome.ok_or_else(gone)
}

/// The other end went, or the store did.
fn gone() -> Error {
    Error::new(ErrorKind::Closed)
}
