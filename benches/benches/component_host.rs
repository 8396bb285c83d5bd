//! What a component costs: compiling, instantiating, calling. Every benchmark checks its result.

#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented functions"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use vestibule_component_host::{Caller, Component, Engine, Linker, Store, Val};
use vestibule_executor::Executor;

/// A component whose start function fills a table of squares.
const SQUARES: &str = include_str!("squares.wat");

fn compile(c: &mut Criterion) {
    let engine = Engine::default();
    let binary = wat::parse_str(SQUARES).expect("the sample is valid");
    c.bench_function("compile/squares/ours", |b| {
        b.iter(|| {
            let component = Component::new(&engine, black_box(&binary)).expect("it compiles");
            assert_eq!(component.export_names().count(), 1, "compile/squares");
            component
        });
    });
}

fn instantiate(c: &mut Criterion) {
    let (executor, engine) = (Executor::new(), Engine::default());
    let component = Component::new(&engine, SQUARES.as_bytes()).expect("the sample is valid");
    let mut linker = Linker::new();
    linker
        .root()
        .func("limit", |_: Caller<'_, u32>, ()| Ok((16u32,)))
        .expect("it is defined once");
    c.bench_function("instantiate/start=16-squares/ours", |b| {
        b.iter(|| {
            let store = Store::new(&engine, &executor, 16);
            let instance = linker.instantiate(&store, &component).expect("it starts");
            let names = instance.func_names();
            assert_eq!(names, ["square"], "instantiate");
            (store, instance)
        });
    });
}

fn call(c: &mut Criterion) {
    let (executor, engine) = (Executor::new(), Engine::default());
    let component = Component::new(&engine, SQUARES.as_bytes()).expect("the sample is valid");
    let mut linker = Linker::new();
    linker
        .root()
        .func("limit", |_: Caller<'_, ()>, ()| Ok((16u32,)))
        .expect("it is defined once");
    let store = Store::new(&engine, &executor, ());
    let instance = linker.instantiate(&store, &component).expect("it starts");
    let square = instance.get_func(&store, "square").expect("it is exported");
    c.bench_function("call/host-to-guest/u32/ours", |b| {
        b.iter(|| {
            let result = store.block_on(square.call(&store, &[Val::U32(black_box(7))]));
            assert_eq!(result.expect("it returns"), Some(Val::U32(49)), "call");
        });
    });
}

criterion_group!(benches, compile, instantiate, call);
criterion_main!(benches);
