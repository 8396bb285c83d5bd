//! What a guest may not do while the host waits for its `realloc` or its `post-return`, and what
//! becomes of a `realloc`, a `post-return` or a destructor that traps or never returns.

mod common;

use common::{Host, PLAIN, call_u32};
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, Instance, Linker, Store, Val,
};
use vestibule_executor::{Budget, Executor};

const LEAVES: &str = "cannot leave component instance";

/// Every built-in: its definition, the types of its parameters, that of its result.
const BUILTINS: [(&str, &str, &str); 49] = [
    ("resource.new $r", "i32", "i32"),
    ("resource.drop $r", "i32", ""),
    ("task.return", "", ""),
    ("task.cancel", "", ""),
    ("waitable-set.new", "", "i32"),
    ("waitable-set.wait $mem", "i32 i32", "i32"),
    ("waitable-set.poll $mem", "i32 i32", "i32"),
    ("waitable-set.drop", "i32", ""),
    ("waitable.join", "i32 i32", ""),
    ("subtask.cancel", "i32", "i32"),
    ("subtask.cancel async", "i32", "i32"),
    ("subtask.drop", "i32", ""),
    ("stream.new $s", "", "i64"),
    ("stream.read $s $mem", "i32 i32 i32", "i32"),
    ("stream.read $s async $mem", "i32 i32 i32", "i32"),
    ("stream.write $s $mem", "i32 i32 i32", "i32"),
    ("stream.write $s async $mem", "i32 i32 i32", "i32"),
    ("stream.cancel-read $s", "i32", "i32"),
    ("stream.cancel-read $s async", "i32", "i32"),
    ("stream.cancel-write $s", "i32", "i32"),
    ("stream.cancel-write $s async", "i32", "i32"),
    ("stream.drop-readable $s", "i32", ""),
    ("stream.drop-writable $s", "i32", ""),
    ("stream.forward $s", "i32 i32", ""),
    ("future.new $f", "", "i64"),
    ("future.read $f $mem", "i32 i32", "i32"),
    ("future.read $f async $mem", "i32 i32", "i32"),
    ("future.write $f $mem", "i32 i32", "i32"),
    ("future.write $f async $mem", "i32 i32", "i32"),
    ("future.cancel-read $f", "i32", "i32"),
    ("future.cancel-read $f async", "i32", "i32"),
    ("future.cancel-write $f", "i32", "i32"),
    ("future.cancel-write $f async", "i32", "i32"),
    ("future.drop-readable $f", "i32", ""),
    ("future.drop-writable $f", "i32", ""),
    ("future.forward $f", "i32 i32", ""),
    ("thread.index", "", "i32"),
    (
        "thread.new-indirect $start (core table $table)",
        "i32 i32",
        "i32",
    ),
    ("thread.resume-later", "i32", ""),
    ("thread.suspend", "", "i32"),
    ("thread.yield", "", "i32"),
    ("thread.suspend-then-resume", "i32", "i32"),
    ("thread.yield-then-resume", "i32", "i32"),
    ("thread.suspend-then-promote", "i32", "i32"),
    ("thread.yield-then-promote", "i32", "i32"),
    ("error-context.new $mem", "i32 i32", "i32"),
    ("error-context.debug-message $mem $realloc", "i32 i32", ""),
    ("error-context.drop", "i32", ""),
    ("lower (func $host)", "", ""),
];

/// Those that the specification lets be called at any time.
const ALLOWED: [(&str, &str, &str); 4] = [
    ("context.get i32 0", "", "i32"),
    ("context.set i32 0", "i32", ""),
    ("backpressure.inc", "", ""),
    ("resource.rep $r", "i32", "i32"),
];

/// A component that calls the built-in, with the given arguments, in its `realloc` and in its
/// `post-return`.
fn calls((builtin, params, result): (&str, &str, &str), arg: &str) -> String {
    let builtin = builtin
        .replace("$mem", "(memory (core memory $memory \"mem\"))")
        .replace("$realloc", "(realloc (core func $memory \"realloc\"))");
    let args: String = params
        .split_whitespace()
        .map(|ty| format!("({ty}.const {arg})"))
        .collect();
    let call = match result {
        "" => format!("(call $b {args})"),
        _ => format!("(drop (call $b {args}))"),
    };
    format!(
        r#"(component
          (import "host" (func $host))
          (type $r (resource (rep i32)))
          (type $s (stream u8))
          (type $f (future u8))
          (core type $start (func (param i32)))
          (core module $Memory
            (memory (export "mem") 1)
            (table (export "table") 4 funcref)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 512)))
          (core instance $memory (instantiate $Memory))
          (alias core export $memory "table" (core table $table))
          (core func $new (canon resource.new $r))
          (core func $b (canon {builtin}))
          (core module $M
            (import "" "new" (func $new (param i32) (result i32)))
            (import "" "b" (func $b (param {params}) (result {result})))
            (func (export "f") (param i32 i32) (drop (call $new (i32.const 5))))
            (func (export "g") (drop (call $new (i32.const 5))))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
              {call} (i32.const 1024))
            (func (export "post-return") {call}))
          (core instance $m (instantiate $M (with "" (instance
            (export "new" (func $new)) (export "b" (func $b))))))
          (func (export "made") (canon lift (core func $m "g")))
          (func (export "realloc") (param "s" string) (canon lift (core func $m "f")
            (memory (core memory $memory "mem")) (realloc (core func $m "realloc"))))
          (func (export "post-return") (canon lift (core func $m "g")
            (post-return (core func $m "post-return")))))"#
    )
}

struct Bench {
    executor: Executor,
    engine: Engine,
    store: Store<()>,
    bystander: Instance,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let host = Host {
            executor: Executor::new(),
            engine: Engine::new(config),
        };
        let store = host.store(());
        let bystander = Linker::new()
            .instantiate(&store, &host.component(PLAIN))
            .unwrap();
        Bench {
            engine: host.engine,
            executor: host.executor,
            store,
            bystander,
        }
    }

    fn instantiate(&self, text: &str) -> Instance {
        let component = Component::new(&self.engine, text.as_bytes())
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut linker = Linker::new();
        let host = |_: Caller<'_, ()>, ()| Ok(());
        linker.root().func("host", host).unwrap();
        linker.instantiate(&self.store, &component).unwrap()
    }

    fn call(&self, instance: &Instance, name: &str, args: &[Val]) -> Result<Option<Val>, Error> {
        let func = instance.get_func(&self.store, name)?;
        let outcome = self.store.block_on(func.call(&self.store, args));
        assert_eq!(call_u32(&self.store, &self.bystander, "value"), 7);
        outcome
    }
}

fn exports() -> [(&'static str, Vec<Val>); 2] {
    [("realloc", vec![Val::from("ab")]), ("post-return", vec![])]
}

#[test]
fn realloc_and_post_return_may_not_leave_by_any_built_in() {
    let bench = Bench::new(Config::new());
    for builtin in BUILTINS {
        for (export, args) in exports() {
            let instance = bench.instantiate(&calls(builtin, "1"));
            let error = bench.call(&instance, export, &args).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(LEAVES), "{} in {export}: {text}", builtin.0);
            // It is locked down.
            let again = bench.call(&instance, "made", &[]).unwrap_err().to_string();
            assert!(again.contains("cannot enter component instance"), "{again}");
        }
    }
}

#[test]
fn what_does_not_leave_may_be_called_at_any_time() {
    let bench = Bench::new(Config::new());
    for builtin in ALLOWED {
        for (export, args) in exports() {
            let instance = bench.instantiate(&calls(builtin, "1"));
            // The first handle that it made.
            bench.call(&instance, "made", &[]).unwrap();
            let outcome = bench.call(&instance, export, &args);
            assert!(outcome.is_ok(), "{} in {export}: {outcome:?}", builtin.0);
            // And it may leave again afterwards.
            bench.call(&instance, "made", &[]).unwrap();
        }
    }
}

/// A component whose `realloc`, `post-return`, destructor, and callback do this.
fn does(what: &str) -> String {
    format!(
        r#"(component
          (core module $D (func (export "dtor") (param i32) {what}))
          (core instance $d (instantiate $D))
          (type $r' (resource (rep i32) (dtor (core func $d "dtor"))))
          (core func $new (canon resource.new $r'))
          (core func $drop (canon resource.drop $r'))
          (core func $return (canon task.return))
          (core module $M
            (import "" "new" (func $new (param i32) (result i32)))
            (import "" "drop" (func $drop (param i32)))
            (import "" "return" (func $return))
            (memory (export "mem") 1)
            (func (export "f") (param i32 i32))
            (func (export "g"))
            (func (export "h") (call $drop (call $new (i32.const 5))))
            (func (export "yield") (result i32) (call $return) (i32.const 1))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) {what} (i32.const 1024))
            (func (export "post-return") {what})
            (func (export "callback") (param i32 i32 i32) (result i32) {what} (i32.const 0)))
          (core instance $m (instantiate $M (with "" (instance
            (export "new" (func $new)) (export "drop" (func $drop))
            (export "return" (func $return))))))
          (func (export "realloc") (param "s" string) (canon lift (core func $m "f")
            (memory (core memory $m "mem")) (realloc (core func $m "realloc"))))
          (func (export "post-return") (canon lift (core func $m "g")
            (post-return (core func $m "post-return"))))
          (func (export "destructor") (canon lift (core func $m "h")))
          (func (export "callback") async
            (canon lift (core func $m "yield") async (callback (core func $m "callback")))))"#
    )
}

#[test]
fn realloc_post_return_and_destructor_may_trap_or_never_return() {
    for (what, text) in [
        ("unreachable", "unreachable"),
        (
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            "divide by zero",
        ),
    ] {
        let bench = Bench::new(Config::new());
        for (export, args) in exports().into_iter().chain([("destructor", vec![])]) {
            let instance = bench.instantiate(&does(what));
            let error = bench.call(&instance, export, &args).unwrap_err();
            assert!(error.to_string().contains(text), "{export}: {error}");
        }
    }
    let bench = Bench::new(Config::new().fuel(1_000_000));
    for (export, args) in exports().into_iter().chain([("destructor", vec![])]) {
        let instance = bench.instantiate(&does("(loop $l (br $l))"));
        let error = bench.call(&instance, export, &args).unwrap_err();
        let ErrorKind::Limit(limit) = error.kind() else {
            panic!("{export}: {error}");
        };
        assert_eq!(limit.limit, "fuel", "{export}");
    }
}

/// The call has returned when the callback traps: the host has its result, and the instance is
/// locked down all the same.
#[test]
fn a_callback_that_traps_after_the_return_locks_its_instance_down() {
    let bench = Bench::new(Config::new());
    let instance = bench.instantiate(&does("unreachable"));
    let _ = bench.call(&instance, "callback", &[]);
    let _ = bench.executor.run_until_stalled(Budget::rounds(100));
    let error = bench.call(&instance, "post-return", &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot enter component instance"),
        "{error}"
    );
}
