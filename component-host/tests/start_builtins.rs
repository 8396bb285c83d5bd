//! Every built-in that may wait, called by a start function: the case in which it has to wait for
//! what cannot happen, which traps, beside its twin, which goes on.

mod common;

use common::builtins::{FUNCS, start};
use common::{Host, PLAIN, call_u32};
use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use vestibule_component_host::{Error, ErrorKind, Linker, Trap};

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
