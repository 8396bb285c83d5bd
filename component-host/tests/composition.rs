//! Components that were composed of others load as they are: one in the shape that composition
//! tools give them, where components are nested, instantiated with each other's instances, and
//! exported; and one that such a tool makes here.

mod common;

use common::Host;
use vestibule_component_host::{Caller, Component, Linker};

/// `greeter` needs `names`, which `names-of-people` provides; what neither provides is imported by
/// the whole. The names of the interfaces are those of a package, and the types are shared.
const COMPOSED: &str = r#"(component $composed
  (type $log-type (instance
    (export "line" (func (param "text" string)))))
  (import "demo:greeting/log@0.1.0" (instance $log (type $log-type)))
  (component $names-of-people
    (type $person' (record (field "first" string) (field "age" u8)))
    (core module $M
      (memory (export "mem") 1)
      (data (i32.const 16) "Ada")
      ;; A person of 36 years, named by the three bytes above.
      (data (i32.const 32) "\10\00\00\00\03\00\00\00\24")
      (func (export "pick") (result i32) (i32.const 32)))
    (core instance $m (instantiate $M))
    (alias core export $m "mem" (core memory $mem))
    (component $interface
      (type $person' (record (field "first" string) (field "age" u8)))
      (import "person" (type $person (eq $person')))
      (import "pick" (func $pick (result $person)))
      (export $exported "person" (type $person))
      (export "pick" (func $pick) (func (result $exported))))
    (func $pick (result $person') (canon lift (core func $m "pick") (memory $mem)))
    (instance $names (instantiate $interface
      (with "person" (type $person'))
      (with "pick" (func $pick))))
    (export "demo:greeting/names@0.1.0" (instance $names)))
  (component $greeter
    (import "demo:greeting/names@0.1.0" (instance $names
      (type $person' (record (field "first" string) (field "age" u8)))
      (export "person" (type $person (eq $person')))
      (export "pick" (func (result $person)))))
    (import "demo:greeting/log@0.1.0" (instance $log
      (export "line" (func (param "text" string)))))
    (core module $Memory
      (memory (export "mem") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $memory (instantiate $Memory))
    (alias core export $memory "mem" (core memory $mem))
    (alias core export $memory "realloc" (core func $realloc))
    (core func $pick (canon lower (func $names "pick") (memory $mem) (realloc $realloc)))
    (core func $line (canon lower (func $log "line") (memory $mem)))
    (core module $M
      (import "" "mem" (memory 1))
      (import "" "pick" (func $pick (param i32)))
      (import "" "line" (func $line (param i32 i32)))
      (func (export "greet") (result i32)
        (call $pick (i32.const 64))
        (call $line (i32.load (i32.const 64)) (i32.load (i32.const 68)))
        (i32.load8_u (i32.const 72))))
    (core instance $m (instantiate $M (with "" (instance
      (export "mem" (memory $mem)) (export "pick" (func $pick)) (export "line" (func $line))))))
    (func (export "greet") (result u8) (canon lift (core func $m "greet"))))
  (instance $people (instantiate $names-of-people))
  (alias export $people "demo:greeting/names@0.1.0" (instance $names))
  (instance $greets (instantiate $greeter
    (with "demo:greeting/names@0.1.0" (instance $names))
    (with "demo:greeting/log@0.1.0" (instance $log))))
  (alias export $greets "greet" (func $greet))
  (export "greet" (func $greet))
  (export "demo:greeting/names@0.1.0" (instance $names)))"#;

#[test]
fn a_composed_component_loads_as_it_is() {
    let host = Host::new();
    let store = host.store(Vec::<String>::new());
    let component = host.component(COMPOSED);
    let imports: Vec<&str> = component.import_names().collect();
    assert_eq!(imports, ["demo:greeting/log@0.1.0"]);
    let mut linker = Linker::new();
    linker
        .instance("demo:greeting/log@0.1.0")
        .unwrap()
        .func(
            "line",
            |mut caller: Caller<'_, Vec<String>>, (text,): (String,)| {
                caller.data_mut().push(text);
                Ok(())
            },
        )
        .unwrap();
    let instance = linker.instantiate(&store, &component).unwrap();
    let greet = instance
        .get_typed_func::<(), (u8,)>(&store, "greet")
        .unwrap();
    assert_eq!(store.block_on(greet.call(&store, ())).unwrap(), (36,));
    assert_eq!(store.with(|lines| lines.clone()).unwrap(), ["Ada"]);
    let names = instance.func_names();
    assert_eq!(names, ["demo:greeting/names@0.1.0#pick", "greet"]);
}

/// Provides `tickets`, with a resource type that it implements.
const BOOTH: &str = r#"(component $booth
  (core module $D
    (global $dropped (mut i32) (i32.const 0))
    (func (export "dtor") (param i32)
      (global.set $dropped (i32.add (global.get $dropped) (i32.const 1))))
    (func (export "dropped") (result i32) (global.get $dropped)))
  (core instance $d (instantiate $D))
  (type $ticket' (resource (rep i32) (dtor (core func $d "dtor"))))
  (core func $new (canon resource.new $ticket'))
  (core module $M
    (import "" "new" (func $new (param i32) (result i32)))
    (func (export "draw") (param i32) (result i32)
      (call $new (i32.add (i32.const 100) (local.get 0))))
    (func (export "number") (param i32) (result i32) (local.get 0)))
  (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
  (func $draw (param "n" u32) (result (own $ticket')) (canon lift (core func $m "draw")))
  (func $number (param "of" (borrow $ticket')) (result u32) (canon lift (core func $m "number")))
  (func $dropped (result u32) (canon lift (core func $d "dropped")))
  (component $interface
    (import "ticket" (type $ticket (sub resource)))
    (import "draw" (func $draw (param "n" u32) (result (own $ticket))))
    (import "number" (func $number (param "of" (borrow $ticket)) (result u32)))
    (import "dropped" (func $dropped (result u32)))
    (export $exported "ticket" (type $ticket))
    (export "draw" (func $draw) (func (param "n" u32) (result (own $exported))))
    (export "number" (func $number) (func (param "of" (borrow $exported)) (result u32)))
    (export "dropped" (func $dropped)))
  (instance $tickets (instantiate $interface
    (with "ticket" (type $ticket')) (with "draw" (func $draw))
    (with "number" (func $number)) (with "dropped" (func $dropped))))
  (export "demo:fair/tickets@1.2.0" (instance $tickets)))"#;

/// Needs `tickets`, and `log` besides; provides `visits`.
const VISITOR: &str = r#"(component $visitor
  (import "demo:fair/tickets@1.2.0" (instance $tickets
    (export "ticket" (type $ticket (sub resource)))
    (export "draw" (func (param "n" u32) (result (own $ticket))))
    (export "number" (func (param "of" (borrow $ticket)) (result u32)))
    (export "dropped" (func (result u32)))))
  (import "demo:fair/log@1.0.0" (instance $log (export "line" (func (param "text" string)))))
  (alias export $tickets "ticket" (type $ticket))
  (core module $Memory
    (memory (export "mem") 1)
    (data (i32.const 16) "a visit"))
  (core instance $memory (instantiate $Memory))
  (core func $draw (canon lower (func $tickets "draw")))
  (core func $number (canon lower (func $tickets "number")))
  (core func $dropped (canon lower (func $tickets "dropped")))
  (core func $drop (canon resource.drop $ticket))
  (core func $line (canon lower (func $log "line") (memory (core memory $memory "mem"))))
  (core module $M
    (import "" "draw" (func $draw (param i32) (result i32)))
    (import "" "number" (func $number (param i32) (result i32)))
    (import "" "dropped" (func $dropped (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "line" (func $line (param i32 i32)))
    ;; The number of the ticket, and a thousand for each that was dropped.
    (func (export "visit") (param i32) (result i32) (local $ticket i32) (local $number i32)
      (call $line (i32.const 16) (i32.const 7))
      (local.set $ticket (call $draw (local.get 0)))
      (local.set $number (call $number (local.get $ticket)))
      (call $drop (local.get $ticket))
      (i32.add (local.get $number) (i32.mul (i32.const 1000) (call $dropped)))))
  (core instance $m (instantiate $M (with "" (instance
    (export "draw" (func $draw)) (export "number" (func $number)) (export "drop" (func $drop))
    (export "dropped" (func $dropped)) (export "line" (func $line))))))
  (func $visit (param "n" u32) (result u32) (canon lift (core func $m "visit")))
  (instance $visits (export "visit" (func $visit)))
  (export "demo:fair/visits@1.0.0" (instance $visits)))"#;

/// Composes the visitor with the booth, as `wasm-tools compose visitor.wat -d booth.wat` does.
fn compose() -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("composition");
    std::fs::create_dir_all(&folder).unwrap();
    let (booth, visitor) = (folder.join("booth.wat"), folder.join("visitor.wat"));
    std::fs::write(&booth, BOOTH).unwrap();
    std::fs::write(&visitor, VISITOR).unwrap();
    let config = wasm_compose::config::Config {
        dir: folder,
        definitions: vec![booth],
        ..Default::default()
    };
    wasm_compose::composer::ComponentComposer::new(&visitor, &config)
        .compose()
        .unwrap()
}

#[test]
fn what_a_composition_tool_made_loads_as_it_is() {
    let host = Host::new();
    let store = host.store(Vec::<String>::new());
    let component = Component::new(&host.engine, &compose()).unwrap();
    // What one provides to the other is no import any more.
    let imports: Vec<&str> = component.import_names().collect();
    assert_eq!(imports, ["demo:fair/log@1.0.0"]);
    let mut linker = Linker::new();
    linker
        .instance("demo:fair/log@1.0.0")
        .unwrap()
        .func(
            "line",
            |mut caller: Caller<'_, Vec<String>>, (text,): (String,)| {
                caller.data_mut().push(text);
                Ok(())
            },
        )
        .unwrap();
    let instance = linker
        .instantiate_pre(&component)
        .unwrap()
        .instantiate(&store)
        .unwrap();
    let visit = instance
        .get_typed_func::<(u32,), (u32,)>(&store, "demo:fair/visits@1.0.0#visit")
        .unwrap();
    for (n, expected) in [(1, 1_101), (2, 2_102)] {
        assert_eq!(
            store.block_on(visit.call(&store, (n,))).unwrap(),
            (expected,)
        );
    }
    assert_eq!(store.with(|lines| lines.len()).unwrap(), 2);
}
