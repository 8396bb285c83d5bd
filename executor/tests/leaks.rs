//! Nothing is left allocated, whatever end the tasks came to. Counted by the allocator, so
//! there is one test in this file and it runs alone.

mod common;

use std::alloc::System;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};

use cap::Cap;
use common::{Gate, Log, never};
use vestibule_executor::{
    Budget, Executor, NoPark, PanicPolicy, Phase, Refused, Schedule, yield_now,
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Something big enough to be noticed.
fn payload() -> Vec<u8> {
    black_box(vec![1; 1000])
}

fn executor_with_waiters(gate: &Gate, count: usize) -> Executor {
    let executor = Executor::builder().park(NoPark).build();
    let group = executor.group("group");
    for n in 0..count {
        let (gate, held) = (gate.clone(), payload());
        let task = executor.task().name(format!("task {n}")).group(&group);
        let task = task.spawn(async move {
            gate.await;
            drop(held);
        });
        drop(task.unwrap());
    }
    executor
}

const SCENARIOS: [(&str, fn()); 12] = [
    ("tasks run to their end", || {
        let gate = Gate::new();
        let executor = executor_with_waiters(&gate, 100);
        let _ = executor.tick().unwrap();
        gate.open();
        let _ = executor.run_until_stalled(Budget::default()).unwrap();
    }),
    ("queued tasks are dropped with the executor", || {
        drop(executor_with_waiters(&Gate::new(), 100));
    }),
    ("waiting tasks whose wakers outlive the executor", || {
        let gate = Gate::new();
        let executor = executor_with_waiters(&gate, 100);
        let _ = executor.tick().unwrap();
        drop(executor);
        gate.open();
    }),
    (
        "wakers used and dropped on another thread after the end",
        || {
            let gate = Gate::new();
            let executor = executor_with_waiters(&gate, 100);
            let _ = executor.tick().unwrap();
            let wakers = gate.wakers();
            drop(executor);
            let wake = move || wakers.into_iter().for_each(Waker::wake);
            std::thread::spawn(wake).join().unwrap();
        },
    ),
    ("messages left in the queue at the end", || {
        let gate = Gate::new();
        let executor = executor_with_waiters(&gate, 100);
        let _ = executor.tick().unwrap();
        let (wakers, spawner) = (gate.wakers(), executor.send_spawner());
        let handle = std::thread::spawn(move || {
            wakers.into_iter().for_each(Waker::wake);
            let held = payload();
            spawner.spawn(async move { drop(held) }).unwrap()
        });
        let handle = handle.join().unwrap();
        drop(executor);
        assert!(handle.is_finished());
    }),
    (
        "aborts, one by one, as a group and from another thread",
        || {
            let executor = executor_with_waiters(&Gate::new(), 10);
            let group = executor.group("mine");
            for _ in 0..10 {
                let held = payload();
                let task = executor.task().group(&group);
                let task = task.spawn(async move {
                    never().await;
                    drop(held);
                });
                drop(task.unwrap().abort_on_drop());
                drop(executor.task().group(&group).spawn(never()).unwrap());
            }
            group.abort_all();
            let held = payload();
            let remote = executor.send_spawner().spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            let remote = remote.unwrap();
            let _ = executor.tick().unwrap();
            std::thread::spawn(move || remote.abort()).join().unwrap();
            let _ = executor.tick().unwrap();
        },
    ),
    ("panics of tasks, handled and not", || {
        for policy in [
            PanicPolicy::Join,
            PanicPolicy::ResumeDetached,
            PanicPolicy::ShutDown,
        ] {
            let executor = Executor::builder().on_panic(policy).build();
            let held = payload();
            let task = executor.spawn(async move {
                let _held = held;
                yield_now().await;
                std::panic::resume_unwind(Box::new(payload()));
            });
            let task: vestibule_executor::JoinHandle<()> = task.unwrap();
            let detached = async { std::panic::resume_unwind(Box::new(payload())) };
            drop(executor.spawn::<std::pin::Pin<Box<dyn Future<Output = ()>>>>(Box::pin(detached)));
            let drive = || drop(executor.run_until_stalled(Budget::default()));
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(drive));
            drop(task);
        }
    }),
    (
        "phases committed, discarded and forgotten, with deferred work",
        || {
            let executor = Executor::new();
            let store = executor.group("store");
            for commits in [true, false] {
                let _: Result<(), Refused> =
                    executor.with_phase(Phase::instantiating(&store), || {
                        let held = payload();
                        drop(executor.defer(async move { drop(held) }).unwrap());
                        if commits {
                            Ok(())
                        } else {
                            executor.tick().map(drop)
                        }
                    });
            }
            let held = payload();
            let phase = Phase::instantiating(&store).label("a label that is allocated");
            let guard = executor.enter_phase(phase).unwrap();
            drop(executor.defer(async move { drop(held) }).unwrap());
            // A guard that is forgotten would keep the memory of the executor, though not what
            // is in it: it holds a weak reference.
            drop(executor);
            drop(guard);
        },
    ),
    ("tasks that hold handles of each other", || {
        let executor = Executor::new();
        let slot = std::rc::Rc::new(std::cell::RefCell::new(None));
        let other = std::rc::Rc::clone(&slot);
        let held = payload();
        let first = executor.spawn(async move {
            yield_now().await;
            let second: Option<vestibule_executor::JoinHandle<()>> = other.borrow_mut().take();
            let _ = second.unwrap().await;
            drop(held);
        });
        let first = first.unwrap();
        let second = executor.spawn(async move {
            let _ = first.await;
        });
        *slot.borrow_mut() = Some(second.unwrap());
        assert!(executor.try_block_on(never()).is_err());
    }),
    ("a run inside another executor, given up", || {
        let gate = Gate::new();
        let executor = executor_with_waiters(&gate, 10);
        let mut run = pin!(executor.run_until(never()));
        let waker = Waker::from(common::CountWakes::new().0);
        assert!(
            run.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        gate.open();
    }),
    ("a task that drops its own executor", || {
        let executor = std::rc::Rc::new(std::cell::RefCell::new(Some(Executor::new())));
        let handle = executor.borrow().as_ref().unwrap().handle();
        let (own, held) = (std::rc::Rc::clone(&executor), payload());
        let task = handle.spawn(async move {
            let taken = own.borrow_mut().take();
            drop(taken);
            yield_now().await;
            drop(held);
        });
        drop(task.unwrap());
        let _ = handle.tick().unwrap();
    }),
    ("refusals, snapshots, watchdogs and shuffles", || {
        let builder = Executor::builder().schedule(Schedule::Shuffle { seed: 1 });
        let executor = builder.build();
        let (watchdog, log) = (executor.watchdog(), Log::new());
        let handle = executor.handle();
        let task = executor.task().name("named").spawn(async move {
            let refused = handle.try_block_on(async {}).unwrap_err().to_string();
            refused + &handle.snapshot().to_string()
        });
        let text = executor.try_block_on(task.unwrap()).unwrap().unwrap();
        drop(executor.spawn(log.task(text)).unwrap());
        let _ = executor.tick().unwrap();
        drop(executor);
        let _ = watchdog.look();
    }),
];

#[test]
fn nothing_stays_allocated_in_any_scenario() {
    for (name, scenario) in SCENARIOS {
        // Once to warm up what the process itself keeps: thread-locals, the list of threads.
        scenario();
        let before = ALLOCATOR.allocated();
        for _ in 0..3 {
            scenario();
        }
        let after = ALLOCATOR.allocated();
        assert!(
            after <= before,
            "{name}: {} bytes leaked in three runs",
            after - before
        );
    }
    // The same check notices a leak.
    let before = ALLOCATOR.allocated();
    let kept = payload();
    assert!(ALLOCATOR.allocated() >= before + 1000);
    drop(kept);
}
