//! Makes the real executor do what a case says, and writes down what happened.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use vestibule_executor::{
    BlockInPhaseError, BlockOnError, Budget, CannotPark, Executor, Group, Handle, Hooks, OnBlock,
    Park, Phase, PhaseEvent, PhaseGuard, PhaseInfo, PollOutcome, Refused, Schedule, Spawner,
    Stalled, TaskId, Tick,
};

use crate::future::{Joinable, Script, word};
use crate::script::{Blocks, Bounds, Case, Ending, Leaving, Op, Task, Waking, pick};

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct World {
    trace: RefCell<Vec<String>>,
    handle: Handle,
    host: Arc<CountWakes>,
    pub(crate) outputs: Arc<AtomicUsize>,
    pub(crate) futures: Cell<usize>,
    /// Whose future is gone. Whether a host is roused by a wake of such a one from another thread
    /// Whose future is gone. Whether a stale waker of such a one rouses the host is not promised,
    /// so that is not tried.
    pub(crate) over: RefCell<Vec<bool>>,
    has_host: bool,
    names: Cell<usize>,
    handles: RefCell<Vec<Option<Joinable>>>,
    pub(crate) wakers: RefCell<Vec<Option<Waker>>>,
    groups: RefCell<Vec<Option<Group>>>,
    guards: RefCell<Vec<Option<PhaseGuard>>>,
    /// Not dropped before the executor is; after that, for the sake of a leak checker.
    forgotten: RefCell<Vec<PhaseGuard>>,
    spawner: RefCell<Option<Spawner>>,
    parks: RefCell<Vec<Vec<Op>>>,
    /// Destructors do nothing now: in what order a shutdown drops is not promised.
    pub(crate) quiet: Cell<bool>,
    closed: Cell<bool>,
}

std::thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

pub(crate) fn world() -> Option<Rc<World>> {
    WORLD.with(|world| world.borrow().clone())
}

pub(crate) fn say(text: String) {
    if let Some(world) = world() {
        world.trace.borrow_mut().push(text);
    }
}

struct Tells;

impl Hooks for Tells {
    fn on_spawn(&self, id: TaskId, _: Option<&str>) {
        say(format!("hook: spawned #{}", id.number()));
    }
    fn before_poll(&self, id: TaskId) {
        say(format!("hook: polls #{}", id.number()));
    }
    fn after_poll(&self, id: TaskId, outcome: PollOutcome) {
        say(format!("hook: polled #{} {outcome:?}", id.number()));
    }
    fn on_phase(&self, event: PhaseEvent, phase: &PhaseInfo) {
        let group = phase.group.as_deref().unwrap_or_default();
        say(format!("hook: phase {event:?} {} of {group}", phase.depth));
    }
    fn on_refused(&self, _: &Refused) {
        say("hook: refused".into());
    }
    fn on_stalled(&self, _: &Stalled) {
        say("hook: stalled".into());
    }
    fn on_discarded(&self, id: TaskId, _: Option<&str>) {
        say(format!("hook: discarded #{}", id.number()));
    }
}

struct Scripted;

impl Park for Scripted {
    fn park(&self) -> Result<(), CannotPark> {
        if let Some(world) = world() {
            let script = world.parks.borrow_mut().pop();
            for op in script.iter().flatten() {
                drop(catch_unwind(AssertUnwindSafe(|| world.run(op))));
            }
        }
        Err(CannotPark)
    }

    fn unparker(&self) -> Waker {
        Waker::noop().clone()
    }
}

impl World {
    fn name(&self) -> usize {
        let name = self.names.get();
        self.names.set(name + 1);
        self.handles.borrow_mut().push(None);
        self.wakers.borrow_mut().push(None);
        self.over.borrow_mut().push(false);
        name
    }

    pub(crate) fn take_handle(&self, number: u8) -> Option<(usize, Joinable)> {
        let name = pick(number, self.names.get())?;
        let handle = self.handles.borrow_mut()[name].take()?;
        Some((name, handle))
    }

    fn group(&self, number: u8) -> Option<Group> {
        let groups = self.groups.borrow();
        groups[pick(number, groups.len())?].clone()
    }

    fn phase(&self, group: u8, blocks: Blocks) -> Option<Phase> {
        let on_block = match blocks {
            Blocks::Refuse => OnBlock::Refuse,
            Blocks::Group => OnBlock::DriveGroup,
            Blocks::All(max_depth) => OnBlock::DriveAll { max_depth },
        };
        Some(Phase::instantiating(&self.group(group)?).on_block(on_block))
    }

    fn refused(&self, refused: &Refused) {
        say(format!(
            "refused {:?} {:?} at depth {}, phases {}, in {:?}",
            refused.op(),
            refused.reason(),
            refused.depth(),
            refused.phase_depth(),
            refused.task_name(),
        ));
    }

    fn ticked(&self, what: &str, result: Result<Tick, Refused>) {
        match result {
            Ok(mut tick) => {
                if self.closed.get() {
                    (tick.woken_local, tick.woken_remote) = (0, 0);
                }
                say(format!("{what}: {tick:?}"));
            }
            Err(refused) => self.refused(&refused),
        }
    }

    /// A refused task comes back, and is dropped here.
    fn gave_back<F>(&self, error: vestibule_executor::SpawnError<F>) {
        self.refused(error.refused());
        drop(catch_unwind(AssertUnwindSafe(|| drop(error.into_inner()))));
    }

    fn shut_down(&self, how: impl FnOnce()) {
        let (start, quiet) = (self.trace.borrow().len(), self.quiet.replace(true));
        self.closed.set(true);
        how();
        self.quiet.set(quiet);
        self.trace.borrow_mut()[start..].sort();
        say("shut down".into());
    }

    pub(crate) fn run(&self, op: &Op) {
        match op {
            Op::Spawn { group, defer, task } => self.spawn(*group, *defer, task),
            Op::SpawnRemotely(task) => self.spawn_remotely(task),
            Op::BlockOn(task) => self.block_on(task),
            Op::WithPhase {
                group,
                blocks,
                ops,
                leaving,
            } => self.with_phase(*group, *blocks, ops, *leaving),
            Op::Enter { .. } | Op::End { .. } | Op::BlockInPhase(_) => self.run_phase_op(op),
            Op::AbortAll(_)
            | Op::AbortTree(_)
            | Op::NewGroup(_)
            | Op::DropGroup(_)
            | Op::Step(_) => self.run_group_op(op),
            Op::Wake { task, how } => self.wake(*task, *how),
            Op::DropWaker(task) => {
                if let Some(name) = pick(*task, self.names.get()) {
                    let waker = self.wakers.borrow_mut()[name].take();
                    drop(waker);
                }
            }
            Op::DropHandle(task) => drop(self.take_handle(*task)),
            Op::Abort(task) => {
                if let Some((name, handle)) = self.take_handle(*task) {
                    match &handle {
                        Joinable::Local(handle) => handle.abort(),
                        Joinable::Remote(handle) => handle.abort(),
                        Joinable::Armed(_) => unreachable!("only while it is awaited"),
                    }
                    self.handles.borrow_mut()[name] = Some(handle);
                }
            }
            Op::Tick => self.ticked("tick", self.handle.tick()),
            Op::TickWith(bounds) => {
                self.ticked("tick_with", self.handle.tick_with(budget(*bounds)));
            }
            Op::RunUntilStalled(bounds) => {
                let tick = self.handle.run_until_stalled(budget(*bounds));
                self.ticked("run_until_stalled", tick);
            }
            Op::TickUntil(asks) => {
                let (asked, done) = asking(*asks);
                let tick = self.handle.tick_until(Budget::UNLIMITED, done);
                self.ticked("tick_until", tick);
                say(format!("asked {}", asked.get()));
            }
            Op::HoldSpawner(hold) => {
                let spawner = (*hold && self.handle.is_alive()).then(|| self.handle.send_spawner());
                let old = std::mem::replace(&mut *self.spawner.borrow_mut(), spawner);
                drop(old);
            }
            Op::Shutdown => self.shut_down(|| self.handle.shutdown()),
        }
    }

    fn spawn(&self, group: Option<u8>, defer: bool, task: &Task) {
        let name = self.name();
        let mut builder = self.handle.task().name(format!("t{name}"));
        if let Some(group) = group.and_then(|group| self.group(group)) {
            builder = builder.group(&group);
        }
        let script = Script::new(self, name, Arc::new(task.clone()));
        let result = if defer {
            builder.defer(script)
        } else {
            builder.spawn(script)
        };
        match result {
            Ok(handle) => self.handles.borrow_mut()[name] = Some(Joinable::Local(handle)),
            Err(error) => self.gave_back(error),
        }
    }

    fn spawn_remotely(&self, task: &Task) {
        let name = self.name();
        if !self.handle.is_alive() {
            return say("no spawner".into());
        }
        let (spawner, task) = (self.handle.send_spawner(), Arc::new(task.clone()));
        let thread = std::thread::spawn(move || {
            spawner.spawn_with(move || {
                let world = world().expect("spawned after the end");
                Script::new(&world, name, task)
            })
        });
        match thread.join().unwrap() {
            Ok(handle) => self.handles.borrow_mut()[name] = Some(Joinable::Remote(handle)),
            Err(error) => self.gave_back(error),
        }
    }

    fn wake(&self, task: u8, how: Waking) {
        let Some(name) = pick(task, self.names.get()) else {
            return;
        };
        if how == Waking::Handle {
            if let Some(Joinable::Local(handle)) = &self.handles.borrow()[name] {
                handle.wake();
            }
            return;
        }
        let waker = self.wakers.borrow()[name].clone();
        let Some(waker) = waker else { return };
        let stale = self.has_host && self.over.borrow()[name];
        if how == Waking::Waker && !(stale && self.closed.get()) {
            waker.wake();
        } else if how == Waking::Thread && !stale {
            std::thread::spawn(move || waker.wake()).join().unwrap();
        }
    }

    fn block_on(&self, task: &Task) {
        let name = self.name();
        let mut task = task.clone();
        // It would get out of `try_block_on`, and perhaps in the middle of another panic.
        task.drop_panics = false;
        match self
            .handle
            .try_block_on(Script::new(self, name, Arc::new(task)))
        {
            Ok(_) => say(format!("blocked on {name}")),
            Err(BlockOnError::Refused(refused)) => self.refused(&refused),
            Err(BlockOnError::Stalled(stalled)) => say(format!("{stalled:?}")),
            Err(other) => panic!("{other}"),
        }
    }

    fn with_phase(&self, group: u8, blocks: Blocks, ops: &[Op], leaving: Leaving) {
        let Some(phase) = self.phase(group, blocks) else {
            return;
        };
        let result = self.handle.with_phase(phase, || {
            ops.iter().for_each(|op| self.run(op));
            match leaving {
                Leaving::Ok => Ok(()),
                Leaving::Err => Err(None),
                Leaving::Panic => resume_unwind(Box::new("planned")),
            }
        });
        match result.map_err(|error: Option<Refused>| error) {
            Ok(()) => say("with_phase: ok".into()),
            Err(None) => say("with_phase: err".into()),
            Err(Some(refused)) => self.refused(&refused),
        }
    }

    fn run_phase_op(&self, op: &Op) {
        match op {
            Op::Enter { group, blocks } => {
                let Some(phase) = self.phase(*group, *blocks) else {
                    return;
                };
                match self.handle.enter_phase(phase) {
                    Ok(guard) => self.guards.borrow_mut().push(Some(guard)),
                    Err(refused) => self.refused(&refused),
                }
            }
            Op::End { guard, how } => {
                let taken = {
                    let mut guards = self.guards.borrow_mut();
                    pick(*guard, guards.len()).and_then(|at| guards[at].take())
                };
                let Some(guard) = taken else { return };
                let ended = match how {
                    Ending::Commit => guard.commit(),
                    Ending::Discard => guard.discard(),
                    Ending::Drop => {
                        drop(guard);
                        false
                    }
                    Ending::Forget => {
                        self.forgotten.borrow_mut().push(guard);
                        false
                    }
                };
                say(format!("{how:?}: {ended}"));
            }
            Op::BlockInPhase(asks) => {
                let (asked, until) = asking(*asks);
                match self.handle.block_in_phase(until) {
                    Ok(()) => say("block_in_phase: ok".into()),
                    Err(BlockInPhaseError::NothingReady) => say("nothing ready".into()),
                    Err(BlockInPhaseError::Refused(refused)) => self.refused(&refused),
                    Err(other) => panic!("{other}"),
                }
                say(format!("asked {}", asked.get()));
            }
            _ => unreachable!(),
        }
    }

    fn run_group_op(&self, op: &Op) {
        match op {
            Op::AbortAll(group) => {
                if let Some(group) = self.group(*group) {
                    group.abort_all();
                }
            }
            Op::AbortTree(group) => {
                // Of the first ones, whose order in the tree is known.
                if let Some(group) = self.group(group % 3) {
                    group.abort_tree();
                }
            }
            Op::NewGroup(parent) => {
                let group = {
                    let groups = self.groups.borrow();
                    let at = pick(*parent, groups.len() - 3);
                    let parent = at.and_then(|at| groups[3 + at].as_ref());
                    parent.map(|parent| parent.subgroup("new"))
                };
                self.groups.borrow_mut().push(group);
            }
            Op::DropGroup(group) => {
                let taken = {
                    let mut groups = self.groups.borrow_mut();
                    let len = groups.len();
                    // The first ones stay.
                    pick(*group, len - 4).and_then(|at| groups[4 + at].take())
                };
                drop(taken);
            }
            Op::Step(group) => {
                if let Some(group) = self.group(*group) {
                    match group.step() {
                        Ok(polled) => say(format!("step: {polled}")),
                        Err(refused) => self.refused(&refused),
                    }
                }
            }
            _ => unreachable!(),
        }
    }

    /// What can be seen from outside, between two operations of the host.
    fn observe(&self) -> String {
        let mut metrics = self.handle.metrics();
        if self.closed.get() {
            (metrics.woken_local, metrics.woken_remote) = (0, 0);
        }
        let finished: Vec<_> = {
            let handles = self.handles.borrow();
            let finished = handles
                .iter()
                .map(|handle| handle.as_ref().map(Joinable::is_finished));
            finished.collect()
        };
        let groups: Vec<_> = {
            let groups = self.groups.borrow();
            let counts = groups
                .iter()
                .flatten()
                .map(|group| (group.live(), group.ready()));
            counts.collect()
        };
        format!(
            "{metrics:?} {:?} phases {} groups {groups:?} finished {finished:?} host {}",
            self.handle.activity(),
            self.handle.phase().depth,
            self.host.0.load(Ordering::Relaxed),
        )
    }
}

fn asking(asks: u8) -> (Rc<Cell<u8>>, impl FnMut() -> bool) {
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    let done = move || {
        count.set(count.get() + 1);
        count.get() > asks
    };
    (asked, done)
}

fn budget(bounds: Bounds) -> Budget {
    let mut budget = Budget::UNLIMITED;
    budget.polls = bounds.polls;
    budget.rounds = bounds.rounds;
    budget.deadline = bounds.past.then(Instant::now);
    budget
}

/// Runs the case, and returns what happened.
pub(crate) fn run(case: &Case, schedule: Schedule) -> Vec<String> {
    let host = Arc::new(CountWakes::default());
    let mut builder = Executor::builder()
        .hooks(Tells)
        .park(Scripted)
        .schedule(schedule)
        .max_poll_depth(case.max_poll_depth);
    if case.host {
        builder = builder.host_waker(Waker::from(Arc::clone(&host)));
    }
    let executor = builder.build();
    let store = executor.group("store");
    let first = store.subgroup("first");
    let groups = [
        store,
        first.subgroup("second"),
        first,
        executor.group("other"),
    ];
    let world = Rc::new(World {
        trace: RefCell::default(),
        handle: executor.handle(),
        host,
        outputs: Arc::default(),
        futures: Cell::default(),
        over: RefCell::default(),
        has_host: case.host,
        names: Cell::default(),
        handles: RefCell::default(),
        wakers: RefCell::default(),
        groups: RefCell::new(groups.map(Some).to_vec()),
        guards: RefCell::default(),
        forgotten: RefCell::default(),
        spawner: RefCell::default(),
        parks: RefCell::new(case.parks.iter().rev().cloned().collect()),
        quiet: Cell::default(),
        closed: Cell::default(),
    });
    WORLD.set(Some(Rc::clone(&world)));
    for op in &case.ops {
        if catch_unwind(AssertUnwindSafe(|| world.run(op))).is_err() {
            say("unwound".into());
        }
        say(world.observe());
    }
    world.shut_down(|| drop(executor));
    say(world.observe());
    // Every handle has an outcome, and nothing is left of anything.
    let handles = std::mem::take(&mut *world.handles.borrow_mut());
    for (name, handle) in handles.into_iter().enumerate() {
        if let Some(mut handle) = handle {
            match handle.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => say(format!("{name}: {}", word(&result))),
                Poll::Pending => say(format!("{name}: never answered")),
            }
        }
    }
    let left = world.outputs.load(Ordering::Relaxed);
    say(format!(
        "left: {} futures, {left} outputs",
        world.futures.get()
    ));
    WORLD.set(None);
    world.trace.take()
}
