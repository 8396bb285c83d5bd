//! Who is locked down by a trap, who goes on, and what a waiter gets: for every place in which a
//! component can trap.

mod common;

use common::{Host, call_u32};
use vestibule_component_host::{Error, ErrorKind, Instance, Linker, Store, Trap, Val};

/// `$victim` traps in every way it can; `$caller` calls it; `$bystander` has nothing to do with it.
const TOWN: &str = r#"(component $town
  (component $Victim
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $D (func (export "dtor") (param i32) unreachable))
    (core instance $d (instantiate $D))
    (type $r (resource (rep i32) (dtor (core func $d "dtor"))))
    (core func $resource-new (canon resource.new $r))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (import "" "resource-new" (func $resource-new (param i32) (result i32)))
      (func (export "seven") (result i32) (i32.const 7))
      (func (export "wait") (drop (call $wait (call $new) (i32.const 0))))
      (func (export "core") unreachable)
      (func (export "lift") (result i32) (i32.const 0xd800))
      (func (export "take") (param i32 i32))
      (func (export "far") (param i32 i32 i32 i32) (result i32) (i32.const -16))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
      (func (export "post") (param i32) unreachable)
      (func (export "make") (result i32) (call $resource-new (i32.const 1)))
      (func (export "later") (result i32) (i32.const 1))
      (func (export "sleep") (result i32)
        (i32.or (i32.const 2) (i32.shl (call $new) (i32.const 4))))
      (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
    (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))
      (export "wait" (func $wait)) (export "resource-new" (func $resource-new))))))
    (export $r' "r" (type $r))
    (func (export "seven") (result u32) (canon lift (core func $m "seven")))
    (func (export "wait") async (canon lift (core func $m "wait") async))
    (func (export "core") (canon lift (core func $m "core")))
    (func (export "lift") (result char) (canon lift (core func $m "lift")))
    (func (export "lower") (param "s" string) (canon lift (core func $m "take")
      (memory (core memory $memory "mem")) (realloc (core func $m "far"))))
    (func (export "realloc") (param "s" string) (canon lift (core func $m "take")
      (memory (core memory $memory "mem")) (realloc (core func $m "realloc"))))
    (func (export "post-return") (result u32) (canon lift (core func $m "seven")
      (post-return (core func $m "post"))))
    (func (export "make") (result (own $r')) (canon lift (core func $m "make")))
    (func (export "callback") async (canon lift (core func $m "later") async
      (callback (core func $m "callback"))))
    (func (export "sleep") async (canon lift (core func $m "sleep") async
      (callback (core func $m "callback")))))
  (instance $victim (instantiate $Victim))
  (component $Caller
    (import "core" (func $core))
    (import "sleep" (func $sleep async))
    (core func $core' (canon lower (func $core)))
    (core func $sleep' (canon lower (func $sleep) async))
    (core func $cancel (canon subtask.cancel))
    (core module $M
      (import "" "core" (func $core))
      (import "" "sleep" (func $sleep (result i32)))
      (import "" "cancel" (func $cancel (param i32) (result i32)))
      (func (export "call") (call $core))
      (func (export "cancel")
        (drop (call $cancel (i32.shr_u (call $sleep) (i32.const 4)))))
      (func (export "seven") (result i32) (i32.const 7)))
    (core instance $m (instantiate $M (with "" (instance (export "core" (func $core'))
      (export "sleep" (func $sleep')) (export "cancel" (func $cancel))))))
    (func (export "call") (canon lift (core func $m "call")))
    (func (export "cancel") (canon lift (core func $m "cancel")))
    (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
  (instance $caller (instantiate $Caller
    (with "core" (func $victim "core")) (with "sleep" (func $victim "sleep"))))
  (component $Bystander
    (core module $M (func (export "seven") (result i32) (i32.const 7)))
    (core instance $m (instantiate $M))
    (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
  (instance $bystander (instantiate $Bystander))
  (export "victim" (instance $victim))
  (export "caller" (instance $caller))
  (export "bystander" (instance $bystander)))"#;

fn call(
    store: &Store<()>,
    instance: &Instance,
    name: &str,
    args: &[Val],
) -> Result<Option<Val>, Error> {
    let func = instance.get_func(store, name)?;
    store.block_on(func.call(store, args))
}

/// Traps through one export while another call waits in the victim, and looks at everybody.
#[track_caller]
fn assert_poisons(name: &str, args: &[Val], trap: impl Fn(&Trap) -> bool) {
    let host = Host::new();
    let (store, town) = host.instantiate(TOWN).unwrap();
    assert_eq!(call_u32(&store, &town, "victim#seven"), 7);
    let wait = town.get_func(&store, "victim#wait").unwrap();
    let waiting = host.executor.spawn(wait.call(&store, &[])).unwrap();
    host.run();

    let error = match name {
        // The resource's destructor is called for the host.
        "victim#make" => match call(&store, &town, name, &[]).unwrap() {
            Some(Val::Resource(resource)) => resource.resource_drop(&store).unwrap_err(),
            other => panic!("{other:?}"),
        },
        _ => call(&store, &town, name, args).unwrap_err(),
    };
    assert!(error.trap().is_some_and(&trap), "{name}: {error}");

    // Who waits in the victim is told, and by whom it was locked down.
    host.run();
    let told = host.executor.block_on(waiting).unwrap().unwrap_err();
    assert!(
        matches!(told.kind(), ErrorKind::Poisoned { by } if by == "component `town` → `victim`"),
        "{name}: {told}"
    );
    // Nothing enters it any more.
    let error = call(&store, &town, "victim#seven", &[]).unwrap_err();
    assert_eq!(
        error.trap(),
        Some(&Trap::CannotEnterComponent),
        "{name}: {error}"
    );
    // Everybody else goes on, also who may call it.
    assert_eq!(call_u32(&store, &town, "bystander#seven"), 7);
    match name {
        // The caller was on the stack.
        "caller#call" | "caller#cancel" => {
            let error = call(&store, &town, "caller#seven", &[]).unwrap_err();
            assert_eq!(error.trap(), Some(&Trap::CannotEnterComponent), "{error}");
        }
        _ => assert_eq!(call_u32(&store, &town, "caller#seven"), 7),
    }
    // A call into the locked-down instance traps its caller, as any trap does.
    if !name.starts_with("caller#") {
        let error = call(&store, &town, "caller#call", &[]).unwrap_err();
        assert_eq!(error.trap(), Some(&Trap::CannotEnterComponent), "{error}");
    }
    assert_eq!(call_u32(&store, &town, "bystander#seven"), 7);
    assert!(store.is_quiet().unwrap(), "{name}");
}

const UNREACHABLE: fn(&Trap) -> bool = |trap| *trap == Trap::Unreachable;

#[test]
fn a_trap_in_core_code() {
    assert_poisons("victim#core", &[], UNREACHABLE);
}

#[test]
fn a_trap_in_core_code_below_another_instance() {
    assert_poisons("caller#call", &[], UNREACHABLE);
}

#[test]
fn a_trap_while_a_result_is_lifted() {
    assert_poisons("victim#lift", &[], |trap| {
        matches!(trap, Trap::InvalidChar(0xd800))
    });
}

#[test]
fn a_trap_while_an_argument_is_lowered() {
    let args = [Val::String("hello".into())];
    assert_poisons("victim#lower", &args, |trap| {
        *trap == Trap::ReallocOutOfBounds
    });
}

#[test]
fn a_trap_in_realloc() {
    assert_poisons(
        "victim#realloc",
        &[Val::String("hello".into())],
        UNREACHABLE,
    );
}

#[test]
fn a_trap_in_post_return() {
    assert_poisons("victim#post-return", &[], UNREACHABLE);
}

#[test]
fn a_trap_in_a_destructor() {
    assert_poisons("victim#make", &[], UNREACHABLE);
}

#[test]
fn a_trap_in_a_callback() {
    assert_poisons("victim#callback", &[], UNREACHABLE);
}

#[test]
fn a_trap_in_a_callback_that_is_told_of_a_cancellation() {
    assert_poisons("caller#cancel", &[], UNREACHABLE);
}

/// `$writer` offers elements that are none; `$reader` reads them.
const COPIES: &str = r#"(component $copies
  (component $Writer
    (type $s (stream (option u8)))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon stream.new $s))
    (core func $write (canon stream.write $s async (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "mem" (memory 1))
      (import "" "new" (func $new (result i64)))
      (import "" "write" (func $write (param i32 i32 i32) (result i32)))
      (func (export "offer") (result i32)
        (local $ends i64)
        (local.set $ends (call $new))
        (i32.store8 (i32.const 4) (i32.const 7))
        (drop (call $write (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32)))
          (i32.const 0) (i32.const 4)))
        (i32.wrap_i64 (local.get $ends)))
      (func (export "seven") (result i32) (i32.const 7)))
    (core instance $m (instantiate $M (with "" (instance (export "mem" (memory $memory "mem"))
      (export "new" (func $new)) (export "write" (func $write))))))
    (func (export "offer") (result $s) (canon lift (core func $m "offer")))
    (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
  (component $Reader
    (type $s (stream (option u8)))
    (import "offer" (func $offer (result $s)))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $offer' (canon lower (func $offer)))
    (core func $read (canon stream.read $s async (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "offer" (func $offer (result i32)))
      (import "" "read" (func $read (param i32 i32 i32) (result i32)))
      (func (export "read") (drop (call $read (call $offer) (i32.const 0) (i32.const 4))))
      (func (export "seven") (result i32) (i32.const 7)))
    (core instance $m (instantiate $M (with "" (instance (export "offer" (func $offer'))
      (export "read" (func $read))))))
    (func (export "read") (canon lift (core func $m "read")))
    (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
  (instance $writer (instantiate $Writer))
  (instance $reader (instantiate $Reader (with "offer" (func $writer "offer"))))
  (export "writer" (instance $writer))
  (export "reader" (instance $reader)))"#;

#[test]
fn a_trap_in_the_middle_of_a_copy() {
    // Whoever is on the stack: the reader. The writer has returned long since, and goes on.
    let host = Host::new();
    let (store, copies) = host.instantiate(COPIES).unwrap();
    let error = call(&store, &copies, "reader#read", &[]).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::InvalidDiscriminant(7)), "{error}");
    host.run();
    let error = call(&store, &copies, "reader#seven", &[]).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::CannotEnterComponent), "{error}");
    assert_eq!(call_u32(&store, &copies, "writer#seven"), 7);
    assert!(store.is_quiet().unwrap());
}

#[test]
fn a_trap_in_a_start_function_that_has_called_somebody_who_waits() {
    // Its own threads and calls go with it; those it called go on, and nobody hears of it twice.
    let host = Host::new();
    let (store, town) = host.instantiate(TOWN).unwrap();
    let mut linker = Linker::new();
    linker.root().export("victim", &town, "victim").unwrap();
    let wat = r#"(component
      (import "victim" (instance $victim (export "wait" (func async))))
      (core func $wait' (canon lower (func $victim "wait") async))
      (core module $M
        (import "" "wait" (func $wait (result i32)))
        (func $start (drop (call $wait)) unreachable)
        (start $start))
      (core instance (instantiate $M (with "" (instance (export "wait" (func $wait')))))))"#;
    let error = linker
        .instantiate(&store, &host.component(wat))
        .unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::Unreachable), "{error}");
    host.run();
    assert_eq!(call_u32(&store, &town, "victim#seven"), 7);
    assert!(store.take_background_errors().is_empty());
}

#[test]
fn a_trap_in_a_start_function() {
    // It locks down what its own instantiation made, and nobody else in the store.
    let host = Host::new();
    let (store, town) = host.instantiate(TOWN).unwrap();
    let wait = town.get_func(&store, "victim#wait").unwrap();
    let waiting = host.executor.spawn(wait.call(&store, &[])).unwrap();
    host.run();
    let trapping = r#"(component (core module $M (func $s unreachable) (start $s))
      (core instance (instantiate $M)))"#;
    let error = Linker::new()
        .instantiate(&store, &host.component(trapping))
        .unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::Unreachable));
    host.run();
    assert!(!waiting.is_finished());
    for name in ["victim#seven", "caller#seven", "bystander#seven"] {
        assert_eq!(call_u32(&store, &town, name), 7);
    }
}
