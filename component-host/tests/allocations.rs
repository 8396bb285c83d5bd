//! How many bytes a call makes the host allocate, by what it passes: a regression is a number that
//! has grown. Each is for one call, when the store is warm.

mod common;

use cap::Cap;
use common::Host;
use std::alloc::System;
use vestibule_component_host::{Caller, Instance, Linker, Store, Val};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How often a guest calls in its loop.
const CALLS: u32 = 1_000;

/// The length of the strings and lists.
const LENGTH: usize = 500;

/// `$Callee` takes values; `to-guest-..` and `to-host-..` call it, or the host, so many times.
const WAT: &str = r#"(component
  (import "add" (func $add (param "a" u32) (param "b" u32) (result u32)))
  (import "mixed" (func $mixed (param "a" s8) (param "b" f64) (result char)))
  (import "string" (func $string (param "s" string)))
  (import "list" (func $list (param "l" (list u16))))
  (component $Callee
    (type $thing' (resource (rep i32)))
    (export $thing "thing" (type $thing'))
    (core func $new (canon resource.new $thing'))
    (core module $M
      (import "" "new" (func $new (param i32) (result i32)))
      (memory (export "mem") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
      (func (export "mixed") (param i32 f64) (result i32) (i32.const 97))
      (func (export "pair") (param i32 i32))
      (func (export "make") (param i32) (result i32) (call $new (local.get 0))))
    (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
    (alias core export $m "mem" (core memory $mem))
    (alias core export $m "realloc" (core func $realloc))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32)
      (canon lift (core func $m "add")))
    (func (export "mixed") (param "a" s8) (param "b" f64) (result char)
      (canon lift (core func $m "mixed")))
    (func (export "string") (param "s" string)
      (canon lift (core func $m "pair") (memory $mem) (realloc $realloc)))
    (func (export "list") (param "l" (list u16))
      (canon lift (core func $m "pair") (memory $mem) (realloc $realloc)))
    (func (export "make") (param "rep" u32) (result (own $thing))
      (canon lift (core func $m "make"))))
  (instance $callee (instantiate $Callee))
  (alias export $callee "thing" (type $thing))
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "mem" (core memory $mem))
  (core func $guest-add (canon lower (func $callee "add")))
  (core func $guest-mixed (canon lower (func $callee "mixed")))
  (core func $guest-string (canon lower (func $callee "string") (memory $mem)))
  (core func $guest-list (canon lower (func $callee "list") (memory $mem)))
  (core func $make (canon lower (func $callee "make")))
  (core func $drop (canon resource.drop $thing))
  (core func $host-add (canon lower (func $add)))
  (core func $host-mixed (canon lower (func $mixed)))
  (core func $host-string (canon lower (func $string) (memory $mem)))
  (core func $host-list (canon lower (func $list) (memory $mem)))
  (core module $M
    (import "g" "add" (func $guest-add (param i32 i32) (result i32)))
    (import "g" "mixed" (func $guest-mixed (param i32 f64) (result i32)))
    (import "g" "string" (func $guest-string (param i32 i32)))
    (import "g" "list" (func $guest-list (param i32 i32)))
    (import "g" "make" (func $make (param i32) (result i32)))
    (import "g" "drop" (func $drop (param i32)))
    (import "h" "add" (func $host-add (param i32 i32) (result i32)))
    (import "h" "mixed" (func $host-mixed (param i32 f64) (result i32)))
    (import "h" "string" (func $host-string (param i32 i32)))
    (import "h" "list" (func $host-list (param i32 i32)))
    (func (export "nothing") (param i32))
    LOOPS)
  (core instance $m (instantiate $M
    (with "g" (instance
      (export "add" (func $guest-add)) (export "mixed" (func $guest-mixed))
      (export "string" (func $guest-string)) (export "list" (func $guest-list))
      (export "make" (func $make)) (export "drop" (func $drop))))
    (with "h" (instance
      (export "add" (func $host-add)) (export "mixed" (func $host-mixed))
      (export "string" (func $host-string)) (export "list" (func $host-list))))))
  (func (export "nothing") (param "n" u32) (canon lift (core func $m "nothing")))
  EXPORTS
  (export "add" (func $callee "add"))
  (export "string" (func $callee "string"))
  (export "list" (func $callee "list")))"#;

/// `yields: async func(n: u32)` yields so often.
const YIELDS: &str = r#"(component
  (core func $yield (canon thread.yield))
  (core func $return (canon task.return))
  (core module $M
    (import "" "yield" (func $yield (result i32)))
    (import "" "return" (func $return))
    (func (export "yields") (param $n i32)
      (loop $l (drop (call $yield))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (call $return)))
  (core instance $m (instantiate $M (with "" (instance
    (export "yield" (func $yield)) (export "return" (func $return))))))
  (func (export "yields") async (param "n" u32) (canon lift (core func $m "yields") async)))"#;

/// What the loops do each time.
const LOOPS: &[(&str, &str)] = &[
    (
        "to-guest-add",
        "(drop (call $guest-add (i32.const 1) (i32.const 2)))",
    ),
    (
        "to-guest-mixed",
        "(drop (call $guest-mixed (i32.const 1) (f64.const 2)))",
    ),
    (
        "to-guest-string",
        "(call $guest-string (i32.const 0) (i32.const 500))",
    ),
    (
        "to-guest-list",
        "(call $guest-list (i32.const 0) (i32.const 250))",
    ),
    (
        "to-guest-resource",
        "(call $drop (call $make (i32.const 1)))",
    ),
    (
        "to-host-add",
        "(drop (call $host-add (i32.const 1) (i32.const 2)))",
    ),
    (
        "to-host-mixed",
        "(drop (call $host-mixed (i32.const 1) (f64.const 2)))",
    ),
    (
        "to-host-string",
        "(call $host-string (i32.const 0) (i32.const 500))",
    ),
    (
        "to-host-list",
        "(call $host-list (i32.const 0) (i32.const 250))",
    ),
];

fn wat() -> String {
    let code = |(name, body): &(&str, &str)| {
        format!(
            r#"(func (export "{name}") (param $n i32)
                 (loop $l {body}
                   (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))"#
        )
    };
    let export = |(name, _): &(&str, &str)| {
        format!(r#"(func (export "{name}") (param "n" u32) (canon lift (core func $m "{name}")))"#)
    };
    WAT.replace("LOOPS", &LOOPS.iter().map(code).collect::<String>())
        .replace("EXPORTS", &LOOPS.iter().map(export).collect::<String>())
}

/// The bytes that are allocated, and may be freed again, when `run` is run so often, each time.
fn allocated(times: usize, mut run: impl FnMut()) -> usize {
    (0..10).for_each(|_| run());
    let before = ALLOCATOR.total_allocated();
    (0..times).for_each(|_| run());
    (ALLOCATOR.total_allocated() - before) / times
}

fn linker() -> Linker<()> {
    let mut linker = Linker::new();
    let mut root = linker.root();
    root.func("add", |_: Caller<'_, ()>, (a, b): (u32, u32)| Ok((a + b,)))
        .unwrap();
    root.func("mixed", |_: Caller<'_, ()>, _: (i8, f64)| Ok(('a',)))
        .unwrap();
    root.func("string", |_: Caller<'_, ()>, (s,): (String,)| {
        assert_eq!(s.len(), LENGTH);
        Ok(())
    })
    .unwrap();
    root.func("list", |_: Caller<'_, ()>, (l,): (Vec<u16>,)| {
        assert_eq!(l.len(), LENGTH / 2);
        Ok(())
    })
    .unwrap();
    linker
}

/// What each call of a loop allocates beyond what the call of the loop does.
fn in_a_loop(store: &Store<()>, instance: &Instance, name: &str) -> usize {
    let call = |name: &str| {
        let func = instance.get_typed_func::<(u32,), ()>(store, name).unwrap();
        allocated(10, || store.block_on(func.call(store, (CALLS,))).unwrap())
    };
    (call(name) - call("nothing")) / CALLS as usize
}

/// What a turn of a thread allocates, of one that yields.
fn in_a_yield() -> usize {
    let host = Host::new();
    let (store, instance) = host.instantiate(YIELDS).unwrap();
    let yields = instance
        .get_typed_func::<(u32,), ()>(&store, "yields")
        .unwrap();
    let call = |times: u32| {
        allocated(10, || {
            store.block_on(yields.call(&store, (times,))).unwrap()
        })
    };
    (call(CALLS + 1) - call(1)) / CALLS as usize
}

/// One test, since the allocator counts for the whole process.
#[test]
fn a_call_allocates_what_it_passes_and_little_more() {
    let host = Host::new();
    let store = host.store(());
    let instance = linker()
        .instantiate(&store, &host.component(&wat()))
        .unwrap();
    let mut found: Vec<(&str, usize)> = LOOPS
        .iter()
        .map(|(name, _)| (*name, in_a_loop(&store, &instance, name)))
        .collect();
    let add = instance
        .get_typed_func::<(u32, u32), (u32,)>(&store, "add")
        .unwrap();
    let typed = || assert_eq!(store.block_on(add.call(&store, (1, 2))).unwrap(), (3,));
    found.push(("from-host-add", allocated(100, typed)));
    let args = [Val::U32(1), Val::U32(2)];
    let dynamic = || {
        let sum = store.block_on(add.func().call(&store, &args)).unwrap();
        assert_eq!(sum, Some(Val::U32(3)));
    };
    found.push(("from-host-add-of-vals", allocated(100, dynamic)));
    let string = instance
        .get_typed_func::<(&str,), ()>(&store, "string")
        .unwrap();
    let text = "a".repeat(LENGTH);
    let sent = || store.block_on(string.call(&store, (&text,))).unwrap();
    found.push(("from-host-string", allocated(100, sent)));
    found.push(("yield", in_a_yield()));

    // `mixed` has core types of which the engine makes a buffer for each call. A string or a list is
    // there once, a list of numbers for the host twice: as bytes, and as the `Vec` it asked for. In
    // each yield the engine makes two of its errors, and nothing else is allocated.
    let most: &[(&str, usize)] = &[
        ("to-guest-add", 0),
        ("to-guest-mixed", 72),
        ("to-guest-string", 500),
        ("to-guest-list", 500),
        ("to-guest-resource", 192),
        ("to-host-add", 0),
        ("to-host-mixed", 72),
        ("to-host-string", 500),
        ("to-host-list", 1000),
        ("from-host-add", 248),
        ("from-host-add-of-vals", 376),
        ("from-host-string", 748),
        ("yield", 224),
    ];
    let grown: Vec<_> = found
        .iter()
        .zip(most)
        .filter(|((name, bytes), (listed, most))| name != listed || bytes > most)
        .collect();
    assert!(grown.is_empty(), "{grown:#?}");
}
