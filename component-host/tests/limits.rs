//! Every limit is in force before the first start function runs, and its error names it, its value,
//! and how to raise it.

mod common;

use common::hostile::{Place, guest};
use common::{PLAIN, call_u32};
use std::time::{Duration, Instant};
use vestibule_component_host::{
    Component, Config, Engine, Error, ErrorKind, LimitError, Linker, Store, Val,
};
use vestibule_executor::Executor;

/// Instantiates a component without imports under a configuration; it is to fail.
fn failure(config: Config, wat: &str) -> Error {
    let (executor, engine) = (Executor::new(), Engine::new(config));
    let store = Store::new(&engine, &executor, ());
    let component = match Component::new(&engine, wat.as_bytes()) {
        Ok(component) => component,
        Err(error) => return error,
    };
    let error = Linker::new().instantiate(&store, &component).unwrap_err();
    // The store itself goes on, as far as its limits let it.
    if limit(&error).limit != "max_instances" {
        let plain = Component::new(&engine, PLAIN.as_bytes()).unwrap();
        let instance = Linker::new().instantiate(&store, &plain).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7);
    }
    error
}

#[track_caller]
fn limit(error: &Error) -> &LimitError {
    match error.kind() {
        ErrorKind::Limit(limit) => limit,
        other => panic!("not a limit: {other:?}\n{error}"),
    }
}

/// Checks that an error names the limit, its value, and how to raise it.
#[track_caller]
fn assert_limit(error: &Error, name: &str, value: u64) {
    let limit = limit(error);
    assert_eq!((limit.limit, limit.value), (name, value), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{name} is {value} ")), "{text}");
    assert!(text.contains(&format!("`Config::{name}`")), "{text}");
}

/// The body of a start function, over and over.
fn start_loop(body: &str) -> String {
    guest(Place::Start, &format!("(loop {body} (br 0))"))
}

#[test]
fn fuel_ends_a_start_function() {
    let error = failure(Config::new().fuel(100_000), &start_loop(""));
    assert_limit(&error, "fuel", 100_000);
    assert!(
        error.to_string().contains("start function `bomb`"),
        "{error}"
    );
}

#[test]
fn fuel_in_slices_ends_a_start_function_at_the_same_budget() {
    let config = Config::new().fuel(100_000).fuel_slice(1_000);
    assert_limit(&failure(config, &start_loop("")), "fuel", 100_000);
}

#[test]
fn the_deadline_ends_a_start_function() {
    let config = Config::new()
        .fuel(u64::MAX)
        .timeout(Duration::from_millis(30));
    let begin = Instant::now();
    assert_limit(&failure(config, &start_loop("")), "timeout", 30);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn an_interrupt_from_another_thread_ends_a_start_function() {
    let (executor, engine) = (
        Executor::new(),
        Engine::new(Config::new().fuel(u64::MAX).fuel_slice(100_000)),
    );
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, start_loop("").as_bytes()).unwrap();
    let handle = store.interrupt_handle().unwrap();
    let interrupter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        handle.interrupt();
    });
    let error = Linker::new().instantiate(&store, &component).unwrap_err();
    interrupter.join().unwrap();
    assert_eq!(limit(&error).limit, "interrupt", "{error}");
    assert!(error.to_string().contains("`InterruptHandle`"), "{error}");
    // One interrupt ends one run.
    let plain = Component::new(&engine, PLAIN.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &plain).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn the_memory_of_a_store_is_limited_before_it_is_allocated() {
    let wat = r#"(component
      (core module $M (memory 1000))
      (core instance (instantiate $M))
      (core instance (instantiate $M)))"#;
    // The first fits, and the second does not.
    let error = failure(Config::new().max_memory(100 << 20), wat);
    assert_limit(&error, "max_memory", 100 << 20);
}

#[test]
fn growing_a_memory_beyond_the_limit_fails_in_the_guest() {
    // `memory.grow` has an answer for that: -1.
    let body = "(if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))";
    let (executor, engine) = (
        Executor::new(),
        Engine::new(Config::new().max_memory(4 << 20)),
    );
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, guest(Place::Start, body).as_bytes()).unwrap();
    Linker::new().instantiate(&store, &component).unwrap();
}

#[test]
fn the_tables_of_a_store_are_limited_before_they_are_allocated() {
    let wat = r#"(component
      (core module $M (table 3000 funcref))
      (core instance (instantiate $M))
      (core instance (instantiate $M)))"#;
    let error = failure(Config::new().max_table_elements(5_000), wat);
    assert_limit(&error, "max_table_elements", 5_000);
}

#[test]
fn component_instances_are_limited() {
    let wat = r#"(component
      (component $A)
      (instance (instantiate $A)) (instance (instantiate $A)) (instance (instantiate $A)))"#;
    assert_limit(
        &failure(Config::new().max_instances(3), wat),
        "max_instances",
        3,
    );
}

#[test]
fn core_instances_are_limited() {
    let wat = r#"(component
      (core module $A)
      (core instance (instantiate $A)) (core instance (instantiate $A))
      (core instance (instantiate $A)) (core instance (instantiate $A)))"#;
    assert_limit(
        &failure(Config::new().max_instances(3), wat),
        "max_instances",
        3,
    );
}

#[test]
fn handles_are_limited() {
    let config = Config::new().max_handles(50);
    let wat = start_loop("(drop (call $resource-new (i32.const 1)))");
    // The module of the destructor has no resource type to make.
    let wat = wat.replacen("(call $resource-new (i32.const 1))", "(i32.const 1)", 1);
    assert_limit(&failure(config, &wat), "max_handles", 50);
    let config = Config::new().max_handles(50);
    let error = failure(
        config,
        &start_loop("(drop (call $context (i32.const 0) (i32.const 0)))"),
    );
    assert_limit(&error, "max_handles", 50);
}

#[test]
fn tasks_are_limited() {
    let error = failure(
        Config::new().max_tasks(50),
        &start_loop("(drop (call $call-wait))"),
    );
    assert_limit(&error, "max_tasks", 50);
}

#[test]
fn threads_are_limited() {
    let body = "(drop (call $thread-new (i32.const 0) (i32.const 0)))";
    let error = failure(Config::new().max_threads(50), &start_loop(body));
    assert_limit(&error, "max_threads", 50);
}

#[test]
fn waitables_are_limited() {
    for body in [
        "(drop (call $set-new))",
        "(drop (call $stream-new))",
        "(drop (call $future-new))",
        "(drop (call $call-wait))",
    ] {
        let error = failure(Config::new().max_waitables(50), &start_loop(body));
        assert_limit(&error, "max_waitables", 50);
    }
}

#[test]
fn the_bytes_of_one_copy_between_stream_ends_are_limited() {
    // Both ends in one instance: numbers may be copied within one.
    let body = "(local $ends i64) (local.set $ends (call $stream-new))
      (drop (call $stream-write (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32)))
        (i32.const 0) (i32.const 5000)))
      (drop (call $stream-read (i32.wrap_i64 (local.get $ends)) (i32.const 8192) (i32.const 5000)))";
    let wat = guest(Place::Start, body);
    let error = failure(Config::new().max_stream_bytes(4_096), &wat);
    assert_limit(&error, "max_stream_bytes", 4_096);
    let (executor, engine) = (
        Executor::new(),
        Engine::new(Config::new().max_stream_bytes(5_000)),
    );
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, wat.as_bytes()).unwrap();
    Linker::new().instantiate(&store, &component).unwrap();
}

#[test]
fn the_bytes_of_the_values_of_one_call_are_limited() {
    let wat = r#"(component
      (component $Inner
        (core module $M
          (memory (export "mem") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
          (func (export "take") (param i32 i32)))
        (core instance $m (instantiate $M))
        (func (export "take") (param "s" string) (canon lift (core func $m "take")
          (memory (core memory $m "mem")) (realloc (core func $m "realloc")))))
      (instance $inner (instantiate $Inner))
      (core module $Memory (memory (export "mem") 1))
      (core instance $memory (instantiate $Memory))
      (core func $take (canon lower (func $inner "take") (memory (core memory $memory "mem"))))
      (core module $M
        (import "" "take" (func $take (param i32 i32)))
        (func $start (call $take (i32.const 0) (i32.const 5000)))
        (start $start))
      (core instance (instantiate $M (with "" (instance (export "take" (func $take)))))))"#;
    let error = failure(Config::new().max_call_bytes(4_096), wat);
    assert_limit(&error, "max_call_bytes", 4_096);
}

/// Components inside one another, each of which calls the next; the outermost from its start.
fn chain(depth: usize) -> String {
    let mut inner = r#"(component $C0
        (core module $M (func (export "f")))
        (core instance $m (instantiate $M))
        (func (export "f") (canon lift (core func $m "f"))))"#
        .to_owned();
    for level in 1..depth {
        inner = format!(
            r#"(component $C{level}
            {inner}
            (instance $inner (instantiate $C{previous}))
            (core func $f (canon lower (func $inner "f")))
            (core module $M (import "" "f" (func $f)) (func (export "f") (call $f)))
            (core instance $m (instantiate $M (with "" (instance (export "f" (func $f))))))
            (func (export "f") (canon lift (core func $m "f"))))"#,
            previous = level - 1
        );
    }
    format!(
        r#"(component {inner}
        (instance $inner (instantiate $C{last}))
        (core func $f (canon lower (func $inner "f")))
        (core module $M (import "" "f" (func $f)) (func $start (call $f)) (start $start))
        (core instance $m (instantiate $M (with "" (instance (export "f" (func $f)))))))"#,
        last = depth - 1
    )
}

#[test]
fn the_nesting_of_calls_is_limited() {
    let error = failure(Config::new().max_nesting(5), &chain(10));
    assert_limit(&error, "max_nesting", 5);
    // The default, on the stack of a test thread.
    let error = failure(Config::new(), &chain(60));
    assert_eq!(limit(&error).limit, "max_nesting", "{error}");
}

#[test]
fn the_size_of_a_component_is_limited_before_it_is_decoded() {
    let error = failure(
        Config::new().max_component_size(100),
        &guest(Place::Start, ""),
    );
    assert_limit(&error, "max_component_size", 100);
}

#[test]
fn realloc_and_post_return_have_a_budget_of_their_own_in_slices() {
    for place in [Place::Realloc, Place::PostReturn] {
        let config = Config::new().fuel_slice(1_000).unsuspended_fuel(50_000);
        let (executor, engine) = (Executor::new(), Engine::new(config));
        let store = Store::new(&engine, &executor, ());
        let component = Component::new(&engine, guest(place, "(loop (br 0))").as_bytes()).unwrap();
        let instance = Linker::new().instantiate(&store, &component).unwrap();
        let func = instance.get_func(&store, place.export().unwrap()).unwrap();
        let args: &[Val] = match place {
            Place::Realloc => &[Val::String("hello".into())],
            _ => &[],
        };
        let error = store.block_on(func.call(&store, args)).unwrap_err();
        assert_limit(&error, "unsuspended_fuel", 50_000);
    }
}

#[test]
fn the_turns_of_a_thread_are_paid_from_the_budget_of_its_call() {
    // It yields for ever: each turn is short, and there is no end of turns.
    let (executor, engine) = (Executor::new(), Engine::new(Config::new().fuel(1_000_000)));
    let store = Store::new(&engine, &executor, ());
    let wat = r#"(component
      (core func $yield (canon thread.yield))
      (core module $M
        (import "" "yield" (func $yield (result i32)))
        (func (export "run") (loop (drop (call $yield)) (br 0))))
      (core instance $m (instantiate $M (with "" (instance (export "yield" (func $yield))))))
      (func (export "run") async (canon lift (core func $m "run") async)))"#;
    let component = Component::new(&engine, wat.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let error = store.block_on(run.call(&store, &[])).unwrap_err();
    assert_limit(&error, "fuel", 1_000_000);
}

/// `give: func(n: u32) -> list<u8>`
const GIVES_BYTES: &str = r#"(component
  (core module $M
    (memory (export "mem") 8)
    (func (export "give") (param i32) (result i32)
      (i32.store (i32.const 4) (local.get 0))
      (i32.const 0)))
  (core instance $m (instantiate $M))
  (func (export "give") (param "n" u32) (result (list u8))
    (canon lift (core func $m "give") (memory (core memory $m "mem")))))"#;

#[test]
fn a_list_of_bytes_counts_what_the_host_takes_for_it() {
    const LIMIT: u64 = 400_000;
    let engine = Engine::new(Config::new().max_call_bytes(LIMIT));
    let executor = Executor::new();
    let component = Component::new(&engine, GIVES_BYTES.as_bytes()).unwrap();
    let try_both = |n: u32| {
        // A failure locks the instance down.
        let store = Store::new(&engine, &executor, ());
        let instances = [(); 2].map(|()| Linker::new().instantiate(&store, &component).unwrap());
        let give = instances[0].get_func(&store, "give").unwrap();
        let vals = store.block_on(give.call(&store, &[Val::U32(n)]));
        let give = instances[1].get_typed_func::<(u32,), (Vec<u8>,)>(&store, "give");
        let bytes = store.block_on(give.unwrap().call(&store, (n,)));
        (vals.err(), bytes.err())
    };
    // How many elements there may be, and what each of them counts.
    for (typed, each) in [(false, size_of::<Val>() as u64 + 1), (true, 1)] {
        let fails = |n: u64| {
            let (vals, bytes) = try_both(n as u32);
            let error = if typed { bytes } else { vals };
            if let Some(error) = &error {
                assert_limit(error, "max_call_bytes", LIMIT);
            }
            error.is_some()
        };
        let (mut most, mut too_many) = (0, LIMIT + 1);
        while too_many - most > 1 {
            let n = u64::midpoint(most, too_many);
            match fails(n) {
                true => too_many = n,
                false => most = n,
            }
        }
        // Beside the elements there is the list itself.
        let left = LIMIT - most * each;
        assert!(left < each + 128, "{most} elements, {left} bytes left");
    }
}
