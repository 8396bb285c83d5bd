//! A store: the handle embedders hold, and the one door to the engine's store behind it.
//!
//! # Rules
//!
//! 1. The engine's store is *taken out* for one run of guest code and put back after it, also on
//!    unwind. Whoever finds it taken is refused with `StoreBusy`; a guest thread that does waits.
//! 2. Foreign code (host functions, wakers, destructors) never runs while a borrow of ours is
//!    live. What a run leaves to be dropped or woken is kept in the state's [`Aftermath`] and let
//!    go when the engine's store is back.
//! 3. One store has at most one *base* at a time: the place on the native stack where the
//!    outermost run of guest code began, and where [`drive`] goes on when it is suspended.

mod counters;
pub(crate) mod data;
pub(crate) mod deferral;
mod depth;
pub(crate) mod drive;
mod fuel;
mod observe;
pub(crate) mod signal;
mod snapshot;
mod state;

pub use counters::{Counters, Live, Totals};
pub use fuel::InterruptHandle;
pub(crate) use fuel::Meter;
pub(crate) use observe::tell;
pub use observe::{Event, Observer};
pub use snapshot::{StoreSnapshot, ThreadInfo};
pub(crate) use state::{Aftermath, Blame, State, StoreId, define_builtin};

use crate::abi::host_buffer::Unwanted;
use crate::abi::host_call::Held;
use crate::abi::host_ends::{CreatedEnds, HostEnd};
use crate::abi::stream_state::Holder;
use crate::engine::{Context, CoreStore, Engine};
use crate::error::{Error, Result};
use crate::trap::Trap;
use data::DataCell;
use deferral::Deferral;
use signal::{Signal, Waited};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker, ready};
use vestibule_executor::{BlockOnError, Executor, Group, Handle, Op, Reason};

/// Holds instances and the embedder's data, and is where their code runs.
///
/// A cheap, clonable, `!Send` handle: every operation takes `&Store<T>`. While guest code of the
/// store runs, the store is taken: host functions use the [`Caller`](crate::Caller) they are
/// given, and any other use is refused.
pub struct Store<T: 'static> {
    pub(crate) inner: Rc<StoreInner>,
    pub(crate) data: Rc<DataCell<T>>,
}

pub(crate) struct StoreInner {
    pub(crate) id: StoreId,
    core: Cell<Option<Box<CoreStore>>>,
    engine: Engine,
    pub(crate) executor: Handle,
    /// Tasks that are not candidates in a synchronous call: host futures, and threads at the
    /// backpressure gate. The groups of the instances are its subgroups.
    pub(crate) group: Group,
    /// Set while a driver at the base polls the threads of one instance (`drive.rs`).
    pub(crate) driver: drive::Driver,
    /// Pairs of ends that the host made.
    pub(crate) created: Rc<CreatedEnds>,
    /// What the host let go and the state does not know of yet.
    discarded: RefCell<Vec<Discarded>>,
    /// Set between two slices of fuel of a run, and while the store waits for a host function:
    /// nothing else of the store runs then.
    pub(crate) between_slices: Cell<bool>,
    /// The host future that the store waits for meanwhile, if that is why.
    pub(crate) held: Cell<Option<Held>>,
    /// Set while that future is polled.
    pub(crate) polls_held: Cell<bool>,
    /// Holds what host functions defer during an asynchronous instantiation.
    pub(crate) deferral: Rc<Deferral>,
    /// Whoever waits until nothing is in progress.
    quiet_waiters: RefCell<Vec<Weak<Signal>>>,
    /// Threads that found the store taken.
    waiting: RefCell<Vec<Waker>>,
    /// Errors of guest threads that no call waits for any more.
    background: RefCell<Vec<Error>>,
}

/// What the host lets go, wherever it may be at that moment.
pub(crate) enum Discarded {
    /// A handle of an end of a stream or a future.
    End(Rc<HostEnd>),
    Values(Unwanted),
}

impl<T: 'static> Store<T> {
    /// Makes an empty store whose tasks run on `executor`.
    pub fn new(engine: &Engine, executor: &Executor, data: T) -> Store<T> {
        Store::with_handle(engine, &executor.handle(), data)
    }

    /// As [`new`](Store::new), for code that holds only a handle, such as a host function.
    pub fn with_handle(engine: &Engine, executor: &Handle, data: T) -> Store<T> {
        let group = executor.group("store");
        let deferral = Rc::new(Deferral::default());
        let inner = Rc::new_cyclic(|weak| {
            let state = State::new(engine, executor.clone(), group.clone(), weak.clone());
            StoreInner {
                id: state.id,
                core: Cell::new(Some(Box::new(engine.core_store(state)))),
                engine: engine.clone(),
                executor: executor.clone(),
                group,
                driver: drive::Driver::default(),
                created: Rc::default(),
                discarded: RefCell::new(Vec::new()),
                between_slices: Cell::new(false),
                held: Cell::new(None),
                polls_held: Cell::new(false),
                deferral: Rc::clone(&deferral),
                quiet_waiters: RefCell::new(Vec::new()),
                waiting: RefCell::new(Vec::new()),
                background: RefCell::new(Vec::new()),
            }
        });
        Store {
            inner,
            data: Rc::new(DataCell::new(data, deferral)),
        }
    }

    /// The engine this store was made with.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The executor this store's tasks run on.
    pub fn executor(&self) -> &Handle {
        &self.inner.executor
    }

    /// Gives access to the embedder's data.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` when a host function of this store has the data in hand.
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        match self.data.take() {
            Some(mut data) => Ok(f(&mut data)),
            None => Err(self.inner.busy("use the store's data", Location::caller())),
        }
    }

    /// Runs a future of this store, such as a call, until it is ready, and the executor with it.
    ///
    /// # Errors
    ///
    /// The future's own error; `Refused` where blocking is not allowed;
    /// [`Trap::Deadlock`] when nothing is left that could wake the future.
    #[track_caller]
    pub fn block_on<R>(&self, future: impl Future<Output = Result<R>>) -> Result<R> {
        match self.inner.executor.try_block_on(future) {
            Ok(result) => result,
            Err(BlockOnError::Refused(refused)) => Err(Error::from(refused)),
            Err(BlockOnError::Stalled(stalled)) => Err(Error::from(Trap::Deadlock {
                pending: stalled.pending,
            })),
            Err(other) => Err(Error::host(other)),
        }
    }

    /// A handle that ends guest code of this store, usable from any thread, and already before the
    /// first component is instantiated.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn interrupt_handle(&self) -> Result<InterruptHandle> {
        self.inner
            .enter("make an interrupt handle", Location::caller(), |cx| {
                cx.data().fuel.interrupt_handle()
            })
    }

    /// Whether nothing of this store is in progress: no call from the host, no guest thread, no
    /// host future that a guest waits for.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn is_quiet(&self) -> Result<bool> {
        self.inner
            .enter("ask whether it is quiet", Location::caller(), |cx| {
                cx.data().is_quiet()
            })
    }

    /// Waits until nothing of this store is in progress, as [`is_quiet`](Store::is_quiet) says it.
    ///
    /// # Errors
    ///
    /// When the executor was shut down. With [`block_on`](Store::block_on): [`Trap::Deadlock`] when
    /// what is in progress can never end.
    ///
    /// # Cancellation
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_until_quiet(&self) -> Result<()> {
        let signal = Rc::new(Signal::default());
        poll_fn(|cx| {
            loop {
                if self.inner.is_taken() {
                    self.inner.wait_for_release(cx.waker());
                    return Poll::Pending;
                }
                if self.is_quiet()? {
                    return Poll::Ready(Ok(()));
                }
                signal.reset();
                let mut waiters = self.inner.quiet_waiters.borrow_mut();
                waiters.retain(|waiter| Weak::strong_count(waiter) > 0);
                waiters.push(Rc::downgrade(&signal));
                drop(waiters);
                let waited = signal.poll(&self.inner, "wait until a store is quiet", cx);
                if ready!(waited)? == Waited::GivenUp {
                    return Poll::Ready(Err(signal::given_up()));
                }
            }
        })
        .await
    }

    /// Takes the errors of guest threads that ran on after the call that started them had
    /// returned, oldest first.
    pub fn take_background_errors(&self) -> Vec<Error> {
        self.inner.background.take()
    }
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Store<T> {
        Store {
            inner: Rc::clone(&self.inner),
            data: Rc::clone(&self.data),
        }
    }
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl StoreInner {
    /// Runs `f` with the engine's store taken out.
    pub(crate) fn enter<R>(
        self: &Rc<Self>,
        attempted: &'static str,
        at: &'static Location<'static>,
        f: impl FnOnce(&mut Context<'_>) -> R,
    ) -> Result<R> {
        let Some(mut taken) = self.take() else {
            return Err(self.busy(attempted, at));
        };
        Ok(f(&mut taken.context()))
    }

    /// Whether somebody has the engine's store.
    pub(crate) fn is_taken(&self) -> bool {
        let core = self.core.take();
        let taken = core.is_none();
        self.core.set(core);
        taken || self.between_slices.get()
    }

    /// Takes the engine's store out, unless somebody has it.
    pub(crate) fn take(self: &Rc<Self>) -> Option<TakenStore<'_>> {
        if self.between_slices.get() {
            return None;
        }
        self.core.take().map(|core| TakenStore {
            store: self,
            core: Some(core),
        })
    }

    /// Registers to be woken when the engine's store is back.
    pub(crate) fn wait_for_release(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker.clone());
    }

    /// Lets something go: at once, or when the engine's store is back.
    pub(crate) fn discard(self: &Rc<Self>, discarded: Discarded) {
        self.discarded.borrow_mut().push(discarded);
        drop(self.take());
    }

    fn settle_discarded(&self, state: &mut State) {
        if self.discarded.borrow().is_empty() && state.aftermath.unwanted.is_empty() {
            return;
        }
        loop {
            let discarded = std::mem::take(&mut *self.discarded.borrow_mut());
            let unwanted = std::mem::take(&mut state.aftermath.unwanted);
            if discarded.is_empty() && unwanted.is_empty() {
                return;
            }
            let mut unwanted = unwanted;
            for discarded in discarded {
                match discarded {
                    Discarded::End(end) => state.close_host_end(&end),
                    Discarded::Values(values) => unwanted.push(values),
                }
            }
            for unwanted in unwanted {
                let (values, holder) = match unwanted {
                    Unwanted::Held(values) => (values, Holder::Host),
                    Unwanted::Given(values) => (values, Holder::Given),
                    Unwanted::Passing(values) => (values, Holder::Passing),
                };
                for value in &values {
                    state.drop_parts_of(value, holder);
                }
            }
        }
    }

    /// Waits while a run of this store is between two slices of fuel.
    ///
    /// # Errors
    ///
    /// `Refused` when it waits for a host function, which asks for this itself.
    pub(crate) fn until_no_slice_is_left(
        &self,
        attempted: &'static str,
        at: &'static Location<'static>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Result<()>> {
        if !self.between_slices.get() {
            return Poll::Ready(Ok(()));
        }
        if self.polls_held.get() {
            return Poll::Ready(Err(self.busy(attempted, at)));
        }
        self.wait_for_release(cx.waker());
        Poll::Pending
    }

    pub(crate) fn report_background(&self, error: Error) {
        self.background.borrow_mut().push(error);
    }

    pub(crate) fn busy(&self, attempted: &'static str, at: &'static Location<'static>) -> Error {
        Error::from(
            self.executor
                .refuse(Op::Other(attempted), Reason::StoreBusy)
                .at(at),
        )
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        // The tasks hold the store weakly; abort them, so that host futures are dropped now.
        let (groups, ends) = match self.core.get_mut() {
            Some(core) => (core.data().instance_groups(), core.data().host_ends()),
            None => Default::default(),
        };
        self.group.abort_all();
        for group in groups {
            group.abort_all();
        }
        // Whoever waits for an end finds that the store is gone.
        for end in ends.into_iter().chain(self.created.writers()) {
            end.event.set();
        }
    }
}

/// The engine's store, taken out; it goes back when this is dropped.
pub(crate) struct TakenStore<'a> {
    store: &'a Rc<StoreInner>,
    core: Option<Box<CoreStore>>,
}

impl<'a> TakenStore<'a> {
    pub(crate) fn store(&self) -> &'a Rc<StoreInner> {
        self.store
    }

    pub(crate) fn context(&mut self) -> Context<'_> {
        use crate::engine::AsContextMut as _;
        match &mut self.core {
            Some(core) => core.as_context_mut(),
            // Only `drop` empties it.
            None => unreachable!("a taken store holds the engine's store until it is dropped"),
        }
    }
}

impl Drop for TakenStore<'_> {
    fn drop(&mut self) {
        let Some(mut core) = self.core.take() else {
            return;
        };
        self.store.settle_discarded(core.data_mut());
        core.data_mut().begin_destructors();
        // While a run is paused, what it left waits: foreign code must not find the store free.
        let state = core.data_mut();
        let aftermath = match state.aftermath.is_empty() || state.is_paused() {
            true => None,
            false => Some(std::mem::take(&mut state.aftermath)),
        };
        let quiet = match state.is_quiet() {
            true => self.store.quiet_waiters.take(),
            false => Vec::new(),
        };
        self.store.core.set(Some(core));
        if let Some(aftermath) = aftermath {
            aftermath.settle();
        }
        for signal in quiet.iter().filter_map(Weak::upgrade) {
            signal.set();
        }
        if self.store.waiting.borrow().is_empty() {
            return;
        }
        // Rule 2: taken out first, then woken.
        let waiting = std::mem::take(&mut *self.store.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }
}
