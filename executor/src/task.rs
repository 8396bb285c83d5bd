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
//!    last *hold* is released: the arena has one, every zombie (rule 5) has one, and so has
//!    every `Owned` that outlives the arena.
//! 2. All fields but `shared`, `number`, `vtable` and `offset` are the owner thread's alone.
//!    `Slot` and `Owned` are not `Send`; a waker compares threads before it touches them.
//! 3. `number` and `vtable` are written only while no waker of the slot exists.
//! 4. The payload is what the state says: a future (`FUTURE`), an output (`VALUE`), a panic's
//!    payload (`PANIC`), or nothing. Whoever takes it out clears the bit first. `POLLING`
//!    lends the future to one poll: nobody else touches it until that ends.
//! 5. Wakers are counted twice: in `wakers` by the owner's thread and in `shared` by others;
//!    a waker may be cloned in one count and dropped in the other, so only the sum means
//!    anything. A slot is free when the task has ended, its `Owned` is gone and the sum is 0.
//!    If the sum isn't 0 then, the owner adds its count to `shared` and sets `MERGED`: the
//!    slot is a zombie, and whoever brings `shared` to 0 gives it back.
//! 6. While the owner sleeps for the end of a task's wakers, the same is done under
//!    `WATCHED`: whoever brings `shared` to 0 rouses it.

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
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::core::{Core, PollGuard};
use crate::limits;
use crate::remote::{Message, Remote};
use crate::state::State;
use crate::sync::{Arc, AtomicU32, AtomicUsize, Ordering, acquire_fence, at, catch, planted};

/// No entry in the table of extras.
pub(crate) const NO_EXTRA: u32 = u32::MAX;

/// A remote waker sent a message that is not answered yet.
const CLAIMED: u32 = 1 << 0;
/// `shared` counts all wakers, and its end frees the slot (rule 5).
const MERGED: u32 = 1 << 1;
/// `shared` counts all wakers, and its end rouses the owner (rule 6).
const WATCHED: u32 = 1 << 2;
/// One waker; the count is signed, in the bits from here on.
const ONE: u32 = 1 << 3;

fn count(shared: u32) -> i32 {
    shared.cast_signed() >> ONE.trailing_zeros()
}

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
    state: Cell<State>,
    /// The number of the task that woke it last, as far as it fits.
    woken_by: Cell<u32>,
    extra: Cell<u32>,
    wakers: Cell<i32>,
    shared: AtomicU32,
    /// Bytes from the beginning of the chunk.
    offset: u32,
}

/// What is known about a future once its type is erased.
struct VTable {
    poll: unsafe fn(Slot, &mut Context<'_>, &mut PollGuard<'_>) -> bool,
    drop_future: unsafe fn(Slot),
    drop_value: unsafe fn(Slot),
    /// The payload's alignment.
    align: usize,
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
        align: align_of::<Payload<F>>(),
    };

    const CLASS: usize = class_of(
        size_of::<Header>()
            + size_of::<Payload<F>>()
            // Slots are aligned to 16 bytes, their headers to 8.
            + if align_of::<Payload<F>>() > 8 { align_of::<Payload<F>>() } else { 0 },
    );
}

/// Polls the future; when it is done, leaves its output, or the panic of its destructor, which
/// runs when the poll has ended.
unsafe fn poll<F: Future>(slot: Slot, cx: &mut Context<'_>, guard: &mut PollGuard<'_>) -> bool {
    let place = slot.payload(align_of::<Payload<F>>());
    // SAFETY: rule 4: the state was FUTURE | POLLING, so a future of type F (the vtable's) is
    // there and is this call's. A slot does not move, and its future is dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut *place.cast::<F>()) };
    let Poll::Ready(output) = future.poll(cx) else {
        return false;
    };
    guard.end();
    slot.update(|state| state.without(State::FUTURE));
    if needs_drop::<F>() {
        // SAFETY: the bit was cleared: nobody else drops it, and it is not used again.
        if let Err(payload) = catch(|| unsafe { ptr::drop_in_place(place.cast::<F>()) }) {
            slot.put_panic(payload);
            return true;
        }
    }
    // SAFETY: nothing is there any more; the slot has room for an output of F.
    unsafe { place.cast::<F::Output>().write(output) };
    slot.update(|state| state.with(State::VALUE));
    true
}

unsafe fn drop_future<F: Future>(slot: Slot) {
    let place = slot.payload(align_of::<Payload<F>>());
    // SAFETY: the caller cleared FUTURE, which was set (rule 4).
    unsafe { ptr::drop_in_place(place.cast::<F>()) };
}

unsafe fn drop_value<F: Future>(slot: Slot) {
    let place = slot.payload(align_of::<Payload<F>>());
    // SAFETY: the caller cleared VALUE, which was set (rule 4).
    unsafe { ptr::drop_in_place(place.cast::<F::Output>()) };
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
        unsafe {
            self.0
                .byte_sub(self.header().offset as usize)
                .cast::<Chunk>()
                .as_ref()
        }
    }

    #[inline(always)]
    fn payload(self, align: usize) -> *mut u8 {
        let start = self.0.as_ptr().cast::<u8>();
        let offset = size_of::<Header>();
        let gap = (start.addr() + offset).wrapping_neg() & (align - 1);
        // SAFETY: `Of::CLASS` has room for the gap.
        unsafe { start.add(offset + gap) }
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

    pub(crate) fn set_extra(self, extra: u32) {
        self.header().extra.set(extra);
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

    /// Polls the future of a task whose state is `POLLING`; true when it is done, and then its
    /// outcome is there. `guard` ends the poll.
    #[inline]
    pub(crate) fn poll(self, waker: &Waker, guard: &mut PollGuard<'_>) -> bool {
        let vtable = self.header().vtable.get();
        // SAFETY: `Table::begin_poll` set POLLING beside FUTURE, and only one poll ends it.
        unsafe { (vtable.poll)(self, &mut Context::from_waker(waker), guard) }
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
        let place = self.payload(self.header().vtable.get().align);
        // SAFETY: rule 4, and every payload has room for a panic's.
        unsafe { place.cast::<Panic>().write(Box::new(payload)) };
        self.update(|state| state.with(State::PANIC));
    }

    /// Takes a panic's payload out.
    pub(crate) fn take_panic(self) -> Option<Box<dyn Any + Send>> {
        if !self.state().has(State::PANIC) {
            return None;
        }
        self.update(|state| state.without(State::PANIC));
        let place = self.payload(self.header().vtable.get().align);
        // SAFETY: rule 4.
        Some(*unsafe { place.cast::<Panic>().read() })
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

    // --- Its wakers.

    /// Whether a waker of it exists. If not, everything its holders did has been seen.
    pub(crate) fn has_waker(self) -> bool {
        let header = self.header();
        if count(header.shared.load(Ordering::Relaxed)) + header.wakers.get() != 0 {
            return true;
        }
        // Pairs with the Release decrement of the waker that was dropped last: one that found
        // the slot claimed and left may have written what the next poll must see.
        acquire_fence("waker.gone");
        false
    }

    /// Answers a remote wake: the next one sends a message again.
    pub(crate) fn reopen(self) {
        // A read-modify-write, not a store: a store would lose the wakers' writes
        // (loom-tests/tests/wake_coalescing.rs).
        self.header()
            .shared
            .fetch_and(!CLAIMED, at("wake.reopen", Ordering::Acquire));
    }

    /// Has the owner roused when the last waker is dropped; false if there is none (rule 6).
    #[must_use]
    pub(crate) fn watch(self) -> bool {
        let header = self.header();
        let own = header.wakers.replace(0);
        let add = (own.cast_unsigned() << ONE.trailing_zeros()).wrapping_add(WATCHED);
        // Release: who brings the count to 0 under WATCHED must see PARKED, which was set
        // before.
        let before = header
            .shared
            .fetch_add(add, at("waker.watch", Ordering::Release));
        self.update(|state| state.with(State::WATCHED));
        count(before) + own != 0
    }

    /// Ends `watch`; after it, what the holders of dropped wakers did has been seen.
    pub(crate) fn unwatch(self) {
        self.update(|state| state.without(State::WATCHED));
        let before = self.header().shared.fetch_and(!WATCHED, Ordering::Relaxed);
        if count(before) == 0 {
            acquire_fence("waker.gone");
        }
    }

    /// Frees a slot whose task has ended and whose `Owned` is gone, or makes it a zombie.
    #[inline]
    pub(crate) fn retire(self) {
        debug_assert!(
            !self.state().has_any(State::PAYLOAD),
            "its payload would be lost"
        );
        if !self.has_waker() || self.merge_wakers() {
            self.free();
        }
    }

    /// Lets whoever drops the last waker free the slot; true if there was none after all.
    #[cold]
    fn merge_wakers(self) -> bool {
        let (header, chunk) = (self.header(), self.chunk());
        let in_use = chunk.core.get().is_some();
        if in_use {
            // Relaxed: we have a hold ourselves.
            chunk.holds.fetch_add(1, Ordering::Relaxed);
        }
        self.update(|state| state.with(State::MERGED));
        let own = header.wakers.replace(0);
        let add = (own.cast_unsigned() << ONE.trailing_zeros()).wrapping_add(MERGED);
        let before = header
            .shared
            .fetch_add(add, at("waker.merge", Ordering::AcqRel));
        if count(before) + own != 0 {
            return false;
        }
        if in_use {
            // Not the last: the arena has its own.
            chunk.holds.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    #[inline]
    fn free(self) {
        match self.chunk().core.get() {
            // SAFETY: rule 1 of `Chunk::core`.
            Some(core) => unsafe { core.as_ref() }.table.arena.recycle(self),
            None => Chunk::release(self.chunk_ptr()),
        }
    }

    fn chunk_ptr(self) -> NonNull<Chunk> {
        NonNull::from(self.chunk())
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

    /// Takes the output out, if there is one.
    pub(crate) fn take_value(&self) -> Option<T> {
        if !self.slot.state().has(State::VALUE) {
            return None;
        }
        self.slot.update(|state| state.without(State::VALUE));
        let place = self.slot.payload(self.slot.header().vtable.get().align);
        // SAFETY: rule 4, and `Arena::spawn` made T the future's output.
        Some(unsafe { place.cast::<T>().read() })
    }

    /// Runs `f`, which runs no foreign code, with the core, unless it is gone.
    #[inline(always)]
    pub(crate) fn with_core<R>(&self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        self.slot.with_core(f)
    }
}

impl Slot {
    /// Runs `f` with the core, unless it is gone. Foreign code could end it while it runs.
    #[inline(always)]
    fn with_core<R>(self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        let core = self.chunk().core.get()?;
        // SAFETY: rule 1 of `Chunk::core`.
        Some(f(unsafe { core.as_ref() }))
    }
}

// --- Wakers.

static WAKER: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

/// The slot of a waker.
fn slot_of(data: *const ()) -> Slot {
    // SAFETY: `Slot::waker` made it of a slot, which is not null.
    Slot(unsafe { NonNull::new_unchecked(data.cast_mut().cast()) })
}

impl Slot {
    /// Whether the owner's own count is in force; on any thread.
    #[inline(always)]
    fn counts_here(self) -> bool {
        self.chunk().is_owner() && !self.state().has_any(State::MERGED.with(State::WATCHED))
    }
}

unsafe fn clone_waker(data: *const ()) -> RawWaker {
    let slot = slot_of(data);
    let header = slot.header();
    let now = if slot.counts_here() {
        let now = header.wakers.get() + 1;
        header.wakers.set(now);
        now
    } else {
        // Relaxed: it is made of one that exists.
        count(header.shared.fetch_add(ONE, Ordering::Relaxed))
    };
    if now > limits::WAKERS {
        // Somebody forgets wakers in a loop. As with `Arc`, going on would end in a use after
        // free.
        std::process::abort();
    }
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the caller's contract is the same.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

#[inline]
unsafe fn wake_by_ref(data: *const ()) {
    let slot = slot_of(data);
    if !slot.chunk().is_owner() {
        wake_remotely(slot);
    } else if let Some(core) = slot.with_core(|core| core.wake(slot)).flatten() {
        rouse(core);
    }
}

#[cold]
#[inline(never)]
fn rouse(core: Rc<Core>) {
    core.rouse();
}

/// A wake by another thread than the owner's.
#[inline(never)]
fn wake_remotely(slot: Slot) {
    // Release: what this thread wrote before must be seen by the poll, also when somebody
    // else's message is the one that brings it about.
    let before = slot
        .header()
        .shared
        .fetch_or(CLAIMED, at("wake.claim", Ordering::Release));
    if before & (CLAIMED | MERGED) == 0 {
        slot.chunk().remote.send(Message::Wake(Key::of(slot)));
    }
}

#[inline]
unsafe fn drop_waker(data: *const ()) {
    let slot = slot_of(data);
    if slot.counts_here() {
        let wakers = &slot.header().wakers;
        wakers.set(wakers.get() - 1);
    } else {
        drop_shared(slot);
    }
}

/// Drops a waker that `shared` counts.
#[inline(never)]
fn drop_shared(slot: Slot) {
    let header = slot.header();
    let mut before = header.shared.load(Ordering::Relaxed);
    let mut watching = None;
    loop {
        if count(before) == 1 && before & WATCHED != 0 && watching.is_none() {
            // The slot is not ours any more when the count is down.
            watching = Some(Arc::clone(&slot.chunk().remote));
        }
        // Release: what was done before is done when the owner finds the count at 0.
        // Acquire: PARKED was set before WATCHED, and a zombie's slot is ours from here on.
        let ordering = at("waker.drop", Ordering::AcqRel);
        match header.shared.compare_exchange(
            before,
            before.wrapping_sub(ONE),
            ordering,
            Ordering::Relaxed,
        ) {
            Ok(_) => break,
            Err(now) => before = now,
        }
    }
    if count(before) != 1 {
        return;
    }
    if let Some(remote) = watching
        && !planted("waker.tell")
    {
        remote.last_waker_is_gone();
    }
    if before & MERGED != 0 {
        let chunk = slot.chunk_ptr();
        slot.chunk().remote.give_back(slot.into());
        Chunk::release(chunk);
    }
}

/// A zombie that was given back by whatever thread; the owner takes it.
#[derive(Debug)]
pub(crate) struct Freed(Slot);

// SAFETY: whoever has it has the only reference to the slot.
unsafe impl Send for Freed {}

impl From<Slot> for Freed {
    fn from(slot: Slot) -> Self {
        Self(slot)
    }
}

// --- Memory.

/// Slots of one size, allocated together.
#[repr(C, align(64))]
struct Chunk {
    remote: Arc<Remote>,
    owner: u64,
    /// The core, while it lives; the owner thread's alone.
    ///
    /// 1. The core clears it at the beginning of its drop, and does not move: it may be
    ///    followed while nothing runs that could drop the core.
    core: Cell<Option<NonNull<Core>>>,
    holds: AtomicUsize,
    class: usize,
    stride: usize,
    capacity: usize,
    /// How many slots have been handed out at least once.
    used: Cell<usize>,
}

impl Chunk {
    #[inline(always)]
    fn is_owner(&self) -> bool {
        self.owner == crate::sync::thread_number()
    }

    fn layout(stride: usize, capacity: usize) -> Layout {
        let size = stride
            .checked_mul(capacity)
            .and_then(|slots| slots.checked_add(size_of::<Chunk>()));
        size.and_then(|size| Layout::from_size_align(size, align_of::<Chunk>()).ok())
            .expect("a future fits into memory")
    }

    fn allocate(class: usize, capacity: usize, arena: &Arena) -> NonNull<Self> {
        let stride = stride_of(class);
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
                holds: AtomicUsize::new(1),
                class,
                stride,
                capacity,
                used: Cell::new(0),
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
            offset: u32::try_from(slot.0.as_ptr().addr() - chunk.as_ptr().addr())
                .expect("chunks with more than one slot are small"),
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
        let layout = Self::layout(this.stride, this.capacity);
        // SAFETY: that was the last hold: nobody else has this chunk or a slot of it.
        unsafe {
            chunk.drop_in_place();
            dealloc(chunk.as_ptr().cast(), layout);
        }
    }
}

/// Sizes in steps of 16 bytes up to this, in powers of two beyond.
const FINE: usize = 1024;
const CLASSES: usize = FINE / 16 + 1 + (usize::BITS - FINE.trailing_zeros()) as usize;

const fn class_of(size: usize) -> usize {
    if size <= FINE {
        size.div_ceil(16)
    } else {
        FINE / 16 + (size.next_power_of_two().trailing_zeros() - FINE.trailing_zeros()) as usize
    }
}

fn stride_of(class: usize) -> usize {
    if class <= FINE / 16 {
        class * 16
    } else {
        FINE << (class - FINE / 16)
    }
}

/// The slots of one size.
#[derive(Default)]
struct Class {
    free: Cell<Option<Slot>>,
    newest: Cell<Option<NonNull<Chunk>>>,
    slots: Cell<usize>,
}

/// All slots of one executor. They are kept for the next tasks until it is dropped.
pub(crate) struct Arena {
    remote: Arc<Remote>,
    owner: u64,
    core: Cell<Option<NonNull<Core>>>,
    classes: Box<[Class]>,
    chunks: RefCell<Vec<NonNull<Chunk>>>,
}

impl Arena {
    /// An arena for the calling thread.
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        Self {
            remote,
            owner: crate::sync::thread_number(),
            core: Cell::new(None),
            classes: (0..CLASSES).map(|_| Class::default()).collect(),
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
    pub(crate) fn spawn<F: Future + 'static>(&self, future: F, birth: Birth) -> Owned<F::Output> {
        let slot = self.take(Of::<F>::CLASS);
        let place = slot.payload(align_of::<Payload<F>>());
        // SAFETY: the class has room for it, and the slot was free: nothing is there.
        unsafe { place.cast::<F>().write(future) };
        slot.be_born(&Of::<F>::VTABLE, birth);
        Owned {
            slot,
            _output: PhantomData,
        }
    }

    /// A slot that is woken and never polled here: the place of a main future.
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

    #[inline(never)]
    fn take_new(&self, class: usize) -> Slot {
        for Freed(slot) in self.remote.take_back() {
            self.recycle(slot);
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
        let capacity = capacity.min(limits::CHUNK / stride_of(class)).max(1);
        let chunk = Chunk::allocate(class, capacity, self);
        self.chunks.borrow_mut().push(chunk);
        of_class.newest.set(Some(chunk));
        of_class.slots.set(of_class.slots.get() + capacity);
        Chunk::cut(chunk).expect("a new chunk has a slot")
    }

    fn recycle(&self, slot: Slot) {
        let free = &self.classes[slot.chunk().class].free;
        let header = slot.header();
        header.number.set(0);
        header.state.set(State::FREE);
        header.next.set(free.replace(Some(slot)));
    }

    /// Follows a key that was made of a slot of this arena; `None` if its task is gone.
    pub(crate) fn resolve(&self, key: Key) -> Option<Slot> {
        // Rule 1: it is a slot, of that task or of another one.
        (key.slot.number() == key.number).then_some(key.slot)
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
    #[inline(always)]
    fn be_born(self, vtable: &'static VTable, birth: Birth) {
        let header = self.header();
        header.vtable.set(vtable);
        header.number.set(birth.number);
        header.spawned_at.set(birth.spawned_at);
        header.since.set(birth.since);
        header.state.set(birth.state);
        header.extra.set(NO_EXTRA);
        header.wakers.set(0);
        header.shared.store(0, Ordering::Relaxed);
    }
}
