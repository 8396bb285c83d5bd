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
      (callback (core func $m "callback")))))
  (instance $victim (instantiate $Victim))
  (component $Caller
    (import "core" (func $core))
    (core func $core' (canon lower (func $core)))
    (core module $M
      (import "" "core" (func $core))
      (func (export "call") (call $core))
      (func (export "seven") (result i32) (i32.const 7)))
    (core instance $m (instantiate $M (with "" (instance (export "core" (func $core'))))))
    (func (export "call") (canon lift (core func $m "call")))
    (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
  (instance $caller (instantiate $Caller (with "core" (func $victim "core"))))
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
        "caller#call" => {
            let error = call(&store, &town, "caller#seven", &[]).unwrap_err();
            assert_eq!(error.trap(), Some(&Trap::CannotEnterComponent), "{error}");
        }
        _ => assert_eq!(call_u32(&store, &town, "caller#seven"), 7),
    }
    // A call into the locked-down instance traps its caller, as any trap does.
    if name != "caller#call" {
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
