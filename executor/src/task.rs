//! Keeps tasks in recycled slots and makes their wakers: all unsafe code of the crate.
//!
//! A task is one slot: a header, and behind it the future, in whose place the output or a
//! panic's payload is left. What buys the unsafe: a spawn that allocates nothing once warm, a
//! poll and a wake on the owner's thread that touch no atomic and no reference count
//! (docs/PERFORMANCE.md).
//!
//! ```text
//!   Chunk ─► ┌────────┬──────────────────┬──────────────────┬─
//!            │ header │ Header │ payload │ Header │ payload │ ...   slots of one size
//!            └────────┴──────────────────┴──────────────────┴─
//! ```
//!
//! Rules, which the `SAFETY` comments name:
//! 1. A slot's memory stays a `Header` until its chunk is freed. A chunk is freed when the
//!    last *hold* is released: the arena has one, every zombie (rule 6) has one, and so has
//!    every `Owned` that outlives the arena.
//! 2. All fields but `shared`, `earlier`, `number`, `vtable` and `offset` are the owner thread's alone.
//!    `Slot` and `Owned` are not `Send`; a waker compares threads before it touches them.
//! 3. `number` and `vtable` are written only while no waker of the slot exists.
//! 4. The payload is what the state says: a future (`FUTURE`), an output (`VALUE`), a panic's
//!    payload (`PANIC`), or nothing. Whoever takes it out clears the bit first. `POLLING`
//!    lends the future to one poll: nobody else touches it until that ends.
//! 5. A slot that is a `MEMBER` is in the `JoinSet<T>` of the `T` that its task returns, which
//!    stands for its `Owned<T>`.
//! 6. A slot is free when its task has ended, its `Owned` is gone and no waker of it exists.
//!    If one does, the slot is a *zombie*, and whoever drops the last gives it back
//!    (src/wake.rs).
//! 7. While the arena is open, the list in the word of signals (src/remote.rs) has ids of its slots.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop};
use std::panic::Location;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::rc::Weak;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::class::{CLASSES, class_of, stride_of};
use crate::core::{Core, Entered, drop_payload};
use crate::limits;
use crate::remote::Remote;
use crate::state::State;
use crate::sync::{
    Arc, AtomicU32, AtomicUsize, Ordering, Traced, acquire_fence, at, catch, planted,
};

/// No entry in the table of extras.
pub(crate) const NO_EXTRA: u32 = u32::MAX;

/// What every slot begins with.
#[repr(C)]
struct Header {
    vtable: Cell<&'static VTable>,
    number: Cell<u64>,
    spawned_at: Cell<&'static Location<'static>>,
    /// When it came into its state, counted in polls of the executor.
    since: Cell<u64>,
    next: Cell<Option<Slot>>,
    prev: Cell<Option<Slot>>,
    // What another thread's wake touches: with `extra` one grain, which is in one line of a cache.
    shared: AtomicU32,
    /// The id of the one before in the list of those that other threads woke. Whoever claimed the
    /// slot writes it, and the owner reads it before it opens the slot.
    earlier: AtomicU32,
    /// From the beginning of the chunk, in units of [`GRAIN`].
    offset: u16,
    wakers: Cell<i16>,
    extra: Cell<u32>,
    state: Cell<State>,
    /// The number of the task that woke it last, as far as it fits.
    woken_by: Cell<u32>,
    trace: Traced,
}

/// What all sizes of slots are a multiple of, in bytes; and that of a chunk's header.
const GRAIN: usize = 16;

const _: () = assert!(size_of::<Chunk>().is_multiple_of(GRAIN) && limits::CHUNK / GRAIN <= 1 << 12);

/// What is known about a future once its type is erased.
struct VTable {
    poll: unsafe fn(Slot, &mut Entered<'_>) -> Polled,
    drop_future: unsafe fn(Slot),
    drop_value: unsafe fn(Slot),
}

/// What a task panicked with. Boxed twice: one word, so that it makes no slot larger.
type Panic = Box<Box<dyn Any + Send>>;

/// The payload of a task with this future.
union Payload<F: Future> {
    _future: ManuallyDrop<F>,
    _value: ManuallyDrop<F::Output>,
    _panic: ManuallyDrop<Panic>,
}

struct Of<F>(PhantomData<F>);

impl<F: Future> Of<F> {
    const VTABLE: VTable = VTable {
        poll: poll::<F>,
        drop_future: drop_future::<F>,
        drop_value: drop_value::<F>,
    };

    const CLASS: usize = class_of(
        size_of::<Header>()
            + size_of::<Payload<F>>()
            + if align_of::<Payload<F>>() > align_of::<Header>() {
                align_of::<Payload<F>>()
            } else {
                0
            },
    );
}

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    Pending,
    /// The output is there; the state does not say so yet.
    Ready,
    /// The payload of a panic is there: the poll's, or that of the future's destructor.
    Panicked,
}

/// Polls the future; when it is done, drops it, which ends the poll first, and leaves the output
/// or the panic of its destructor.
unsafe fn poll<F: Future>(slot: Slot, entered: &mut Entered<'_>) -> Polled {
    let place = slot.place::<F>();
    // Made here, a future that needs none costs none.
    let waker = slot.waker();
    let mut cx = Context::from_waker(&waker);
    // SAFETY: rule 4: the state was FUTURE | POLLING, so a future of type F (the vtable's) is
    // there and is this call's. A slot does not move, and its future is dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut *place) };
    let Poll::Ready(output) = future.poll(&mut cx) else {
        return Polled::Pending;
    };
    if needs_drop::<F>() {
        entered.leave(slot);
        // FUTURE is not cleared first: a write to a part of the state would hold up the next read of
        // the whole. SAFETY: it is still POLLING: nobody else drops it, and it is not used again.
        if let Err(payload) = catch(|| unsafe { ptr::drop_in_place(place) }) {
            slot.update(|state| state.without(State::FUTURE));
            slot.put_panic(payload);
            return Polled::Panicked;
        }
    }
    // SAFETY: nothing is there any more; the slot has room for an output of F.
    unsafe { slot.place::<F::Output>().write(output) };
    Polled::Ready
}

unsafe fn drop_future<F: Future>(slot: Slot) {
    // SAFETY: the caller cleared FUTURE, which was set (rule 4).
    unsafe { ptr::drop_in_place(slot.place::<F>()) };
}

unsafe fn drop_value<F: Future>(slot: Slot) {
    // SAFETY: the caller cleared VALUE, which was set (rule 4).
    unsafe { ptr::drop_in_place(slot.place::<F::Output>()) };
}

/// One task's place, on the owner's thread; a plain pointer, good while the arena lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(NonNull<Header>);

impl Slot {
    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: rule 1. Slots come from an arena that lives (Table's is dropped with the
        // core and nobody keeps a slot beyond it), from an `Owned` or from a counted waker.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn chunk(&self) -> &Chunk {
        // SAFETY: rule 1; `offset` was set when the chunk was cut into slots.
        unsafe { self.chunk_ptr().as_ref() }
    }

    /// Where a payload of this type is: behind the header, as its alignment demands.
    #[inline(always)]
    fn place<T>(self) -> *mut T {
        let start = self.0.as_ptr().cast::<u8>();
        let offset = size_of::<Header>();
        let gap = if align_of::<T>() > align_of::<Header>() {
            (start.addr() + offset).wrapping_neg() & (align_of::<T>() - 1)
        } else {
            0
        };
        // SAFETY: `Of::CLASS` has room for the gap.
        unsafe { start.add(offset + gap).cast() }
    }

    pub(crate) fn number(self) -> u64 {
        self.header().number.get()
    }

    pub(crate) fn spawned_at(self) -> &'static Location<'static> {
        self.header().spawned_at.get()
    }

    #[inline(always)]
    pub(crate) fn since(self) -> u64 {
        self.header().since.get()
    }

    #[inline(always)]
    pub(crate) fn state(self) -> State {
        self.header().state.get()
    }

    #[inline(always)]
    pub(crate) fn update(self, change: impl FnOnce(State) -> State) {
        self.header().state.set(change(self.state()));
    }

    /// Sets the state, and since when it holds.
    #[inline(always)]
    pub(crate) fn enter(self, state: State, since: u64) {
        self.header().state.set(state);
        self.header().since.set(since);
    }

    pub(crate) fn woken_by(self) -> u32 {
        self.header().woken_by.get()
    }

    #[inline(always)]
    pub(crate) fn set_woken_by(self, number: u32) {
        self.header().woken_by.set(number);
    }

    #[inline(always)]
    pub(crate) fn extra(self) -> u32 {
        self.header().extra.get()
    }

    /// Whether somebody has the handle, and nobody waits for the end.
    #[inline(always)]
    pub(crate) fn is_unawaited(self) -> bool {
        self.state().has(State::HANDLE) && !self.has_extra()
    }

    /// Whether it has an entry in the table of extras, its own or its set's.
    #[inline(always)]
    pub(crate) fn has_extra(self) -> bool {
        self.extra() != NO_EXTRA
    }

    pub(crate) fn set_extra(self, extra: u32) {
        self.header().extra.set(extra);
    }

    /// Has a task that has no entry share that of its set.
    #[inline(always)]
    pub(crate) fn share(self, entry: u32) {
        debug_assert!(!self.has_extra(), "its own would be lost");
        self.set_extra(entry);
        self.update(|state| state.with(State::SHARED));
    }

    #[inline(always)]
    pub(crate) fn next(self) -> Option<Slot> {
        self.header().next.get()
    }

    #[inline(always)]
    pub(crate) fn set_next(self, next: Option<Slot>) {
        self.header().next.set(next);
    }

    #[inline(always)]
    pub(crate) fn prev(self) -> Option<Slot> {
        self.header().prev.get()
    }

    #[inline(always)]
    pub(crate) fn set_prev(self, prev: Option<Slot>) {
        self.header().prev.set(prev);
    }

    /// Polls the future of a task whose state is `POLLING`. If it is ready, it is for the caller
    /// to set `VALUE` in place of `FUTURE`.
    #[inline(always)]
    pub(crate) fn poll(self, entered: &mut Entered<'_>) -> Polled {
        let vtable = self.header().vtable.get();
        // SAFETY: `Table::begin_poll` set POLLING beside FUTURE, and only one poll ends it.
        let polled = catch(|| unsafe { (vtable.poll)(self, entered) });
        polled.unwrap_or_else(|payload| self.fail(entered, payload))
    }

    /// Ends a poll that panicked and drops its future; the panic is the outcome.
    #[cold]
    #[inline(never)]
    fn fail(self, entered: &mut Entered<'_>, payload: Box<dyn Any + Send>) -> Polled {
        entered.leave(self);
        // One panic is enough to report; a second one has the same cause.
        if let Err(second) = catch(|| self.drop_future()) {
            drop_payload(second);
        }
        if self.state().has(State::PANIC) {
            drop_payload(payload);
        } else {
            self.put_panic(payload);
        }
        Polled::Panicked
    }

    /// The waker that a poll of this task is given; it is not counted, so it must not be
    /// dropped, and lives as long as the poll.
    #[inline(always)]
    pub(crate) fn waker(self) -> ManuallyDrop<Waker> {
        let raw = RawWaker::new(self.0.as_ptr().cast_const().cast(), &WAKER);
        // SAFETY: the functions of `WAKER` keep the contract; it is never dropped, and its
        // clones are counted.
        ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
    }

    /// Whether this is one of this task's wakers.
    #[inline(always)]
    pub(crate) fn is_woken_by(self, waker: &Waker) -> bool {
        ptr::eq(waker.data(), self.0.as_ptr().cast_const().cast())
            && ptr::eq(waker.vtable(), &WAKER)
    }

    /// Drops the future, if it is there; a panic goes through.
    pub(crate) fn drop_future(self) {
        if self.state().has(State::FUTURE) {
            self.update(|state| state.without(State::FUTURE));
            // SAFETY: rule 4; the table takes nobody's future that is lent to a poll.
            unsafe { (self.header().vtable.get().drop_future)(self) };
        }
    }

    /// Leaves a panic's payload as the outcome, in place of nothing.
    pub(crate) fn put_panic(self, payload: Box<dyn Any + Send>) {
        debug_assert!(
            !self.state().has_any(State::PAYLOAD),
            "rule 4: something is there"
        );
        // SAFETY: rule 4, and every payload has room for a panic's.
        unsafe { self.place::<Panic>().write(Box::new(payload)) };
        self.update(|state| state.with(State::PANIC));
    }

    /// Takes a panic's payload out.
    pub(crate) fn take_panic(self) -> Option<Box<dyn Any + Send>> {
        if !self.state().has(State::PANIC) {
            return None;
        }
        self.update(|state| state.without(State::PANIC));
        // SAFETY: rule 4.
        Some(*unsafe { self.place::<Panic>().read() })
    }

    /// Drops an outcome that nobody takes; a panic of its destructor goes through.
    pub(crate) fn drop_outcome(self) {
        drop(self.take_panic());
        if self.state().has(State::VALUE) {
            self.update(|state| state.without(State::VALUE));
            // SAFETY: rule 4.
            unsafe { (self.header().vtable.get().drop_value)(self) };
        }
    }

    // --- For src/wake.rs. What any thread that has a waker may call says so.

    /// For any thread.
    #[inline(always)]
    pub(crate) fn is_on_owner(self) -> bool {
        // First: for the compiler this is a call, which nothing else has to survive.
        let here = crate::sync::known_thread();
        self.chunk().owner == here
    }

    /// For any thread.
    #[inline(always)]
    pub(crate) fn shared(&self) -> &AtomicU32 {
        &self.header().shared
    }

    #[inline(always)]
    pub(crate) fn wakers(&self) -> &Cell<i16> {
        &self.header().wakers
    }

    /// For whoever claimed it, on any thread, and for the owner while it is claimed.
    #[inline(always)]
    pub(crate) fn earlier(&self) -> &AtomicU32 {
        &self.header().earlier
    }

    /// What [`Arena::slot`] finds it by, in 28 bits and not 0; `None` if there are too many chunks.
    /// For any thread.
    #[inline(always)]
    pub(crate) fn list_id(self) -> Option<u32> {
        let number = self.chunk().number;
        let offset = u32::from(self.header().offset);
        (number < limits::LISTED_CHUNKS).then_some(number << 12 | offset)
    }

    /// For any thread.
    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.chunk().remote
    }

    /// Adds a hold for a slot that will be a zombie; false if it has one already, as every
    /// slot that outlives the arena.
    pub(crate) fn hold(self) -> bool {
        let in_use = self.chunk().core.get().is_some();
        if in_use {
            // Relaxed: the arena has one.
            self.chunk().holds.fetch_add(1, Ordering::Relaxed);
        }
        in_use
    }

    /// Takes the hold of `hold` back; not the last.
    pub(crate) fn unhold(self) {
        self.chunk().holds.fetch_sub(1, Ordering::Relaxed);
    }

    /// Frees a slot that nothing refers to and that is unshared.
    #[inline(always)]
    pub(crate) fn free(self) {
        match self.chunk().class.get() {
            // SAFETY: as `Chunk::core` says.
            Some(class) => unsafe { class.as_ref() }.recycle(self),
            None => Chunk::release(self.chunk_ptr()),
        }
    }

    /// Another thread looks at it: for a loom model, which sees whether that comes to an end
    /// before the slot is used again or freed.
    #[inline(always)]
    pub(crate) fn look(self) {
        self.header().trace.look();
        self.chunk().trace.look();
    }

    /// Gives up a zombie that nothing refers to any more; on any thread.
    pub(crate) fn give_back(self) {
        self.header().trace.take();
        let chunk = self.chunk_ptr();
        self.remote().give_back(Freed(self));
        Chunk::release(chunk);
    }

    #[inline(always)]
    fn chunk_ptr(self) -> NonNull<Chunk> {
        // Not from a reference, which could free no more than itself.
        let offset = usize::from(self.header().offset) * GRAIN;
        // SAFETY: rule 1.
        unsafe { self.0.byte_sub(offset).cast() }
    }
}

/// A task's name for life: a slot, and the number that was its task's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    slot: Slot,
    number: u64,
}

// SAFETY: it is followed by `Arena::resolve` alone, on the owner's thread.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    pub(crate) fn of(slot: Slot) -> Self {
        Self {
            slot,
            number: slot.number(),
        }
    }

    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

/// The one reference that outlives a task: its outcome is left for it.
pub(crate) struct Owned<T> {
    slot: Slot,
    _output: PhantomData<(T, *mut ())>,
}

impl<T> Owned<T> {
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// Takes a task back that was lent to a set of tasks that return this (rule 5).
    pub(crate) fn reclaim(slot: Slot) -> Self {
        debug_assert!(slot.state().has(State::MEMBER), "rule 5");
        Self {
            slot,
            _output: PhantomData,
        }
    }

    /// Takes the output out, if there is one.
    pub(crate) fn take_value(&self) -> Option<T> {
        if !self.slot.state().has(State::VALUE) {
            return None;
        }
        self.slot.update(|state| state.without(State::VALUE));
        // SAFETY: rule 4, and `Arena::spawn` made T the future's output.
        Some(unsafe { self.slot.place::<T>().read() })
    }

    /// Runs `f`, which runs no foreign code, with the core, unless it is gone.
    #[inline(always)]
    pub(crate) fn with_core<R>(&self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        self.slot.with_core(f)
    }
}

impl Slot {
    /// Runs `f`, which runs no foreign code, with the core, unless it is gone.
    #[inline(always)]
    pub(crate) fn with_core<R>(self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        let core = self.chunk().core.get()?;
        // SAFETY: as `Chunk::core` says.
        Some(f(unsafe { core.as_ref() }))
    }
}

/// Runs `f`, which runs no foreign code but the allocator, with the core, unless it is gone.
#[inline(always)]
pub(crate) fn with_weak<R>(core: &Weak<Core>, f: impl FnOnce(&Core) -> R) -> Option<R> {
    if core.strong_count() == 0 {
        return None;
    }
    // SAFETY: it lives, and what is not foreign does not drop it.
    Some(f(unsafe { &*core.as_ptr() }))
}

// --- Wakers.

static WAKER: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

/// The slot of a waker.
fn slot_of(data: *const ()) -> Slot {
    // SAFETY: `Slot::waker` made it of a slot, which is not null.
    Slot(unsafe { NonNull::new_unchecked(data.cast_mut().cast()) })
}

#[inline]
unsafe fn clone_waker(data: *const ()) -> RawWaker {
    slot_of(data).add_waker();
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    slot_of(data).wake_and_remove();
}

#[inline]
unsafe fn wake_by_ref(data: *const ()) {
    slot_of(data).wake();
}

#[inline]
unsafe fn drop_waker(data: *const ()) {
    slot_of(data).remove_waker();
}

/// A zombie that was given back by whatever thread; the owner takes it.
#[derive(Debug)]
pub(crate) struct Freed(Slot);

// SAFETY: whoever has it has the only reference to the slot.
unsafe impl Send for Freed {}

// --- Memory.

/// Slots of one size, allocated together.
#[repr(C, align(64))]
struct Chunk {
    remote: Arc<Remote>,
    owner: u64,
    /// The core, while it lives; the owner thread's alone.
    ///
    /// The core clears both at the beginning of its drop, and does not move: they may be
    /// followed while nothing runs that could drop the core.
    core: Cell<Option<NonNull<Core>>>,
    /// The class its slots are free in, while the core lives; the owner thread's alone.
    class: Cell<Option<NonNull<Class>>>,
    holds: AtomicUsize,
    /// Its place among all chunks of the arena.
    number: u32,
    stride: usize,
    capacity: usize,
    /// How many slots have been handed out at least once.
    used: Cell<usize>,
    trace: Traced,
}

impl Chunk {
    fn layout(stride: usize, capacity: usize) -> Layout {
        let size = stride
            .checked_mul(capacity)
            .and_then(|slots| slots.checked_add(size_of::<Chunk>()));
        size.and_then(|size| Layout::from_size_align(size, align_of::<Chunk>()).ok())
            .expect("a future fits into memory")
    }

    fn allocate(stride: usize, capacity: usize, class: &Class, arena: &Arena) -> NonNull<Self> {
        let number = arena.chunks.borrow().len();
        let layout = Self::layout(stride, capacity);
        // SAFETY: the layout's size is not 0.
        let place = unsafe { alloc(layout) }.cast::<Self>();
        let Some(chunk) = NonNull::new(place) else {
            handle_alloc_error(layout)
        };
        // SAFETY: it is big enough and aligned.
        unsafe {
            chunk.write(Self {
                remote: Arc::clone(&arena.remote),
                owner: arena.owner,
                core: Cell::new(arena.core.get()),
                class: Cell::new(Some(NonNull::from(class))),
                holds: AtomicUsize::new(1),
                number: number.try_into().unwrap_or(u32::MAX),
                stride,
                capacity,
                used: Cell::new(0),
                trace: Traced::new(),
            });
        }
        chunk
    }

    fn slot(chunk: NonNull<Self>, index: usize) -> Slot {
        // SAFETY: the caller has a hold, and `index` is below the capacity.
        unsafe {
            let offset = size_of::<Self>() + index * chunk.as_ref().stride;
            Slot(chunk.byte_add(offset).cast())
        }
    }

    /// Makes one more slot, if there is room.
    fn cut(chunk: NonNull<Self>) -> Option<Slot> {
        // SAFETY: the arena has a hold.
        let this = unsafe { chunk.as_ref() };
        let index = this.used.get();
        if index == this.capacity {
            return None;
        }
        this.used.set(index + 1);
        let slot = Self::slot(chunk, index);
        let header = Header {
            vtable: Cell::new(&Of::<std::future::Ready<()>>::VTABLE),
            number: Cell::new(0),
            spawned_at: Cell::new(Location::caller()),
            since: Cell::new(0),
            next: Cell::new(None),
            prev: Cell::new(None),
            state: Cell::new(State::FREE),
            woken_by: Cell::new(0),
            extra: Cell::new(NO_EXTRA),
            wakers: Cell::new(0),
            shared: AtomicU32::new(0),
            offset: u16::try_from((slot.0.as_ptr().addr() - chunk.as_ptr().addr()) / GRAIN)
                .expect("chunks with more than one slot are small"),
            earlier: AtomicU32::new(0),
            trace: Traced::new(),
        };
        // SAFETY: nobody has this slot yet, and it has room for a header.
        unsafe { slot.0.write(header) };
        Some(slot)
    }

    /// Gives up one hold (rule 1).
    fn release(chunk: NonNull<Self>) {
        // SAFETY: the caller has a hold.
        let this = unsafe { chunk.as_ref() };
        if this
            .holds
            .fetch_sub(1, at("chunk.release", Ordering::Release))
            != 1
        {
            return;
        }
        acquire_fence("chunk.free");
        this.trace.take();
        let layout = Self::layout(this.stride, this.capacity);
        // SAFETY: that was the last hold: nobody else has this chunk or a slot of it.
        unsafe {
            chunk.drop_in_place();
            dealloc(chunk.as_ptr().cast(), layout);
        }
    }
}

/// The slots of one size.
#[derive(Default)]
struct Class {
    free: Cell<Option<Slot>>,
    newest: Cell<Option<NonNull<Chunk>>>,
    slots: Cell<usize>,
}

impl Class {
    #[inline(always)]
    fn recycle(&self, slot: Slot) {
        let header = slot.header();
        debug_assert!(
            slot.wakers().get() == 0 && !slot.has_extra(),
            "it is not free"
        );
        header.trace.take();
        header.number.set(0);
        header.state.set(State::FREE);
        header.next.set(self.free.replace(Some(slot)));
    }
}

/// All slots of one executor. They are kept for the next tasks until it is dropped.
pub(crate) struct Arena {
    remote: Arc<Remote>,
    owner: u64,
    core: Cell<Option<NonNull<Core>>>,
    classes: [Class; CLASSES],
    chunks: RefCell<Vec<NonNull<Chunk>>>,
}

impl Arena {
    /// An arena for the calling thread.
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        Self {
            remote,
            owner: crate::sync::thread_number(),
            core: Cell::new(None),
            classes: std::array::from_fn(|_| Class::default()),
            chunks: RefCell::default(),
        }
    }

    /// Tells the slots whose they are; before the first of them is made. `core` must call
    /// [`Arena::close`] before it is dropped or moved.
    pub(crate) fn open(&self, core: &Core) {
        self.core.set(Some(NonNull::from(core)));
    }

    /// Puts a future into a slot.
    #[inline]
    pub(crate) fn spawn<F: Future + 'static>(
        &self,
        future: F,
        birth: impl FnOnce() -> Birth,
    ) -> Owned<F::Output> {
        // First: what a new chunk would have to leave alone is not at hand yet.
        let slot = self.take(Of::<F>::CLASS);
        // SAFETY: the class has room for it, and the slot was free: nothing is there.
        unsafe { slot.place::<F>().write(future) };
        slot.be_born(&Of::<F>::VTABLE, birth());
        Owned {
            slot,
            _output: PhantomData,
        }
    }

    /// A slot that is woken and never polled here: the place of a main future.
    #[cold]
    #[inline(never)]
    pub(crate) fn stand_in(&self, birth: Birth) -> Slot {
        let slot = self.take(Of::<std::future::Ready<()>>::CLASS);
        slot.be_born(&Of::<std::future::Ready<()>>::VTABLE, birth);
        slot
    }

    #[inline(always)]
    fn take(&self, class: usize) -> Slot {
        let free = &self.classes[class].free;
        match free.get() {
            Some(slot) => {
                free.set(slot.next());
                slot
            }
            None => self.take_new(class),
        }
    }

    #[cold]
    #[inline(never)]
    fn take_new(&self, class: usize) -> Slot {
        for Freed(slot) in self.remote.take_back() {
            slot.free_unlisted();
        }
        let of_class = &self.classes[class];
        if let Some(slot) = of_class.free.get() {
            of_class.free.set(slot.next());
            return slot;
        }
        if let Some(slot) = of_class.newest.get().and_then(Chunk::cut) {
            return slot;
        }
        // As many again as there are, within a chunk's size.
        let capacity = of_class.slots.get().max(limits::FIRST_SLOTS);
        let most = (limits::CHUNK - size_of::<Chunk>()) / stride_of(class);
        let capacity = capacity.min(most).max(1);
        let chunk = Chunk::allocate(stride_of(class), capacity, of_class, self);
        self.chunks.borrow_mut().push(chunk);
        of_class.newest.set(Some(chunk));
        of_class.slots.set(of_class.slots.get() + capacity);
        Chunk::cut(chunk).expect("a new chunk has a slot")
    }

    /// Follows a key that was made of a slot of this arena; `None` if its task is gone.
    pub(crate) fn resolve(&self, key: Key) -> Option<Slot> {
        // Rule 1: it is a slot, of that task or of another one.
        (key.slot.number() == key.number || planted("key.stale")).then_some(key.slot)
    }

    /// The slot with this id (rule 7).
    pub(crate) fn slot(&self, id: u32) -> Slot {
        let chunk = self.chunks.borrow()[(id >> 12) as usize];
        let offset = (id & 0xFFF) as usize * GRAIN;
        // SAFETY: rule 7, and the arena has a hold.
        Slot(unsafe { chunk.byte_add(offset).cast() })
    }

    /// All slots that are not free, in no order.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        for &chunk in &*self.chunks.borrow() {
            // SAFETY: the arena has a hold.
            let used = unsafe { chunk.as_ref() }.used.get();
            slots.extend((0..used).map(|index| Chunk::slot(chunk, index)));
        }
        slots.retain(|slot| slot.state() != State::FREE);
        slots
    }

    /// Gives all slots up; the core calls it before it is dropped, when no task lives.
    pub(crate) fn close(&self) {
        self.remote.stop_collecting();
        for chunk in self.chunks.take() {
            // SAFETY: the arena has a hold.
            let this = unsafe { chunk.as_ref() };
            this.core.set(None);
            this.class.set(None);
            for index in 0..this.used.get() {
                let state = Chunk::slot(chunk, index).state();
                // An `Owned` will come; rule 1. (A task that is alive after all would leak.)
                if state.has_any(State::HANDLE.with(State::LIVE)) {
                    this.holds.fetch_add(1, Ordering::Relaxed);
                }
            }
            Chunk::release(chunk);
        }
    }
}

/// What a new slot starts with.
pub(crate) struct Birth {
    pub(crate) number: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) since: u64,
    pub(crate) state: State,
}

impl Slot {
    /// For a stand-in that is used once more, without having been freed.
    #[inline(always)]
    pub(crate) fn be_born_again(self, birth: Birth) {
        let header = self.header();
        header.number.set(birth.number);
        header.spawned_at.set(birth.spawned_at);
        header.since.set(birth.since);
        header.state.set(birth.state);
    }

    /// Nobody follows a key of it from now on.
    #[inline(always)]
    pub(crate) fn clear_number(self) {
        self.header().trace.take();
        self.header().number.set(0);
    }

    #[inline(always)]
    fn be_born(self, vtable: &'static VTable, birth: Birth) {
        let header = self.header();
        header.trace.take();
        header.vtable.set(vtable);
        header.number.set(birth.number);
        header.spawned_at.set(birth.spawned_at);
        header.since.set(birth.since);
        header.state.set(birth.state);
    }
}

#[cfg(test)]
mod tests {
    use crate::Executor;
    use crate::sync::Ordering;

    /// As when the last waker goes while it is made the one that frees the slot.
    #[test]
    fn a_hold_that_is_not_needed_is_given_up() {
        let executor = Executor::new();
        let task = executor.spawn(async {}).unwrap();
        let slot = task.key().slot;
        let holds = || slot.chunk().holds.load(Ordering::Relaxed);
        let before = holds();
        assert!(slot.hold());
        assert_eq!(holds(), before + 1);
        slot.unhold();
        assert_eq!(holds(), before);
    }
}
