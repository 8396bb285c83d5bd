//! What asynchronous calls, suspended calls, waitable sets and streams cost. Every benchmark checks
//! its result.

#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented functions"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_component_host::{
    Accessor, Component, Config, Engine, Instance, Linker, Store, StreamReader, Val,
};
use vestibule_executor::{Budget, Executor, yield_now};

const SAMPLE: &str = include_str!("../src/host/async.wat");

/// How often one call does what is measured.
const TIMES: u32 = 1_000;

/// What passes through a stream in one run.
const BYTES: u32 = 4 << 20;

struct Guest {
    /// Keeps the store running.
    _executor: Executor,
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new() -> Guest {
        let engine = Engine::new(Config::new().fuel(u64::MAX));
        let executor = Executor::new();
        let store = Store::new(&engine, &executor, ());
        let component = Component::new(&engine, SAMPLE.as_bytes()).expect("the sample is valid");
        let mut linker = Linker::new();
        let mut root = linker.root();
        root.func_async("ready", |_: Accessor<()>, (x,): (u32,)| async move {
            Ok((x + 1,))
        })
        .expect("it is defined once");
        root.func_async("pending", |_: Accessor<()>, (x,): (u32,)| async move {
            yield_now().await;
            Ok((x + 1,))
        })
        .expect("it is defined once");
        let instance = linker.instantiate(&store, &component).expect("it starts");
        Guest {
            _executor: executor,
            store,
            instance,
        }
    }

    fn call(&self, name: &str, args: &[u32]) -> u32 {
        let func = self.instance.get_func(&self.store, name).expect("exported");
        let args: Vec<Val> = args.iter().map(|arg| Val::U32(*arg)).collect();
        match self.store.block_on(func.call(&self.store, &args)) {
            Ok(Some(Val::U32(result))) => result,
            other => panic!("{name} returned {other:?}"),
        }
    }
}

/// One call of a function that does the same thing a thousand times.
fn round_trips(c: &mut Criterion) {
    let guest = Guest::new();
    let mut group = c.benchmark_group("async");
    group.throughput(Throughput::Elements(TIMES.into()));
    let names = [
        "guest-host-guest/ready",
        "guest-host-guest/pending",
        "guest-guest/at-once",
        "guest-guest/yields-once",
        "suspend-resume",
    ];
    for (f, name) in names.iter().enumerate() {
        group.bench_function(format!("{name}/times={TIMES}/ours"), |b| {
            b.iter(|| assert_eq!(guest.call("repeat", &[f as u32, TIMES]), TIMES, "{name}"));
        });
    }
    group.finish();
}

/// One thread waits for each of many subtasks in one set.
fn waitable_sets(c: &mut Criterion) {
    let guest = Guest::new();
    let mut group = c.benchmark_group("waitable-set");
    group.sample_size(20);
    for members in [100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(members));
        group.bench_function(format!("members={members}/ours"), |b| {
            let members = members as u32;
            b.iter(|| assert_eq!(guest.call("fan-in", &[members]), members, "waitable-set"));
        });
    }
    group.finish();
}

fn streams(c: &mut Criterion) {
    let guest = Guest::new();
    let mut group = c.benchmark_group("stream-u8");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(BYTES.into()));
    for chunk in [1 << 10, 16 << 10, 64 << 10, 1 << 20] {
        group.bench_function(format!("guest-guest/chunk={chunk}/ours"), |b| {
            b.iter(|| assert_eq!(guest.call("consume", &[BYTES, chunk]), BYTES, "consume"));
        });
        group.bench_function(format!("guest-host/chunk={chunk}/ours"), |b| {
            let produce = guest.instance.get_func(&guest.store, "produce");
            let produce = produce.expect("exported");
            b.iter(|| {
                let read = async {
                    let args = [Val::U32(BYTES), Val::U32(chunk)];
                    let Some(Val::Stream(stream)) = produce.call(&guest.store, &args).await? else {
                        panic!("produce returned no stream");
                    };
                    let mut reader = StreamReader::<u8>::new(&guest.store, stream).chunk(chunk);
                    let mut read = 0;
                    while let Some(bytes) = reader.read().await? {
                        read += bytes.len();
                    }
                    Ok(read)
                };
                let read = guest.store.block_on(read).expect("it is read");
                assert_eq!(read, BYTES as usize, "produce");
            });
        });
    }
    group.finish();
}

/// Begins ten thousand calls that wait for the host, lets all go on, and ends them.
fn suspended_calls(c: &mut Criterion) {
    const CALLS: u64 = 10_000;
    let engine = Engine::default();
    let executor = Executor::new();
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, SAMPLE.as_bytes()).expect("the sample is valid");
    let waiting: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let mut linker = Linker::new();
    let mut root = linker.root();
    root.func_async(
        "ready",
        |_: Accessor<()>, (x,): (u32,)| async move { Ok((x,)) },
    )
    .expect("it is defined once");
    let wakers = Rc::clone(&waiting);
    root.func_async("pending", move |_: Accessor<()>, (x,): (u32,)| {
        let wakers = Rc::clone(&wakers);
        // The first poll has no waker of its own, the second waits, the third returns.
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            match polls {
                1 => Poll::Pending,
                2 => {
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(Ok((x + 1,))),
            }
        })
    })
    .expect("it is defined once");
    let instance = linker.instantiate(&store, &component).expect("it starts");
    let repeat = instance.get_func(&store, "repeat").expect("exported");
    let mut group = c.benchmark_group("suspended-calls");
    group.sample_size(10);
    group.throughput(Throughput::Elements(CALLS));
    group.bench_function(format!("calls={CALLS}/ours"), |b| {
        b.iter(|| {
            let args = [Val::U32(1), Val::U32(1)];
            let spawn = |_| executor.spawn(repeat.call(&store, &args)).expect("it runs");
            let calls: Vec<_> = (0..CALLS).map(spawn).collect();
            let run = || {
                executor
                    .run_until_stalled(Budget::rounds(10))
                    .expect("idle")
            };
            run();
            assert_eq!(waiting.borrow().len() as u64, CALLS, "all are suspended");
            waiting.take().into_iter().for_each(Waker::wake);
            run();
            assert!(
                calls.iter().all(|call| call.is_finished()),
                "suspended-calls"
            );
        });
    });
    group.finish();
}

criterion_group!(
    benches,
    round_trips,
    waitable_sets,
    streams,
    suspended_calls
);
criterion_main!(benches);
