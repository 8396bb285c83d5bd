//! Nothing is left allocated, whatever end the tasks came to. Counted by the allocator, so
//! there is one test in this file and it runs alone.

mod common;

use std::alloc::System;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use cap::Cap;
use common::{Gate, Log, never};
use vestibule_executor::{
    Budget, Executor, Handle, Hooks, NoPark, PanicPolicy, Phase, PollOutcome, Refused, Schedule,
    TaskId, yield_now,
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

const SCENARIOS: [(&str, fn()); 18] = [
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
    ("hooks that all panic, with something allocated", || {
        struct Panics;
        impl Hooks for Panics {
            fn on_spawn(&self, _: TaskId, _: Option<&str>) {
                std::panic::resume_unwind(Box::new(payload()))
            }
            fn before_poll(&self, _: TaskId) {
                std::panic::resume_unwind(Box::new(payload()))
            }
            fn after_poll(&self, _: TaskId, _: PollOutcome) {
                std::panic::resume_unwind(Box::new(payload()))
            }
            fn on_discarded(&self, _: TaskId, _: Option<&str>) {
                std::panic::resume_unwind(Box::new(payload()))
            }
        }
        let executor = Executor::builder().hooks(Panics).build();
        let store = executor.group("store");
        drop(executor.spawn(async { drop(payload()) }).unwrap());
        let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
        drop(executor.defer(async { drop(payload()) }).unwrap());
        let _ = guard.discard();
        let _ = executor.tick().unwrap();
        assert!(executor.metrics().foreign_panics >= 5);
    }),
    ("wakers that panic: the host's and a stranger's", || {
        struct Panics(Vec<u8>);
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                std::panic::resume_unwind(Box::new(self.0.clone()))
            }
        }
        let waker = || Waker::from(Arc::new(Panics(payload())));
        let executor = Executor::builder().host_waker(waker()).build();
        let gate = Gate::new();
        let mut task = executor.spawn(gate.clone()).unwrap();
        let stranger = waker();
        let mut cx = Context::from_waker(&stranger);
        assert!(std::pin::Pin::new(&mut task).poll(&mut cx).is_pending());
        let _ = executor.tick().unwrap();
        let wakers = gate.wakers();
        gate.open();
        let wake = move || wakers.into_iter().for_each(Waker::wake);
        std::thread::spawn(wake).join().unwrap();
        let _ = executor.tick().unwrap();
        assert!(task.is_finished());
    }),
    (
        "destructors that spawn, wake, block and panic at once",
        || {
            struct Everything(Handle, Gate, Vec<u8>);
            impl Drop for Everything {
                fn drop(&mut self) {
                    let held = payload();
                    drop(self.0.spawn(async move { drop(held) }));
                    self.1.open();
                    drop(self.0.try_block_on(async { drop(payload()) }));
                    std::panic::resume_unwind(Box::new(std::mem::take(&mut self.2)));
                }
            }
            for ends in ["by itself", "aborted", "with the executor", "discarded"] {
                let gate = Gate::new();
                let executor = executor_with_waiters(&gate, 3);
                let _ = executor.tick().unwrap();
                let everything = Everything(executor.handle(), gate, payload());
                let by_itself = ends == "by itself";
                let future = async move {
                    let _everything = everything;
                    if !by_itself {
                        never().await;
                    }
                };
                let phase = Phase::instantiating(&executor.group("store"));
                let guard = (ends == "discarded").then(|| executor.enter_phase(phase).unwrap());
                let task = executor.defer(future).unwrap();
                drop(guard);
                if ends != "with the executor" {
                    let _ = executor.tick().unwrap();
                }
                if ends == "aborted" {
                    task.abort();
                }
            }
        },
    ),
    ("spawns after the end, here and on another thread", || {
        let executor = Executor::new();
        let (handle, spawner) = (executor.handle(), executor.send_spawner());
        let group = executor.group("group");
        drop(executor);
        let held = payload();
        let error = handle.spawn(async move { drop(held) }).unwrap_err();
        drop(error.into_inner());
        let held = payload();
        drop(handle.task().group(&group).defer(async move { drop(held) }));
        let held = payload();
        std::thread::spawn(move || drop(spawner.spawn(async move { drop(held) })))
            .join()
            .unwrap();
    }),
    (
        "the executor is dropped by a destructor, a hook and a panic",
        || {
            type Slot = std::rc::Rc<std::cell::RefCell<Option<Executor>>>;
            struct DropsIt(Slot);
            impl Drop for DropsIt {
                fn drop(&mut self) {
                    drop(self.0.borrow_mut().take());
                }
            }
            impl Hooks for DropsIt {
                fn before_poll(&self, _: TaskId) {
                    drop(self.0.borrow_mut().take());
                }
            }
            for in_hook in [true, false] {
                let slot = Slot::default();
                let builder = Executor::builder();
                let executor = if in_hook {
                    builder.hooks(DropsIt(slot.clone())).build()
                } else {
                    builder.build()
                };
                let handle = executor.handle();
                *slot.borrow_mut() = Some(executor);
                let (drops_it, held) = (DropsIt(slot.clone()), payload());
                let panics = async move {
                    let _held = (drops_it, held);
                    std::panic::resume_unwind(Box::new(payload()));
                };
                let task: vestibule_executor::JoinHandle<()> = handle.spawn(panics).unwrap();
                drop(handle.spawn(never()).unwrap());
                let _ = handle.tick().unwrap();
                assert!(task.is_finished() && !handle.is_alive());
            }
        },
    ),
    (
        "remote tasks given up before, while and after they run",
        || {
            let executor = Executor::new();
            let spawner = executor.send_spawner();
            let (held, again) = (payload(), payload());
            let unstarted = spawner
                .spawn_with(move || async move { drop(held) })
                .unwrap();
            unstarted.abort();
            let _ = executor.tick().unwrap();
            let waits = spawner.spawn_with(move || async move {
                never().await;
                drop(again);
            });
            let ends = spawner.spawn(async { payload() }).unwrap();
            let _ = executor.tick().unwrap();
            drop(ends);
            waits.unwrap().abort();
            let panics = spawner.spawn(async { std::panic::resume_unwind(Box::new(payload())) });
            let panics: vestibule_executor::RemoteJoinHandle<()> = panics.unwrap();
            let _ = executor.tick().unwrap();
            assert!(panics.is_finished() && unstarted.is_finished());
        },
    ),
];

/// Bytes that stay allocated after three runs.
fn kept_by(scenario: fn()) -> usize {
    let before = ALLOCATOR.allocated();
    for _ in 0..3 {
        scenario();
    }
    ALLOCATOR.allocated().saturating_sub(before)
}

#[test]
fn nothing_stays_allocated_in_any_scenario() {
    for (name, scenario) in SCENARIOS {
        // Once to warm up what the process itself keeps: thread-locals, the list of threads.
        scenario();
        // The thread that runs the harness allocates too, now and then: a leak is there each time.
        let leaked = (0..3).map(|_| kept_by(scenario)).min();
        assert_eq!(leaked, Some(0), "{name}: bytes leaked in three runs");
    }
    wakes_are_kept_in_bounded_memory();
    memory_of_a_task_serves_another_one_once_its_last_waker_is_gone();
    the_last_waker_keeps_little_of_an_executor_that_is_gone();
    // The same check notices a leak.
    let before = ALLOCATOR.allocated();
    let kept = payload();
    assert!(ALLOCATOR.allocated() >= before + 1000);
    drop(kept);
}

/// However many wakes come before the owner looks, from here and from elsewhere, they take the room
/// of one a task.
fn wakes_are_kept_in_bounded_memory() {
    let gate = Gate::new();
    let executor = executor_with_waiters(&gate, 100);
    let _ = executor.tick().unwrap();
    let wakers = gate.wakers();
    let flood = move |times: usize| {
        let wakers = wakers.clone();
        std::thread::spawn(move || {
            for _ in 0..times {
                wakers.iter().for_each(Waker::wake_by_ref);
            }
        })
        .join()
        .unwrap();
    };
    // Allocated by the first wake of each, if at all.
    flood(1);
    let before = ALLOCATOR.allocated();
    flood(10_000);
    let after = ALLOCATOR.allocated();
    assert!(
        after <= before,
        "{} bytes for wakes that came twice",
        after - before
    );
    let tick = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!((tick.polled, tick.woken_remote), (100, 100));
}

/// Runs a task to its end, and returns a waker of it.
fn waker_of_an_ended_task(executor: &Executor) -> Waker {
    let waker = std::rc::Rc::new(std::cell::RefCell::new(None));
    let kept = std::rc::Rc::clone(&waker);
    let task = executor.spawn(std::future::poll_fn(move |cx| {
        *kept.borrow_mut() = Some(cx.waker().clone());
        std::task::Poll::Ready(())
    }));
    drop(task.unwrap());
    let _ = executor.tick().unwrap();
    waker.take().unwrap()
}

fn memory_of_a_task_serves_another_one_once_its_last_waker_is_gone() {
    let executor = Executor::builder().park(NoPark).build();
    let rounds = |number: usize| {
        for _ in 0..number {
            drop(waker_of_an_ended_task(&executor));
        }
    };
    rounds(10);
    let before = ALLOCATOR.allocated();
    rounds(10_000);
    let grown = ALLOCATOR.allocated().saturating_sub(before);
    assert!(grown < 10_000, "{grown} bytes for one task after another");
}

fn the_last_waker_keeps_little_of_an_executor_that_is_gone() {
    let before = ALLOCATOR.allocated();
    let executor = Executor::builder().park(NoPark).build();
    let mut wakers: Vec<_> = (0..10_000)
        .map(|_| waker_of_an_ended_task(&executor))
        .collect();
    drop(executor);
    wakers.truncate(1);
    wakers.shrink_to_fit();
    let kept = ALLOCATOR.allocated().saturating_sub(before);
    assert!(kept < 100_000, "{kept} bytes: more than one chunk of slots");
}
