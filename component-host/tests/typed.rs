//! Typed functions: what fits is called, what does not is refused when it is looked up, by path.

mod common;

use common::Host;
use std::collections::BTreeMap;
use vestibule_component_host::{
    Caller, ComponentType, Error, ErrorKind, Instance, Lift, Linker, Lower, Mismatch, Resource,
    ResourceAny, ResourceType, Store, Val,
};

/// Exports functions whose types are of interest; they trap when they are called.
const TYPES: &str = r#"(component
  (type $item' (record (field "id" u32) (field "name" (list u8))))
  (export $item "item-type" (type $item'))
  (type $color' (enum "red" "dark-green"))
  (export $color "color-type" (type $color'))
  (type $perms' (flags "read" "write"))
  (export $perms "perms-type" (type $perms'))
  (type $shape' (variant (case "empty") (case "circle" f64)))
  (export $shape "shape-type" (type $shape'))
  (core module $M
    (memory (export "mem") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "three") (param i32 i32 i32 i32 i32) unreachable)
    (func (export "color") (param i32) (result i32) (local.get 0))
    (func (export "shape") (param i32 f64) (result i32)
      (i32.store8 (i32.const 16) (local.get 0))
      (f64.store (i32.const 24) (local.get 1))
      (i32.const 16))
    (func (export "map") (param i32 i32) (result i32)
      (i32.store (i32.const 32) (local.get 0))
      (i32.store (i32.const 36) (local.get 1))
      (i32.const 32)))
  (core instance $m (instantiate $M))
  (core module $Bump
    (import "" "mem" (memory 1))
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next
        (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7))
          (i32.const -8)))))
  (core instance $bump (instantiate $Bump (with "" (instance $m))))
  (alias core export $m "mem" (core memory $mem))
  (alias core export $bump "realloc" (core func $realloc))
  (func (export "three") (param "a" u32) (param "b" char) (param "c" $item)
    (canon lift (core func $m "three") (memory $mem) (realloc $realloc)))
  (func (export "color") (param "c" $color) (result $color)
    (canon lift (core func $m "color")))
  (func (export "perms") (param "c" $perms) (result $perms)
    (canon lift (core func $m "color")))
  (func (export "shape") (param "s" $shape) (result $shape)
    (canon lift (core func $m "shape") (memory $mem)))
  (func (export "map") (param "m" (list (tuple string u32))) (result (list (tuple string u32)))
    (canon lift (core func $m "map") (memory $mem) (realloc $realloc))))"#;

#[derive(Debug, PartialEq, ComponentType, Lift, Lower)]
struct Item {
    id: u32,
    name: String,
}

#[derive(Debug, PartialEq, ComponentType, Lift, Lower)]
struct Renamed {
    #[component(name = "id")]
    number: u32,
    #[component(name = "name")]
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(enum)]
enum Color {
    Red,
    DarkGreen,
}

#[derive(Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(flags)]
struct Perms {
    read: bool,
    write: bool,
}

#[derive(Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Shape<T> {
    Empty,
    Circle(T),
}

fn types() -> (Host, Store<()>, Instance) {
    let host = Host::new();
    match host.instantiate(TYPES) {
        Ok((store, instance)) => (host, store, instance),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn type_error<V: std::fmt::Debug>(result: Result<V, Error>) -> String {
    let error = result.expect_err("the types differ");
    match error.kind() {
        ErrorKind::Type(message) => message.clone(),
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn a_wrong_type_is_refused_at_look_up_by_its_path() {
    let (_host, store, instance) = types();
    let wrong = instance.get_typed_func::<(u32, char, Item), ()>(&store, "three");
    let message = type_error(wrong);
    let path = "the parameters of the Rust function: .2.name: expected string, found list<u8>";
    assert!(message.contains(path), "{message}");
    assert!(
        message.contains("func(a: u32, b: char, c: record"),
        "{message}"
    );
    let right = instance.get_typed_func::<(u32, char, Renamed), ()>(&store, "three");
    right.expect("names are taken from the attribute");
}

#[test]
fn the_number_of_parameters_and_the_result_are_compared() {
    let (_host, store, instance) = types();
    let short = instance.get_typed_func::<(u32,), ()>(&store, "three");
    assert!(type_error(short).contains("expected 1 type, found 3 types"));
    let result = instance.get_typed_func::<(Color,), (u8,)>(&store, "color");
    let message = type_error(result);
    let expected =
        "the result of the Rust function: .0: expected u8, found enum { red, dark-green }";
    assert!(message.contains(expected), "{message}");
    let none = instance.get_typed_func::<(Color,), ()>(&store, "color");
    assert!(type_error(none).contains("expected none, found 1 type"));
}

#[test]
fn derived_types_cross_both_ways() {
    let (_host, store, instance) = types();
    let color = instance.get_typed_func::<(Color,), (Color,)>(&store, "color");
    let color = color.expect("it fits");
    for value in [Color::Red, Color::DarkGreen] {
        assert_eq!(
            store.block_on(color.call(&store, (value,))).unwrap(),
            (value,)
        );
    }
    let perms = instance.get_typed_func::<(Perms,), (Perms,)>(&store, "perms");
    let perms = perms.expect("it fits");
    for (read, write) in [(false, false), (true, false), (false, true), (true, true)] {
        let (back,) = store
            .block_on(perms.call(&store, (Perms { read, write },)))
            .unwrap();
        assert_eq!(back, Perms { read, write });
    }
    type F64 = Shape<f64>;
    let shape = instance.get_typed_func::<(F64,), (F64,)>(&store, "shape");
    let shape = shape.expect("it fits");
    for value in [|| Shape::Empty, || Shape::Circle(2.5)] {
        let back = store.block_on(shape.call(&store, (value(),))).unwrap();
        assert_eq!(back, (value(),));
    }
    let wrong = instance.get_typed_func::<(Shape<f32>,), (F64,)>(&store, "shape");
    let message = type_error(wrong);
    assert!(
        message.contains(".0.circle: expected f32, found f64"),
        "{message}"
    );
}

#[test]
fn lists_of_tuples_are_sent_from_slices_of_borrowed_parts() {
    let (_host, store, instance) = types();
    type Back = Vec<(String, u32)>;
    let map = instance.get_typed_func::<(&[(&str, u32)],), (Back,)>(&store, "map");
    let map = map.expect("it fits");
    let sent = [("a", 1), ("", 2), ("ß", 3)];
    let (back,) = store.block_on(map.call(&store, (&sent[..],))).unwrap();
    assert_eq!(back, sent.map(|(key, value)| (key.to_owned(), value)));
}

#[test]
fn a_typed_function_of_another_store_is_refused() {
    let (_host, store, instance) = types();
    let (_other_host, other, _) = types();
    let color = instance.get_typed_func::<(Color,), (Color,)>(&store, "color");
    let color = color.expect("it fits");
    let error = other
        .block_on(color.call(&other, (Color::Red,)))
        .unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
    let again = instance.get_typed_func::<(Color,), (Color,)>(&other, "color");
    assert!(again.unwrap_err().to_string().contains("another store"));
}

#[test]
fn a_host_function_of_the_wrong_types_is_a_link_error_by_path() {
    let host = Host::new();
    let component = host.component(
        r#"(component
          (import "i" (instance
            (export "f" (func (param "a" u32) (param "b" (list (tuple u8 string))))))))"#,
    );
    let mut linker = Linker::<()>::new();
    linker
        .instance("i")
        .unwrap()
        .func("f", |_: Caller<'_, ()>, _: (u32, Vec<(u8, char)>)| Ok(()))
        .unwrap();
    let error = linker
        .instantiate(&host.store(()), &component)
        .expect_err("the types differ");
    assert!(matches!(error.kind(), ErrorKind::Link(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("import `i#f`"), "{text}");
    let path = "the parameters of the host function: .1[].1: expected char, found string";
    assert!(text.contains(path), "{text}");
}

#[test]
fn values_become_rust_values_and_back_when_they_are_of_the_type() {
    let (_host, store, instance) = types();
    let func = instance.get_func(&store, "perms").unwrap();
    let ty = func.ty().result().expect("a result");
    let perms = Perms {
        read: true,
        write: false,
    };
    let val = Val::from_rust(perms, ty).unwrap();
    assert_eq!(val, Val::Flags(vec!["read".into()]));
    assert!(val.to_rust::<Perms>(ty).unwrap().read);
    type_error(val.to_rust::<u8>(ty));
    type_error(Val::U8(1).to_rust::<Perms>(ty));
    type_error(Val::from_rust(1_u8, ty));
}

#[test]
fn what_differs_is_named_at_every_level() {
    let (_host, store, instance) = types();
    let func = instance.get_func(&store, "three").unwrap();
    let item = func.ty().params().nth(2).expect("three parameters").1;
    #[derive(Debug, ComponentType)]
    struct Short {
        #[allow(dead_code, reason = "only the type is of interest")]
        id: u32,
    }
    #[derive(Debug, ComponentType)]
    struct Other {
        #[allow(dead_code, reason = "only the type is of interest")]
        number: u32,
        #[allow(dead_code, reason = "only the type is of interest")]
        name: Vec<u8>,
    }
    fn says<V: ComponentType>(ty: &vestibule_component_host::Type) -> String {
        let mismatch: Mismatch = V::typecheck(ty).expect_err("they differ");
        mismatch.to_string()
    }
    assert_eq!(says::<Short>(item), "expected no more fields, found `name`");
    assert_eq!(
        says::<Other>(item),
        "expected the field `number`, found `id`"
    );
    assert!(says::<Color>(item).starts_with("expected enum `Color`, found record"));
    assert!(says::<BTreeMap<u8, u8>>(item).starts_with("expected map<u8, u8>, found record"));
    assert!(says::<Result<(), String>>(item).starts_with("expected result<_, string>, found"));
    assert!(says::<[u8; 4]>(item).starts_with("expected list<u8, 4>, found record"));
}

/// Imports a resource type of the host's and a function that takes one.
const TAKES_A_RESOURCE: &str = r#"(component
  (import "thing" (type $thing (sub resource)))
  (import "take" (func $take (param "t" (own $thing))))
  (core func $take' (canon lower (func $take)))
  (core module $M
    (import "" "take" (func $take (param i32)))
    (func (export "pass") (param i32) (call $take (local.get 0))))
  (core instance $m (instantiate $M (with "" (instance (export "take" (func $take'))))))
  (func (export "pass") (param "t" (own $thing)) (canon lift (core func $m "pass"))))"#;

struct Thing;

#[test]
fn a_resource_of_the_host_is_known_by_its_rust_type() {
    let host = Host::new();
    let store = host.store(Vec::new());
    let mut linker = Linker::<Vec<u32>>::new();
    let mut root = linker.root();
    let ty = ResourceType::host::<Thing>();
    root.resource("thing", ty, |_, _| Ok(())).unwrap();
    root.func(
        "take",
        |mut caller: Caller<'_, Vec<u32>>, (thing,): (Resource<Thing>,)| {
            assert!(thing.owned());
            caller.data_mut().push(thing.rep());
            Ok(())
        },
    )
    .unwrap();
    let component = host.component(TAKES_A_RESOURCE);
    let instance = linker.instantiate(&store, &component).unwrap();
    let pass = instance.get_typed_func::<(Resource<Thing>,), ()>(&store, "pass");
    let pass = pass.expect("it fits");
    let call = pass.call(&store, (Resource::new_own(7),));
    store.block_on(call).unwrap();
    assert_eq!(store.with(|taken| taken.clone()).unwrap(), [7]);
    let borrowed = pass.call(&store, (Resource::new_borrow(8),));
    let error = store.block_on(borrowed).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error:?}");
    assert!(error.to_string().contains("only borrowed"), "{error}");

    let wrong = instance.get_typed_func::<(Resource<Val>,), ()>(&store, "pass");
    let message = type_error(wrong);
    assert!(
        message.contains("a resource of the host's type"),
        "{message}"
    );
    let any = instance.get_typed_func::<(ResourceAny,), ()>(&store, "pass");
    let any = any.expect("any resource fits");
    let other = ResourceAny::own(ResourceType::host::<Val>(), 9);
    let error = store.block_on(any.call(&store, (other,))).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error:?}");
}
