//! `tokio`, current-thread: with a `LocalSet`, and as a `LocalRuntime`.

use std::future::Future;
use std::hint::black_box;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};
use tokio::task::{JoinHandle, JoinSet, LocalSet, spawn_local};

use crate::case::{Bench, Case, Clock, Label, Offer};
use crate::peer::Peer;
use crate::workload;

/// A runtime of the current thread, and a set of tasks that need not be `Send`.
pub(crate) struct WithLocalSet(Runtime, LocalSet);

/// A runtime whose tasks need not be `Send`.
pub(crate) struct Local(LocalRuntime);

macro_rules! spawning {
    () => {
        type Spawner = ();
        type Join<T: 'static> = JoinHandle<T>;

        fn spawner(&self) {}

        fn spawn<F>((): &(), future: F) -> JoinHandle<F::Output>
        where
            F: Future + 'static,
            F::Output: 'static,
        {
            spawn_local(future)
        }

        fn value<T: 'static>(joined: <JoinHandle<T> as Future>::Output) -> T {
            joined.expect("the task returns")
        }

        fn detach<T: 'static>(join: JoinHandle<T>) {
            drop(join);
        }

        fn cancel<T: 'static>(join: JoinHandle<T>) {
            join.abort();
        }
    };
}

impl Peer for WithLocalSet {
    const NAME: &'static str = "tokio-local-set";
    spawning!();

    fn start() -> Result<Self, String> {
        let runtime = Builder::new_current_thread().build();
        Ok(Self(runtime.map_err(|e| e.to_string())?, LocalSet::new()))
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.1.block_on(&self.0, main)
    }
}

impl Peer for Local {
    const NAME: &'static str = "tokio-local-runtime";
    spawning!();

    fn start() -> Result<Self, String> {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default());
        Ok(Self(runtime.map_err(|e| e.to_string())?))
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.block_on(main)
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<WithLocalSet>(Offer::Handles);
    cases.extend(workload::cases::<Local>(Offer::Handles));
    cases.push(set_case::<WithLocalSet>());
    cases.push(set_case::<Local>());
    cases.push(workload::join_set::ordered_case::<WithLocalSet>());
    cases.push(workload::join_set::ordered_case::<Local>());
    cases.push(Case::new(
        "refuse/block_on",
        WithLocalSet::NAME,
        "refusal",
        Offer::Handles,
        |label| {
            workload::refusals_by_panic::<WithLocalSet>(label, || {
                tokio::runtime::Handle::current().block_on(async {});
            })
        },
    ));
    cases
}

/// Its own `JoinSet`, in place of handles in a set of the futures crate.
fn set_case<P: Peer>() -> Case {
    let name = "join_set/completed/tasks=10000";
    Case::new(name, P::NAME, "task", Offer::Handles, |label| {
        join_set::<P>(label, 10_000)
    })
}

fn join_set<P: Peer>(label: Label, tasks: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    Ok(Bench::new(tasks, move |iterations| {
        let clock = Clock::default();
        let sum = executor.block_on(async {
            let mut sum = 0;
            clock.start();
            for _ in 0..iterations {
                let mut set = JoinSet::new();
                for n in 1..=tasks {
                    set.spawn_local(async move { black_box(n) });
                }
                while let Some(joined) = set.join_next().await {
                    sum += joined.expect("the task returns");
                }
            }
            clock.stop();
            sum
        });
        label.check("the sum", sum, iterations * (tasks * (tasks + 1) / 2));
        clock.elapsed()
    }))
}
