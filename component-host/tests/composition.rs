//! Components that were composed of others load as they are: in the shape that composition tools
//! give them, where components are nested, instantiated with each other's instances, and exported.

mod common;

use common::Host;
use vestibule_component_host::{Caller, Linker};

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
