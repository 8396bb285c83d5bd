//! Guests that mean harm: whatever they do, wherever they do it, ends in a typed outcome, in bounded
//! time and memory, and the next component works.

mod common;

use common::hostile::{Place, guest};
use common::{PLAIN, call_u32};
use std::time::{Duration, Instant};
use vestibule_component_host::{
    Component, Config, Engine, Error, ErrorKind, Instance, Linker, Result, Store, Trap, Val,
};
use vestibule_executor::Executor;

/// Small limits, so that reaching them takes no time.
fn config() -> Config {
    Config::new()
        .fuel(3_000_000)
        .max_memory(8 << 20)
        .max_table_elements(100_000)
        .max_handles(2_000)
        .max_tasks(500)
        .max_threads(1_000)
        .max_waitables(1_000)
        .max_call_bytes(1 << 20)
        .max_stream_bytes(1 << 20)
}

struct Attack {
    executor: Executor,
    store: Store<()>,
    place: Place,
    result: Result<Instance>,
}

/// Runs a body in a place, twice over when the first time succeeds.
fn attack(config: Config, place: Place, body: &str) -> Attack {
    let (executor, engine) = (Executor::new(), Engine::new(config));
    let store = Store::new(&engine, &executor, ());
    let begin = Instant::now();
    let component = Component::new(&engine, guest(place, body).as_bytes()).unwrap();
    let result = Linker::new()
        .instantiate(&store, &component)
        .and_then(|instance| {
            for _ in 0..2 {
                call(&store, &instance, place)?;
            }
            Ok(instance)
        });
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "{place:?} took {took:?}");
    Attack {
        executor,
        store,
        place,
        result,
    }
}

fn call(store: &Store<()>, instance: &Instance, place: Place) -> Result<()> {
    let Some(export) = place.export() else {
        return Ok(());
    };
    let args: &[Val] = match place {
        Place::Realloc => &[Val::String("hello".into())],
        _ => &[],
    };
    let func = instance.get_func(store, export)?;
    store.block_on(func.call(store, args)).map(drop)
}

impl Attack {
    /// The outcome is one that is allowed, and the store and its neighbours are unharmed.
    #[track_caller]
    fn check(&self) {
        if let Err(error) = &self.result {
            assert_allowed(error, self.place);
        }
        let engine = self.store.engine().clone();
        let plain = Component::new(&engine, PLAIN.as_bytes()).unwrap();
        for store in [self.store.clone(), Store::new(&engine, &self.executor, ())] {
            let instance = Linker::new().instantiate(&store, &plain).unwrap();
            assert_eq!(call_u32(&store, &instance, "value"), 7);
        }
    }

    #[track_caller]
    fn error(&self) -> &Error {
        match &self.result {
            Ok(_) => panic!("{:?}: nothing happened", self.place),
            Err(error) => error,
        }
    }
}

#[track_caller]
fn assert_allowed(error: &Error, place: Place) {
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Trap(_) | ErrorKind::Limit(_) | ErrorKind::Poisoned { .. }
        ),
        "{place:?}: {error:?}"
    );
}

/// The body reaches the limit of the given name, or, where it may not leave, traps.
#[track_caller]
fn assert_bomb(body: &str, limit: &str) {
    for place in Place::ALL {
        let attack = attack(config(), place, body);
        attack.check();
        let error = attack.error();
        match error.kind() {
            ErrorKind::Limit(reached) => assert_eq!(reached.limit, limit, "{place:?}: {error}"),
            ErrorKind::Trap(Trap::CannotLeaveComponent) => {
                assert!(
                    matches!(place, Place::Realloc | Place::PostReturn),
                    "{place:?}: {error}"
                );
            }
            _ => panic!("{place:?}: {error}"),
        }
    }
}

#[test]
fn an_infinite_loop_in_any_place_ends_with_the_fuel() {
    assert_bomb("(loop (br 0))", "fuel");
}

#[test]
fn an_infinite_loop_over_a_call_in_any_place_ends_with_the_fuel() {
    assert_bomb("(loop (call $plain) (br 0))", "fuel");
}

#[test]
fn a_memory_bomb_stays_below_the_limit_and_ends_with_the_fuel() {
    assert_bomb("(loop (drop (memory.grow (i32.const 1))) (br 0))", "fuel");
}

#[test]
fn a_bulk_operation_is_paid_for() {
    assert_bomb(
        "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))",
        "fuel",
    );
}

#[test]
fn a_table_bomb_stays_below_the_limit_and_ends_with_the_fuel() {
    assert_bomb(
        "(loop (drop (table.grow $table (ref.null func) (i32.const 1000))) (br 0))",
        "fuel",
    );
}

#[test]
fn a_handle_bomb_reaches_the_limit() {
    assert_bomb(
        "(loop (drop (call $context (i32.const 0) (i32.const 0))) (br 0))",
        "max_handles",
    );
}

#[test]
fn a_subtask_bomb_reaches_the_limit() {
    assert_bomb("(loop (drop (call $call-wait)) (br 0))", "max_tasks");
}

#[test]
fn a_stream_bomb_reaches_the_limit() {
    assert_bomb("(loop (drop (call $stream-new)) (br 0))", "max_waitables");
}

#[test]
fn a_future_bomb_reaches_the_limit() {
    assert_bomb("(loop (drop (call $future-new)) (br 0))", "max_waitables");
}

#[test]
fn a_waitable_set_bomb_reaches_the_limit() {
    assert_bomb("(loop (drop (call $set-new)) (br 0))", "max_waitables");
}

#[test]
fn a_thread_bomb_reaches_the_limit() {
    assert_bomb(
        "(loop (drop (call $thread-new (i32.const 0) (i32.const 0))) (br 0))",
        "max_threads",
    );
}

#[test]
fn backpressure_without_end_traps() {
    for place in Place::ALL {
        let attack = attack(config(), place, "(loop (call $backpressure) (br 0))");
        attack.check();
        let error = attack.error();
        assert!(
            matches!(
                error.trap(),
                Some(Trap::BackpressureOverflow | Trap::CannotLeaveComponent)
            ) || matches!(error.kind(), ErrorKind::Limit(limit) if limit.limit == "fuel"),
            "{place:?}: {error}"
        );
    }
}

#[test]
fn yielding_without_end_ends_with_the_fuel() {
    assert_bomb("(loop (drop (call $yield)) (br 0))", "fuel");
}

#[test]
fn deep_recursion_in_one_module_traps() {
    for place in Place::ALL {
        let attack = attack(config(), place, "(call $bomb)");
        attack.check();
        assert_eq!(
            attack.error().trap(),
            Some(&Trap::StackOverflow),
            "{place:?}"
        );
    }
}

/// Waiting for what will not happen, in every place.
#[track_caller]
fn assert_cannot_wait(body: &str) {
    for place in Place::ALL {
        let attack = attack(config(), place, body);
        attack.check();
        let error = attack.error();
        match place {
            Place::Realloc | Place::PostReturn => {
                assert_eq!(
                    error.trap(),
                    Some(&Trap::CannotLeaveComponent),
                    "{place:?}: {error}"
                );
            }
            // An async function may wait; here nobody is left to wake it.
            Place::Callback => assert!(
                matches!(error.trap(), Some(Trap::Deadlock { .. })),
                "{place:?}: {error}"
            ),
            _ => assert_eq!(
                error.trap(),
                Some(&Trap::CannotBlockSyncTask),
                "{place:?}: {error}"
            ),
        }
    }
}

#[test]
fn waiting_on_an_empty_set_traps_where_nobody_may_wait() {
    assert_cannot_wait("(drop (call $set-wait (call $set-new) (i32.const 0)))");
}

#[test]
fn a_synchronous_call_of_a_function_that_never_returns_traps_where_nobody_may_wait() {
    assert_cannot_wait("(call $block)");
}

#[test]
fn suspending_oneself_traps_where_nobody_may_wait() {
    assert_cannot_wait("(drop (call $suspend))");
}

#[test]
fn an_async_call_and_then_a_yield_in_a_start_function_goes_on() {
    // What made another host panic: an async import, and then a yield.
    for place in [
        Place::Start,
        Place::Export,
        Place::Destructor,
        Place::Callback,
    ] {
        let attack = attack(
            config(),
            place,
            "(drop (call $call-wait)) (drop (call $yield))",
        );
        attack.check();
        assert!(attack.result.is_ok(), "{place:?}: {:?}", attack.result);
    }
}

#[test]
fn polling_an_empty_set_in_a_start_function_goes_on() {
    let attack = attack(
        config(),
        Place::Start,
        "(drop (call $set-poll (call $set-new) (i32.const 0)))",
    );
    attack.check();
    attack.result.as_ref().unwrap();
}

#[test]
fn a_trap_in_every_place_is_that_trap() {
    for place in Place::ALL {
        let attack = attack(config(), place, "(unreachable)");
        attack.check();
        assert_eq!(attack.error().trap(), Some(&Trap::Unreachable), "{place:?}");
    }
}

/// A sequence of built-ins with arguments that are small, or not.
fn random_body(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut body = String::from("(local $x i32) (local $y i64) ");
    for _ in 0..5 {
        let mut number = |_: ()| match next(4) {
            0 => "(local.get $x)".to_owned(),
            1 => format!("(i32.const {})", next(6)),
            2 => "(i32.wrap_i64 (local.get $y))".to_owned(),
            _ => "(i32.wrap_i64 (i64.shr_u (local.get $y) (i64.const 32)))".to_owned(),
        };
        let (a, b, c) = (number(()), number(()), number(()));
        body += &match next(16) {
            0 => "(local.set $x (call $set-new))".to_owned(),
            1 => "(drop (call $yield))".to_owned(),
            2 | 3 => "(local.set $y (call $stream-new))".to_owned(),
            4 => format!("(local.set $x (call $stream-write {a} {b} {c}))"),
            5 => format!("(local.set $x (call $stream-read {a} {b} {c}))"),
            6 => "(local.set $y (call $future-new))".to_owned(),
            7 => format!("(local.set $x (call $context {a} {b}))"),
            8 => format!("(local.set $x (call $thread-new (i32.const 0) {a}))"),
            9 => format!("(call $resume-later {a})"),
            10 => format!("(local.set $x (call $set-poll {a} (i32.const 0)))"),
            11 => format!("(local.set $x (call $set-wait {a} (i32.const 0)))"),
            12 => "(local.set $x (call $call-wait))".to_owned(),
            13 => "(call $backpressure)".to_owned(),
            14 => "(call $plain)".to_owned(),
            _ => format!("(drop (memory.grow {b}))"),
        };
    }
    body
}

#[test]
fn start_functions_of_random_builtins_end_in_an_allowed_way() {
    let (mut ok, mut failed) = (0, 0);
    for seed in 0..150 {
        let attack = attack(config(), Place::Start, &random_body(seed));
        attack.check();
        match attack.result.is_ok() {
            true => ok += 1,
            false => failed += 1,
        }
    }
    // Both ways out are tried.
    assert!(ok > 5 && failed > 5, "{ok} ended well, {failed} did not");
}

/// What compiles, or is refused, in bounded time.
fn compiles(bytes: impl AsRef<[u8]>) -> Result<()> {
    let begin = Instant::now();
    let engine = Engine::new(config());
    let executor = Executor::new();
    let component = Component::new(&engine, bytes.as_ref())?;
    let store = Store::new(&engine, &executor, ());
    let result = Linker::new().instantiate(&store, &component).map(drop);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    result
}

#[test]
fn a_huge_function_body_is_compiled_or_refused() {
    let body = "(drop (i32.const 1))".repeat(50_000);
    let wat = format!(
        "(component (core module $M (func $f {body}) (start $f)) (core instance (instantiate $M)))"
    );
    compiles(&wat).unwrap();
}

#[test]
fn too_many_locals_are_invalid() {
    let locals = "(local i64)".repeat(60_000);
    let wat =
        format!("(component (core module $M (func {locals})) (core instance (instantiate $M)))");
    let error = compiles(&wat).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
}

#[test]
fn deeply_nested_blocks_are_compiled_or_refused() {
    let depth = 5_000;
    let wat = format!(
        "(component (core module $M (func $f {} {}) (start $f)) (core instance (instantiate $M)))",
        "block ".repeat(depth),
        "end ".repeat(depth)
    );
    match compiles(&wat) {
        Ok(()) => {}
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::Invalid { .. } | ErrorKind::Limit(_)
            ),
            "{error}"
        ),
    }
}

#[test]
fn many_functions_and_types_are_compiled() {
    let types = "(type (func (param i32 i64 f32) (result f64)))".repeat(5_000);
    let funcs = "(func)".repeat(20_000);
    let wat =
        format!("(component (core module $M {types} {funcs}) (core instance (instantiate $M)))");
    compiles(&wat).unwrap();
}

#[test]
fn a_type_that_doubles_at_every_level_is_invalid() {
    let mut wat = String::from("(component (type $t0 (tuple u8 u8))");
    for level in 1..40 {
        let inner = level - 1;
        wat += &format!("(type $t{level} (tuple $t{inner} $t{inner}))");
    }
    wat += ")";
    let error = compiles(&wat).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
}

#[test]
fn components_nested_ninety_deep_are_instantiated_on_a_small_stack() {
    let depth = 90; // The text format allows no more than a hundred.
    let mut wat = String::from("(component)");
    for _ in 0..depth {
        wat = format!("(component {wat} (instance (instantiate 0)))");
    }
    // The text needs a large stack to be parsed; the binary is what is judged.
    let on_a_stack_of = |bytes: usize, f: Box<dyn FnOnce() -> Vec<u8> + Send>| {
        let thread = std::thread::Builder::new().stack_size(bytes);
        thread.spawn(f).unwrap().join().unwrap()
    };
    let binary = on_a_stack_of(64 << 20, Box::new(move || wat::parse_str(wat).unwrap()));
    on_a_stack_of(
        1 << 20,
        Box::new(move || {
            compiles(&binary).unwrap();
            Vec::new()
        }),
    );
}

#[test]
fn a_binary_cut_off_at_any_byte_is_invalid() {
    let binary = wat::parse_str(guest(Place::Start, "")).unwrap();
    let engine = Engine::new(config());
    Component::new(&engine, &binary).unwrap();
    for length in 1..binary.len() {
        let error = match Component::new(&engine, &binary[..length]) {
            Err(error) => error,
            // Cut off between two sections, it is a shorter component.
            Ok(_) => continue,
        };
        assert!(
            matches!(error.kind(), ErrorKind::Invalid { .. }),
            "at {length}: {error}"
        );
    }
}

#[test]
fn a_binary_with_flipped_bits_is_invalid_or_does_no_harm() {
    let binary = wat::parse_str(guest(Place::Start, "(call $plain)")).unwrap();
    let (executor, engine) = (Executor::new(), Engine::new(config()));
    let mut instantiated = 0;
    for at in (8..binary.len()).step_by(3) {
        let mut broken = binary.clone();
        broken[at] ^= 1 << (at % 8);
        let Ok(component) = Component::new(&engine, &broken) else {
            continue;
        };
        let store = Store::new(&engine, &executor, ());
        let mut linker = Linker::new();
        linker.define_unknown_imports_as_traps();
        match linker.instantiate(&store, &component) {
            Ok(_) => instantiated += 1,
            Err(error) => assert!(
                !matches!(error.kind(), ErrorKind::Bug(_)),
                "at {at}: {error}"
            ),
        }
    }
    assert!(instantiated > 0, "some flips are harmless");
}

/// An async export whose first core call returns `code`, the second 0.
fn returns(code: &str) -> Error {
    let wat = format!(
        r#"(component
      (core module $M
        (func (export "run") (result i32) (i32.const {code}))
        (func (export "cb") (param i32 i32 i32) (result i32) (i32.const 0)))
      (core instance $m (instantiate $M))
      (func (export "run") async
        (canon lift (core func $m "run") async (callback (core func $m "cb")))))"#
    );
    let (executor, engine) = (Executor::new(), Engine::new(config()));
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, wat.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    store.block_on(run.call(&store, &[])).unwrap_err()
}

#[test]
fn a_callback_code_that_is_none_traps() {
    for code in ["3", "15"] {
        let error = returns(code);
        assert!(
            matches!(error.trap(), Some(Trap::UnsupportedCallbackCode(_))),
            "{error}"
        );
    }
}

#[test]
fn an_exit_or_a_yield_without_a_result_traps() {
    for code in ["0", "1"] {
        assert_eq!(returns(code).trap(), Some(&Trap::NoAsyncResult));
    }
}

#[test]
fn waiting_for_a_set_that_is_none_traps() {
    // Set 0, and a set that was never made.
    for code in ["2", "0x52", "0x7ffffff2", "-14"] {
        let error = returns(code);
        assert!(
            matches!(error.trap(), Some(Trap::UnknownHandleIndex(_))),
            "{code}: {error}"
        );
    }
}

#[test]
fn twenty_thousand_calls_leave_the_store_as_it_was() {
    let attack = attack(config(), Place::Export, "(call $plain)");
    let instance = attack.result.as_ref().unwrap();
    let before = attack.store.counters().unwrap();
    for _ in 0..20_000 {
        call(&attack.store, instance, Place::Export).unwrap();
    }
    assert_eq!(attack.store.counters().unwrap().live(), before.live());
}
