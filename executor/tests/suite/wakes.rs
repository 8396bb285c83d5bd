//! A wake from any thread leads to a poll, once however often it is made, and to nothing at
//! all when it comes too late.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::common::{self, CountWakes, Gate, Log};
use vestibule_executor::{Executor, Phase, Refused, TickEnd, yield_now};

/// Counts its polls and never ends.
fn counting(gate: &Gate) -> (Rc<Cell<usize>>, impl Future<Output = ()> + 'static) {
    let polls = Rc::new(Cell::new(0));
    let (count, mut gate) = (Rc::clone(&polls), gate.clone());
    let future = std::future::poll_fn(move |cx| {
        count.set(count.get() + 1);
        Pin::new(&mut gate).poll(cx)
    });
    (polls, future)
}

fn on_another_thread(f: impl FnOnce() + Send + 'static) {
    std::thread::spawn(f).join().unwrap();
}

#[test]
fn tasks_are_polled_in_the_order_in_which_a_thread_woke_them() {
    const ORDER: [usize; 5] = [3, 0, 4, 1, 2];
    let executor = Executor::new();
    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    let gates: Vec<_> = (0..ORDER.len()).map(|_| Gate::new()).collect();
    for (n, gate) in gates.iter().enumerate() {
        let (order, mut gate) = (Rc::clone(&order), gate.clone());
        let task = std::future::poll_fn(move |cx| {
            order.borrow_mut().push(n);
            Pin::new(&mut gate).poll(cx)
        });
        drop(executor.spawn(task).unwrap());
    }
    let _ = executor.tick().unwrap();
    let wakers: Vec<_> = gates.iter().map(|gate| gate.wakers()[0].clone()).collect();
    for _ in 0..2 {
        order.borrow_mut().clear();
        let wakers = wakers.clone();
        on_another_thread(move || {
            for n in ORDER {
                wakers[n].wake_by_ref();
            }
        });
        let _ = executor.tick().unwrap();
        assert_eq!(*order.borrow(), ORDER);
    }
}

#[test]
fn many_wakes_before_a_poll_are_one_wherever_they_come_from() {
    let executor = Executor::new();
    let gate = Gate::new();
    let (polls, future) = counting(&gate);
    let task = executor.spawn(future).unwrap();
    let _ = executor.tick().unwrap();
    let waker = gate.wakers().pop().unwrap();
    for _ in 0..3 {
        waker.wake_by_ref();
        task.wake();
        let remote = waker.clone();
        on_another_thread(move || {
            remote.wake_by_ref();
            remote.wake();
        });
    }
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, polls.get()), (1, 2));
    assert_eq!(tick.end, TickEnd::Stalled);
}

#[test]
fn a_wake_from_another_thread_is_counted_as_such_and_ends_the_stall() {
    let executor = Executor::new();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    assert_eq!(executor.tick().unwrap().end, TickEnd::Stalled);
    let wakers = gate.wakers();
    gate.open();
    on_another_thread(move || wakers.into_iter().for_each(Waker::wake));
    let tick = executor.tick().unwrap();
    assert_eq!(
        (tick.woken_remote, tick.woken_local, tick.completed),
        (1, 0, 1)
    );
    assert!(task.is_finished());
}

#[test]
fn a_task_that_was_woken_remotely_can_be_woken_remotely_again() {
    let executor = Executor::new();
    let gate = Gate::new();
    let (polls, future) = counting(&gate);
    drop(executor.spawn(future).unwrap());
    for round in 1..=5 {
        let _ = executor.tick().unwrap();
        assert_eq!(polls.get(), round);
        let wakers = gate.wakers();
        on_another_thread(move || wakers.into_iter().for_each(Waker::wake));
    }
}

#[test]
fn a_remote_wake_while_the_task_is_being_polled_leads_to_another_poll() {
    let executor = Executor::new();
    let mut polls = 0;
    let task = std::future::poll_fn(move |cx| {
        polls += 1;
        if polls == 3 {
            return Poll::Ready(polls);
        }
        let waker = cx.waker().clone();
        on_another_thread(move || waker.wake());
        Poll::Pending
    });
    let task = executor.spawn(task).unwrap();
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 3);
}

#[test]
fn a_remote_wake_that_a_nested_drive_takes_in_for_a_task_on_the_stack_is_not_lost() {
    let executor = Executor::new();
    let group = executor.group("g");
    let handle = executor.handle();
    let mut polls = 0;
    let mut kept = None;
    let task = std::future::poll_fn(move |cx| {
        polls += 1;
        if polls == 3 {
            return Poll::Ready(());
        }
        let waker = kept.get_or_insert_with(|| cx.waker().clone()).clone();
        on_another_thread(move || waker.wake());
        let blocked = handle.with_phase(Phase::instantiating(&group), || {
            handle.block_in_phase(|| false)
        });
        assert!(blocked.is_err());
        Poll::Pending
    });
    let task = executor.spawn(task).unwrap();
    // The second round fails if the nested drive forgot to open the wake cell again.
    for _ in 0..3 {
        let _ = executor.tick().unwrap();
    }
    assert!(task.is_finished());
}

#[test]
fn the_main_future_is_polled_only_when_it_was_woken() {
    let executor = Executor::new();
    for _ in 0..10 {
        drop(
            executor
                .spawn(async {
                    for _ in 0..10 {
                        yield_now().await;
                    }
                })
                .unwrap(),
        );
    }
    let gate = Gate::new();
    let (polls, future) = counting(&gate);
    let opener = gate.clone();
    drop(
        executor
            .spawn(async move {
                for _ in 0..5 {
                    yield_now().await;
                }
                opener.open();
            })
            .unwrap(),
    );
    executor.try_block_on(future).unwrap();
    assert_eq!(polls.get(), 2);
}

#[test]
fn a_sleeping_main_future_is_woken_by_another_thread() {
    let executor = Executor::new();
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let mut thread = None;
    let main = std::future::poll_fn(move |cx| {
        if done.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let (waker, flag) = (cx.waker().clone(), Arc::clone(&flag));
        thread.get_or_insert_with(|| {
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                flag.store(true, Ordering::Release);
                waker.wake();
            })
        });
        Poll::Pending
    });
    executor.try_block_on(main).unwrap();
}

#[test]
fn a_flood_of_wakes_by_many_threads_loses_none() {
    // compio-executor 0.1.4: a bounded queue on the wake path lost wakes when it was full.
    const THREADS: usize = 4;
    const TASKS: usize = 500;
    const WAKES: usize = 20;
    let executor = Executor::new();
    let (sender, receiver) = std::sync::mpsc::channel::<(usize, Waker, Arc<AtomicUsize>)>();
    let receiver = Arc::new(std::sync::Mutex::new(receiver));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let receiver = Arc::clone(&receiver);
            std::thread::spawn(move || {
                loop {
                    let next = receiver.lock().unwrap().recv();
                    let Ok((_, waker, count)) = next else { return };
                    count.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            })
        })
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let (sender, count) = (sender.clone(), Arc::new(AtomicUsize::new(0)));
            let mut asked = 0;
            let task = std::future::poll_fn(move |cx: &mut Context<'_>| {
                let seen = count.load(Ordering::Relaxed);
                if seen == WAKES {
                    return Poll::Ready(());
                }
                if asked == seen {
                    asked += 1;
                    sender
                        .send((n, cx.waker().clone(), Arc::clone(&count)))
                        .unwrap();
                }
                Poll::Pending
            });
            executor.spawn(task).unwrap()
        })
        .collect();
    drop(sender);
    executor
        .try_block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(executor.metrics().live, 0);
}

#[test]
fn a_wake_on_the_owners_thread_outside_of_any_drive_is_kept() {
    // monoio 0.2.4: it panicked.
    let executor = Executor::new();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    let _ = executor.tick().unwrap();
    gate.open();
    assert_eq!(executor.metrics().ready, 1);
    executor.try_block_on(task).unwrap().unwrap();
}

#[test]
fn wakers_are_inert_after_the_executor_is_gone_on_every_thread() {
    let executor = Executor::new();
    let gate = Gate::new();
    drop(executor.spawn(gate.clone()).unwrap());
    let _ = executor.tick().unwrap();
    let wakers = gate.wakers();
    drop(executor);
    wakers[0].wake_by_ref();
    let remote = wakers[0].clone();
    on_another_thread(move || {
        remote.wake_by_ref();
        drop(remote.clone());
        remote.wake();
    });
    // Another executor in its place hears nothing of it.
    let next = Executor::new();
    drop(next.spawn(common::never()).unwrap());
    let _ = next.tick().unwrap();
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!(next.metrics().ready, 0);
}

#[test]
fn wakes_that_race_with_the_end_of_the_executor_are_harmless() {
    // async-executor #163: use after free.
    for _ in 0..200 {
        let executor = Executor::new();
        let gate = Gate::new();
        for _ in 0..4 {
            drop(executor.spawn(gate.clone()).unwrap());
        }
        let _ = executor.tick().unwrap();
        let threads: Vec<_> = gate
            .wakers()
            .into_iter()
            .map(|waker| {
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        waker.wake_by_ref();
                    }
                })
            })
            .collect();
        drop(executor);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_wake_of_one_executor_by_a_task_of_another_on_the_same_thread_is_local() {
    let (first, second) = (Executor::new(), Executor::new());
    let gate = Gate::new();
    let task = first.spawn(gate.clone()).unwrap();
    let _ = first.tick().unwrap();
    let opener = gate.clone();
    drop(second.spawn(async move { opener.open() }).unwrap());
    let _ = second.tick().unwrap();
    assert_eq!(first.metrics().woken_local, 1);
    first.try_block_on(task).unwrap().unwrap();
}

#[test]
fn a_refused_call_inside_a_poll_loses_no_wake_of_the_outer_drive() {
    let executor = Executor::new();
    let (handle, gate, log) = (executor.handle(), Gate::new(), Log::new());
    let (waiting, events) = (gate.clone(), log.clone());
    let main = async move {
        let task = handle.spawn(events.task("task")).unwrap();
        gate.open();
        assert!(handle.try_block_on(waiting).is_err());
        task.await.unwrap();
        Ok::<(), Refused>(())
    };
    executor.try_block_on(main).unwrap().unwrap();
    assert_eq!(log.take(), ["task"]);
}

#[test]
fn the_host_is_woken_once_per_edge_from_nothing_ready_to_something_ready() {
    let (wakes, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    assert_eq!(wakes.get(), 0);
    let gate = Gate::new();
    let tasks = [
        executor.spawn(gate.clone()).unwrap(),
        executor.spawn(gate.clone()).unwrap(),
    ];
    assert_eq!(
        wakes.get(),
        1,
        "the first task is an edge, the second is not"
    );
    assert_eq!(executor.tick().unwrap().end, TickEnd::Stalled);
    assert_eq!(
        wakes.get(),
        1,
        "a wake during a tick is in the tick's report"
    );
    let wakers = gate.wakers();
    on_another_thread(move || wakers.into_iter().for_each(Waker::wake));
    assert_eq!(wakes.get(), 2, "two remote wakes are one edge");
    tasks[0].wake();
    assert_eq!(wakes.get(), 2, "the edge was told already");
    gate.open();
    assert_eq!(executor.tick().unwrap().end, TickEnd::Empty);
    let kept = executor.spawn(yield_now()).unwrap();
    assert_eq!(wakes.get(), 3);
    assert_eq!(executor.tick().unwrap().end, TickEnd::Round);
    kept.wake();
    assert_eq!(
        wakes.get(),
        3,
        "the host owes another tick and needs no wake for it"
    );
    assert_eq!(executor.tick().unwrap().end, TickEnd::Empty);
}

#[test]
fn the_host_is_woken_for_what_a_block_leaves_ready_unless_it_owes_a_tick_anyway() {
    let (wakes, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    let handle = executor.handle();
    executor
        .try_block_on(async move { drop(handle.spawn(async {}).unwrap()) })
        .unwrap();
    assert_eq!(wakes.get(), 1);
    executor.try_block_on(async {}).unwrap();
    assert_eq!(wakes.get(), 1, "it was told and has not ticked yet");
    assert_eq!(executor.tick().unwrap().end, TickEnd::Empty);
}

/// The stand-ins of two main futures have the same place, one after the other.
#[test]
fn a_main_future_is_not_polled_for_what_an_earlier_one_waited_for() {
    let executor = Executor::new();
    let gate = Gate::new();
    let mut task = executor.spawn(gate.clone()).unwrap();
    let other = executor.spawn(async move {
        yield_now().await;
        gate.open();
        yield_now().await;
        yield_now().await;
    });
    let mut other = other.unwrap();
    let asks = std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut task).poll(cx).is_pending());
        Poll::Ready(())
    });
    executor.try_block_on(asks).unwrap();
    let mut polls = 0;
    let waits = std::future::poll_fn(|cx| {
        polls += 1;
        Pin::new(&mut other).poll(cx)
    });
    executor.try_block_on(waits).unwrap().unwrap();
    assert!(task.is_finished());
    assert_eq!(
        polls, 2,
        "at the beginning, and when what it waits for was there"
    );
}

/// Hands its waker out when it is polled first, to a thread that wakes it or through a channel, and
/// is done at the second poll.
struct TwoPolls {
    give: std::sync::mpsc::Sender<Waker>,
    woken_at_once: bool,
    polls: Rc<Cell<usize>>,
}

impl Future for TwoPolls {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        if self.polls.get() > 1 {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        if self.woken_at_once {
            on_another_thread(|| waker.wake());
        } else {
            self.give.send(waker).unwrap();
        }
        Poll::Pending
    }
}

/// Has a thread wake a task and drop its waker, ends the task, and spawns another one of its size,
/// which a thread wakes at its first poll: `run` is given what does all this, and polls after it.
fn a_place_is_used_again(run: impl Fn(&Executor, Box<dyn FnOnce()>)) {
    let executor = Executor::builder().park(vestibule_executor::NoPark).build();
    for _ in 0..2 {
        let (give, wakers) = std::sync::mpsc::channel();
        let polls = Rc::new(Cell::new(0));
        let task = |woken_at_once, polls: &Rc<Cell<usize>>| TwoPolls {
            give: give.clone(),
            woken_at_once,
            polls: Rc::clone(polls),
        };
        let others: Vec<_> = (0..3)
            .map(|_| executor.spawn(task(false, &Rc::default())).unwrap())
            .collect();
        let first = executor.spawn(task(false, &Rc::default())).unwrap();
        let _ = executor.tick().unwrap();
        let wakers: Vec<Waker> = wakers.try_iter().collect();
        assert_eq!(wakers.len(), 4);
        let (second, handle) = (task(true, &polls), executor.handle());
        run(
            &executor,
            Box::new(move || {
                on_another_thread(move || wakers.into_iter().for_each(Waker::wake));
                first.abort();
                drop(first);
                drop(handle.spawn(second).unwrap());
            }),
        );
        let _ = executor.run_until_stalled(Default::default()).unwrap();
        assert_eq!(polls.get(), 2);
        assert!(others.iter().all(|task| task.is_finished()));
        assert_eq!(executor.metrics().live, 0);
    }
    assert_eq!(executor.metrics().woken_remote, 2 * 4);
}

#[test]
fn a_place_is_used_again_in_the_poll_of_a_main_future() {
    a_place_is_used_again(|executor, swap| {
        executor
            .try_block_on(async {
                swap();
                yield_now().await;
            })
            .unwrap();
    });
}

#[test]
fn a_place_is_used_again_between_two_rounds() {
    a_place_is_used_again(|executor, swap| {
        let mut swap = Some(swap);
        let stop = || {
            if let Some(swap) = swap.take() {
                swap();
            }
            false
        };
        let _ = executor.tick_until(Default::default(), stop).unwrap();
    });
}

#[test]
fn a_place_is_used_again_while_messages_are_taken_in() {
    thread_local!(static SWAP: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) });
    a_place_is_used_again(|executor, swap| {
        SWAP.set(Some(swap));
        let spawner = executor.send_spawner();
        on_another_thread(move || {
            let make = || {
                SWAP.take().unwrap()();
                async {}
            };
            drop(spawner.spawn_with(make).unwrap());
        });
        let _ = executor.tick().unwrap();
    });
}

/// The place waits for two: the answer of a wake, and the last waker.
#[test]
fn a_place_is_used_again_when_its_wake_is_answered_and_its_last_waker_gone() {
    for answered_first in [true, false] {
        let executor = Executor::new();
        let (give, wakers) = std::sync::mpsc::channel();
        let task = |give| TwoPolls {
            give,
            woken_at_once: false,
            polls: Rc::default(),
        };
        let first = executor.spawn(task(give.clone())).unwrap();
        let _ = executor.tick().unwrap();
        let waker = wakers.recv().unwrap();
        let waker = std::thread::spawn(move || {
            waker.wake_by_ref();
            waker
        });
        let waker = waker.join().unwrap();
        first.abort();
        drop(first);
        if answered_first {
            let _ = executor.tick().unwrap();
        }
        on_another_thread(move || drop(waker));
        // As many as there is room for, and more.
        for _ in 0..20 {
            drop(executor.spawn(task(give.clone())).unwrap());
        }
        let _ = executor.tick().unwrap();
        let wakers: Vec<Waker> = wakers.try_iter().collect();
        assert_eq!(wakers.len(), 20);
        on_another_thread(move || wakers.into_iter().for_each(Waker::wake));
        let _ = executor.tick().unwrap();
        assert_eq!(executor.metrics().live, 0);
    }
}
