//! Ours inside and outside of other executors, and of itself; the table stands in the crate's
//! documentation, one test for a cell.
//!
//! A cell "blocks inside" tells what becomes of a task of the outer executor that drives the
//! inner one to its end on the spot; a cell "as a future" is what one should do instead.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Waker;
use std::time::Duration;

use futures_executor::LocalPool;
use vestibule_executor::{BlockOnError, Executor, Reason, yield_now};

/// Needs our executor: another task, a turn of it, and a wake from another thread.
fn work(executor: &Executor) -> impl Future<Output = u32> + use<> {
    let handle = executor.handle();
    async move {
        let other = handle.spawn(async {
            yield_now().await;
            from_a_thread().await
        });
        other.unwrap().await.unwrap()
    }
}

/// Needs no executor of any kind, but a wake from another thread.
async fn from_a_thread() -> u32 {
    let (sender, receiver) = mpsc::channel();
    let mut thread = None;
    std::future::poll_fn(move |cx| {
        let (waker, sender): (Waker, _) = (cx.waker().clone(), sender.clone());
        thread.get_or_insert_with(|| {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                sender.send(7).unwrap();
                waker.wake();
            })
        });
        receiver
            .try_recv()
            .map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

type Outer = fn(Pin<Box<dyn Future<Output = ()>>>);

/// The outer executors, each running a future that is not `Send` on the calling thread.
const OUTER: [(&str, Outer); 10] = [
    ("LocalPool", |f| LocalPool::new().run_until(f)),
    ("futures block_on", |f| futures_executor::block_on(f)),
    ("tokio current-thread", |f| current_thread().block_on(f)),
    ("tokio multi-thread", |f| multi_thread().block_on(f)),
    ("tokio LocalSet", |f| {
        tokio::task::LocalSet::new().block_on(&current_thread(), f);
    }),
    ("smol", |f| {
        smol::block_on(smol::LocalExecutor::new().run(f))
    }),
    // What async-std is made of: its `task::block_on` and `task::spawn_local` are these.
    ("async-std", |f| async_global_executor::block_on(f)),
    ("a local task of async-std", |f| {
        async_global_executor::block_on(async_global_executor::spawn_local(f));
    }),
    ("pollster", |f| pollster::block_on(f)),
    ("ours", |f| Executor::new().try_block_on(f).unwrap()),
];

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap()
}

#[test]
fn ours_blocks_inside_every_other_one_and_works() {
    for (name, outer) in OUTER {
        outer(Box::pin(async move {
            let executor = Executor::new();
            let answer = executor.try_block_on(work(&executor)).unwrap();
            assert_eq!(answer, 7, "{name}");
        }));
    }
}

#[test]
fn ours_runs_as_a_future_inside_every_other_one() {
    for (name, outer) in OUTER {
        outer(Box::pin(async move {
            let executor = Executor::new();
            let answer = executor.run_until(work(&executor)).await.unwrap();
            assert_eq!(answer, 7, "{name}");
        }));
    }
}

#[test]
fn ours_works_on_a_worker_of_tokio_and_in_its_blocking_pool() {
    let runtime = multi_thread();
    let work = || {
        let executor = Executor::new();
        executor.try_block_on(work(&executor)).unwrap()
    };
    let worker = runtime.spawn(async move { work() });
    assert_eq!(runtime.block_on(worker).unwrap(), 7);
    let pool = runtime.spawn_blocking(work);
    assert_eq!(runtime.block_on(pool).unwrap(), 7);
}

#[test]
fn ours_works_on_a_thread_of_async_std_and_in_its_blocking_pool() {
    let work = || {
        let executor = Executor::new();
        executor.try_block_on(work(&executor)).unwrap()
    };
    let thread = async_global_executor::spawn(async move { work() });
    assert_eq!(async_global_executor::block_on(thread), 7);
    let pool = async_global_executor::spawn_blocking(work);
    assert_eq!(async_global_executor::block_on(pool), 7);
}

/// Runs a foreign `block_on` inside one of our tasks.
fn inside_ours<R: 'static>(f: impl FnOnce() -> R + 'static) -> R {
    let executor = Executor::new();
    let task = executor.spawn(async move { f() }).unwrap();
    executor.try_block_on(task).unwrap().unwrap()
}

#[cfg(not(feature = "futures-guard"))]
#[test]
fn the_futures_crate_blocks_inside_ours_undetected() {
    assert_eq!(
        inside_ours(|| futures_executor::block_on(from_a_thread())),
        7
    );
    assert_eq!(
        inside_ours(|| LocalPool::new().run_until(from_a_thread())),
        7
    );
}

#[cfg(feature = "futures-guard")]
#[test]
fn the_futures_crate_is_refused_inside_ours_under_the_feature() {
    let panics =
        std::panic::catch_unwind(|| inside_ours(|| futures_executor::block_on(from_a_thread())));
    let text = panics.unwrap_err();
    let text = text.downcast_ref::<String>().unwrap();
    assert!(text.contains("cannot execute `LocalPool` executor from within another executor"));
}

#[test]
fn tokio_smol_async_std_and_pollster_block_inside_ours_undetected() {
    assert_eq!(
        inside_ours(|| current_thread().block_on(from_a_thread())),
        7
    );
    assert_eq!(inside_ours(|| multi_thread().block_on(from_a_thread())), 7);
    assert_eq!(inside_ours(|| smol::block_on(from_a_thread())), 7);
    assert_eq!(
        inside_ours(|| {
            let local = smol::LocalExecutor::new();
            smol::block_on(local.run(from_a_thread()))
        }),
        7
    );
    assert_eq!(
        inside_ours(|| async_global_executor::block_on(from_a_thread())),
        7
    );
    assert_eq!(inside_ours(|| pollster::block_on(from_a_thread())), 7);
}

#[cfg(not(feature = "futures-guard"))]
#[test]
fn a_foreign_block_inside_ours_that_needs_a_task_of_ours_would_hang() {
    // Shown with a foreign executor that gives up in place of hanging: the task it waits for
    // is never polled, because the poll that would return to us does not.
    let executor = Executor::new();
    let handle = executor.handle();
    let task = executor.spawn(async move {
        let other = handle.spawn(async { 7 }).unwrap();
        let mut pool = LocalPool::new();
        let done = std::rc::Rc::new(std::cell::Cell::new(false));
        let setter = std::rc::Rc::clone(&done);
        let waits = async move {
            let _ = other.await;
            setter.set(true);
        };
        let waits = futures_task::LocalFutureObj::new(Box::new(waits));
        futures_task::LocalSpawn::spawn_local_obj(&pool.spawner(), waits).unwrap();
        pool.run_until_stalled();
        done.get()
    });
    assert!(!executor.try_block_on(task.unwrap()).unwrap().unwrap());
}

#[test]
fn the_same_one_inside_itself_is_refused_by_every_way_in() {
    let executor = Executor::new();
    let handle = executor.handle();
    let task = executor.spawn(async move {
        let blocked = match handle.try_block_on(async {}) {
            Err(BlockOnError::Refused(refused)) => refused.reason(),
            other => panic!("{other:?}"),
        };
        let ticked = handle.tick().unwrap_err().reason();
        let run = handle.run_until(async {}).await.unwrap_err().reason();
        // Through another executor in between, too: the scope is the executor, not the frame.
        let through = pollster::block_on(async { handle.try_block_on(async {}).is_err() });
        (blocked, ticked, run, through)
    });
    assert_eq!(
        executor.try_block_on(task.unwrap()).unwrap().unwrap(),
        (Reason::Nested, Reason::Reentrant, Reason::Reentrant, true)
    );
}

#[test]
fn two_of_ours_that_block_on_each_other_are_refused_at_the_second_turn() {
    let (a, b) = (Executor::new(), Executor::new());
    let (into_a, into_b) = (a.handle(), b.handle());
    let refused = a
        .try_block_on(async move {
            into_b.try_block_on(async move { into_a.try_block_on(async {}).unwrap_err() })
        })
        .unwrap()
        .unwrap();
    assert!(
        matches!(refused, BlockOnError::Refused(refused) if refused.reason() == Reason::Nested)
    );
}

#[test]
fn a_nested_executor_loses_no_wake_of_the_outer_one() {
    // pollster 1.0.1: nested use lost the outer wake and hung.
    let outer = Executor::new();
    let answer = outer.try_block_on(async {
        let (sender, receiver) = mpsc::channel();
        let mut sent = false;
        let inner = Executor::new();
        std::future::poll_fn(move |cx| {
            if !std::mem::replace(&mut sent, true) {
                let (waker, sender) = (cx.waker().clone(), sender.clone());
                // The wake for the outer one comes while the inner one sleeps on this thread.
                let thread = std::thread::spawn(move || {
                    sender.send(5).unwrap();
                    waker.wake();
                });
                assert_eq!(inner.try_block_on(work(&inner)).unwrap(), 7);
                thread.join().unwrap();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(receiver.recv().unwrap())
        })
        .await
    });
    assert_eq!(answer.unwrap(), 5);
}
