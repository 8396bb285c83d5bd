//! The end of an executor drops every task once, on its thread, whatever is going on.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Waker;

use crate::common::{self, Gate, Log};
use vestibule_executor::{
    Activity, BlockOnError, CannotPark, Executor, Handle, JoinError, Park, Phase, Reason, TickEnd,
    yield_now,
};

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[test]
fn queued_waiting_and_deferred_tasks_are_dropped_with_the_executor() {
    // unsend 0.2.1: the process aborted when the executor was dropped with a pending task.
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let waiting = log.on_drop("waiting");
    let wait = async move {
        common::never().await;
        drop(waiting);
    };
    let waits = executor.spawn(Box::pin(wait) as Task).unwrap();
    let _ = executor.tick().unwrap();
    let queued = log.on_drop("queued");
    let queued = executor
        .spawn(Box::pin(async move { drop(queued) }) as Task)
        .unwrap();
    let forgotten = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let deferred = log.on_drop("deferred");
    let deferred = executor.defer(async move { drop(deferred) }).unwrap();
    drop(executor);
    assert_eq!(log.take(), ["deferred", "waiting", "queued"]);
    drop(forgotten);
    let outside = Executor::new();
    for task in [waits, queued] {
        let outcome = outside.try_block_on(task).unwrap();
        assert!(matches!(outcome, Err(JoinError::ExecutorGone)));
    }
    let outcome = outside.try_block_on(deferred).unwrap();
    assert!(matches!(outcome, Err(JoinError::Discarded)));
}

#[test]
fn a_task_may_drop_its_own_executor_and_ends_with_its_poll() {
    let executor = Rc::new(RefCell::new(Some(Executor::new())));
    let handle = executor.borrow().as_ref().unwrap().handle();
    let log = Log::new();
    let (owner, events, witness) = (Rc::clone(&executor), log.clone(), log.on_drop("own future"));
    let other = log.on_drop("other future");
    drop(
        handle
            .spawn(async move {
                common::never().await;
                drop(other);
            })
            .unwrap(),
    );
    let inner = handle.clone();
    let task = handle
        .spawn(async move {
            let taken = owner.borrow_mut().take();
            drop(taken);
            events.add("executor dropped");
            assert_eq!(inner.activity(), Activity::Closed);
            assert_eq!(inner.tick().unwrap_err().reason(), Reason::Closed);
            assert!(inner.spawn(async {}).is_err());
            yield_now().await;
            drop(witness);
            unreachable!("it was polled again");
        })
        .unwrap();
    let tick = handle.tick().unwrap();
    assert_eq!(
        log.take(),
        ["other future", "executor dropped", "own future"]
    );
    assert_eq!((tick.live, tick.end), (0, TickEnd::Empty));
    assert!(!handle.is_alive());
    let outside = Executor::new();
    assert!(matches!(
        outside.try_block_on(task),
        Ok(Err(JoinError::ExecutorGone))
    ));
}

#[test]
fn shutting_down_inside_a_block_ends_the_block() {
    let executor = Executor::new();
    let handle = executor.handle();
    assert!(handle.is_alive());
    drop(executor.spawn(async move { handle.shutdown() }).unwrap());
    let error = executor.try_block_on(common::never()).unwrap_err();
    assert!(matches!(error, BlockOnError::Refused(refused) if refused.reason() == Reason::Closed));
    assert!(!executor.is_alive());
}

#[test]
fn shutting_down_inside_a_phase_makes_its_guards_inert() {
    let executor = Executor::new();
    let store = executor.group("store");
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let task = executor.defer(async {}).unwrap();
    executor.shutdown();
    assert!(!guard.commit());
    assert!(task.is_finished());
}

#[test]
fn a_destructor_may_use_the_executor_that_is_shutting_down_and_is_refused() {
    struct Tries(vestibule_executor::Handle, Log);
    impl Drop for Tries {
        fn drop(&mut self) {
            assert_eq!(self.0.activity(), Activity::ShuttingDown);
            assert!(self.0.spawn(async {}).is_err());
            assert!(self.0.defer(async {}).is_err());
            assert_eq!(self.0.tick().unwrap_err().reason(), Reason::Closed);
            assert!(self.0.try_block_on(async {}).is_err());
            self.0.shutdown();
            self.1.add("refused");
        }
    }
    let executor = Executor::new();
    let log = Log::new();
    let tries = Tries(executor.handle(), log.clone());
    drop(executor.spawn(async move { drop(tries) }).unwrap());
    drop(executor);
    assert_eq!(log.take(), ["refused"]);
}

#[test]
fn a_detached_task_gets_its_destructor_run() {
    // async-task #140: a detached task was freed without it.
    let executor = Executor::new();
    let log = Log::new();
    let witness = log.on_drop("dropped");
    drop(
        executor
            .spawn(async move {
                common::never().await;
                drop(witness);
            })
            .unwrap(),
    );
    let _ = executor.tick().unwrap();
    drop(executor);
    assert_eq!(log.take(), ["dropped"]);
}

#[test]
fn futures_held_by_wakers_and_queues_do_not_leak() {
    // maitake: queued and waker-held tasks leaked.
    let log = Log::new();
    let gate = Gate::new();
    {
        let executor = Executor::new();
        for name in ["waker-held", "queued"] {
            let (waiting, witness) = (gate.clone(), log.on_drop(name));
            let task = async move {
                waiting.await;
                drop(witness);
            };
            drop(executor.spawn(task).unwrap());
        }
        let _ = executor.tick().unwrap();
        let second = gate.wakers().pop().unwrap();
        second.wake_by_ref();
        std::thread::spawn(move || second.wake()).join().unwrap();
    }
    assert_eq!(log.take(), ["waker-held", "queued"]);
}

#[test]
fn the_group_and_the_handles_of_a_gone_executor_answer_quietly() {
    let executor = Executor::new();
    let group = executor.group("g");
    let task = executor
        .task()
        .group(&group)
        .spawn(common::never())
        .unwrap();
    let handle = executor.handle();
    drop(executor);
    task.wake();
    task.abort();
    assert_eq!(
        (group.live(), group.ready(), group.name().as_ref()),
        (0, 0, "")
    );
    let sub = group.clone().subgroup("sub");
    sub.abort_all();
    sub.abort_tree();
    assert_eq!(handle.activity(), Activity::Closed);
    assert_eq!(handle.metrics().live, 0);
    assert_eq!(handle.phase().depth, 0);
    assert_eq!(handle.group("late").live(), 0);
    assert!(handle.task().group(&group).spawn(async {}).is_err());
}

#[test]
fn an_executor_may_live_in_a_thread_local_and_die_with_its_thread() {
    thread_local! {
        static EXECUTOR: Executor = Executor::new();
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    struct Tells(std::sync::mpsc::Sender<std::thread::ThreadId>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }
    let thread = std::thread::spawn(move || {
        let tells = Tells(sender);
        let task = async move {
            common::never().await;
            drop(tells);
        };
        EXECUTOR.with(|executor| drop(executor.spawn(task).unwrap()));
        std::thread::current().id()
    });
    let owner = thread.join().unwrap();
    assert_eq!(receiver.recv().unwrap(), owner);
}

#[test]
fn wakes_that_come_after_the_end_do_not_rouse_the_host() {
    for drops in [true, false] {
        let (count, waker) = common::CountWakes::new();
        let executor = Executor::builder().host_waker(waker).build();
        let gate = Gate::new();
        drop(executor.spawn(gate.clone()).unwrap());
        let _ = executor.tick().unwrap();
        // Asleep, and told once so far: of the spawn.
        assert_eq!(count.get(), 1);
        let wakers = gate.wakers();
        let executor = if drops {
            drop(executor);
            None
        } else {
            executor.shutdown();
            Some(executor)
        };
        wakers.iter().for_each(Waker::wake_by_ref);
        let late = move || wakers.into_iter().for_each(Waker::wake);
        std::thread::spawn(late).join().unwrap();
        assert_eq!(count.get(), 1, "dropped: {drops}");
        drop(executor);
    }
}

#[test]
fn shutting_down_inside_a_park_ends_the_block_as_closed() {
    #[derive(Clone, Default)]
    struct ShutsDown(Rc<RefCell<Option<Handle>>>);
    impl Park for ShutsDown {
        fn park(&self) -> Result<(), CannotPark> {
            let handle = self.0.borrow_mut().take();
            handle.unwrap().shutdown();
            Err(CannotPark)
        }
        fn unparker(&self) -> Waker {
            Waker::noop().clone()
        }
    }
    let park = ShutsDown::default();
    let executor = Executor::builder().park(park.clone()).build();
    *park.0.borrow_mut() = Some(executor.handle());
    // Its waker is out, so there is a reason to sleep.
    let gate = Gate::new();
    match executor.try_block_on(gate.clone()) {
        Err(BlockOnError::Refused(refused)) => assert_eq!(refused.reason(), Reason::Closed),
        other => panic!("{other:?}"),
    }
}
