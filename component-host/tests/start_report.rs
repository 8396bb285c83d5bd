//! What start functions can reach, found without running anything, and what they may not call.

mod common;

use common::{CALLS_F, Host, WAITS, call_u32};
use std::cell::Cell;
use std::rc::Rc;
use vestibule_component_host::{
    Caller, ErrorKind, Linker, Perhaps, Reachable, ReachableKind, StartReport,
};
use vestibule_executor::Reason;

fn report(wat: &str) -> StartReport {
    let host = Host::new();
    host.component(wat).start_report(wat.as_bytes()).unwrap()
}

fn find<'a>(report: &'a StartReport, name: &str) -> &'a Reachable {
    let reached = report.starts[0]
        .reaches
        .iter()
        .find(|reached| reached.name == name);
    reached.unwrap_or_else(|| panic!("`{name}` is not in\n{report}"))
}

/// The start function calls a clock through two functions, and a log only through a table.
const CLOCK: &str = r#"(component $app
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clocks
    (export "wait-for" (func async (param "how-long" u64)))
    (export "now" (func (result u64)))))
  (import "log" (func $log (param "x" u32)))
  (core func $wait-for (canon lower (func $clocks "wait-for")))
  (core func $now (canon lower (func $clocks "now")))
  (core func $log' (canon lower (func $log)))
  (core module $Main
    (import "c" "wait-for" (func $wait-for (param i64)))
    (import "c" "now" (func $now (result i64)))
    (import "c" "log" (func $log (param i32)))
    (type $logger (func (param i32)))
    (table 2 funcref)
    (elem (i32.const 0) func $log $quiet)
    (func $quiet (param i32))
    (func $init (call $wait-for (i64.const 5)))
    (func $never (drop (call $now)))
    (func $start (call $init) (call_indirect (type $logger) (i32.const 1) (i32.const 1)))
    (start $start)
    (func (export "run") (call $never)))
  (core instance $main (instantiate $Main (with "c" (instance
    (export "wait-for" (func $wait-for)) (export "now" (func $now))
    (export "log" (func $log')))))))"#;

#[test]
fn a_blocking_import_is_named_with_the_path_to_it() {
    let report = report(CLOCK);
    assert_eq!(report.starts.len(), 1);
    assert_eq!(report.starts[0].component.names(), ["app"]);
    assert_eq!(report.starts[0].function.name.as_deref(), Some("start"));
    let name = "wasi:clocks/monotonic-clock@0.3.0#wait-for";
    let wait = find(&report, name);
    assert_eq!(wait.kind, ReachableKind::AsyncImport);
    assert!(wait.may_block && wait.perhaps.is_empty());
    assert_eq!(wait.path, ["$start", "$init"]);
    assert_eq!(report.may_block().count(), 1);
    let text = report.to_string();
    let line = format!("may block in start: `$start` → `$init` → `{name}` (async import)");
    assert!(text.contains(&line), "{text}");
}

#[test]
fn what_is_reached_only_by_an_indirect_call_is_marked() {
    let report = report(CLOCK);
    let log = find(&report, "log");
    assert_eq!(log.kind, ReachableKind::Import);
    assert!(!log.may_block);
    assert_eq!(log.perhaps, [Perhaps::IndirectCall]);
    assert!(
        report
            .to_string()
            .contains("perhaps: only by an indirect call"),
        "{report}"
    );
}

#[test]
fn what_no_start_function_calls_is_not_in_the_report() {
    let report = report(CLOCK);
    let now = report.starts[0]
        .reaches
        .iter()
        .any(|reached| reached.name.ends_with("#now"));
    assert!(!now, "{report}");
}

#[test]
fn a_blocking_builtin_is_named() {
    let report = report(WAITS);
    let wait = find(&report, "waitable-set.wait");
    assert_eq!(wait.kind, ReachableKind::Builtin);
    assert!(wait.may_block);
    assert_eq!(wait.path, ["$start"]);
}

/// The shape that toolchains make: a shim whose start function is an import from the main module.
#[test]
fn an_imported_start_function_is_followed_into_the_module_it_comes_from() {
    let report = report(
        r#"(component $shim
      (import "get-environment" (func $env (result u32)))
      (core func $env' (canon lower (func $env)))
      (core module $Main
        (import "" "env" (func $env (result i32)))
        (func $ctors (drop (call $env)))
        (func $_initialize (export "_initialize") (call $ctors)))
      (core instance $main (instantiate $Main (with "" (instance (export "env" (func $env'))))))
      (core module $Shim (import "main" "_initialize" (func)) (start 0))
      (core instance $shim (instantiate $Shim (with "main" (instance $main)))))"#,
    );
    let env = find(&report, "get-environment");
    assert_eq!(env.path, ["$_initialize", "$ctors"]);
    assert!(!env.may_block);
}

#[test]
fn a_call_into_another_component_is_followed() {
    let report = report(
        r#"(component $app
      (import "wait" (func $wait async))
      (component $Inner
        (import "wait" (func $wait async))
        (core func $wait' (canon lower (func $wait)))
        (core module $M
          (import "" "wait" (func $wait))
          (func $work (export "work") (call $wait)))
        (core instance $m (instantiate $M (with "" (instance (export "wait" (func $wait'))))))
        (func (export "work") (canon lift (core func $m "work"))))
      (instance $inner (instantiate $Inner (with "wait" (func $wait))))
      (core func $work' (canon lower (func $inner "work")))
      (core module $M
        (import "" "work" (func $work))
        (func $start (call $work))
        (start $start))
      (core instance (instantiate $M (with "" (instance (export "work" (func $work')))))))"#,
    );
    let wait = find(&report, "wait");
    assert!(wait.may_block);
    assert_eq!(wait.path, ["$start", "$work"]);
}

/// A start function that reaches the import `wait` by `how`, and by nothing else.
fn reaches_wait(how: &str) -> StartReport {
    report(&format!(
        r#"(component $app
      (import "wait" (func $wait async))
      (core func $wait' (canon lower (func $wait)))
      (core module $Table (table (export "table") 1 funcref))
      (core instance $table (instantiate $Table))
      (core type $thread (func (param i32)))
      (core func $new (canon thread.new-indirect $thread (core table $table "table")))
      (component $Owner
        (import "wait" (func $wait async))
        (core func $wait' (canon lower (func $wait)))
        (core func $return (canon task.return))
        (core module $D
          (import "" "wait" (func $wait))
          (func $farewell (export "dtor") (param i32) (call $wait)))
        (core instance $d (instantiate $D (with "" (instance (export "wait" (func $wait'))))))
        (type $r (resource (rep i32) (dtor (core func $d "dtor"))))
        (core func $make (canon resource.new $r))
        (core module $M
          (import "" "wait" (func $wait))
          (import "" "make" (func $make (param i32) (result i32)))
          (import "" "return" (func $return))
          (func (export "make") (result i32) (call $make (i32.const 1)))
          (func (export "begin") (result i32) (i32.const 1))
          (func $again (export "again") (param i32 i32 i32) (result i32)
            (call $wait) (call $return) (i32.const 0)))
        (core instance $m (instantiate $M (with "" (instance (export "wait" (func $wait'))
          (export "make" (func $make)) (export "return" (func $return))))))
        (export $r' "r" (type $r))
        (func (export "make") (result (own $r')) (canon lift (core func $m "make")))
        (func (export "begin") async (canon lift (core func $m "begin") async
          (callback (core func $m "again")))))
      (instance $owner (instantiate $Owner (with "wait" (func $wait))))
      (alias export $owner "r" (type $r))
      (core func $make (canon lower (func $owner "make")))
      (core func $drop (canon resource.drop $r))
      (core func $begin (canon lower (func $owner "begin") async))
      (core module $M
        (import "t" "table" (table $table 1 funcref))
        (import "" "wait" (func $wait))
        (import "" "make" (func $make (result i32)))
        (import "" "drop" (func $drop (param i32)))
        (import "" "begin" (func $begin (result i32)))
        (import "" "new" (func $new (param i32 i32) (result i32)))
        (func $worker (param i32) (call $wait))
        (func $other (param i64) (call $wait))
        (elem (table $table) (i32.const 0) func $worker)
        (elem declare func $other)
        (func $start {how})
        (start $start))
      (core instance $m (instantiate $M (with "t" (instance $table)) (with "" (instance
        (export "wait" (func $wait')) (export "make" (func $make)) (export "drop" (func $drop))
        (export "begin" (func $begin)) (export "new" (func $new)))))))"#
    ))
}

#[track_caller]
fn assert_reaches_wait(how: &str, path: &[&str], perhaps: Perhaps, text: &str) {
    let report = reaches_wait(how);
    let wait = find(&report, "wait");
    assert!(wait.may_block && wait.kind == ReachableKind::AsyncImport);
    assert_eq!(wait.path, path, "{report}");
    assert_eq!(wait.perhaps, [perhaps], "{report}");
    assert!(report.to_string().contains(text), "{report}");
}

#[test]
fn a_destructor_that_a_drop_may_run_is_followed_and_marked() {
    assert_reaches_wait(
        "(call $drop (call $make))",
        &["$start", "$farewell"],
        Perhaps::Destructor,
        "may block in start: `$start` → `$farewell` → `wait` (async import), \
         perhaps: only by a destructor",
    );
}

#[test]
fn a_thread_that_is_made_is_followed_into_every_function_of_its_type_and_marked() {
    assert_reaches_wait(
        "(drop (call $new (i32.const 0) (i32.const 0)))",
        &["$start", "$worker"],
        Perhaps::Thread,
        "perhaps: only by a thread that it makes",
    );
}

#[test]
fn a_callback_of_an_async_function_is_followed_and_marked() {
    assert_reaches_wait(
        "(drop (call $begin))",
        &["$start", "$again"],
        Perhaps::Callback,
        "perhaps: only by a callback",
    );
}

#[test]
fn what_is_certain_is_not_marked_though_there_is_an_uncertain_way_too() {
    let report = reaches_wait("(call $drop (call $make)) (call $wait)");
    let wait = find(&report, "wait");
    assert_eq!(
        (wait.path.as_slice(), wait.perhaps.as_slice()),
        (&["$start".to_owned()][..], &[][..])
    );
    // Neither a drop nor a thread: nothing of either is reached.
    let report = reaches_wait("(drop (call $make))");
    assert!(report.starts[0].reaches.is_empty(), "{report}");
}

#[test]
fn a_component_without_start_functions_says_so() {
    let report = report(common::PLAIN);
    assert_eq!(report.starts, []);
    assert_eq!(report.to_string(), "no start functions\n");
}

#[test]
fn the_bytes_of_another_component_are_refused() {
    let host = Host::new();
    let component = host.component(CLOCK);
    let error = component
        .start_report(common::PLAIN.as_bytes())
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
}

/// A linker whose `f` counts its calls.
fn counting(calls: &Rc<Cell<u32>>) -> Linker<()> {
    let mut linker = Linker::new();
    let calls = Rc::clone(calls);
    linker
        .root()
        .func("f", move |_: Caller<'_, ()>, (x,): (u32,)| {
            calls.set(calls.get() + 1);
            Ok((x,))
        })
        .unwrap();
    linker
}

#[test]
fn an_import_that_is_not_start_safe_is_refused_by_name_before_it_runs() {
    let host = Host::new();
    let calls = Rc::default();
    let mut linker = counting(&calls);
    linker.start_safe("f", false);
    let store = host.store(());
    let error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    assert_eq!(calls.get(), 0);
    assert_eq!(error.refused().unwrap().reason(), Reason::PhaseForbids);
    let text = error.to_string();
    for part in [
        "declared not start-safe",
        "host function `f` (",
        "was not run",
        "called through import `f` (func(x: u32) -> u32) of component `calls-f`",
        "from start function `start`",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn the_same_import_may_be_called_after_the_start() {
    let host = Host::new();
    let calls = Rc::default();
    let mut linker = counting(&calls);
    linker.start_safe("f", false);
    let store = host.store(());
    let wat = r#"(component
      (import "f" (func $f (param "x" u32) (result u32)))
      (core func $f' (canon lower (func $f)))
      (core module $M
        (import "" "f" (func $f (param i32) (result i32)))
        (func (export "run") (result i32) (call $f (i32.const 5))))
      (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))))))
      (func (export "run") (result u32) (canon lift (core func $m "run"))))"#;
    let instance = linker.instantiate(&store, &host.component(wat)).unwrap();
    assert_eq!(call_u32(&store, &instance, "run"), 5);
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_strict_linker_forbids_what_was_not_declared() {
    let host = Host::new();
    let calls = Rc::default();
    let mut linker = counting(&calls);
    linker.only_start_safe();
    let component = host.component(CALLS_F);
    let error = linker.instantiate(&host.store(()), &component).unwrap_err();
    assert!(error.refused().is_some(), "{error}");
    linker.start_safe("f", true);
    linker.instantiate(&host.store(()), &component).unwrap();
    assert_eq!(calls.get(), 1);
}
