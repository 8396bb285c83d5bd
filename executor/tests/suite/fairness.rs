//! Nobody starves and no call is endless, whoever wakes himself how often.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::common::{self, Log};
use vestibule_executor::{Budget, Executor, Handle, Schedule, TickEnd, yield_now};

fn spin(handle: &Handle) {
    let spin = async {
        loop {
            yield_now().await;
        }
    };
    drop(handle.spawn(spin).unwrap());
}

#[test]
fn a_tick_polls_what_was_ready_at_its_start_once() {
    // monoio 0.2.4: a self-waking task starved everything.
    let executor = Executor::new();
    let log = Log::new();
    spin(&executor);
    let (handle, events) = (executor.handle(), log.clone());
    let task = async move {
        events.add("a");
        drop(handle.spawn(events.task("b")).unwrap());
    };
    drop(executor.spawn(task).unwrap());
    let tick = executor.tick().unwrap();
    assert_eq!(
        (tick.polled, tick.spawned, tick.completed, tick.ready),
        (2, 1, 1, 2)
    );
    assert_eq!((tick.end, tick.woken_local), (TickEnd::Round, 1));
    assert_eq!(log.take(), ["a"]);
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["b"]);
}

#[test]
fn running_until_stalled_returns_although_a_task_wakes_itself_for_ever() {
    // futures `LocalPool`: it never returned.
    let executor = Executor::new();
    spin(&executor);
    let tick = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!((tick.end, tick.ready), (TickEnd::Budget, 1));
    let tick = executor.run_until_stalled(Budget::rounds(10)).unwrap();
    assert_eq!((tick.polled, tick.end), (10, TickEnd::Round));
    let before = Instant::now();
    let tick = executor
        .run_until_stalled(Budget::lasting(Duration::from_millis(5)))
        .unwrap();
    assert_eq!(tick.end, TickEnd::Budget);
    assert!(before.elapsed() >= Duration::from_millis(5));
}

#[test]
fn a_budget_of_polls_is_kept_and_nothing_is_lost() {
    let executor = Executor::new();
    let log = Log::new();
    for n in 0..5 {
        drop(executor.spawn(log.task(n)).unwrap());
    }
    let tick = executor.tick_with(Budget::polls(2)).unwrap();
    assert_eq!((tick.polled, tick.ready, tick.end), (2, 3, TickEnd::Budget));
    let tick = executor.tick_with(Budget::polls(0)).unwrap();
    assert_eq!((tick.polled, tick.ready, tick.end), (0, 3, TickEnd::Budget));
    let tick = executor.tick_with(Budget::until(Instant::now())).unwrap();
    assert_eq!((tick.polled, tick.end), (0, TickEnd::Budget));
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, tick.end), (3, TickEnd::Empty));
    assert_eq!(log.take(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn the_bounds_of_a_budget_add_up_and_the_first_that_is_met_ends_the_drive() {
    let ready = |tasks: usize| {
        let executor = Executor::new();
        (0..tasks).for_each(|_| spin(&executor));
        executor
    };
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
    for (budget, polled, end) in [
        (Budget::rounds(9).and_polls(4), 4, TickEnd::Budget),
        (Budget::polls(9).and_rounds(1), 3, TickEnd::Round),
        (Budget::polls(9).and_until(now), 0, TickEnd::Budget),
        (Budget::rounds(2).and_until(later), 6, TickEnd::Round),
        (Budget::rounds(2).and_polls(6), 6, TickEnd::Round),
        (
            Budget::rounds(9).and_polls(9).and_rounds(1).and_polls(2),
            2,
            TickEnd::Budget,
        ),
        (Budget::until(later).and_polls(5), 5, TickEnd::Budget),
    ] {
        let tick = ready(3).run_until_stalled(budget).unwrap();
        assert_eq!((tick.polled, tick.end), (polled, end), "{budget:?}");
    }
    let brief = Budget::lasting(Duration::ZERO);
    assert!(brief.deadline.is_some() && brief.polls.is_none() && brief.rounds.is_none());
}

#[test]
fn running_until_a_condition_asks_it_after_every_poll() {
    let executor = Executor::new();
    let log = Log::new();
    for n in 0..5 {
        drop(executor.spawn(log.task(n)).unwrap());
    }
    let mut asked = 0;
    let tick = executor
        .tick_until(Budget::default(), || {
            asked += 1;
            asked > 3
        })
        .unwrap();
    assert_eq!((tick.polled, tick.ready), (3, 2));
}

#[test]
fn a_main_future_that_wakes_itself_does_not_starve_the_tasks() {
    let executor = Executor::new();
    let done = Rc::new(Cell::new(false));
    let flag = Rc::clone(&done);
    let task = async move {
        for _ in 0..100 {
            yield_now().await;
        }
        flag.set(true);
    };
    drop(executor.spawn(task).unwrap());
    let mut polls = 0;
    let main = async {
        while !done.get() {
            polls += 1;
            yield_now().await;
        }
    };
    executor.try_block_on(main).unwrap();
    assert!(polls < 110, "{polls} polls");
}

#[test]
fn a_remote_wake_gets_its_turn_among_tasks_that_wake_themselves() {
    let executor = Executor::new();
    for _ in 0..10 {
        spin(&executor);
    }
    let gate = common::Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    let _ = executor.tick().unwrap();
    let wakers = gate.wakers();
    gate.open();
    std::thread::spawn(move || wakers.into_iter().for_each(|waker| waker.wake()))
        .join()
        .unwrap();
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, tick.woken_remote), (11, 1));
    assert!(task.is_finished());
}

#[test]
fn a_flood_of_remote_wakes_does_not_keep_local_tasks_from_their_turn() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let count = 10_000;
    std::thread::spawn(move || {
        for _ in 0..count {
            drop(spawner.spawn(async {}).unwrap());
        }
    })
    .join()
    .unwrap();
    let log = Log::new();
    drop(executor.spawn(log.task("local")).unwrap());
    let tick = executor.tick().unwrap();
    assert_eq!(log.take(), ["local"]);
    assert!(tick.polled < count, "one drain is bounded: {}", tick.polled);
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!(executor.metrics().completed, count + 1);
}

#[test]
fn a_busy_group_does_not_keep_another_from_its_turn() {
    let executor = Executor::new();
    let (busy, idle) = (executor.group("busy"), executor.group("idle"));
    for _ in 0..10 {
        let spin = async {
            loop {
                yield_now().await;
            }
        };
        drop(executor.task().group(&busy).spawn(spin).unwrap());
    }
    let log = Log::new();
    drop(
        executor
            .task()
            .group(&idle)
            .spawn(log.task("idle"))
            .unwrap(),
    );
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["idle"]);
}

fn order(schedule: Schedule, rounds: usize) -> Vec<String> {
    let executor = Executor::builder().schedule(schedule).build();
    let log = Log::new();
    for n in 0..8 {
        let log = log.clone();
        let task = async move {
            for round in 0..rounds {
                log.add(format!("{round}:{n}"));
                yield_now().await;
            }
        };
        drop(executor.spawn(task).unwrap());
    }
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    log.take()
}

#[test]
fn a_seed_makes_other_orders_happen_and_makes_them_happen_again() {
    let fifo = order(Schedule::Fifo, 3);
    let seeded = order(Schedule::Shuffle { seed: 1 }, 3);
    assert_ne!(fifo, seeded);
    assert_eq!(seeded, order(Schedule::Shuffle { seed: 1 }, 3));
    assert_ne!(seeded, order(Schedule::Shuffle { seed: 2 }, 3));
}

#[test]
fn a_shuffled_round_still_polls_everything_that_was_ready_once() {
    for seed in 0..20 {
        let events = order(Schedule::Shuffle { seed }, 3);
        for (round, events) in events.chunks(8).enumerate() {
            let mut events = events.to_vec();
            events.sort();
            let all: Vec<_> = (0..8).map(|n| format!("{round}:{n}")).collect();
            assert_eq!(events, all, "seed {seed}");
        }
    }
}

#[test]
fn every_one_of_three_tasks_comes_first_under_some_seed() {
    let mut first = std::collections::BTreeSet::new();
    for seed in 0..50 {
        first.insert(order(Schedule::Shuffle { seed }, 1)[0].clone());
    }
    assert_eq!(first.len(), 8);
}

#[test]
fn a_wake_from_another_thread_is_answered_while_a_task_is_always_ready() {
    let executor = Executor::new();
    let (sender, waker) = std::sync::mpsc::channel::<std::task::Waker>();
    let thread = std::thread::spawn(move || waker.recv().unwrap().wake());
    let done = Rc::new(Cell::new(false));
    let answered = done.clone();
    let mut polled = false;
    let waits = std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            answered.set(true);
            return Poll::Ready(());
        }
        sender.send(cx.waker().clone()).unwrap();
        Poll::Pending
    });
    drop(executor.spawn(waits).unwrap());
    let spins = async move {
        while !done.get() {
            yield_now().await;
        }
    };
    let spins = executor.spawn(spins).unwrap();
    executor.try_block_on(spins).unwrap().unwrap();
    thread.join().unwrap();
}
