//! Every built-in that may wait, called by a start function: the case in which it has to wait for
//! what cannot happen, which traps, beside its twin, which goes on.

mod common;

use common::{Host, PLAIN, call_u32};
use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use vestibule_component_host::{Error, ErrorKind, Linker, Trap};

/// The sibling: functions that never return, return at once, heed a cancellation, trap; two kinds of
/// resource, whose destructors wait for ever and yield.
const SIBLING: &str = r#"(component $Sibling
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $set-new (canon waitable-set.new))
    (core func $set-wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core func $yield (canon thread.yield))
    (core func $return (canon task.return (result u32)))
    (core func $cancel (canon task.cancel))
    (core func $close (canon backpressure.inc))
    (core module $D
      (import "" "set-new" (func $set-new (result i32)))
      (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
      (import "" "yield" (func $yield (result i32)))
      (func (export "stuck") (param i32) (drop (call $set-wait (call $set-new) (i32.const 0))))
      (func (export "slow") (param i32) (drop (call $yield)) (drop (call $yield)))
      (func (export "traps") (param i32) unreachable))
    (core instance $d (instantiate $D (with "" (instance (export "set-new" (func $set-new))
      (export "set-wait" (func $set-wait)) (export "yield" (func $yield))))))
    (type $stuck (resource (rep i32) (dtor (core func $d "stuck"))))
    (type $slow (resource (rep i32) (dtor (core func $d "slow"))))
    (type $breaks (resource (rep i32) (dtor (core func $d "traps"))))
    (core func $new-stuck (canon resource.new $stuck))
    (core func $new-slow (canon resource.new $slow))
    (core func $new-breaks (canon resource.new $breaks))
    (core module $S
      (import "" "set-new" (func $set-new (result i32)))
      (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
      (import "" "yield" (func $yield (result i32)))
      (import "" "return" (func $return (param i32)))
      (import "" "cancel" (func $cancel))
      (import "" "close" (func $close))
      (import "" "new-stuck" (func $new-stuck (param i32) (result i32)))
      (import "" "new-slow" (func $new-slow (param i32) (result i32)))
      (import "" "new-breaks" (func $new-breaks (param i32) (result i32)))
      (func (export "never") (drop (call $set-wait (call $set-new) (i32.const 0))))
      (func (export "ready") (call $return (i32.const 7)))
      (func (export "yields") (drop (call $yield)) (call $return (i32.const 8)))
      (func (export "pump") (drop (call $yield)) (drop (call $yield)))
      (func (export "traps") unreachable)
      ;; Waits in its callback, and ends when it is cancelled.
      (func (export "heeds") (result i32)
        (i32.or (i32.const 2) (i32.shl (call $set-new) (i32.const 4))))
      (func (export "callback") (param $event i32) (param i32 i32) (result i32)
        (if (i32.ne (local.get $event) (i32.const 6)) (then unreachable))
        (call $cancel)
        (i32.const 0))
      (func (export "close") (call $close))
      (func (export "make-stuck") (result i32) (call $new-stuck (i32.const 1)))
      (func (export "make-slow") (result i32) (call $new-slow (i32.const 1)))
      (func (export "make-breaks") (result i32) (call $new-breaks (i32.const 1))))
    (core instance $s (instantiate $S (with "" (instance (export "set-new" (func $set-new))
      (export "set-wait" (func $set-wait)) (export "yield" (func $yield))
      (export "return" (func $return)) (export "cancel" (func $cancel))
      (export "close" (func $close)) (export "new-stuck" (func $new-stuck))
      (export "new-slow" (func $new-slow)) (export "new-breaks" (func $new-breaks))))))
    (export $stuck' "stuck" (type $stuck))
    (export $slow' "slow" (type $slow))
    (export $breaks' "breaks" (type $breaks))
    (func (export "make-stuck") (result (own $stuck')) (canon lift (core func $s "make-stuck")))
    (func (export "make-slow") (result (own $slow')) (canon lift (core func $s "make-slow")))
    (func (export "make-breaks") (result (own $breaks')) (canon lift (core func $s "make-breaks")))
    (func (export "never") async (result u32) (canon lift (core func $s "never") async))
    (func (export "ready") async (result u32) (canon lift (core func $s "ready") async))
    (func (export "yields") async (result u32) (canon lift (core func $s "yields") async))
    (func (export "traps") async (result u32) (canon lift (core func $s "traps") async))
    (func (export "heeds") async (result u32) (canon lift (core func $s "heeds") async
      (callback (core func $s "callback"))))
    (func (export "pump") (canon lift (core func $s "pump")))
    (func (export "close") (canon lift (core func $s "close"))))"#;

/// The lowered functions and built-ins of [`start`], each with the type that its module imports it
/// by.
const FUNCS: &[(&str, &str, &str)] = &[
    ("never", "lower (func $sibling \"never\")", "(result i32)"),
    ("ready", "lower (func $sibling \"ready\")", "(result i32)"),
    ("yields", "lower (func $sibling \"yields\")", "(result i32)"),
    ("traps", "lower (func $sibling \"traps\")", "(result i32)"),
    (
        "never-async",
        "lower (func $sibling \"never\") async MEM",
        "(param i32) (result i32)",
    ),
    (
        "ready-async",
        "lower (func $sibling \"ready\") async MEM",
        "(param i32) (result i32)",
    ),
    (
        "yields-async",
        "lower (func $sibling \"yields\") async MEM",
        "(param i32) (result i32)",
    ),
    (
        "heeds-async",
        "lower (func $sibling \"heeds\") async MEM",
        "(param i32) (result i32)",
    ),
    ("pump", "lower (func $sibling \"pump\")", ""),
    ("close", "lower (func $sibling \"close\")", ""),
    (
        "make-stuck",
        "lower (func $sibling \"make-stuck\")",
        "(result i32)",
    ),
    (
        "make-slow",
        "lower (func $sibling \"make-slow\")",
        "(result i32)",
    ),
    (
        "make-breaks",
        "lower (func $sibling \"make-breaks\")",
        "(result i32)",
    ),
    ("drop-stuck", "resource.drop $stuck", "(param i32)"),
    ("drop-slow", "resource.drop $slow", "(param i32)"),
    ("drop-breaks", "resource.drop $breaks", "(param i32)"),
    ("cancel", "subtask.cancel", "(param i32) (result i32)"),
    (
        "cancel-async",
        "subtask.cancel async",
        "(param i32) (result i32)",
    ),
    ("subtask-drop", "subtask.drop", "(param i32)"),
    ("task-return", "task.return", ""),
    ("task-cancel", "task.cancel", ""),
    ("stream-new", "stream.new $bytes", "(result i64)"),
    (
        "stream-read",
        "stream.read $bytes MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-write",
        "stream.write $bytes MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-read-async",
        "stream.read $bytes async MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-write-async",
        "stream.write $bytes async MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-cancel-read",
        "stream.cancel-read $bytes",
        "(param i32) (result i32)",
    ),
    (
        "stream-cancel-write",
        "stream.cancel-write $bytes",
        "(param i32) (result i32)",
    ),
    ("future-new", "future.new $number", "(result i64)"),
    (
        "future-read",
        "future.read $number MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-write",
        "future.write $number MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-read-async",
        "future.read $number async MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-write-async",
        "future.write $number async MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-cancel-read",
        "future.cancel-read $number",
        "(param i32) (result i32)",
    ),
    (
        "future-cancel-write",
        "future.cancel-write $number",
        "(param i32) (result i32)",
    ),
    (
        "thread-new",
        "thread.new-indirect $thread (core table $memory \"table\")",
        "(param i32 i32) (result i32)",
    ),
    ("resume-later", "thread.resume-later", "(param i32)"),
    ("index", "thread.index", "(result i32)"),
    ("suspend", "thread.suspend", "(result i32)"),
    (
        "suspend-then-resume",
        "thread.suspend-then-resume",
        "(param i32) (result i32)",
    ),
    ("set-new", "waitable-set.new", "(result i32)"),
    (
        "set-wait",
        "waitable-set.wait MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "set-poll",
        "waitable-set.poll MEM",
        "(param i32 i32) (result i32)",
    ),
    ("join", "waitable.join", "(param i32 i32)"),
    ("own-seven", "lower (func $own-seven)", "(result i32)"),
];

/// A component whose start function runs `body`, which leaves in `$v` what `value` returns. `helper`
/// is what a thread does that is made of element 0; both may use `$x`, `$y` and `$ends`.
fn start(helper: &str, body: &str) -> String {
    let memory = "(memory (core memory $memory \"mem\"))";
    let (mut canons, mut imports, mut exports) = (String::new(), String::new(), String::new());
    for (name, canon, ty) in FUNCS {
        let canon = canon.replace("MEM", memory);
        canons += &format!("(core func ${name} (canon {canon}))\n");
        imports += &format!("(import \"\" \"{name}\" (func ${name} {ty}))\n");
        exports += &format!("(export \"{name}\" (func ${name}))\n");
    }
    format!(
        r#"(component $root
  {SIBLING}
  (instance $sibling (instantiate $Sibling))
  (alias export $sibling "stuck" (type $stuck))
  (alias export $sibling "slow" (type $slow))
  (alias export $sibling "breaks" (type $breaks))
  (core module $Memory
    (memory (export "mem") 1)
    (table (export "table") 1 funcref)
    (func (export "seven") (result i32) (i32.const 7)))
  (core instance $memory (instantiate $Memory))
  (func $own-seven (result u32) (canon lift (core func $memory "seven")))
  (type $bytes (stream u8))
  (type $number (future u32))
  (core type $thread (func (param i32)))
  {canons}
  (core module $M
    {imports}
    (import "m" "mem" (memory 1))
    (import "m" "table" (table $table 1 funcref))
    (global $v (mut i32) (i32.const 0))
    (global $x (mut i32) (i32.const 0))
    (global $ends (mut i64) (i64.const 0))
    (func $readable (result i32) (i32.wrap_i64 (global.get $ends)))
    (func $writable (result i32) (i32.wrap_i64 (i64.shr_u (global.get $ends) (i64.const 32))))
    ;; The handle in what an async call returned.
    (func $subtask (param $packed i32) (result i32) (i32.shr_u (local.get $packed) (i32.const 4)))
    (func $helper (param $arg i32) {helper})
    (elem (table $table) (i32.const 0) func $helper)
    (func $start {body})
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "m" (instance $memory))
    (with "" (instance {exports}))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#
    )
}

/// Instantiates, and looks at what the start function left; afterwards another store works.
fn run_with(helper: &str, body: &str) -> Result<u32, Error> {
    let host = Host::new();
    let store = host.store(());
    let component = host.component(&start(helper, body));
    let result = Linker::new()
        .instantiate(&store, &component)
        .map(|instance| call_u32(&store, &instance, "value"));
    host.run();
    let plain = host.component(PLAIN);
    for store in [store, host.store(())] {
        let instance = Linker::new().instantiate(&store, &plain).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7);
    }
    result
}

#[track_caller]
fn gives(value: u32, body: &str) {
    gives_with("", value, body);
}

#[track_caller]
fn gives_with(helper: &str, value: u32, body: &str) {
    match run_with(helper, body) {
        Ok(found) => assert_eq!(found, value),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn traps(trap: &Trap, body: &str) {
    let error = run_with("", body).expect_err("it traps");
    assert_eq!(error.trap(), Some(trap), "{error}");
    let text = error.to_string();
    assert!(text.contains("start function `start`"), "{text}");
}

#[track_caller]
fn cannot_block(body: &str) {
    traps(&Trap::CannotBlockSyncTask, body);
}

const STREAM: &str = "(global.set $ends (call $stream-new)) ";
const FUTURE: &str = "(global.set $ends (call $future-new)) ";
/// Four elements, with the code for completed.
const FOUR: u32 = 4 << 4;

#[test]
fn a_synchronous_stream_read_that_nobody_writes_traps() {
    cannot_block(&format!(
        "{STREAM} (drop (call $stream-read (call $readable) (i32.const 0) (i32.const 4)))"
    ));
}

#[test]
fn a_synchronous_stream_read_of_what_is_written_already_goes_on() {
    gives(
        FOUR,
        &format!(
            "{STREAM}
             (drop (call $stream-write-async (call $writable) (i32.const 0) (i32.const 4)))
             (global.set $v (call $stream-read (call $readable) (i32.const 16) (i32.const 4)))"
        ),
    );
}

#[test]
fn a_synchronous_stream_read_that_a_thread_of_start_writes_goes_on() {
    gives_with(
        "(drop (call $stream-write-async (call $writable) (i32.const 0) (i32.const 4)))",
        FOUR,
        &format!(
            "{STREAM}
             (call $resume-later (call $thread-new (i32.const 0) (i32.const 0)))
             (global.set $v (call $stream-read (call $readable) (i32.const 16) (i32.const 4)))"
        ),
    );
}

#[test]
fn a_synchronous_stream_write_that_nobody_reads_traps() {
    cannot_block(&format!(
        "{STREAM} (drop (call $stream-write (call $writable) (i32.const 0) (i32.const 4)))"
    ));
}

#[test]
fn a_synchronous_stream_write_that_is_awaited_already_goes_on() {
    gives(
        FOUR,
        &format!(
            "{STREAM}
             (drop (call $stream-read-async (call $readable) (i32.const 0) (i32.const 4)))
             (global.set $v (call $stream-write (call $writable) (i32.const 16) (i32.const 4)))"
        ),
    );
}

#[test]
fn a_synchronous_future_read_that_nobody_writes_traps() {
    cannot_block(&format!(
        "{FUTURE} (drop (call $future-read (call $readable) (i32.const 0)))"
    ));
}

#[test]
fn a_synchronous_future_read_of_what_is_written_already_goes_on() {
    gives(
        9,
        &format!(
            "{FUTURE}
             (i32.store (i32.const 0) (i32.const 9))
             (drop (call $future-write-async (call $writable) (i32.const 0)))
             (if (call $future-read (call $readable) (i32.const 16)) (then unreachable))
             (global.set $v (i32.load (i32.const 16)))"
        ),
    );
}

#[test]
fn a_synchronous_future_write_that_nobody_reads_traps() {
    cannot_block(&format!(
        "{FUTURE} (drop (call $future-write (call $writable) (i32.const 0)))"
    ));
}

#[test]
fn a_synchronous_future_write_that_is_awaited_already_goes_on() {
    gives(
        9,
        &format!(
            "{FUTURE}
             (i32.store (i32.const 0) (i32.const 9))
             (drop (call $future-read-async (call $readable) (i32.const 16)))
             (if (call $future-write (call $writable) (i32.const 0)) (then unreachable))
             (global.set $v (i32.load (i32.const 16)))"
        ),
    );
}

#[test]
fn the_cancellation_of_a_copy_goes_on() {
    // 2: cancelled.
    for (new, copy, cancel) in [
        (
            STREAM,
            "(call $stream-read-async (call $readable) (i32.const 0) (i32.const 4))",
            "(call $stream-cancel-read (call $readable))",
        ),
        (
            STREAM,
            "(call $stream-write-async (call $writable) (i32.const 0) (i32.const 4))",
            "(call $stream-cancel-write (call $writable))",
        ),
        (
            FUTURE,
            "(call $future-read-async (call $readable) (i32.const 0))",
            "(call $future-cancel-read (call $readable))",
        ),
        (
            FUTURE,
            "(call $future-write-async (call $writable) (i32.const 0))",
            "(call $future-cancel-write (call $writable))",
        ),
    ] {
        gives(2, &format!("{new} (drop {copy}) (global.set $v {cancel})"));
    }
}

#[test]
fn the_cancellation_of_no_copy_traps() {
    let misused = Trap::EndMisused("cannot cancel: no asynchronous operation is in progress");
    traps(
        &misused,
        &format!("{STREAM} (drop (call $stream-cancel-read (call $readable)))"),
    );
}

const NEVER: &str = "(global.set $x (call $subtask (call $never-async (i32.const 32)))) ";

#[test]
fn a_synchronous_cancellation_of_what_never_ends_traps() {
    cannot_block(&format!("{NEVER} (drop (call $cancel (global.get $x)))"));
}

#[test]
fn an_asynchronous_cancellation_of_what_never_ends_goes_on() {
    // Blocked.
    gives(
        u32::MAX,
        &format!("{NEVER} (global.set $v (call $cancel-async (global.get $x)))"),
    );
}

#[test]
fn a_synchronous_cancellation_that_is_heeded_goes_on() {
    // 4: cancelled before it returned.
    gives(
        4,
        "(global.set $x (call $subtask (call $heeds-async (i32.const 32))))
         (global.set $v (call $cancel (global.get $x)))
         (call $subtask-drop (global.get $x))",
    );
}

#[test]
fn a_synchronous_cancellation_of_what_returns_meanwhile_goes_on() {
    // 2: returned.
    gives(
        2,
        "(global.set $x (call $subtask (call $yields-async (i32.const 32))))
         (global.set $v (call $cancel (global.get $x)))",
    );
}

#[test]
fn a_synchronous_cancellation_of_a_host_future_drops_it_and_goes_on() {
    struct Counts(Rc<Cell<u32>>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let host = Host::new();
    let store = host.store(());
    let drops = Rc::new(Cell::new(0));
    let counter = Rc::clone(&drops);
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_, ()| {
            let guard = Counts(Rc::clone(&counter));
            async move {
                let _guard = guard;
                pending::<()>().await;
                Ok(())
            }
        })
        .unwrap();
    let wat = r#"(component
      (import "f" (func $f async))
      (core func $f' (canon lower (func $f) async))
      (core func $cancel (canon subtask.cancel))
      (core module $M
        (import "" "f" (func $f (result i32)))
        (import "" "cancel" (func $cancel (param i32) (result i32)))
        (global $v (mut i32) (i32.const 0))
        (func $start (global.set $v (call $cancel (i32.shr_u (call $f) (i32.const 4)))))
        (start $start)
        (func (export "value") (result i32) (global.get $v)))
      (core instance $m (instantiate $M (with ""
        (instance (export "f" (func $f')) (export "cancel" (func $cancel))))))
      (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;
    let instance = linker.instantiate(&store, &host.component(wat)).unwrap();
    host.run();
    assert_eq!((call_u32(&store, &instance, "value"), drops.get()), (4, 1));
}

#[test]
fn a_start_function_may_not_return_or_cancel_a_task() {
    // It is a synchronous task: there is nothing to return by a built-in.
    traps(&Trap::NotAnAsyncTask, "(call $task-return)");
    traps(&Trap::NotAnAsyncTask, "(call $task-cancel)");
}

#[test]
fn a_thread_of_a_start_function_may_not_return_or_cancel_its_task_either() {
    for body in ["(call $task-return)", "(call $task-cancel)"] {
        let error = run_with(
            body,
            "(call $resume-later (call $thread-new (i32.const 0) (i32.const 0)))
             (drop (call $suspend))",
        )
        .unwrap_err();
        assert_eq!(error.trap(), Some(&Trap::NotAnAsyncTask), "{error}");
    }
}

#[test]
fn an_async_function_of_a_sibling_that_never_returns_traps() {
    cannot_block("(drop (call $never))");
}

#[test]
fn an_async_function_of_a_sibling_that_is_ready_at_once_goes_on_and_one_that_yields_traps() {
    gives(7, "(global.set $v (call $ready))");
    // While start waits, the sibling's threads are no candidates: it is no synchronous call.
    cannot_block("(drop (call $yields))");
}

#[test]
fn a_synchronous_function_of_a_sibling_that_yields_goes_on() {
    gives(5, "(call $pump) (global.set $v (i32.const 5))");
}

#[test]
fn an_async_function_of_a_sibling_that_traps_traps_start() {
    traps(&Trap::Unreachable, "(drop (call $traps))");
}

#[test]
fn an_async_function_behind_backpressure_traps_a_synchronous_call_and_no_other() {
    cannot_block("(call $close) (drop (call $ready))");
    // 0: it has not started.
    gives(
        0,
        "(call $close) (global.set $v (i32.and (call $ready-async (i32.const 32)) (i32.const 15)))",
    );
}

#[test]
fn a_destructor_that_waits_traps_start() {
    cannot_block("(call $drop-stuck (call $make-stuck))");
}

#[test]
fn a_destructor_that_yields_lets_start_go_on() {
    gives(
        5,
        "(call $drop-slow (call $make-slow)) (global.set $v (i32.const 5))",
    );
}

#[test]
fn a_destructor_that_traps_traps_start() {
    traps(
        &Trap::Unreachable,
        "(call $drop-breaks (call $make-breaks))",
    );
}

#[test]
fn a_switch_to_a_thread_that_does_not_come_back_traps_and_its_twin_goes_on() {
    cannot_block(
        "(drop (call $suspend-then-resume (call $thread-new (i32.const 0) (i32.const 0))))",
    );
    gives_with(
        "(call $resume-later (local.get $arg)) (global.set $v (i32.const 5))",
        6,
        "(drop (call $suspend-then-resume (call $thread-new (i32.const 0) (call $index))))
         (global.set $v (i32.add (global.get $v) (i32.const 1)))",
    );
}

#[test]
fn a_set_whose_member_is_in_progress_for_ever_traps_when_it_is_waited_on_and_not_when_it_is_polled()
{
    let joined = format!(
        "{NEVER} (global.set $v (call $set-new)) (call $join (global.get $x) (global.get $v))"
    );
    cannot_block(&format!(
        "{joined} (drop (call $set-wait (global.get $v) (i32.const 0)))"
    ));
    gives(
        0,
        &format!("{joined} (global.set $v (call $set-poll (global.get $v) (i32.const 0)))"),
    );
}

#[test]
fn a_set_whose_member_returns_while_start_yields_to_it_goes_on() {
    // A sibling's thread is no candidate while start waits: the event has to be there already.
    cannot_block(
        "(global.set $x (call $subtask (call $yields-async (i32.const 32))))
         (global.set $v (call $set-new)) (call $join (global.get $x) (global.get $v))
         (drop (call $set-wait (global.get $v) (i32.const 0)))",
    );
    // A synchronous call into that sibling makes its threads candidates.
    gives(
        1,
        "(global.set $x (call $subtask (call $yields-async (i32.const 32))))
         (global.set $v (call $set-new)) (call $join (global.get $x) (global.get $v))
         (call $pump)
         (global.set $v (call $set-wait (global.get $v) (i32.const 0)))",
    );
}

#[test]
fn a_start_function_may_enter_the_instance_that_is_being_made() {
    gives(7, "(global.set $v (call $own-seven))");
}

/// Draws numbers below a bound.
fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

/// One built-in of all there are, with arguments that are handles, or not.
fn random_step(next: &mut impl FnMut(usize) -> usize) -> String {
    let (name, _, ty) = FUNCS[next(FUNCS.len())];
    let (params, result) = ty.split_once("(result").unwrap_or((ty, ""));
    let mut call = format!("(call ${name}");
    for _ in 0..params.matches("i32").count() {
        call += &match next(6) {
            0 => " (global.get $x)".to_owned(),
            1 => " (call $subtask (global.get $x))".to_owned(),
            2 => " (call $readable)".to_owned(),
            3 => " (call $writable)".to_owned(),
            _ => format!(" (i32.const {})", next(6)),
        };
    }
    call += ")";
    match result {
        "" => call,
        result if result.contains("i64") => format!("(global.set $ends {call})"),
        _ => format!("(global.set $x {call})"),
    }
}

#[test]
fn random_sequences_of_every_builtin_end_in_an_allowed_way() {
    let (mut ok, mut failed) = (0, 0);
    let host = Host::new();
    let plain = host.component(PLAIN);
    for seed in 0..120 {
        let mut next = dice(seed);
        let helper: String = (0..2).map(|_| random_step(&mut next)).collect();
        // Something to work with, and then few steps: most of them trap.
        let setup = [
            STREAM,
            FUTURE,
            NEVER,
            "(global.set $x (call $set-new)) ",
            "(global.set $x (call $thread-new (i32.const 0) (i32.const 0))) ",
        ];
        let mut body = setup[next(setup.len())].to_owned();
        body.extend((0..1 + seed % 4).map(|_| random_step(&mut next)));
        let store = host.store(());
        let component = host.component(&start(&helper, &body));
        match Linker::new().instantiate(&store, &component) {
            Ok(_) => ok += 1,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::Trap(_) | ErrorKind::Limit(_)),
                    "seed {seed}: {error:?}"
                );
                failed += 1;
            }
        }
        host.run();
        let instance = Linker::new().instantiate(&store, &plain).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7, "seed {seed}");
    }
    // Both ways out are tried.
    assert!(ok > 5 && failed > 5, "{ok} ended well, {failed} did not");
}

/// An instance with `$f`, which is async and waits, and `$g`, which runs `body`.
fn two_tasks(g_result: &str, body: &str) -> Result<(), Error> {
    let g_type = if g_result.is_empty() {
        String::new()
    } else {
        format!("(result {g_result})")
    };
    let wat = format!(
        r#"(component
      (core func $return (canon task.return (result u32)))
      (core module $Memory (memory (export "mem") 1))
      (core instance $memory (instantiate $Memory))
      (core func $set-new (canon waitable-set.new))
      (core func $set-wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
      (core module $M
        (import "" "return" (func $return (param i32)))
        (import "" "set-new" (func $set-new (result i32)))
        (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
        (func (export "f") (drop (call $set-wait (call $set-new) (i32.const 0))))
        (func (export "g") {body}))
      (core instance $m (instantiate $M (with "" (instance (export "return" (func $return))
        (export "set-new" (func $set-new)) (export "set-wait" (func $set-wait))))))
      (func (export "f") async (result u32) (canon lift (core func $m "f") async))
      (func (export "g") async {g_type} (canon lift (core func $m "g") async)))"#
    );
    let host = Host::new();
    let (store, instance) = host.instantiate(&wat)?;
    let f = instance.get_func(&store, "f")?;
    let waiting = host.executor.spawn(f.call(&store, &[])).unwrap();
    host.run();
    let g = instance.get_func(&store, "g")?;
    let result = store.block_on(g.call(&store, &[])).map(drop);
    host.run();
    // Whoever waits is told, when the instance is locked down; else it waits on.
    assert_eq!(waiting.is_finished(), result.is_err());
    result
}

#[test]
fn a_task_that_returns_twice_traps() {
    two_tasks("u32", "(call $return (i32.const 1))").unwrap();
    let twice = "(call $return (i32.const 1)) (call $return (i32.const 2))";
    let error = two_tasks("u32", twice).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::TaskReturnTwice), "{error}");
}

#[test]
fn a_task_cannot_return_for_another() {
    // What `g` returns is of `f`'s type, and still it is `g` that returns.
    let error = two_tasks("", "(call $return (i32.const 1))").unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::TaskReturnInvalid), "{error}");
    let error = two_tasks("f32", "(call $return (i32.const 1))").unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::TaskReturnInvalid), "{error}");
}

#[test]
fn a_task_that_never_returns_traps_at_its_end() {
    let error = two_tasks("u32", "").unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::NoAsyncResult), "{error}");
}
