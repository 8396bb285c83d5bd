//! What people do that they should not, and what others got wrong about it: each has a
//! defined outcome, and nothing hangs.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::common::{self, Gate, Log};
use vestibule_executor::{
    BlockOnError, Budget, CannotPark, Executor, Handle, Hooks, JoinError, Park, Phase, PhaseEvent,
    PhaseInfo, PollOutcome, Reason, Refused, Stalled, TaskId, TickEnd, yield_now,
};

#[test]
fn hooks_that_all_panic_change_nothing_but_a_counter() {
    struct Panics;
    impl Hooks for Panics {
        fn on_spawn(&self, _: TaskId, _: Option<&str>) {
            panic!("on_spawn")
        }
        fn before_poll(&self, _: TaskId) {
            panic!("before_poll")
        }
        fn after_poll(&self, _: TaskId, _: PollOutcome) {
            panic!("after_poll")
        }
        fn on_phase(&self, _: PhaseEvent, _: &PhaseInfo) {
            panic!("on_phase")
        }
        fn on_refused(&self, _: &Refused) {
            panic!("on_refused")
        }
        fn on_stalled(&self, _: &Stalled) {
            panic!("on_stalled")
        }
        fn on_discarded(&self, _: TaskId, _: Option<&str>) {
            panic!("on_discarded")
        }
    }
    let executor = Executor::builder().hooks(Panics).build();
    let store = executor.group("store");
    let task = executor.spawn(async { 1 }).unwrap();
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 1);
    let failed = executor.with_phase(Phase::instantiating(&store), || {
        drop(executor.defer(async {}).unwrap());
        executor.tick().map(drop)
    });
    assert_eq!(failed.unwrap_err().reason(), Reason::PhaseForbids);
    assert!(executor.try_block_on(common::never()).is_err());
    // spawn, before, after, spawn (deferred), entered, refused, ended, discarded, stalled.
    assert_eq!(executor.metrics().foreign_panics, 9);
    assert_eq!(executor.phase().depth, 0);
}

#[test]
fn wakers_of_the_host_that_panic_reach_neither_who_wakes_nor_who_drives() {
    struct Panics(AtomicUsize);
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a waker of the host's");
        }
    }
    struct PanickyUnpark(Waker, Rc<RefCell<Vec<Waker>>>);
    impl Park for PanickyUnpark {
        fn park(&self) -> Result<(), CannotPark> {
            // A wake on this thread and one on another, while we sleep.
            let wakers = self.1.take();
            if wakers.is_empty() {
                return Err(CannotPark);
            }
            wakers[0].wake_by_ref();
            std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake))
                .join()
                .expect("the panic stays inside");
            Ok(())
        }
        fn unparker(&self) -> Waker {
            self.0.clone()
        }
    }
    let (host, unparker) = (Arc::new(Panics(0.into())), Arc::new(Panics(0.into())));
    let in_park: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let park = PanickyUnpark(Waker::from(unparker.clone()), Rc::clone(&in_park));
    let executor = Executor::builder()
        .host_waker(Waker::from(host.clone()))
        .park(park)
        .build();
    // The edge of the host's waker: by a spawn here and by a wake on another thread.
    let gates: [Gate; 3] = Default::default();
    let [a, b, c] = gates.clone().map(|gate| executor.spawn(gate).unwrap());
    let _ = executor.tick().unwrap();
    let wakers = gates[0].wakers();
    gates[0].open();
    let wake = move || wakers.into_iter().for_each(Waker::wake);
    std::thread::spawn(wake)
        .join()
        .expect("the panic stays inside");
    assert_eq!(host.0.load(Ordering::Relaxed), 2);
    in_park.borrow_mut().extend(gates[1].wakers());
    in_park.borrow_mut().extend(gates[2].wakers());
    gates[1].open();
    gates[2].open();
    for task in [a, b, c] {
        executor.try_block_on(task).unwrap().unwrap();
    }
    assert!(unparker.0.load(Ordering::Relaxed) >= 1);
}

/// Pending for ever; blocks on the executor when it is dropped, and says how that went.
struct BlocksInDrop(Handle, Rc<Cell<Option<Result<u32, Reason>>>>);

impl Drop for BlocksInDrop {
    fn drop(&mut self) {
        let outcome = match self.0.try_block_on(async { 1 }) {
            Ok(value) => Ok(value),
            Err(BlockOnError::Refused(refused)) => Err(refused.reason()),
            Err(other) => panic!("{other}"),
        };
        self.1.set(Some(outcome));
    }
}

#[test]
fn a_destructor_that_blocks_is_refused_where_a_task_would_be_and_runs_where_the_host_may() {
    // tokio #7372: blocking inside the drop of a task was not refused.
    let executor = Executor::new();
    let spawn = |ends: bool| {
        let outcome = Rc::default();
        let blocks = BlocksInDrop(executor.handle(), Rc::clone(&outcome));
        let task = executor.spawn(async move {
            let _blocks = blocks;
            if !ends {
                common::never().await;
            }
        });
        (task.unwrap(), outcome)
    };
    // Dropped by its own poll, by another task, by the host outside of any drive, at the end.
    let (task, outcome) = spawn(true);
    executor.try_block_on(task).unwrap().unwrap();
    assert_eq!(outcome.get(), Some(Err(Reason::Nested)));
    let (task, outcome) = spawn(false);
    executor.try_block_on(async move { task.abort() }).unwrap();
    assert_eq!(outcome.get(), Some(Err(Reason::Nested)));
    let (task, outcome) = spawn(false);
    task.abort();
    assert_eq!(outcome.get(), Some(Ok(1)));
    let (task, outcome) = spawn(false);
    executor.shutdown();
    assert_eq!(outcome.get(), Some(Err(Reason::Closed)));
    assert!(task.is_finished());
}

#[test]
fn a_destructor_that_does_everything_at_once_harms_nobody() {
    struct Everything(Handle, Waker, Log);
    impl Drop for Everything {
        fn drop(&mut self) {
            drop(self.0.spawn(self.2.task("spawned by the drop")).unwrap());
            self.1.wake_by_ref();
            assert!(self.0.try_block_on(async {}).is_err());
            self.2.add("dropped");
            panic!("and panics");
        }
    }
    let executor = Executor::new();
    let (gate, log) = (Gate::new(), Log::new());
    let waits = executor.spawn(gate.clone()).unwrap();
    let _ = executor.tick().unwrap();
    let waker = gate.wakers().remove(0);
    gate.open();
    let everything = Everything(executor.handle(), waker, log.clone());
    let task = executor.spawn(async move { drop(everything) }).unwrap();
    let outcome = executor.try_block_on(task).unwrap();
    assert_eq!(outcome.unwrap_err().panic_message(), Some("and panics"));
    executor.try_block_on(waits).unwrap().unwrap();
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!(log.take(), ["dropped", "spawned by the drop"]);
}

#[test]
fn ten_million_wakes_are_as_many_polls_as_there_were_tasks() {
    const WAKES: usize = 10_000_000;
    const TASKS: usize = 100;
    let executor = Executor::new();
    let gates: Vec<Gate> = (0..TASKS).map(|_| Gate::new()).collect();
    for gate in &gates {
        drop(executor.spawn(gate.clone()).unwrap());
    }
    let _ = executor.tick().unwrap();
    let wakers: Vec<Waker> = gates.iter().flat_map(Gate::wakers).collect();
    let flood = |wakers: Vec<Waker>| {
        for _ in 0..WAKES / TASKS / 2 {
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    };
    let remote = wakers.clone();
    let thread = std::thread::spawn(move || flood(remote));
    flood(wakers);
    thread.join().unwrap();
    let tick = executor.run_until_stalled(Budget::UNLIMITED).unwrap();
    assert!(tick.polled as usize <= 2 * TASKS, "{tick:?}");
    assert_eq!((tick.live, tick.end), (TASKS, TickEnd::Stalled));
}

#[test]
fn wakes_from_other_threads_have_no_queue_that_can_be_full() {
    // compio-executor 0.1.4: beyond the capacity of its remote queue wakes were lost.
    const TASKS: usize = 50_000;
    let executor = Executor::new();
    let polls = Rc::new(Cell::new(0));
    let gate = Gate::new();
    for _ in 0..TASKS {
        let (mut gate, polls) = (gate.clone(), Rc::clone(&polls));
        let task = std::future::poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            Pin::new(&mut gate).poll(cx)
        });
        drop(executor.spawn(task).unwrap());
    }
    let _ = executor.tick().unwrap();
    let mut wakers = gate.wakers();
    gate.open();
    let half = wakers.split_off(TASKS / 2);
    let threads = [wakers, half]
        .map(|wakers| std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake)));
    for thread in threads {
        thread.join().unwrap();
    }
    let tick = executor.run_until_stalled(Budget::UNLIMITED).unwrap();
    assert_eq!((tick.completed as usize, tick.end), (TASKS, TickEnd::Empty));
    assert_eq!(polls.get(), 2 * TASKS);
}

#[test]
fn a_self_waking_task_starves_nobody_under_any_way_of_driving() {
    type Drive = fn(&Executor, &Log);
    let ways: [(&str, Drive); 4] = [
        ("tick", |executor, _| {
            for _ in 0..2 {
                let _ = executor.tick().unwrap();
            }
        }),
        ("run_until_stalled", |executor, _| {
            let _ = executor.run_until_stalled(Budget::polls(1_000)).unwrap();
        }),
        ("try_block_on", |executor, _| {
            executor
                .try_block_on(async {
                    for _ in 0..3 {
                        yield_now().await;
                    }
                })
                .unwrap();
        }),
        ("run_until", |executor, _| {
            let mut turns = 0;
            let main = std::future::poll_fn(move |_| {
                turns += 1;
                if turns > 3 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            pollster::block_on(executor.run_until(main)).unwrap();
        }),
    ];
    for (name, drive) in ways {
        let executor = Executor::new();
        let log = Log::new();
        drop(
            executor
                .spawn(async {
                    loop {
                        yield_now().await;
                    }
                })
                .unwrap(),
        );
        drop(executor.spawn(log.task("the other")).unwrap());
        drive(&executor, &log);
        assert_eq!(log.take(), ["the other"], "{name}");
    }
}

#[test]
fn wakers_outlive_the_owners_thread_and_are_inert_wherever_they_are_used() {
    // futures-task (RUSTSEC-2020-0060, -0061): wakers that pointed into a dead executor or into
    // another thread's locals.
    let wakers = std::thread::spawn(|| {
        let executor = Executor::new();
        let gate = Gate::new();
        drop(executor.spawn(gate.clone()).unwrap());
        let main = std::future::poll_fn({
            let gate = gate.clone();
            move |cx: &mut Context<'_>| {
                let mut gate = gate.clone();
                let _ = Pin::new(&mut gate).poll(cx);
                Poll::Ready(())
            }
        });
        executor.try_block_on(main).unwrap();
        let _ = executor.tick().unwrap();
        let wakers = gate.wakers();
        // The executor ends here, and the thread right after.
        wakers
    });
    let wakers = wakers.join().unwrap();
    assert_eq!(wakers.len(), 2);
    for waker in wakers {
        let clone = waker.clone();
        assert!(clone.will_wake(&waker));
        waker.wake_by_ref();
        std::thread::spawn(move || clone.wake()).join().unwrap();
        waker.wake();
    }
}

#[test]
fn driving_again_after_a_panic_went_through_does_not_hang() {
    // glommio: the second run after a panic hung.
    let executor = Executor::new();
    let gate = Gate::new();
    let waits = executor.spawn(gate.clone()).unwrap();
    for _ in 0..3 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            executor.try_block_on(async {
                yield_now().await;
                panic!("through the block");
            })
        }));
        let _: Box<dyn std::any::Any + Send> = result.map(|_: Result<(), _>| ()).unwrap_err();
    }
    gate.open();
    executor.try_block_on(waits).unwrap().unwrap();
}

#[test]
fn budgets_with_deadlines_long_past_and_unreachable_end_and_do_not_overflow() {
    let executor = Executor::new();
    let log = Log::new();
    drop(executor.spawn(log.task("polled")).unwrap());
    let now = Instant::now();
    let past = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
    let tick = executor.tick_with(Budget::until(past)).unwrap();
    assert_eq!((tick.polled, tick.ready, tick.end), (0, 1, TickEnd::Budget));
    let tick = executor.tick_with(Budget::lasting(Duration::ZERO)).unwrap();
    assert_eq!((tick.polled, tick.end), (0, TickEnd::Budget));
    let tick = executor.tick_with(Budget::polls(0)).unwrap();
    assert_eq!((tick.polled, tick.end), (0, TickEnd::Budget));
    let tick = executor.tick_with(Budget::lasting(Duration::MAX)).unwrap();
    assert_eq!((tick.polled, tick.end), (1, TickEnd::Empty));
    assert_eq!(log.take(), ["polled"]);
}

#[test]
fn an_aborted_task_whose_drop_aborts_whoever_waits_for_it_answers_both() {
    struct AbortsOnDrop(Rc<RefCell<Option<vestibule_executor::JoinHandle<()>>>>);
    impl Drop for AbortsOnDrop {
        fn drop(&mut self) {
            if let Some(task) = self.0.borrow_mut().take() {
                task.abort();
            }
        }
    }
    let executor = Executor::new();
    let slot = Rc::new(RefCell::new(None));
    let aborts = AbortsOnDrop(Rc::clone(&slot));
    let first = executor.spawn(async move {
        let _aborts = aborts;
        common::never().await;
    });
    let first = Rc::new(RefCell::new(Some(first.unwrap())));
    let awaited = Rc::clone(&first);
    let second = executor.spawn(async move {
        let first = awaited.borrow_mut().take().unwrap();
        let _ = first.await;
    });
    *slot.borrow_mut() = Some(second.unwrap());
    assert_eq!(executor.snapshot().tasks.len(), 2);
    first.borrow().as_ref().unwrap().abort();
    assert_eq!(executor.metrics().live, 0);
    let first = first.borrow_mut().take().unwrap();
    let outcome = executor.try_block_on(first).unwrap();
    assert!(matches!(outcome, Err(JoinError::Aborted)));
}

/// A clock that a test sets, and a park that sleeps by it: it "sleeps" until its earliest timer by
/// moving the clock, and then moves it wherever the test says.
#[derive(Clone)]
struct JumpyClock {
    now: Rc<Cell<Instant>>,
    timers: Rc<RefCell<Vec<(Instant, Waker)>>>,
    /// Where the clock is set after each sleep, the last one first.
    jumps: Rc<RefCell<Vec<Instant>>>,
}

impl JumpyClock {
    async fn sleep(self, time: Duration) {
        let until = self.now.get() + time;
        std::future::poll_fn(|cx| {
            if self.now.get() >= until {
                return Poll::Ready(());
            }
            self.timers.borrow_mut().push((until, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Park for JumpyClock {
    fn park(&self) -> Result<(), CannotPark> {
        let Some(next) = self.next_deadline() else {
            return Err(CannotPark);
        };
        self.now.set(self.now.get().max(next));
        if let Some(jump) = self.jumps.borrow_mut().pop() {
            self.now.set(jump);
        }
        let now = self.now.get();
        let due = self
            .timers
            .borrow_mut()
            .extract_if(.., |(until, _)| *until <= now)
            .collect::<Vec<_>>();
        due.into_iter().for_each(|(_, waker)| waker.wake());
        Ok(())
    }

    fn unparker(&self) -> Waker {
        Waker::noop().clone()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow().iter().map(|(until, _)| *until).min()
    }
}

#[test]
fn a_clock_that_jumps_forth_and_back_delays_timers_and_does_nothing_worse() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    for jumps in [
        vec![],
        // Far ahead at the first sleep, and back to the start at the second.
        vec![start, start + 1000 * hour],
        // Back again and again, so that the earliest timer stays where it was.
        vec![start, start, start],
        // Ahead beyond every timer.
        vec![start + 1_000_000 * hour],
    ] {
        let clock = JumpyClock {
            now: Rc::new(Cell::new(start)),
            timers: Rc::default(),
            jumps: Rc::new(RefCell::new(jumps.clone())),
        };
        let executor = Executor::builder().park(clock.clone()).build();
        let tasks: Vec<_> = [1, 2, 24]
            .map(|hours| executor.spawn(clock.clone().sleep(hours * hour)).unwrap())
            .into();
        executor
            .try_block_on(async {
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .unwrap_or_else(|error| panic!("{error} after {jumps:?}"));
        assert_eq!(executor.next_deadline(), None, "{jumps:?}");
        // With no timer left there is nothing to sleep for.
        let stalled = executor.try_block_on(common::never()).unwrap_err();
        assert!(matches!(stalled, BlockOnError::Stalled(stalled) if stalled.deadlock));
        // A deadline that the clock has jumped past, and one that it jumped away from.
        drop(executor.spawn(async {}).unwrap());
        let tick = executor.tick_with(Budget::until(start)).unwrap();
        assert_eq!((tick.polled, tick.end), (0, TickEnd::Budget));
        let tick = executor
            .tick_with(Budget::until(start + 1_000_000 * hour))
            .unwrap();
        assert_eq!((tick.polled, tick.end), (1, TickEnd::Empty));
    }
}
