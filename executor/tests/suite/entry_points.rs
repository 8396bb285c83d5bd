//! Every entry point times every state, as a product: operation × activity × phase × panic or
//! not × owner's thread or not. After a refusal nothing has changed: queues, wakers, counters,
//! the phase and what a watchdog sees are as before.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::common::{self, Gate, Log};
use vestibule_executor::{
    Activity, BlockInPhaseError, BlockOnError, Budget, CannotPark, Executor, Group, Handle, Hooks,
    JoinError, JoinHandle, OnBlock, Park, Phase, PhaseKind, Reason, Refused, TaskId, TaskState,
    Watchdog, yield_now,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    BlockOn,
    Tick,
    TickWith,
    TickUntil,
    RunUntilStalled,
    RunUntil,
    Step,
    BlockInPhase,
    Spawn,
    SpawnIntoForeignGroup,
    Defer,
    WithPhase,
    EnterPhase,
    EnterPhaseOfForeignGroup,
    Wake,
    Abort,
    AbortAll,
}

const OPS: [Op; 17] = [
    Op::BlockOn,
    Op::Tick,
    Op::TickWith,
    Op::TickUntil,
    Op::RunUntilStalled,
    Op::RunUntil,
    Op::Step,
    Op::BlockInPhase,
    Op::Spawn,
    Op::SpawnIntoForeignGroup,
    Op::Defer,
    Op::WithPhase,
    Op::EnterPhase,
    Op::EnterPhaseOfForeignGroup,
    Op::Wake,
    Op::Abort,
    Op::AbortAll,
];

/// What the executor is doing when the attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Idle,
    InHook,
    InTask,
    InMainFuture,
    /// In a task that is driven by a task, and so on, so many polls deep; the outermost entered a
    /// phase that permits just that many drives.
    Deep(u32),
    /// The same, each blocking in a phase for the group they are all in.
    DeepInGroup(u32),
    Parked,
    ShuttingDown,
    Closed,
}

const PLACES: [Place; 11] = [
    Place::Idle,
    Place::InHook,
    Place::InTask,
    Place::InMainFuture,
    Place::Deep(2),
    Place::Deep(3),
    Place::DeepInGroup(2),
    Place::DeepInGroup(3),
    Place::Parked,
    Place::ShuttingDown,
    Place::Closed,
];

type InPhase = Option<(PhaseKind, OnBlock)>;

fn phases() -> Vec<InPhase> {
    let mut phases = vec![None];
    for kind in [PhaseKind::Instantiating, PhaseKind::Custom] {
        for on_block in [
            OnBlock::Refuse,
            OnBlock::DriveGroup,
            OnBlock::DriveAll { max_depth: 0 },
            OnBlock::DriveAll { max_depth: 1 },
        ] {
            phases.push(Some((kind, on_block)));
        }
    }
    phases
}

/// The whole table, written down a second time.
fn expected(op: Op, place: Place, phase: InPhase) -> Option<Reason> {
    let closed = matches!(place, Place::ShuttingDown | Place::Closed);
    match op {
        Op::Wake | Op::Abort | Op::AbortAll => return None,
        _ if closed => return Some(Reason::Closed),
        Op::SpawnIntoForeignGroup | Op::EnterPhaseOfForeignGroup => {
            return Some(Reason::ForeignGroup);
        }
        Op::Spawn | Op::Defer | Op::WithPhase | Op::EnterPhase => return None,
        _ => {}
    }
    let inside = match op {
        Op::BlockOn => Reason::Nested,
        _ => Reason::Reentrant,
    };
    if place == Place::Parked {
        return Some(inside);
    }
    match phase.map(|(_, on_block)| on_block) {
        Some(OnBlock::DriveAll { max_depth: 0 }) => Some(Reason::TooDeep),
        Some(OnBlock::DriveAll { .. }) => None,
        Some(OnBlock::DriveGroup) if op == Op::BlockInPhase => None,
        Some(_) => Some(Reason::PhaseForbids),
        // The outer phase is in force there, and all its drives are on the stack.
        None if matches!(place, Place::Deep(_)) => Some(Reason::TooDeep),
        None if matches!(place, Place::DeepInGroup(_)) => {
            (op != Op::BlockInPhase).then_some(Reason::PhaseForbids)
        }
        None if op == Op::BlockInPhase => Some(Reason::NoPhase),
        None if place == Place::Idle => None,
        None => Some(inside),
    }
}

type Probe = Rc<RefCell<Option<Box<dyn FnOnce()>>>>;

struct InHook(Probe);

impl Hooks for InHook {
    fn before_poll(&self, _: TaskId) {
        let probe = self.0.borrow_mut().take();
        if let Some(probe) = probe {
            probe();
        }
    }
}

struct InPark(Probe);

impl Park for InPark {
    fn park(&self) -> Result<(), CannotPark> {
        let probe = self.0.borrow_mut().take();
        if let Some(probe) = probe {
            probe();
        }
        Err(CannotPark)
    }

    fn unparker(&self) -> Waker {
        Waker::noop().clone()
    }
}

/// An executor with something of everything in it.
struct World {
    executor: Executor,
    handle: Handle,
    group: Group,
    foreign: Group,
    watchdog: Watchdog,
    log: Log,
    in_hook: Probe,
    in_park: Probe,
    /// A task that waits, its waker held.
    gate: Gate,
    sleeper: TaskId,
}

impl World {
    fn new() -> Self {
        let (in_hook, in_park) = (Probe::default(), Probe::default());
        let executor = Executor::builder()
            .hooks(InHook(Rc::clone(&in_hook)))
            .park(InPark(Rc::clone(&in_park)))
            .build();
        let (log, gate) = (Log::new(), Gate::new());
        let (waits, done) = (gate.clone(), log.task("sleeper"));
        let sleeper = executor.spawn(async move {
            waits.await;
            done.await;
        });
        let sleeper = sleeper.unwrap().id();
        let _ = executor.tick().unwrap();
        Self {
            handle: executor.handle(),
            group: executor.group("group"),
            foreign: Executor::new().group("foreign"),
            watchdog: executor.watchdog(),
            executor,
            log,
            in_hook,
            in_park,
            gate,
            sleeper,
        }
    }

    /// Everything that a refusal must not change, as one text.
    fn observe(&self) -> String {
        let mut metrics = self.handle.metrics();
        metrics.refused = 0;
        format!(
            "{:?} {metrics:?} {:?} {:?} {:?} {} {}",
            self.handle.snapshot(),
            self.handle.activity(),
            self.handle.phase(),
            self.watchdog.look(),
            self.group.live(),
            self.group.ready(),
        )
    }
}

fn refusal<T, E: Into<Refused>>(result: Result<T, E>) -> Option<Refused> {
    result.err().map(Into::into)
}

/// Makes the attempt; `helper` is a ready task of the group.
fn attempt(op: Op, world: &World, helper: Option<&JoinHandle<()>>) -> Option<Refused> {
    let World {
        handle,
        group,
        foreign,
        ..
    } = world;
    match op {
        Op::BlockOn => match handle.try_block_on(yield_now()) {
            Ok(()) => None,
            Err(BlockOnError::Refused(refused)) => Some(refused),
            Err(other) => panic!("{other}"),
        },
        Op::Tick => refusal(handle.tick()),
        Op::TickWith => refusal(handle.tick_with(Budget::default())),
        Op::TickUntil => refusal(handle.tick_until(Budget::default(), || false)),
        Op::RunUntilStalled => refusal(handle.run_until_stalled(Budget::default())),
        Op::RunUntil => {
            let mut run = pin!(handle.run_until(common::never()));
            match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => None,
                Poll::Ready(result) => refusal(result),
            }
        }
        Op::Step => refusal(group.step()),
        Op::BlockInPhase => {
            let until = || helper.is_none_or(JoinHandle::is_finished);
            match handle.block_in_phase(until) {
                Ok(()) => None,
                Err(BlockInPhaseError::Refused(refused)) => Some(refused),
                Err(other) => panic!("{other}"),
            }
        }
        Op::Spawn => refusal(handle.task().group(group).spawn(async {})),
        Op::SpawnIntoForeignGroup => refusal(handle.task().group(foreign).spawn(async {})),
        Op::Defer => refusal(handle.defer(async {})),
        Op::WithPhase => {
            refusal(handle.with_phase(Phase::custom("p", group), || Ok::<_, Refused>(())))
        }
        Op::EnterPhase => refusal(handle.enter_phase(Phase::instantiating(group))),
        Op::EnterPhaseOfForeignGroup => refusal(handle.enter_phase(Phase::instantiating(foreign))),
        Op::Wake => {
            if let Some(helper) = helper {
                helper.wake();
            }
            None
        }
        Op::Abort => {
            if let Some(helper) = helper {
                helper.abort();
            }
            None
        }
        Op::AbortAll => {
            world.foreign.abort_all();
            None
        }
    }
}

/// Runs `probe` exactly once in `place`, and catches what it panics with. Returns false for a
/// place that an executor does not come back from.
fn run_in(place: Place, world: &Rc<World>, probe: Box<dyn FnOnce()>) -> bool {
    let executor = &world.executor;
    let caught = |f: &mut dyn FnMut()| drop(catch_unwind(AssertUnwindSafe(f)));
    let mut probe = Some(probe);
    let mut take = || probe.take().unwrap();
    match place {
        Place::Idle => caught(&mut || take()()),
        Place::InHook => {
            *world.in_hook.borrow_mut() = Some(take());
            drop(executor.spawn(async {}).unwrap());
            let _ = executor.tick().unwrap();
        }
        Place::InTask => {
            let probe = take();
            drop(
                executor
                    .task()
                    .name("prober")
                    .spawn(async move { probe() })
                    .unwrap(),
            );
            let _ = executor.tick().unwrap();
        }
        Place::InMainFuture => caught(&mut || {
            let probe = take();
            executor.try_block_on(async move { probe() }).unwrap();
        }),
        Place::Deep(depth) => {
            let on_block = OnBlock::DriveAll {
                max_depth: depth - 1,
            };
            descend(world, depth, Some(on_block), take());
            let _ = executor.tick().unwrap();
        }
        Place::DeepInGroup(depth) => {
            descend(world, depth, Some(OnBlock::DriveGroup), take());
            let _ = executor.tick().unwrap();
        }
        Place::Parked => {
            *world.in_park.borrow_mut() = Some(take());
            caught(&mut || assert!(executor.try_block_on(common::never()).is_err()));
        }
        Place::ShuttingDown => {
            struct OnDrop(Option<Box<dyn FnOnce()>>);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    self.0.take().unwrap()();
                }
            }
            let probe = OnDrop(Some(take()));
            let task = async move {
                common::never().await;
                drop(probe);
            };
            drop(executor.spawn(task).unwrap());
            executor.shutdown();
            return false;
        }
        Place::Closed => {
            executor.shutdown();
            caught(&mut || take()());
            return false;
        }
    }
    true
}

/// Spawns a task that, so many polls deep, runs `probe`: it spawns the next one, and drives until
/// that has ended. The outermost enters a phase.
fn descend(
    world: &Rc<World>,
    depth: u32,
    on_block: Option<OnBlock>,
    probe: Box<dyn FnOnce()>,
) -> JoinHandle<()> {
    let inner = Rc::clone(world);
    let task = async move {
        if depth == 1 {
            return probe();
        }
        let drive = || {
            let next = descend(&inner, depth - 1, None, probe);
            inner.handle.block_in_phase(|| next.is_finished())
        };
        let driven = match on_block {
            Some(on_block) => {
                let phase = Phase::custom("outer", &inner.group).on_block(on_block);
                inner.handle.with_phase(phase, drive)
            }
            None => drive(),
        };
        driven.unwrap();
    };
    let builder = world.handle.task().group(&world.group);
    builder.spawn(task).unwrap()
}

fn expected_activity(place: Place) -> Activity {
    match place {
        Place::Idle => Activity::Idle,
        Place::InHook => Activity::Driving,
        Place::InTask | Place::InMainFuture => Activity::Polling { depth: 1 },
        Place::Deep(depth) | Place::DeepInGroup(depth) => Activity::Polling { depth },
        Place::Parked => Activity::Parked,
        Place::ShuttingDown => Activity::ShuttingDown,
        Place::Closed => Activity::Closed,
    }
}

/// Calls `f` in the phase, unless the executor is past having one.
fn in_phase(world: &World, phase: InPhase, f: impl FnOnce()) {
    let Some((kind, on_block)) = phase else {
        return f();
    };
    let phase = match kind {
        PhaseKind::Instantiating => Phase::instantiating(&world.group),
        _ => Phase::custom("test", &world.group),
    };
    match world.handle.enter_phase(phase.on_block(on_block)) {
        Ok(guard) => {
            f();
            let _ = guard.commit();
        }
        Err(refused) => {
            assert_eq!(refused.reason(), Reason::Closed);
            f();
        }
    }
}

fn check(op: Op, place: Place, phase: InPhase, panics: bool) {
    let case = format!("{op:?} {place:?} {phase:?}, panics: {panics}");
    let world = Rc::new(World::new());
    let probed = Rc::new(Cell::new(false));
    let (inner, reached, text) = (Rc::clone(&world), Rc::clone(&probed), case.clone());
    let probe = move || {
        let world = inner;
        assert_eq!(world.handle.activity(), expected_activity(place), "{text}");
        in_phase(&world, phase, || {
            // Ready outside of the group and inside; the sleeper is woken just before.
            let bystander = world.handle.spawn(world.log.task("bystander")).is_ok();
            let helper = world.handle.task().group(&world.group).spawn(async {}).ok();
            world.gate.open();
            assert_eq!(bystander, helper.is_some());
            let before = world.observe();
            let refused = attempt(op, &world, helper.as_ref());
            let reason = refused.as_ref().map(Refused::reason);
            assert_eq!(reason, expected(op, place, phase), "{text}");
            if let Some(refused) = refused {
                assert_eq!(before, world.observe(), "{text}: the refusal left traces");
                assert!(refused.attempted_at().file().ends_with("entry_points.rs"));
                let closed = refused.reason() == Reason::Closed;
                let outer = place != Place::Idle || phase.is_some();
                assert_eq!(refused.entered_at().is_some(), outer && !closed, "{text}");
            }
            reached.set(true);
        });
        assert!(!panics, "as planned");
    };
    let survives = run_in(place, &world, Box::new(probe));
    assert!(probed.get(), "{case}: the probe failed or was not reached");
    assert_eq!(world.handle.phase().depth, 0, "{case}");
    if !survives {
        assert_eq!(world.handle.activity(), Activity::Closed, "{case}");
        assert_eq!(world.handle.metrics().live, 0, "{case}");
        return;
    }
    // Whatever happened: it goes on, and nothing was lost or run twice.
    assert_eq!(world.handle.activity(), Activity::Idle, "{case}");
    let _ = world.executor.run_until_stalled(Budget::default()).unwrap();
    let mut events = world.log.take();
    events.sort();
    assert_eq!(events, ["bystander", "sleeper"], "{case}");
    assert_eq!(world.handle.snapshot().tasks, [], "{case}");
    assert_eq!(
        world.executor.try_block_on(async { 1 }).unwrap(),
        1,
        "{case}"
    );
}

/// Failing probes panic where nobody sees it; the text must not drown in planned ones.
fn without_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let old = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let planned = info.payload().downcast_ref::<&str>() == Some(&"as planned");
            if !planned {
                old(info);
            }
        }));
    });
}

#[test]
fn every_operation_in_every_activity_and_phase_has_its_outcome_and_refusals_leave_no_trace() {
    without_planned_panics();
    let mut cases = 0;
    for op in OPS {
        for place in PLACES {
            for phase in phases() {
                for panics in [false, true] {
                    check(op, place, phase, panics);
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 17 * 11 * 9 * 2);
}

/// From another thread the owner's operations do not exist (they do not compile, see api.rs);
/// what does exist is accepted in every state, and takes effect when the owner drives again.
#[test]
fn what_another_thread_may_do_is_accepted_in_every_state_and_takes_effect_later() {
    without_planned_panics();
    for place in PLACES {
        for phase in phases() {
            let case = format!("{place:?} {phase:?}");
            let world = Rc::new(World::new());
            let spawner = world.executor.send_spawner();
            let doomed = spawner.spawn(std::future::pending::<()>()).unwrap();
            let _ = world.executor.tick().unwrap();
            let result = Rc::new(RefCell::new(None));
            let (inner, slot, text) = (Rc::clone(&world), Rc::clone(&result), case.clone());
            let probe = move || {
                let world = inner;
                in_phase(&world, phase, || {
                    let wakers = world.gate.wakers();
                    world.gate.open();
                    let (before, watchdog) = (world.observe(), world.watchdog.clone());
                    let outcome = std::thread::spawn(move || {
                        wakers.iter().for_each(Waker::wake_by_ref);
                        doomed.abort();
                        let activity = watchdog.look().activity;
                        (spawner.spawn(async { 5 }), doomed, activity, wakers)
                    });
                    let outcome = outcome.join().unwrap();
                    assert_eq!(outcome.2, expected_activity(place), "{text}");
                    assert_eq!(before, world.observe(), "{text}");
                    *slot.borrow_mut() = Some(outcome);
                });
            };
            let survives = run_in(place, &world, Box::new(probe));
            let (spawned, doomed, _, _wakers) = result.borrow_mut().take().expect(&case);
            let outside = Executor::new();
            if !survives {
                let refused = spawned.unwrap_err();
                assert_eq!(refused.refused().reason(), Reason::Closed, "{case}");
                let outcome = outside.try_block_on(doomed).unwrap();
                assert!(matches!(outcome, Err(JoinError::ExecutorGone)), "{case}");
                continue;
            }
            let _ = world.executor.run_until_stalled(Budget::default()).unwrap();
            assert_eq!(
                outside.try_block_on(spawned.unwrap()).unwrap().unwrap(),
                5,
                "{case}"
            );
            let outcome = outside.try_block_on(doomed).unwrap();
            assert!(matches!(outcome, Err(JoinError::Aborted)), "{case}");
            assert_eq!(world.log.take(), ["sleeper"], "{case}");
        }
    }
}

#[test]
fn the_world_starts_as_the_product_takes_it_to_be() {
    let world = World::new();
    let snapshot = world.handle.snapshot();
    let sleeper = snapshot.get(world.sleeper).unwrap();
    assert_eq!(
        (sleeper.state, sleeper.waker_held),
        (TaskState::Waiting, true)
    );
}
