//! Ours as a future inside another executor.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::common::{self, CountWakes, Gate, Log};
use vestibule_executor::{Budget, Executor, Op, Reason, yield_now};

fn poll<F: Future>(future: Pin<&mut F>, waker: &std::task::Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn it_wakes_its_host_once_per_edge_and_sleeps_in_between() {
    let executor = Executor::new();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    let (wakes, waker) = CountWakes::new();
    let mut run = pin!(executor.run_until(task));
    assert!(poll(run.as_mut(), &waker).is_pending());
    assert_eq!(wakes.get(), 0, "nothing is ready, and nobody was woken");
    let wakers = gate.wakers();
    gate.open();
    let wake = move || wakers.into_iter().for_each(std::task::Waker::wake);
    std::thread::spawn(wake).join().unwrap();
    assert_eq!(wakes.get(), 1);
    // The task ends in this poll, and its end wakes whoever awaits its handle.
    assert!(poll(run.as_mut(), &waker).is_pending());
    assert_eq!(wakes.get(), 2);
    assert!(matches!(
        poll(run.as_mut(), &waker),
        Poll::Ready(Ok(Ok(())))
    ));
}

#[test]
fn a_task_that_wakes_itself_leaves_its_host_a_turn_in_every_round() {
    let executor = Executor::new();
    drop(
        executor
            .spawn(async {
                loop {
                    yield_now().await;
                }
            })
            .unwrap(),
    );
    let (wakes, waker) = CountWakes::new();
    let mut run = pin!(
        executor
            .run_until(common::never())
            .budget(Budget::rounds(2))
    );
    for round in 1..=3 {
        assert!(poll(run.as_mut(), &waker).is_pending());
        assert_eq!(wakes.get(), round);
        // The main future's poll counts too.
        assert_eq!(executor.metrics().polls, 3 * round as u64);
    }
}

#[test]
fn dropping_it_leaves_the_tasks_to_the_next_drive() {
    let executor = Executor::new();
    let log = Log::new();
    let (_, waker) = CountWakes::new();
    {
        let mut run = pin!(executor.run_until(common::never()));
        assert!(poll(run.as_mut(), &waker).is_pending());
        drop(executor.spawn(log.task("left over")).unwrap());
    }
    assert!(log.take().is_empty());
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["left over"]);
}

#[test]
fn two_of_them_share_one_executor_and_both_are_told() {
    let executor = Executor::new();
    let gates = [Gate::new(), Gate::new()];
    let tasks = gates.clone().map(|gate| executor.spawn(gate).unwrap());
    let [a, b] = tasks;
    let (wakes_a, waker_a) = CountWakes::new();
    let (wakes_b, waker_b) = CountWakes::new();
    let (mut a, mut b) = (pin!(executor.run_until(a)), pin!(executor.run_until(b)));
    assert!(poll(a.as_mut(), &waker_a).is_pending());
    assert!(poll(b.as_mut(), &waker_b).is_pending());
    gates[0].open();
    assert_eq!((wakes_a.get(), wakes_b.get()), (1, 1));
    // B drives A's task to its end, which wakes A.
    assert!(poll(b.as_mut(), &waker_b).is_pending());
    assert_eq!(wakes_a.get(), 2);
    assert!(poll(a.as_mut(), &waker_a).is_ready());
}

#[test]
fn it_is_refused_where_a_tick_is_and_after_the_end() {
    let executor = Executor::new();
    let handle = executor.handle();
    let task = executor
        .spawn(async move { handle.run_until(async {}).await })
        .unwrap();
    let refused = executor.try_block_on(task).unwrap().unwrap().unwrap_err();
    assert_eq!(
        (refused.op(), refused.reason()),
        (Op::RunUntil, Reason::Reentrant)
    );
    let handle = executor.handle();
    let (wakes, waker) = CountWakes::new();
    let mut run = pin!(handle.run_until(common::never()));
    assert!(poll(run.as_mut(), &waker).is_pending());
    drop(executor);
    assert_eq!(wakes.get(), 1, "the end is told");
    let Poll::Ready(Err(refused)) = poll(run.as_mut(), &waker) else {
        panic!("it goes on without an executor");
    };
    assert_eq!(refused.reason(), Reason::Closed);
    assert!(refused.to_string().contains("run_until.rs"));
}

#[test]
fn a_shutdown_inside_one_of_its_polls_ends_it() {
    let executor = Executor::new();
    let handle = executor.handle();
    drop(executor.spawn(async move { handle.shutdown() }).unwrap());
    let ended = pollster::block_on(executor.run_until(common::never()));
    assert_eq!(ended.unwrap_err().reason(), Reason::Closed);
}

#[test]
fn one_that_is_given_up_tells_the_others_what_it_leaves_ready() {
    let executor = Executor::new();
    let log = Log::new();
    let (_, gone) = CountWakes::new();
    let (wakes, stays) = CountWakes::new();
    let mut stay = pin!(executor.run_until(common::never()));
    {
        let mut go = pin!(executor.run_until(common::never()));
        assert!(poll(stay.as_mut(), &stays).is_pending());
        assert!(poll(go.as_mut(), &gone).is_pending());
        // Told, both; but only the one that goes reacts before a further task comes.
        drop(executor.spawn(log.task("first")).unwrap());
        assert!(poll(stay.as_mut(), &stays).is_pending());
        assert!(poll(go.as_mut(), &gone).is_pending());
        drop(executor.spawn(log.task("second")).unwrap());
    }
    assert!(wakes.get() >= 2);
    assert!(poll(stay.as_mut(), &stays).is_pending());
    assert_eq!(log.take(), ["first", "second"]);
}

/// A task that became ready in a poll of the one that goes is known to that one alone.
#[test]
fn one_that_is_given_up_tells_the_others_of_a_task_that_only_it_knew_to_be_ready() {
    for leaves_ready in [false, true] {
        let executor = Executor::new();
        let (stays, stay_waker) = CountWakes::new();
        let (goes, go_waker) = CountWakes::new();
        let mut stay = pin!(executor.run_until(common::never()));
        assert!(poll(stay.as_mut(), &stay_waker).is_pending());
        let handle = executor.handle();
        let mut go = Box::pin(executor.run_until(async move {
            if leaves_ready {
                drop(handle.spawn(yield_now()).unwrap());
            }
            common::never().await;
        }));
        assert!(poll(go.as_mut(), &go_waker).is_pending());
        let told = usize::from(leaves_ready);
        assert_eq!((goes.get(), stays.get()), (told, 0));
        drop(go);
        assert_eq!((goes.get(), stays.get()), (told, told));
        // The count and the waker here: the executor has dropped the one that it kept.
        assert_eq!(std::sync::Arc::strong_count(&goes), 2);
    }
}

#[test]
fn one_that_is_given_up_inside_a_drive_leaves_its_tasks_to_that_drive() {
    let executor = Executor::new();
    let (stays, stay_waker) = CountWakes::new();
    let (_, go_waker) = CountWakes::new();
    let mut stay = pin!(executor.run_until(common::never()));
    let mut go = Box::pin(executor.run_until(common::never()));
    assert!(poll(go.as_mut(), &go_waker).is_pending());
    drop(executor.spawn(async move { drop(go) }).unwrap());
    let other = executor.spawn(async {}).unwrap();
    assert!(poll(stay.as_mut(), &stay_waker).is_pending());
    assert!(other.is_finished());
    assert_eq!(stays.get(), 0);
}
