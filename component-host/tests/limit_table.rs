//! The table of limits: each is hit once, and its error names it, its value and how to raise it;
//! those that a start function can reach are hit by the first one that runs.

mod common;

use common::hostile::{Place, guest};
use common::{CALLS_F, PLAIN, call_u32};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, LimitError, Linker, ResourceTable, Store,
};
use vestibule_executor::Executor;

/// One limit.
struct Row {
    /// Its name: for one of the configuration's, that of the method.
    name: &'static str,
    value: u64,
    /// What the error says one can do.
    hint: &'static str,
    config: Config,
    component: String,
    /// Whether it is the first start function that reaches it.
    in_start: bool,
}

/// Hit in the first start function, which runs this body.
fn in_start(name: &'static str, value: u64, config: Config, body: &str) -> Row {
    Row {
        name,
        value,
        hint: "",
        config,
        component: guest(Place::Start, body),
        in_start: true,
    }
}

/// Hit before any start function runs: there is one, and it must not.
fn before_start(name: &'static str, value: u64, config: Config, definitions: &str) -> Row {
    Row {
        name,
        value,
        hint: "",
        config,
        component: format!(
            r#"(component (import "ran" (func $ran)) (core func $ran' (canon lower (func $ran)))
              {definitions}
              (core module $S (import "" "ran" (func $ran)) (start $ran))
              (core instance (instantiate $S (with "" (instance (export "ran" (func $ran')))))))"#
        ),
        in_start: false,
    }
}

/// A start function that passes a string to a sibling whose `realloc` runs `body`.
fn passes_a_string(length: u32, body: &str) -> String {
    format!(
        r#"(component
      (component $Inner
        (core module $M
          (memory (export "mem") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) {body} (i32.const 0))
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
        (func $bomb (call $take (i32.const 0) (i32.const {length})))
        (start $bomb))
      (core instance (instantiate $M (with "" (instance (export "take" (func $take)))))))"#
    )
}

/// A start function that calls through `depth` components.
fn calls_through(depth: usize) -> String {
    let mut wat = r#"(component $C0
        (core module $M (func (export "f")))
        (core instance $m (instantiate $M))
        (func (export "f") (canon lift (core func $m "f"))))"#
        .to_owned();
    for level in 1..=depth {
        let (last, start) = (level == depth, "(start $bomb)");
        wat = format!(
            r#"(component $C{level} {wat}
            (instance $inner (instantiate $C{inner}))
            (core func $f (canon lower (func $inner "f")))
            (core module $M (import "" "f" (func $f)) (func $bomb (export "f") (call $f)) {start})
            (core instance $m (instantiate $M (with "" (instance (export "f" (func $f))))))
            (func (export "f") (canon lift (core func $m "f"))))"#,
            inner = level - 1,
            start = if last { start } else { "" }
        );
    }
    wat
}

/// The limits of the configuration.
fn rows() -> Vec<Row> {
    let new = Config::new;
    let loops = |body: &str| format!("(loop {body} (br 0))");
    let stream = "(local $ends i64) (local.set $ends (call $stream-new))
      (drop (call $stream-write (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32)))
        (i32.const 0) (i32.const 5000)))
      (drop (call $stream-read (i32.wrap_i64 (local.get $ends)) (i32.const 8192) (i32.const 5000)))";
    vec![
        in_start("fuel", 100_000, new().fuel(100_000), &loops("")),
        in_start(
            "timeout",
            20,
            new().fuel(u64::MAX).timeout(Duration::from_millis(20)),
            &loops(""),
        ),
        Row {
            component: passes_a_string(5, "(loop (br 0))"),
            ..in_start(
                "unsuspended_fuel",
                50_000,
                new().fuel_slice(1_000).unsuspended_fuel(50_000),
                "",
            )
        },
        in_start(
            "max_handles",
            50,
            new().max_handles(50),
            &loops("(drop (call $context (i32.const 0) (i32.const 0)))"),
        ),
        in_start(
            "max_tasks",
            50,
            new().max_tasks(50),
            &loops("(drop (call $call-wait))"),
        ),
        in_start(
            "max_threads",
            50,
            new().max_threads(50),
            &loops("(drop (call $thread-new (i32.const 0) (i32.const 0)))"),
        ),
        in_start(
            "max_waitables",
            50,
            new().max_waitables(50),
            &loops("(drop (call $set-new))"),
        ),
        in_start(
            "max_stream_bytes",
            4_096,
            new().max_stream_bytes(4_096),
            stream,
        ),
        Row {
            component: passes_a_string(5_000, ""),
            ..in_start("max_call_bytes", 4_096, new().max_call_bytes(4_096), "")
        },
        Row {
            component: calls_through(10),
            ..in_start("max_nesting", 5, new().max_nesting(5), "")
        },
        before_start(
            "max_memory",
            1 << 20,
            new().max_memory(1 << 20),
            "(core module $M (memory 17)) (core instance (instantiate $M))",
        ),
        before_start(
            "max_table_elements",
            5_000,
            new().max_table_elements(5_000),
            "(core module $M (table 5001 funcref)) (core instance (instantiate $M))",
        ),
        before_start(
            "max_instances",
            2,
            new().max_instances(2),
            "(component $C) (instance (instantiate $C)) (instance (instantiate $C))",
        ),
        before_start("max_component_size", 64, new().max_component_size(64), ""),
    ]
}

/// What comes of a row; `ran` says whether a start function called the import of that name.
fn fail(row: &Row) -> (Error, bool) {
    let (executor, engine) = (Executor::new(), Engine::new(row.config.clone()));
    let component = match Component::new(&engine, row.component.as_bytes()) {
        Ok(component) => component,
        Err(error) => return (error, false),
    };
    let store = Store::new(&engine, &executor, ());
    let ran = Rc::new(std::cell::Cell::new(false));
    let flag = Rc::clone(&ran);
    let mut linker = Linker::new();
    linker
        .root()
        .func("ran", move |_: Caller<'_, ()>, ()| {
            flag.set(true);
            Ok(())
        })
        .unwrap();
    let error = linker.instantiate(&store, &component).unwrap_err();
    // Another store goes on under the same limits.
    if row.name != "max_component_size" {
        let store = Store::new(&engine, &executor, ());
        let plain = Component::new(&engine, PLAIN.as_bytes()).unwrap();
        let instance = Linker::new().instantiate(&store, &plain).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7, "{}", row.name);
    }
    (error, ran.get())
}

#[track_caller]
fn limit<'a>(name: &str, error: &'a Error) -> &'a LimitError {
    match error.kind() {
        ErrorKind::Limit(limit) => limit,
        _ => panic!("{name}: {error}"),
    }
}

/// The error names the limit, its value and its unit, and what to do: both as data and as text.
#[track_caller]
fn assert_says(error: &Error, name: &str, value: u64, hint: &str) {
    let limit = limit(name, error);
    assert_eq!((limit.limit, limit.value), (name, value), "{error}");
    assert!(!limit.unit.is_empty(), "{name}");
    assert!(limit.hint.contains(hint), "{name}: {}", limit.hint);
    let text = error.to_string();
    let first = format!(
        "limit reached: {name} is {value} {}; {}",
        limit.unit, limit.hint
    );
    assert!(text.starts_with(&first), "{text}");
    let source = std::error::Error::source(error).expect("the limit is the source");
    assert_eq!(source.downcast_ref::<LimitError>(), Some(limit));
}

#[test]
fn every_limit_names_itself_its_value_and_how_to_raise_it() {
    for row in rows() {
        let (error, ran) = fail(&row);
        let raise = format!("`Config::{}`", row.name);
        let hint = if row.hint.is_empty() {
            &raise
        } else {
            row.hint
        };
        assert_says(&error, row.name, row.value, hint);
        let text = error.to_string();
        match row.in_start {
            true => assert!(text.contains("start function `bomb`"), "{text}"),
            false => assert!(!ran && !text.contains("start function"), "{text}"),
        }
    }
}

#[test]
fn the_table_has_every_limit_of_the_configuration() {
    // What a configuration prints of itself is its fields.
    let text = format!("{:#?}", Config::new());
    let fields = text.lines().filter_map(|line| line.strip_prefix("    "));
    let fields: BTreeSet<&str> = fields
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        .collect();
    let rows = rows();
    let mut known: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    // How fuel is granted, and in which order threads run, limit nothing.
    known.extend(["fuel_slice", "seed"]);
    assert_eq!(fields, known);
}

#[test]
fn memory_and_tables_cannot_grow_beyond_their_limits_in_a_start_function() {
    // Both instructions have an answer for that: -1.
    let config = Config::new().max_memory(4 << 20).max_table_elements(5_000);
    let (executor, engine) = (Executor::new(), Engine::new(config));
    let body = "
      (if (i32.ne (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
      (if (i32.ne (table.grow $table (ref.null func) (i32.const 6000)) (i32.const -1))
        (then unreachable))
      (if (i32.eq (table.grow $table (ref.null func) (i32.const 1)) (i32.const -1))
        (then unreachable))";
    let component = Component::new(&engine, guest(Place::Start, body).as_bytes()).unwrap();
    let store = Store::new(&engine, &executor, ());
    Linker::new().instantiate(&store, &component).unwrap();
}

#[test]
fn an_interrupt_names_itself_and_who_asked_for_it() {
    let (executor, engine) = (
        Executor::new(),
        Engine::new(Config::new().fuel_slice(10_000)),
    );
    let store = Store::new(&engine, &executor, ());
    // It is there before anything is instantiated.
    store.interrupt_handle().unwrap().interrupt();
    let wat = guest(Place::Start, "(loop (br 0))");
    let component = Component::new(&engine, wat.as_bytes()).unwrap();
    let error = Linker::new().instantiate(&store, &component).unwrap_err();
    assert_says(&error, "interrupt", 1, "the host asked for it");
    assert!(error.to_string().contains("`InterruptHandle`"), "{error}");
}

/// Those that no configuration raises say what else helps.
#[test]
fn the_limits_that_are_fixed_say_what_helps_instead() {
    let (executor, engine) = (Executor::new(), Engine::default());
    let instantiate = |wat: &str| {
        let component = Component::new(&engine, wat.as_bytes()).unwrap();
        let store = Store::new(&engine, &executor, ());
        Linker::new().instantiate(&store, &component).unwrap_err()
    };
    // Fifty thousand instances of a component with fifty thousand bytes of names each.
    let name = "n".repeat(90_000);
    let nested = format!(
        "(component (component $A (component $B) (instance ${name} (instantiate $B))) \
         (instance ${name} (instantiate $A)))"
    );
    let error = instantiate(&nested);
    assert_says(&error, "instance_path", 128 << 10, "shorter names");

    let twice = "(instance (instantiate 0)) (instance (instantiate 0))";
    let mut bomb = "(component)".to_owned();
    for _ in 0..40 {
        bomb = format!("(component {bomb} {twice})");
    }
    let unlimited = Engine::new(Config::new().max_instances(usize::MAX));
    let component = Component::new(&unlimited, bomb.as_bytes()).unwrap();
    let store = Store::new(&unlimited, &executor, ());
    let error = Linker::new().instantiate(&store, &component).unwrap_err();
    assert_says(
        &error,
        "instantiation_bytes",
        256 << 20,
        "too many definitions",
    );

    let mut table = ResourceTable::with_capacity_limit(2);
    let _resources = [table.push(1).unwrap(), table.push(2).unwrap()];
    let error = table.push(3).unwrap_err();
    assert_says(
        &error,
        "ResourceTable::with_capacity_limit",
        2,
        "make the table larger",
    );
}

#[test]
fn stores_inside_one_another_are_told_that_there_is_no_more() {
    fn descend(engine: Engine, executor: &vestibule_executor::Handle) -> Result<u32, Error> {
        let store = Store::with_handle(&engine, executor, ());
        let component = Component::new(&engine, CALLS_F.as_bytes())?;
        let mut linker = Linker::new();
        linker
            .root()
            .func("f", move |caller: Caller<'_, ()>, (_x,): (u32,)| {
                descend(engine.clone(), caller.executor()).map(|x| (x,))
            })?;
        linker.instantiate(&store, &component).map(|_| 0)
    }
    let executor = Executor::new();
    let error = descend(Engine::default(), &executor.handle()).unwrap_err();
    assert_says(&error, "nested stores", 16, "it cannot be raised");
}
