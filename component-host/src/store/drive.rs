//! Drives a store from the base of the native stack: the outermost run of guest code, and what
//! goes on when it is paused.
//!
//! Spec: ## Embedding API, and the loop at the end of `canon_lift`.
//!
//! When a synchronous call blocks, every Rust frame above the base unwinds; what the
//! specification would keep on the native stack stays as data: [`State::native`], the threads on
//! it, and [`State::sync_calls`], the synchronous calls in progress. The base then repeats:
//!
//! 1. A thread on top of the native stack whose call has returned is continued.
//! 2. Otherwise the innermost synchronous call is blocked. The executor polls *one* ready task of
//!    the callee instance's group, under a phase, and the base looks again.
//! 3. When that group has no ready task, the call can never go on: the guest traps.
//!
//! A polled thread runs on top of the driver's native stack and leaves its own blocked calls to
//! the same driver, so that nesting costs data and no native stack.

use super::{Event, State, StoreInner, TakenStore, depth};
use crate::abi::canon_lift::CoreFrame;
use crate::abi::canon_lower::Lowered;
use crate::abi::component_instances::InstanceId;
use crate::abi::host_call::{finish_held, panic_text, poll_held};
use crate::abi::tasks::{Caller, TaskId};
use crate::abi::threads::{
    Flow, Role, Thread, ThreadId, ThreadState, Until, continue_paused, resume,
};
use crate::chain::{EnteredAs, Frame};
use crate::engine::Context;
use crate::error::{Error, ErrorKind, bug};
use crate::func::HostCall;
use crate::trap::Trap;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, ready};
use vestibule_executor::{BlockInPhaseError, Group, Phase};

/// A synchronous call in progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncCall {
    pub(crate) task: TaskId,
    /// The task's implicit thread.
    pub(crate) thread: ThreadId,
    pub(crate) inst: InstanceId,
    /// The height of the native stack when the call was made.
    pub(crate) depth: usize,
    /// Set when this is no call, but the turn that `subtask.cancel` gives the callee's instance:
    /// how many threads may run. It ends when nothing is ready, instead of trapping.
    pub(crate) cancel: Option<usize>,
}

/// Whether a driver is at work, and how a thread that it polled failed.
#[derive(Default)]
pub(crate) struct Driver {
    active: Cell<bool>,
    failed: Cell<Option<Error>>,
}

/// What the base is, for the phase under which it drives.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// The start function that runs, when the base is an instantiation.
    start: Option<Rc<str>>,
    at: &'static Location<'static>,
    /// The call from the host that this belongs to; its budget is taken from.
    call: Option<Rc<HostCall>>,
    /// Whether the executor may run other things when a slice of fuel is over.
    yields: bool,
}

/// How far a base has come.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driven {
    /// Nothing of it is left on the native stack.
    Done,
    /// A slice of fuel is over, or the store waits for a host function. Nothing of the store runs
    /// until [`poll_held`] is ready and then [`go_on`].
    SliceOver,
}

impl Base {
    /// A turn of a thread, which belongs to `call`, if the host still knows that.
    #[track_caller]
    pub(crate) fn turn(call: Option<Rc<HostCall>>) -> Base {
        Base {
            start: None,
            at: Location::caller(),
            call,
            yields: true,
        }
    }

    /// A call from the host, made at `at`, that runs to its end at once.
    pub(crate) fn synchronous(at: &'static Location<'static>) -> Base {
        Base {
            start: None,
            at,
            call: None,
            yields: false,
        }
    }

    /// A call from the host, made at `at`.
    pub(crate) fn call(at: &'static Location<'static>, call: &Rc<HostCall>) -> Base {
        Base {
            start: None,
            at,
            call: Some(Rc::clone(call)),
            yields: true,
        }
    }

    /// A start function; `label` says whose, and `at` where the instantiation was asked for.
    pub(crate) fn start(label: Rc<str>, at: &'static Location<'static>, yields: bool) -> Base {
        Base {
            start: Some(label),
            at,
            call: None,
            yields,
        }
    }

    /// The phase for running guest code of, or driving, the given group.
    pub(crate) fn phase(&self, group: &Group) -> Phase {
        match &self.start {
            Some(label) => Phase::instantiating(group).label(Rc::clone(label)),
            None => Phase::custom("synchronous call", group),
        }
        .entered_at(self.at)
    }
}

/// What the base does next.
enum Step {
    /// Let others run.
    SliceOver,
    /// Nothing of this base is left on the native stack.
    Done,
    /// Continue the paused thread on top of the native stack.
    Continue,
    /// Poll the candidates of the innermost synchronous call.
    Drive(SyncCall, Group),
}

/// Runs guest code at the base, and drives it until the native stack is empty again, or, when the
/// base yields, until a slice of fuel is over.
///
/// # Errors
///
/// What ended the run. The instances that were on the stack are locked down.
pub(crate) fn run(
    store: &Rc<StoreInner>,
    base: &Base,
    attempted: &'static str,
    first: impl FnOnce(&mut Context<'_>) -> Result<Flow, Error>,
) -> Result<Driven, Error> {
    match store.take() {
        Some(taken) => run_taken(taken, base, first),
        None => Err(store.busy(attempted, base.at)),
    }
}

/// As [`run`], with the engine's store in hand.
fn run_taken(
    mut taken: TakenStore<'_>,
    base: &Base,
    first: impl FnOnce(&mut Context<'_>) -> Result<Flow, Error>,
) -> Result<Driven, Error> {
    let _run = depth::Run::begin()?;
    let store = taken.store();
    let cx = &mut taken.context();
    cx.data_mut().begin_entry();
    cx.data_mut().may_wait = base.yields;
    begin_fuel(cx, base)?;
    let flow = caught(cx, first).map_err(|error| cx.data_mut().unwind(error));
    if !matches!(flow, Ok(Flow::Paused)) {
        end_fuel(cx, base);
    }
    drop(taken);
    match flow? {
        Flow::Returned => Ok(Driven::Done),
        Flow::Paused => drive(store, base),
    }
}

/// As [`run`], at a base that does not yield.
pub(crate) fn run_to_end(
    store: &Rc<StoreInner>,
    base: &Base,
    attempted: &'static str,
    first: impl FnOnce(&mut Context<'_>) -> Result<Flow, Error>,
) -> Result<(), Error> {
    match run(store, base, attempted, first)? {
        Driven::Done => Ok(()),
        Driven::SliceOver => Err(bug!("a base that does not yield has yielded")),
    }
}

/// Goes on after a slice of fuel, or when the host function is ready that the store waited for.
pub(crate) fn go_on(store: &Rc<StoreInner>, base: &Base) -> Result<Driven, Error> {
    store.between_slices.set(false);
    let held = store.held.take();
    store.enter("go on with a guest", base.at, |cx| {
        cx.data_mut().fuel.slice_over = false;
        let Some(held) = held else {
            return Ok(());
        };
        let finished = caught(cx, |cx| finish_held(cx, held).map(|()| Flow::Paused));
        finished.map(drop).map_err(|error| {
            let error = cx.data_mut().unwind(error);
            end_fuel(cx, base);
            error
        })
    })??;
    drive(store, base)
}

/// As [`run`], for code that nobody waits for: an error goes to the call it belongs to, else to
/// the store's background errors.
pub(crate) fn run_in_background(
    store: &Rc<StoreInner>,
    base: Base,
    first: impl FnOnce(&mut Context<'_>) -> Result<Flow, Error>,
) {
    let driven = run(store, &base, "run a guest thread", first);
    end_in_background(store, base, driven);
}

fn end_in_background(store: &Rc<StoreInner>, base: Base, driven: Result<Driven, Error>) {
    match driven {
        Ok(Driven::Done) => {}
        Ok(Driven::SliceOver) => go_on_later(store, base),
        Err(error) => fail_in_background(store, error),
    }
}

fn fail_in_background(store: &Rc<StoreInner>, error: Error) {
    let failed = store
        .take()
        .map(|mut taken| taken.context().data_mut().failed_call.take());
    match failed.flatten() {
        Some(call) if !call.is_given_up() => {
            if let Some(mut taken) = store.take() {
                call.resolve(&mut taken.context().data_mut().aftermath, Err(error));
            }
        }
        _ => store.report_background(error),
    }
}

/// Leaves the rest of a run whose slice is over to a task of the executor.
pub(crate) fn go_on_later(store: &Rc<StoreInner>, base: Base) {
    let rest = Rest {
        store: Rc::downgrade(store),
        base,
        done: false,
    };
    // An executor that was shut down gives the rest back, and dropping it ends the run.
    drop(
        store
            .executor
            .task()
            .name("next slice")
            .group(&store.group)
            .spawn(rest),
    );
}

/// What is left of a run whose slice of fuel is over, as a task of the executor.
struct Rest {
    store: Weak<StoreInner>,
    base: Base,
    done: bool,
}

impl Future for Rest {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(store) = this.store.upgrade() else {
            this.done = true;
            return Poll::Ready(());
        };
        ready!(poll_held(&store, cx));
        match go_on(&store, &this.base) {
            Ok(Driven::SliceOver) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Driven::Done) => {}
            Err(error) => fail_in_background(&store, error),
        }
        this.done = true;
        Poll::Ready(())
    }
}

impl Drop for Rest {
    /// The executor was shut down: nobody goes on with the run, so it ends here.
    fn drop(&mut self) {
        if !self.done
            && let Some(store) = self.store.upgrade()
        {
            give_up(&store);
        }
    }
}

/// Ends a run whose slice is over, and that nobody will go on with.
pub(crate) fn give_up(store: &Rc<StoreInner>) {
    if store.between_slices.replace(false)
        && let Some(mut taken) = store.take()
    {
        let what = match store.held.take() {
            Some(held) => {
                taken.context().data_mut().aftermath.drop_later(held);
                "while the store waited for a host function"
            }
            None => "between two slices of fuel",
        };
        let error = Error::link(format!("the run was given up {what}"));
        let mut core = taken.context();
        let state = core.data_mut();
        let error = state.unwind(error);
        if let Some(call) = state.failed_call.take() {
            call.resolve(&mut state.aftermath, Err(error));
        }
    }
}

/// As [`run_in_background`], as soon as the executor polls this and the store is not taken.
pub(crate) fn run_when_free(
    store: Weak<StoreInner>,
    first: impl FnOnce(&mut Context<'_>) -> Result<Flow, Error>,
) -> impl Future<Output = ()> {
    let mut first = Some(first);
    poll_fn(move |cx| {
        let Some(store) = store.upgrade() else {
            return Poll::Ready(());
        };
        if store.is_taken() {
            store.wait_for_release(cx.waker());
            return Poll::Pending;
        }
        if let Some(first) = first.take() {
            run_in_background(&store, Base::turn(None), first);
        }
        Poll::Ready(())
    })
}

/// Runs guest code; a panic of ours becomes an error, so that what it left is unwound like any
/// other failure.
#[inline(always)]
fn caught(
    cx: &mut Context<'_>,
    run: impl FnOnce(&mut Context<'_>) -> Result<Flow, Error>,
) -> Result<Flow, Error> {
    let mut flow = Ok(Flow::Returned);
    match catch_unwind(AssertUnwindSafe(|| flow = run(cx))) {
        Ok(()) => flow,
        Err(payload) => Err(Error::new(ErrorKind::Bug(panic_text(payload)))),
    }
}

fn begin_fuel(cx: &mut Context<'_>, base: &Base) -> Result<(), Error> {
    let meter = base.call.as_ref().and_then(|call| call.meter.get());
    let first = cx.data_mut().fuel.begin(meter, base.yields)?;
    cx.set_fuel(first)
        .map_err(|error| Error::from(Trap::Core(error.to_string())))
}

/// Gives the call what it has left, for the turns of its threads that are to come.
fn end_fuel(cx: &mut Context<'_>, base: &Base) {
    if let Some(call) = &base.call {
        let unused = cx.get_fuel().unwrap_or(0);
        call.meter.set(Some(cx.data().fuel.end(unused)));
    }
}

fn drive(store: &Rc<StoreInner>, base: &Base) -> Result<Driven, Error> {
    let driven = drive_on(store, base);
    match driven {
        Ok(Driven::SliceOver) => {
            let held = store.enter("drive a guest", base.at, |cx| cx.data_mut().held.take())?;
            store.held.set(held);
            store.between_slices.set(true);
        }
        _ => store.enter("drive a guest", base.at, |cx| end_fuel(cx, base))?,
    }
    driven
}

fn drive_on(store: &Rc<StoreInner>, base: &Base) -> Result<Driven, Error> {
    loop {
        let step = store.enter("drive a guest", base.at, |cx| cx.data_mut().next_step())?;
        match step {
            Step::Done => return Ok(Driven::Done),
            Step::SliceOver => return Ok(Driven::SliceOver),
            Step::Continue => store.enter("drive a guest", base.at, |cx| {
                caught(cx, continue_paused)
                    .map(drop)
                    .map_err(|error| cx.data_mut().unwind(error))
            })??,
            Step::Drive(call, group) => poll_candidates(store, base, call, &group)?,
        }
    }
}

/// Polls ready threads of the group until the call is resolved, or something else is to be done.
fn poll_candidates(
    store: &Rc<StoreInner>,
    base: &Base,
    call: SyncCall,
    group: &Group,
) -> Result<(), Error> {
    store.driver.active.set(true);
    let executor = &store.executor;
    let mut asked = 0;
    let blocked = executor.with_phase(base.phase(group), || {
        Ok::<_, Error>(executor.block_in_phase(|| {
            asked += 1;
            store.leaves_drive(call) || call.cancel.is_some_and(|turns| asked > turns)
        }))
    });
    store.driver.active.set(false);
    let failed = store.driver.failed.take();
    let error = match (failed, blocked) {
        (Some(error), _) => error,
        (None, Ok(Ok(()) | Err(BlockInPhaseError::NothingReady))) if call.cancel.is_some() => {
            return store.enter("drive a guest", base.at, |cx| {
                cx.data_mut().end_cancel(call)
            });
        }
        (None, Ok(Ok(()))) => return Ok(()),
        (None, Ok(Err(BlockInPhaseError::NothingReady))) => Error::from(Trap::CannotBlockSyncTask),
        (None, Ok(Err(BlockInPhaseError::Refused(refused)))) => Error::from(refused),
        (None, Ok(Err(other))) => Error::host(other),
        (None, Err(error)) => error,
    };
    let unwound = store
        .enter("drive a guest", base.at, |cx| cx.data_mut().unwind(error))
        .unwrap_or_else(|busy| busy);
    Err(unwound)
}

impl StoreInner {
    /// Whether the driver has something else to do than to poll candidates of this call.
    fn leaves_drive(self: &Rc<Self>, call: SyncCall) -> bool {
        let failed = self.driver.failed.take();
        let has_failed = failed.is_some();
        self.driver.failed.set(failed);
        has_failed
            || self.take().is_none_or(|mut taken| {
                !matches!(
                    taken.context().data_mut().next_step(),
                    Step::Drive(next, _) if next.task == call.task
                )
            })
    }
}

impl State {
    fn next_step(&mut self) -> Step {
        if self.fuel.slice_over || self.held.is_some() {
            return Step::SliceOver;
        }
        let Some(call) = self.sync_calls.last().copied() else {
            return if self.native.is_empty() {
                Step::Done
            } else {
                Step::Continue
            };
        };
        if self.native.len() > call.depth {
            return Step::Continue;
        }
        if !self.task_resolved(call.task) {
            return Step::Drive(call, self.instance(call.inst).group.clone());
        }
        self.sync_calls.pop();
        if self.native.is_empty() {
            Step::Done
        } else {
            Step::Continue
        }
    }

    /// The turn that `subtask.cancel` gave is over, unless another call is on top of it now.
    fn end_cancel(&mut self, call: SyncCall) {
        let same = |top: &&SyncCall| top.task == call.task && top.cancel.is_some();
        if self.native.len() == call.depth && self.sync_calls.last().filter(same).is_some() {
            self.sync_calls.pop();
        }
    }

    /// The run failed: names everybody who was on the stack, and locks their instances down.
    pub(crate) fn unwind(&mut self, mut error: Error) -> Error {
        self.totals.failures += 1;
        if is_stuck(&error) {
            self.last_failure = Some(Box::new(self.snapshot()));
        }
        let native = std::mem::take(&mut self.native);
        let sync_calls = std::mem::take(&mut self.sync_calls);
        let mut on_stack: Vec<InstanceId> = Vec::new();
        let blame = self.blame.take();
        let blamed = blame.and_then(|blame| blame.thread);
        for id in innermost_first(&native, &sync_calls).chain(blamed) {
            let Some(thread) = self.threads.get(id) else {
                continue;
            };
            on_stack.push(thread.inst);
            for frame in self.frames(thread) {
                error.push_frame(frame);
            }
        }
        on_stack.extend(sync_calls.iter().map(|call| call.inst));
        // Also when its thread has ended: what failed was done for it.
        on_stack.extend(blame.map(|blame| blame.inst));
        let root = sync_calls
            .first()
            .filter(|call| call.depth == 0)
            .map(|call| call.thread);
        let root = root.or(native.first().copied()).or(blamed);
        self.failed_call = root.and_then(|root| self.root_call(root));
        self.pending = None;
        if let Some(held) = self.held.take() {
            self.aftermath.drop_later(held);
        }
        self.switch_to = None;
        self.drop_passing_ends();
        self.emit(|_| Event::Failed(&error));
        self.lock_down(&on_stack);
        error
    }
}

impl State {
    /// What a thread waits for, how it entered its instance, and through which import.
    fn frames(&self, thread: &Thread) -> Vec<Frame> {
        let mut frames = Vec::new();
        if let ThreadState::Waiting { until, .. } = &thread.state {
            frames.extend(self.waits_for(*until).map(Frame::Waiting));
        }
        let task = thread.task.and_then(|task| self.tasks.get(task));
        let name = || thread.entry.name.to_string();
        let options = task.map(|task| &task.callee.opts.origins);
        let (entered_as, core) = match (thread.entry.role, thread.frame, options) {
            (Role::Export, CoreFrame::Callback, Some(origins)) => {
                (EnteredAs::Callback(name()), &origins.callback)
            }
            (Role::Export, CoreFrame::PostReturn, Some(origins)) => {
                (EnteredAs::PostReturn(name()), &origins.post_return)
            }
            (Role::Export, ..) => (EnteredAs::Export(name()), &thread.entry.core),
            (Role::Start, ..) => (EnteredAs::Start, &thread.entry.core),
            (Role::Realloc, ..) => (EnteredAs::Realloc, &thread.entry.core),
            (Role::Destructor, ..) => (EnteredAs::Destructor, &thread.entry.core),
            (Role::Thread, ..) => (EnteredAs::Thread, &thread.entry.core),
        };
        frames.push(Frame::CoreFunction {
            component: self.path(thread.inst),
            entered_as,
            function: core.describe(),
        });
        if let Some(Caller::Subtask(subtask)) = task.map(|task| &task.caller)
            && let Some(subtask) = self.subtasks.get(*subtask)
        {
            frames.push(self.import_frame(&subtask.lowered, subtask.first_call));
        }
        frames
    }

    /// Whether a start function is on the stack, of whatever component.
    pub(crate) fn in_start(&self) -> bool {
        let starts = |id: &ThreadId| {
            let thread = self.threads.get(*id);
            thread.is_some_and(|thread| thread.entry.role == Role::Start)
        };
        self.native.iter().any(starts) || self.sync_calls.iter().any(|call| starts(&call.thread))
    }

    /// The call of an import.
    pub(crate) fn import_frame(&self, lowered: &Lowered, first_call: bool) -> Frame {
        Frame::Import {
            component: self.path(lowered.inst),
            name: lowered.import.to_string(),
            ty: lowered.ty().to_string(),
            first_call,
        }
    }

    fn waits_for(&self, until: Until) -> Option<String> {
        match until {
            Until::Resolved(subtask) => {
                let subtask = self.subtasks.get(subtask)?;
                let lowered = &subtask.lowered;
                Some(format!("import `{}` ({})", lowered.import, lowered.ty()))
            }
            Until::Event(_) | Until::TurnAndEvent(_) => {
                Some("an event of a waitable set".to_owned())
            }
            Until::Gate => Some("its turn to enter: the instance is busy".to_owned()),
            Until::Pending(_) => Some("a stream or a future".to_owned()),
            Until::Always | Until::Turn => None,
        }
    }
}

/// The threads of a run that failed. One that is blocked in a synchronous call has left the native
/// stack, but whoever made that call is still there.
fn innermost_first(native: &[ThreadId], sync_calls: &[SyncCall]) -> impl Iterator<Item = ThreadId> {
    let mut threads = Vec::with_capacity(native.len() + sync_calls.len());
    let mut calls = sync_calls.iter().peekable();
    for depth in 0..=native.len() {
        while let Some(call) = calls.next_if(|call| call.depth == depth) {
            if call.cancel.is_none() && native.get(depth) != Some(&call.thread) {
                threads.push(call.thread);
            }
        }
        threads.extend(native.get(depth));
    }
    threads.into_iter().rev()
}

/// Whether it helps to know who waited for whom.
fn is_stuck(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Trap(Trap::CannotBlockSyncTask) => true,
        ErrorKind::Limit(limit) => matches!(limit.limit, "fuel" | "timeout" | "interrupt"),
        _ => false,
    }
}

/// What resumes a guest thread whenever it has waited and is ready, as a task of the executor.
pub(crate) struct GuestThread {
    pub(crate) store: Weak<StoreInner>,
    pub(crate) thread: ThreadId,
    /// Which of the tasks of its thread this is; the last one is wanted.
    pub(crate) number: u32,
}

impl GuestThread {
    fn is_wanted(&self, state: &State) -> bool {
        let thread = state.threads.get(self.thread);
        thread.is_some_and(|thread| thread.runners == self.number)
    }
}

impl Future for GuestThread {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let Some(store) = self.store.upgrade() else {
            return Poll::Ready(());
        };
        let Some(mut taken) = store.take() else {
            store.wait_for_release(cx.waker());
            return Poll::Pending;
        };
        let mut core = taken.context();
        let state = core.data_mut();
        if !self.is_wanted(state) {
            return Poll::Ready(());
        }
        if !state.is_ready(self.thread) {
            state.pass_on(self.thread);
            return Poll::Pending;
        }
        // One that is paused is wanted, and woken when it ends.
        let mut wanted = true;
        let resume = |cx: &mut Context<'_>| {
            let flow = resume(cx, self.thread);
            wanted = self.is_wanted(cx.data());
            flow
        };
        if store.driver.active.get() {
            // The driver beneath us goes on with whatever this run leaves on the native stack.
            let flow = caught(&mut taken.context(), resume);
            drop(taken);
            if let Err(error) = flow {
                store.driver.failed.set(Some(error));
            }
        } else {
            let base = Base::turn(state.root_call(self.thread));
            let driven = run_taken(taken, &base, resume);
            end_in_background(&store, base, driven);
        }
        match wanted {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }
}
