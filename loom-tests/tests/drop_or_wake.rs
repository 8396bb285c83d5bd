//! Wakers in use while what they woke goes: the task, its slot in the table, the executor. A stale
//! waker wakes nobody else, and every future is dropped once, by the owner.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, Waker};

use executor_under_loom::{Executor, JoinHandle};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{Counted, assert_needed, explore};

/// What is known about a task that waits for ever.
struct Waits {
    task: JoinHandle<()>,
    polls: Rc<Cell<usize>>,
    drops: Arc<AtomicUsize>,
    /// Its waker, when it has been polled.
    wakers: std::sync::mpsc::Receiver<Waker>,
}

/// All of them have futures of one type, so that one may get the slot of another.
fn waits(executor: &Executor) -> Waits {
    let (sender, wakers) = std::sync::mpsc::channel();
    let (polls, drops) = (Rc::new(Cell::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, counted) = (Rc::clone(&polls), Counted(Arc::clone(&drops)));
    let task = std::future::poll_fn(move |cx| {
        let _counted = &counted;
        count.set(count.get() + 1);
        // Dropped with its receiver, if nobody takes it.
        let _ = sender.send(cx.waker().clone());
        Poll::Pending
    });
    let task = executor.spawn(task).unwrap();
    Waits {
        task,
        polls,
        drops,
        wakers,
    }
}

/// The task ends and another one is spawned, while a thread wakes the first, by reference and by
/// value, and so drops its waker.
fn a_slot_is_used_again_under_a_stale_waker() {
    let executor = Executor::new();
    let first = waits(&executor);
    let _ = executor.tick().unwrap();
    let waker = first.wakers.recv().unwrap();
    let thread = thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    });
    first.task.abort();
    assert_eq!(first.drops.load(Ordering::Relaxed), 1);
    drop(first.task);
    let next = waits(&executor);
    drop(next.wakers);
    let _ = executor.tick().unwrap();
    let early = next.polls.get();
    thread.join().unwrap();
    let _ = executor.tick().unwrap();
    let polls = (early, next.polls.get());
    assert_eq!(polls, (1, 1), "woken by a stale waker");
    assert!(!next.task.is_finished());
}

/// The executor ends while a thread wakes one of its tasks.
fn an_executor_ends_under_a_wake() {
    let executor = Executor::new();
    let Waits {
        task,
        drops,
        wakers,
        ..
    } = waits(&executor);
    let _ = executor.tick().unwrap();
    let waker = wakers.recv().unwrap();
    drop(wakers);
    let thread = thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    });
    drop(executor);
    let dropped = drops.load(Ordering::Relaxed);
    let finished = task.is_finished();
    // The last reference to the slot but for the waker: who is last frees the memory.
    drop(task);
    thread.join().unwrap();
    let after = drops.load(Ordering::Relaxed);
    assert_eq!((dropped, finished, after), (1, true, 1));
}

/// Two threads drop the last two wakers of a task that ends meanwhile, and one of them wakes.
fn two_wakers_go_while_the_task_ends() {
    let executor = Executor::new();
    let Waits {
        task,
        drops,
        wakers,
        ..
    } = waits(&executor);
    let _ = executor.tick().unwrap();
    let waker = wakers.recv().unwrap();
    drop(wakers);
    let clone = waker.clone();
    let threads = [
        thread::spawn(move || drop(clone)),
        thread::spawn(move || waker.wake()),
    ];
    task.abort();
    let dropped = drops.load(Ordering::Relaxed);
    let tick = executor.tick().unwrap();
    drop((task, executor));
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((dropped, tick.live, tick.polled), (1, 0, 0));
}

/// Two tasks of one executor end with it, and so does the memory they share, when the last of their
/// wakers is dropped: by either of two threads or by the owner.
fn an_executors_memory_goes_with_its_last_waker() {
    let executor = Executor::new();
    let tasks = [waits(&executor), waits(&executor)];
    let _ = executor.tick().unwrap();
    let threads = tasks.map(|waits| {
        let waker = waits.wakers.recv().unwrap();
        thread::spawn(move || drop(waker))
    });
    drop(executor);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A future that is done when it is polled after `done`; all of one type.
fn until(
    done: Arc<AtomicUsize>,
    wakers: std::sync::mpsc::Sender<Waker>,
) -> impl Future<Output = ()> + 'static {
    std::future::poll_fn(move |cx| {
        if done.load(Ordering::Relaxed) == 1 {
            return Poll::Ready(());
        }
        let _ = wakers.send(cx.waker().clone());
        Poll::Pending
    })
}

/// A task ends by itself while a thread asks for its abort; the next one gets its slot.
fn an_abort_comes_when_the_slot_is_another_ones() {
    let executor = Executor::new();
    let (sender, wakers) = std::sync::mpsc::channel();
    let done = Arc::new(AtomicUsize::new(0));
    let (ends, never) = (Arc::clone(&done), Arc::new(AtomicUsize::new(0)));
    let spawner = executor.send_spawner();
    let task = spawner.spawn_with(move || until(ends, sender)).unwrap();
    let _ = executor.tick().unwrap();
    done.store(1, Ordering::Relaxed);
    wakers.recv().unwrap().wake();
    let thread = thread::spawn(move || {
        task.abort();
        drop(task);
    });
    let _ = executor.tick().unwrap();
    let (sender, wakers) = std::sync::mpsc::channel();
    drop(wakers);
    let next = executor.spawn(until(never, sender)).unwrap();
    let _ = executor.tick().unwrap();
    thread.join().unwrap();
    let _ = executor.tick().unwrap();
    let ended = next.is_finished();
    drop((next, executor));
    assert!(!ended, "ended by a stranger's abort");
}

#[test]
fn a_stale_waker_wakes_nobody_else() {
    explore(None, 400, a_slot_is_used_again_under_a_stale_waker);
}

#[test]
fn a_wake_that_meets_the_end_of_the_executor_is_inert() {
    explore(None, 200, an_executor_ends_under_a_wake);
}

/// Three threads: three preemptions put each of the two drops and the wake between the steps of the
/// abort.
#[test]
fn the_last_wakers_go_while_the_task_ends() {
    explore(Some(3), 1_500, two_wakers_go_while_the_task_ends);
}

/// Two threads, every interleaving.
#[test]
fn a_stale_abort_ends_nobody_else() {
    explore(None, 400, an_abort_comes_when_the_slot_is_another_ones);
}

/// Three threads: three preemptions put both drops between the steps by which the executor ends.
#[test]
fn the_last_waker_frees_the_memory() {
    explore(Some(3), 600, an_executors_memory_goes_with_its_last_waker);
}

#[test]
fn a_slot_that_is_used_again_while_it_is_on_the_list_is_caught() {
    let name = "a_stale_waker_wakes_nobody_else";
    assert_needed("list.reuse", name, "nobody claimed it");
}

#[test]
fn an_abort_of_whoever_has_the_slot_is_caught() {
    let name = "a_stale_abort_ends_nobody_else";
    assert_needed("key.stale", name, "ended by a stranger's abort");
}

/// What a thread did with a slot or a chunk is over before another one uses it again or frees it.
#[test]
fn every_ordering_that_hands_memory_on_is_needed() {
    let name = "the_last_wakers_go_while_the_task_ends";
    for site in ["waker.drop", "waker.merge", "waker.gone"] {
        assert_needed(site, name, "Causality violation");
    }
    let name = "the_last_waker_frees_the_memory";
    for site in ["chunk.release", "chunk.free"] {
        assert_needed(site, name, "Causality violation");
    }
}
