//! Who is named when something fails: golden texts of whole call chains.
//!
//! Places in source files are replaced by `<here>`, types of closures by `<closure>`.

mod common;

use common::{CALLS_ASYNC_F, CALLS_F, Host};
use std::error::Error as _;
use std::future::pending;
use vestibule_component_host::{
    Caller, EnteredAs, Error, Frame, Instance, Linker, Result, Store, Trap, Val,
};
use vestibule_executor::Refused;

/// The text of an error, without what differs from machine to machine.
fn text(error: &Error) -> String {
    let mut text = String::new();
    for line in error.to_string().lines() {
        let mut line = line.to_owned();
        while let Some(at) = line.find(".rs:") {
            let from = line[..at].rfind([' ', '(']).map_or(0, |space| space + 1);
            let to = line[at..]
                .find([' ', ')', ','])
                .map_or(line.len(), |end| at + end);
            line.replace_range(from..to, "<here>");
        }
        while let Some(at) = line.find("call_chains::") {
            let to = line[at..]
                .find([',', ')'])
                .map_or(line.len(), |end| at + end);
            line.replace_range(at..to, "<closure>");
        }
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}

#[track_caller]
fn assert_text(error: &Error, expected: &[&str]) {
    let actual = text(error);
    let actual: Vec<&str> = actual
        .lines()
        .filter(|line| !line.starts_with("hint:"))
        .collect();
    assert_eq!(actual, expected, "\n{error}");
}

const UNKNOWN: &str = "in core code; which function it was is not known to the engine";

/// Calls an export without arguments that is to fail.
#[track_caller]
fn call_error<T: 'static>(store: &Store<T>, instance: &Instance, name: &str) -> Error {
    let func = instance.get_func(store, name).unwrap();
    store.block_on(func.call(store, &[])).unwrap_err()
}

/// `$inner` traps in what the test asks for; `$outer` imports it as `demo:inner/api` and calls it.
const NESTED: &str = r#"(component $app
  (component $Inner
    (core module $Code
      (func $boom (export "boom") unreachable))
    (core instance $code (instantiate $Code))
    (func $boom (canon lift (core func $code "boom")))
    (instance $api (export "boom" (func $boom)))
    (export "demo:inner/api" (instance $api)))
  (component $Outer
    (import "demo:inner/api" (instance $api (export "boom" (func))))
    (core func $boom (canon lower (func $api "boom")))
    (core module $Glue
      (import "api" "boom" (func $boom))
      (func $helper (call $boom))
      (func $run (export "run") (call $helper)))
    (core instance $glue (instantiate $Glue
      (with "api" (instance (export "boom" (func $boom))))))
    (func (export "run") (canon lift (core func $glue "run"))))
  (instance $inner (instantiate $Inner))
  (instance $outer (instantiate $Outer
    (with "demo:inner/api" (instance $inner "demo:inner/api"))))
  (export "run" (func $outer "run")))"#;

#[test]
fn a_trap_two_components_deep_names_both_and_the_import_between_them() {
    let host = Host::new();
    let (store, instance) = host.instantiate(NESTED).unwrap();
    let error = call_error(&store, &instance, "run");
    assert_text(
        &error,
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from export `boom`: `boom` (function 0) of core module `Code`, instance `code`, \
             in component `app` → `inner`",
            "called through import `demo:inner/api#boom` (func()) of component `app` → `outer`, \
             for the first time in this store",
            "from export `run`: `run` (function 2) of core module `Glue`, instance `glue`, \
             in component `app` → `outer`",
            "while the host called `run` (at <here>)",
        ],
    );
    let source = error.source().expect("an error has its cause");
    assert_eq!(source.downcast_ref(), Some(&Trap::Unreachable));
}

#[test]
fn the_chain_is_data_too() {
    let host = Host::new();
    let (store, instance) = host.instantiate(NESTED).unwrap();
    let error = call_error(&store, &instance, "run");
    let [
        Frame::CoreFunction {
            component,
            entered_as,
            function,
            ..
        },
        Frame::Import {
            name,
            ty,
            first_call,
            ..
        },
        Frame::CoreFunction { .. },
        Frame::Phase { entered_at, .. },
    ] = error.chain()
    else {
        panic!("{:?}", error.chain());
    };
    assert_eq!(component.names(), ["app", "inner"]);
    assert_eq!(*entered_as, EnteredAs::Export("boom".to_owned()));
    assert_eq!(function.name.as_deref(), Some("boom"));
    assert_eq!(function.export.as_deref(), Some("boom"));
    assert_eq!(function.index, Some(0));
    assert_eq!(function.module.as_deref(), Some("Code"));
    assert_eq!(function.instance.as_deref(), Some("code"));
    assert_eq!(
        (name.as_str(), ty.as_str()),
        ("demo:inner/api#boom", "func()")
    );
    assert!(first_call);
    assert!(entered_at.file().ends_with("call_chains.rs"));
}

/// `$a`'s start calls `$b`, which calls `$c`, which calls the host.
const THREE_DEEP: &str = r#"(component $three
  (import "host:log/sink@1.0.0" (instance $sink (export "write" (func (param "x" u32)))))
  (component $C
    (import "write" (func $write (param "x" u32)))
    (core func $write (canon lower (func $write)))
    (core module $Mc
      (import "" "write" (func $write (param i32)))
      (func $c (export "c") (call $write (i32.const 3))))
    (core instance $mc (instantiate $Mc (with "" (instance (export "write" (func $write))))))
    (func (export "c") (canon lift (core func $mc "c"))))
  (component $B
    (import "c" (func $c))
    (core func $c (canon lower (func $c)))
    (core module $Mb
      (import "" "c" (func $c))
      (func $b (export "b") (call $c)))
    (core instance $mb (instantiate $Mb (with "" (instance (export "c" (func $c))))))
    (func (export "b") (canon lift (core func $mb "b"))))
  (component $A
    (import "b" (func $b))
    (core func $b (canon lower (func $b)))
    (core module $Ma
      (import "" "b" (func $b))
      (func $begin (call $b))
      (start $begin))
    (core instance $ma (instantiate $Ma (with "" (instance (export "b" (func $b)))))))
  (alias export $sink "write" (func $write))
  (instance $c (instantiate $C (with "write" (func $write))))
  (instance $b (instantiate $B (with "c" (func $c "c"))))
  (instance $a (instantiate $A (with "b" (func $b "b")))))"#;

/// What a host function of [`THREE_DEEP`] does decides what fails.
fn three_deep(write: fn(&Caller<'_, ()>) -> Result<()>) -> Error {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .instance("host:log/sink@1.0.0")
        .unwrap()
        .func("write", move |caller: Caller<'_, ()>, (_x,): (u32,)| {
            write(&caller)
        })
        .unwrap();
    linker
        .instantiate(&store, &host.component(THREE_DEEP))
        .unwrap_err()
}

const THREE_DEEP_CHAIN: &[&str] = &[
    "in host function `host:log/sink@1.0.0#write` (<closure>, defined at <here>)",
    "called through import `write` (func(x: u32)) of component `three` → `c`, \
     for the first time in this store",
    UNKNOWN,
    "from export `c`: `c` (function 1) of core module `Mc`, instance `mc`, \
     in component `three` → `c`",
    "called through import `c` (func()) of component `three` → `b`, \
     for the first time in this store",
    "from export `b`: `b` (function 1) of core module `Mb`, instance `mb`, \
     in component `three` → `b`",
    "called through import `b` (func()) of component `three` → `a`, \
     for the first time in this store",
    "from start function `begin` (function 1) of core module `Ma`, instance `ma`, \
     in component `three` → `a`",
    "while instantiating component `three` (at <here>)",
];

#[test]
fn a_host_error_below_three_components_in_a_start_function_names_all_of_them() {
    let error = three_deep(|_| Err(Error::host("the disk is full")));
    let mut expected = vec!["host function failed: the disk is full"];
    expected.extend(THREE_DEEP_CHAIN);
    assert_text(&error, &expected);
    assert_eq!(error.source().unwrap().to_string(), "the disk is full");
}

#[test]
fn a_host_panic_below_three_components_has_the_same_chain() {
    let error = three_deep(|_| panic!("index out of range"));
    let mut expected = vec!["host function panicked: index out of range"];
    expected.extend(THREE_DEEP_CHAIN);
    assert_text(&error, &expected);
}

#[test]
fn a_refusal_below_three_components_also_says_where_the_outer_entry_was_made() {
    let error = three_deep(|caller| {
        caller.executor().tick()?;
        Ok(())
    });
    let refused = error.refused().expect("the tick is refused");
    let entered = refused.entered_at().expect("a phase is in force");
    assert!(entered.file().ends_with("call_chains.rs"), "{entered}");
    assert!(
        refused
            .phase_label()
            .unwrap()
            .contains("component `three` → `a`"),
        "{refused}"
    );
    let text = text(&error);
    for line in THREE_DEEP_CHAIN {
        assert!(text.contains(line), "{line}\nis missing in\n{text}");
    }
    assert!(error.hint().unwrap().contains("`Caller::defer`"), "{error}");
    let source = error.source().unwrap();
    assert!(source.is::<Refused>(), "{source}");
}

#[test]
fn only_the_first_call_of_an_import_is_marked_as_such() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (x,): (u32,)| match x {
            41 => Ok((41u32,)),
            x => Err(Error::host(format!("{x} is not 41"))),
        })
        .unwrap();
    let wat = r#"(component $twice
      (import "f" (func $f (param "x" u32) (result u32)))
      (core func $f' (canon lower (func $f)))
      (core module $M
        (import "" "f" (func $f (param i32) (result i32)))
        (func (export "run") (drop (call $f (i32.const 41))) (drop (call $f (i32.const 42)))))
      (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))))))
      (func (export "run") (canon lift (core func $m "run"))))"#;
    let instance = linker.instantiate(&store, &host.component(wat)).unwrap();
    assert_text(
        &call_error(&store, &instance, "run"),
        &[
            "host function failed: 42 is not 41",
            "in host function `f` (<closure>, defined at <here>)",
            "called through import `f` (func(x: u32) -> u32) of component `twice`",
            UNKNOWN,
            "from export `run`: `run` (function 1) of core module `M`, instance `m`, \
             in component `twice`",
            "while the host called `run` (at <here>)",
        ],
    );
}

#[test]
fn a_start_function_that_waits_names_the_import_and_what_to_do_instead() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (_x,): (u32,)| async move {
            pending::<()>().await;
            Ok((0u32,))
        })
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_ASYNC_F))
        .unwrap_err();
    assert_text(
        &error,
        &[
            "wasm trap: cannot block a synchronous task before returning",
            "while waiting for import `f` (async func(x: u32) -> u32)",
            UNKNOWN,
            "from start function `start` (function 1) of core module `M`, instance `m`, \
             in component `calls-async-f`",
            "while instantiating component `calls-async-f` (at <here>)",
        ],
    );
    let hint = error.hint().expect("it says what to do");
    assert!(hint.contains("`Caller::defer`"), "{hint}");
    assert!(hint.contains("`Linker::instantiate_then`"), "{hint}");
    assert!(
        error.to_string().ends_with(&format!("hint: {hint}")),
        "{error}"
    );
}

#[test]
fn a_core_function_without_a_name_is_named_by_its_index() {
    let host = Host::new();
    let wat = r#"(component
      (core module (func unreachable) (start 0))
      (core instance (instantiate 0)))"#;
    assert_text(
        &host.instantiate(wat).unwrap_err(),
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from start function `(unnamed)` (function 0) of core module `0`, instance `0`, in component `root`",
            "while instantiating component `root` (at <here>)",
        ],
    );
}

#[test]
fn an_imported_start_function_is_named_by_its_import() {
    let host = Host::new();
    let wat = r#"(component $shim
      (core module $Main (func (export "_initialize") unreachable))
      (core instance $main (instantiate $Main))
      (core module $Shim (import "main" "_initialize" (func)) (start 0))
      (core instance $shim (instantiate $Shim (with "main" (instance $main)))))"#;
    assert_text(
        &host.instantiate(wat).unwrap_err(),
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from start function `_initialize` (function 0) of core module `Shim`, \
             instance `shim`, in component `shim`",
            "while instantiating component `shim` (at <here>)",
        ],
    );
}

#[test]
fn a_trap_in_realloc_names_the_realloc_and_the_call_that_needed_it() {
    let host = Host::new();
    let wat = r#"(component $greedy
      (core module $M
        (memory (export "mem") 1)
        (func $alloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "take") (param i32 i32)))
      (core instance $m (instantiate $M))
      (func (export "take") (param "s" string)
        (canon lift (core func $m "take") (memory (core memory $m "mem"))
          (realloc (core func $m "cabi_realloc")))))"#;
    let (store, instance) = host.instantiate(wat).unwrap();
    let take = instance.get_func(&store, "take").unwrap();
    let error = store
        .block_on(take.call(&store, &[Val::String("hello".into())]))
        .unwrap_err();
    assert_text(
        &error,
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from realloc `alloc` (function 0) of core module `M`, instance `m`, \
             in component `greedy`",
            "from export `take`: `take` (function 1) of core module `M`, instance `m`, \
             in component `greedy`",
            "while the host called `take` (at <here>)",
        ],
    );
}

#[test]
fn a_trap_in_post_return_names_the_post_return() {
    let host = Host::new();
    let wat = r#"(component $tidy
      (core module $M
        (func (export "run") (result i32) (i32.const 1))
        (func $free (export "free") (param i32) unreachable))
      (core instance $m (instantiate $M))
      (func (export "run") (result u32)
        (canon lift (core func $m "run") (post-return (core func $m "free")))))"#;
    let (store, instance) = host.instantiate(wat).unwrap();
    let error = call_error(&store, &instance, "run");
    assert_text(
        &error,
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from post-return of export `run`: `free` (function 1) of core module `M`, \
             instance `m`, in component `tidy`",
            "while the host called `run` (at <here>)",
        ],
    );
}

#[test]
fn a_trap_in_a_destructor_names_it_and_who_dropped_the_resource() {
    let host = Host::new();
    let wat = r#"(component $app
      (component $Owner
        (core module $D (func $dtor (export "dtor") (param i32) unreachable))
        (core instance $d (instantiate $D))
        (type $r (resource (rep i32) (dtor (core func $d "dtor"))))
        (core func $new (canon resource.new $r))
        (core module $M
          (import "" "new" (func $new (param i32) (result i32)))
          (func (export "make") (result i32) (call $new (i32.const 1))))
        (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
        (export $r' "r" (type $r))
        (func (export "make") (result (own $r')) (canon lift (core func $m "make"))))
      (component $User
        (import "r" (type $r (sub resource)))
        (import "make" (func $make (result (own $r))))
        (core func $make (canon lower (func $make)))
        (core func $drop (canon resource.drop $r))
        (core module $M
          (import "" "make" (func $make (result i32)))
          (import "" "drop" (func $drop (param i32)))
          (func (export "run") (call $drop (call $make))))
        (core instance $m (instantiate $M (with ""
          (instance (export "make" (func $make)) (export "drop" (func $drop))))))
        (func (export "run") (canon lift (core func $m "run"))))
      (instance $owner (instantiate $Owner))
      (instance $user (instantiate $User
        (with "r" (type $owner "r")) (with "make" (func $owner "make"))))
      (export "run" (func $user "run")))"#;
    let (store, instance) = host.instantiate(wat).unwrap();
    let error = call_error(&store, &instance, "run");
    assert_text(
        &error,
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from destructor `dtor` (function 0) of core module `D`, instance `d`, \
             in component `app` → `owner`",
            "from export `run`: `run` (function 2) of core module `M`, instance `m`, \
             in component `app` → `user`",
            "while the host called `run` (at <here>)",
        ],
    );
}

#[test]
fn a_trap_in_a_callback_names_the_callback() {
    let host = Host::new();
    let wat = r#"(component $later
      (core module $M
        (func (export "run") (result i32) (i32.const 1))
        (func $again (export "cb") (param i32 i32 i32) (result i32) unreachable))
      (core instance $m (instantiate $M))
      (func (export "run") async (result u32)
        (canon lift (core func $m "run") async (callback (core func $m "cb")))))"#;
    let (store, instance) = host.instantiate(wat).unwrap();
    let error = call_error(&store, &instance, "run");
    assert_text(
        &error,
        &[
            "wasm trap: wasm `unreachable` instruction executed",
            UNKNOWN,
            "from callback of export `run`: `again` (function 1) of core module `M`, \
             instance `m`, in component `later`",
            "while the host called `run` (at <here>)",
        ],
    );
}

#[test]
fn a_host_function_that_fails_in_start_shows_its_definition() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    let line = line!() + 3;
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (_x,): (u32,)| -> Result<(u32,)> {
            Err(Error::host("no"))
        })
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    let defined = error.chain().iter().find_map(|frame| match frame {
        Frame::HostFunction {
            defined_at,
            type_name,
            ..
        } => Some((*defined_at, *type_name)),
        _ => None,
    });
    let (defined_at, type_name) = defined.expect("the host function is in the chain");
    assert!(defined_at.file().ends_with("call_chains.rs"));
    assert_eq!(defined_at.line(), line);
    assert!(type_name.contains("call_chains::"), "{type_name}");
}
