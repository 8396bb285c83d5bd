//! The same workloads for sets of futures, which have neither handles nor a `spawn` that takes any
//! future: what the tasks of one set have in common is their type.
//!
//! A set is polled by `futures::executor::block_on`.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::executor::block_on;

use super::memory::{Crowd, Heap, Idle, Idler, PerTask, per_task};
use super::parts::{Never, Slot, YieldOnce};
use super::yields::{NO_TURNS, Round, Turns};
use super::{exchange, yields};
use crate::case::{Bench, Case, Clock, Label, Offer};

/// A set of futures.
pub(crate) trait Set<F: Future>: Default {
    /// Adds a future.
    fn push(&mut self, future: F);

    /// Polls those that were woken until one is ready; `None` if there are none.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>>;
}

/// A library's sets.
pub(crate) trait Sets: 'static {
    /// The name in tables.
    const NAME: &'static str;

    /// The set for one type of future.
    type Of<F: Future + 'static>: Set<F>;
}

/// The workloads that a set can run.
pub(crate) fn cases<S: Sets>() -> Vec<Case> {
    let mut cases = Vec::new();
    for tasks in [1, 100, 10_000, 1_000_000] {
        let name = format!("spawn_join/tasks={tasks}");
        let start = move |label| spawn_join::<S>(label, tasks);
        cases.push(Case::new(name, S::NAME, "task", Offer::Less, start));
    }
    for tasks in [1, 10, 1_000, 100_000] {
        let name = format!("yield/tasks={tasks}");
        let start = move |label| yielding::<S>(label, tasks);
        cases.push(Case::new(name, S::NAME, "yield", Offer::Less, start));
    }
    type Start = fn(Label) -> Result<Bench, String>;
    let others: [(&str, &str, Start); 7] = [
        ("ping_pong", "round trip", ping_pong::<S>),
        ("wake_chain/tasks=1000", "wake", |l| {
            wake_chain::<S>(l, 1_000)
        }),
        ("spawn_cancel/new", "task", |l| spawn_cancel::<S>(l, false)),
        ("spawn_cancel/polled", "task", |l| {
            spawn_cancel::<S>(l, true)
        }),
        ("block_on/ready", "call", block_on_ready::<S>),
        ("block_on/pending_once", "call", block_on_pending_once::<S>),
        ("join_set/completed/tasks=10000", "task", |l| {
            spawn_join::<S>(l, 10_000)
        }),
    ];
    for (name, operation, start) in others {
        cases.push(Case::new(name, S::NAME, operation, Offer::Less, start));
    }
    cases
}

/// Takes what comes out of the set until it is empty.
async fn drain<F: Future>(set: &mut impl Set<F>, mut each: impl FnMut(F::Output)) {
    while let Some(output) = poll_fn(|cx| set.poll_next(cx)).await {
        each(output);
    }
}

fn spawn_join<S: Sets>(label: Label, tasks: u64) -> Result<Bench, String> {
    let task = |n| async move { black_box(n) };
    Ok(bench_of_ready::<S, _>(label, tasks, task))
}

fn bench_of_ready<S: Sets, F>(label: Label, tasks: u64, task: fn(u64) -> F) -> Bench
where
    F: Future<Output = u64> + 'static,
{
    let mut set = S::Of::<F>::default();
    Bench::new(tasks, move |iterations| {
        let mut sum = 0;
        let clock = Clock::default();
        block_on(async {
            clock.start();
            for _ in 0..iterations {
                (1..=tasks).for_each(|n| set.push(task(n)));
                drain(&mut set, |n| sum += n).await;
            }
            clock.stop();
        });
        label.check("the sum", sum, iterations * (tasks * (tasks + 1) / 2));
        clock.elapsed()
    })
}

fn yielding<S: Sets>(label: Label, tasks: u64) -> Result<Bench, String> {
    let turns = Turns::default();
    let mut two = S::Of::default();
    (1..=2).for_each(|name| two.push(turns.clone().take(name)));
    block_on(drain(&mut two, |_| ()));
    if !turns.were_taken() {
        return Err(NO_TURNS.into());
    }
    let mut set = S::Of::default();
    Ok(Bench::new(tasks, move |iterations| {
        let round = Round::new(tasks);
        (0..tasks).for_each(|_| set.push(yields::task(round.clone(), iterations)));
        let mut sum = 0;
        block_on(drain(&mut set, |yielded| sum += yielded));
        label.check("the number of yields", sum, iterations * tasks);
        round.clock.elapsed()
    }))
}

fn ping_pong<S: Sets>(label: Label) -> Result<Bench, String> {
    let mut set = S::Of::default();
    Ok(Bench::new(1, move |iterations| {
        let table = Rc::new((Slot::default(), Slot::default(), Clock::default()));
        for first in [false, true] {
            let table = table.clone();
            set.push(async move {
                match first {
                    true => exchange::ping(table, iterations).await,
                    false => exchange::pong(table, iterations).await,
                }
            });
        }
        let mut results = Vec::new();
        block_on(drain(&mut set, |result| results.push(result)));
        results.sort_unstable();
        let expected = vec![iterations + 1, 2 * (iterations + 1)];
        label.check("answers, and the number sent", results, expected);
        table.2.elapsed()
    }))
}

fn wake_chain<S: Sets>(label: Label, tasks: u64) -> Result<Bench, String> {
    let mut set = S::Of::default();
    Ok(Bench::new(tasks, move |iterations| {
        let clock = Rc::new(Clock::default());
        let chain: Rc<[Slot]> = (0..=tasks).map(|_| Slot::default()).collect();
        for at in 0..=tasks as usize {
            let (chain, clock) = (chain.clone(), clock.clone());
            set.push(async move {
                if at + 1 == chain.len() {
                    return exchange::pull(&chain, &clock, iterations).await;
                }
                exchange::link(chain, at, iterations).await;
                0
            });
        }
        let mut wakes = 0;
        block_on(drain(&mut set, |result| wakes += result));
        label.check("the number of wakes", wakes, (iterations + 1) * tasks);
        clock.elapsed()
    }))
}

/// A set as a whole is dropped; it can't cancel one future.
fn spawn_cancel<S: Sets>(label: Label, polled: bool) -> Result<Bench, String> {
    const TASKS: u64 = 1_000;
    Ok(Bench::new(TASKS, move |iterations| {
        let dropped = Rc::new(Cell::new(0));
        let clock = Clock::default();
        block_on(async {
            clock.start();
            for _ in 0..iterations {
                let mut set = S::Of::default();
                (0..TASKS).for_each(|_| set.push(Never(dropped.clone())));
                if polled {
                    let ready = poll_fn(|cx| Poll::Ready(set.poll_next(cx).is_ready())).await;
                    label.check("whether one was ready", ready, false);
                }
            }
            clock.stop();
        });
        let must = iterations * TASKS;
        label.check("the number of futures dropped", dropped.get(), must);
        clock.elapsed()
    }))
}

fn block_on_ready<S: Sets>(label: Label) -> Result<Bench, String> {
    Ok(beside::<S, _>(label, |n| async move { black_box(n) }))
}

fn block_on_pending_once<S: Sets>(label: Label) -> Result<Bench, String> {
    Ok(beside::<S, _>(label, |n| async move {
        YieldOnce::default().await;
        black_box(n)
    }))
}

/// Blocks on a future beside a set, as a main future beside its tasks.
fn beside<S: Sets, F>(label: Label, main: fn(u64) -> F) -> Bench
where
    F: Future<Output = u64> + 'static,
{
    let mut set = S::Of::<F>::default();
    Bench::new(1, move |iterations| {
        let mut sum = 0;
        let clock = Clock::default();
        clock.start();
        for n in 0..iterations {
            let mut main = pin!(main(n));
            sum += block_on(poll_fn(|cx| {
                let polled = main.as_mut().poll(cx);
                if polled.is_pending() {
                    let _ = set.poll_next(cx);
                }
                polled
            }));
        }
        clock.stop();
        label.check("the sum", sum, (0..iterations).sum());
        clock.elapsed()
    })
}

/// What an idle future of a set takes.
pub(crate) fn idle<S: Sets>(tasks: usize, heap: fn() -> Heap) -> Result<Idle, String> {
    let crowd = |wakeable| Crowd::new(tasks, wakeable);
    let mut warm = S::Of::default();
    fill(&mut warm, &crowd(true), heap);
    fill(&mut warm, &crowd(true), heap);
    Ok(Idle {
        unwakeable: fill(&mut S::Of::default(), &crowd(false), heap),
        wakeable: fill(&mut S::Of::default(), &crowd(true), heap),
        again: fill(&mut warm, &crowd(true), heap),
    })
}

/// Fills the set, has each future polled once, counts, and lets them end if they can.
fn fill(set: &mut impl Set<Idler>, crowd: &Rc<Crowd>, heap: fn() -> Heap) -> PerTask {
    let before = heap();
    (0..crowd.tasks()).for_each(|_| set.push(Idler::new(crowd)));
    block_on(poll_fn(|cx| {
        let polled = set.poll_next(cx);
        assert!(polled.is_pending(), "nothing ends yet");
        match crowd.all_polled() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
    let taken = per_task(before, heap(), crowd.tasks());
    if crowd.is_wakeable() {
        crowd.end();
        block_on(drain(set, |()| ()));
    }
    crowd.check();
    taken
}
