//! Code of others that runs where the executor calls it: in destructors, closures and wakers. What
//! it does there to the executor loses no wake, no outcome and no destructor.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use crate::common::{Log, never};
use vestibule_executor::{
    BlockOnError, Executor, Group, Handle, JoinError, JoinHandle, JoinSet, NoPark, OnBlock, Phase,
    Refused,
};

thread_local! {
    static HANDLE: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

fn no_park() -> Executor {
    Executor::builder().park(NoPark).build()
}

fn handle() -> Handle {
    HANDLE.with_borrow(|handle| handle.clone().unwrap())
}

/// Blocks on a task inside of its destructor.
struct BlocksOn(Handle, Option<JoinHandle<()>>, Log);

impl Drop for BlocksOn {
    fn drop(&mut self) {
        let group = self.0.group("inner");
        let phase = Phase::custom("drop", &group).on_block(OnBlock::DriveAll { max_depth: 4 });
        let task = self.1.take().unwrap();
        let handle = self.0.clone();
        let done = self.0.with_phase(phase, || {
            Ok::<_, Refused>(matches!(handle.try_block_on(task), Ok(Ok(()))))
        });
        self.2.add(format!("{done:?}"));
    }
}

#[test]
fn a_wake_behind_an_abort_in_the_queue_is_met_by_a_drive_in_a_destructor() {
    let executor = no_park();
    let log = Log::new();
    let flag = Arc::new(AtomicBool::new(false));
    let stored: Arc<Mutex<Option<Waker>>> = Arc::default();
    let (sees, keeps) = (Arc::clone(&flag), Arc::clone(&stored));
    let woken = executor.spawn(std::future::poll_fn(move |cx| {
        *keeps.lock().unwrap() = Some(cx.waker().clone());
        if sees.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    HANDLE.set(Some(executor.handle()));
    thread_local! {
        static GUARD: RefCell<Option<BlocksOn>> = const { RefCell::new(None) };
    }
    GUARD.set(Some(BlocksOn(
        executor.handle(),
        Some(woken.unwrap()),
        log.clone(),
    )));
    let aborted = executor
        .send_spawner()
        .spawn_with(|| {
            let guard = GUARD.take();
            async move {
                let _guard = guard;
                never().await;
            }
        })
        .unwrap();
    let _ = executor.tick().unwrap();
    let _ = executor.tick().unwrap();
    std::thread::spawn(move || {
        aborted.abort();
        flag.store(true, Ordering::SeqCst);
        stored.lock().unwrap().as_ref().unwrap().wake_by_ref();
    })
    .join()
    .unwrap();
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["Ok(true)"]);
}

/// Ticks the executor of this thread when it is dropped.
struct TicksOnDrop;

impl Wake for TicksOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for TicksOnDrop {
    fn drop(&mut self) {
        let _ = handle().tick();
    }
}

#[test]
fn a_waiter_whose_drop_ends_the_task_loses_no_outcome() {
    let executor = no_park();
    HANDLE.set(Some(executor.handle()));
    let witness = Rc::new(());
    let held = Rc::clone(&witness);
    let mut task = executor.spawn(async move { held }).unwrap();
    let waker = Waker::from(Arc::new(TicksOnDrop));
    let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(waker);
    drop(task);
    assert_eq!(Rc::strong_count(&witness), 1);
    assert_eq!(executor.metrics().live, 0);
}

#[test]
fn a_closure_that_shuts_the_executor_down_is_answered_and_leaves_no_task() {
    let executor = no_park();
    HANDLE.set(Some(executor.handle()));
    let spawner = executor.send_spawner();
    let (sender, receiver) = mpsc::channel::<()>();
    let task = spawner
        .spawn_with(move || {
            handle().shutdown();
            async move {
                let _held = sender;
                never().await;
            }
        })
        .unwrap();
    let _ = executor.tick();
    assert!(task.is_finished());
    assert_eq!(executor.metrics().live, 0);
    assert!(receiver.recv().is_err(), "the future is dropped");
    let outcome = pollster::block_on(task);
    assert!(matches!(outcome, Err(JoinError::ExecutorGone)));
}

/// Aborts a group when it is dropped.
struct AbortsOnDrop(Group);

impl Drop for AbortsOnDrop {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

#[test]
fn outcomes_that_end_others_of_a_set_leave_nothing_in_it() {
    let executor = no_park();
    let group = executor.group("group");
    let mut set: JoinSet<Option<AbortsOnDrop>> = JoinSet::new(&executor);
    let aborts = AbortsOnDrop(group.clone());
    set.spawn(async move { Some(aborts) }).unwrap();
    let pending = async {
        never().await;
        None
    };
    let pending = executor.task().group(&group).spawn(pending).unwrap();
    set.insert(pending).unwrap();
    let _ = executor.tick().unwrap();
    set.detach_all();
    assert_eq!(group.live(), 0);
    let again = set.spawn(async { None }).unwrap();
    assert!(set.try_join_next().is_none());
    let _ = executor.tick().unwrap();
    assert_eq!(set.try_join_next().unwrap().0, again);
}

#[test]
fn the_handle_of_a_remote_task_forbids_the_claim_of_a_deadlock() {
    let executor = Executor::new();
    let group = executor.group("group");
    let waits = executor.task().group(&group).spawn(never()).unwrap();
    thread_local! {
        static GUARD: RefCell<Option<AbortsOnDrop>> = const { RefCell::new(None) };
    }
    GUARD.set(Some(AbortsOnDrop(group)));
    let spawner = executor.send_spawner();
    let remote = spawner
        .spawn_with(|| {
            let guard = GUARD.take();
            async move {
                let _guard = guard;
                never().await;
            }
        })
        .unwrap();
    drop(spawner);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        remote.abort();
    });
    let outcome = executor.try_block_on(waits);
    assert!(matches!(outcome, Ok(Err(JoinError::Aborted))));
    thread.join().unwrap();
    // With the handle gone the proof holds.
    match executor.try_block_on(never()) {
        Err(BlockOnError::Stalled(stalled)) => assert!(stalled.deadlock),
        _ => panic!("nothing can wake it"),
    }
}
