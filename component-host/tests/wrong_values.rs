//! A `Val` of the wrong shape is an error that names the argument and the place in it, before
//! anything runs.

mod common;

use common::Host;
use vestibule_component_host::{ErrorKind, Val};

/// Takes a value with every kind of part; counts the calls.
const TAKES: &str = r#"(component
  (type $item' (record (field "id" u32) (field "name" string)))
  (export $item "item" (type $item'))
  (type $shape' (variant (case "none") (case "text" string)))
  (export $shape "shape" (type $shape'))
  (type $color' (enum "red" "green"))
  (export $color "color" (type $color'))
  (type $perms' (flags "read" "write"))
  (export $perms "perms" (type $perms'))
  (type $all' (record
    (field "pair" (tuple u8 string)) (field "shape" $shape) (field "color" $color)
    (field "perms" $perms) (field "items" (list $item)) (field "maybe" (option u8))
    (field "outcome" (result u8 (error string))) (field "two" (list u8 2)) (field "c" char)))
  (export $all "all" (type $all'))
  (core module $M
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 8))
    (global $calls (mut i32) (i32.const 0))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const 0xfff8)))
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (local.get 3))))
    (func (export "take") (param i32) (result i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (global.get $calls)))
  (core instance $m (instantiate $M))
  (func (export "take") (param "n" u8) (param "all" $all) (result u32)
    (canon lift (core func $m "take")
      (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"#;

fn some(val: Val) -> Val {
    Val::Option(Some(Box::new(val)))
}

fn item(id: Val, name: Val) -> Val {
    Val::Record(vec![("id".into(), id), ("name".into(), name)])
}

/// The fields of a value that is right.
fn right() -> Vec<(&'static str, Val)> {
    vec![
        ("pair", Val::Tuple(vec![Val::U8(1), Val::from("a")])),
        (
            "shape",
            Val::Variant("text".into(), Some(Box::new(Val::from("b")))),
        ),
        ("color", Val::Enum("green".into())),
        ("perms", Val::Flags(vec!["read".into()])),
        ("items", Val::List(vec![item(Val::U32(1), Val::from("c"))])),
        ("maybe", some(Val::U8(2))),
        ("outcome", Val::Result(Ok(Some(Box::new(Val::U8(3)))))),
        ("two", Val::List(vec![Val::U8(4), Val::U8(5)])),
        ("c", Val::Char('d')),
    ]
}

fn record(fields: Vec<(&str, Val)>) -> Val {
    let fields = fields.into_iter().map(|(name, val)| (name.into(), val));
    Val::Record(fields.collect())
}

/// What is wrong with a field, and what the error says.
fn wrong() -> Vec<(&'static str, Val, &'static str)> {
    let variant =
        |case: &str, payload: Option<Val>| Val::Variant(case.into(), payload.map(Box::new));
    vec![
        (
            "pair",
            Val::Tuple(vec![Val::U8(1)]),
            ".pair: expected 2 elements, found 1",
        ),
        (
            "pair",
            Val::Tuple(vec![Val::U16(1), Val::from("a")]),
            ".pair.0: expected u8, found u16",
        ),
        (
            "shape",
            variant("circle", None),
            ".shape: expected a case of variant",
        ),
        (
            "shape",
            variant("text", None),
            ".shape.text: expected string, found no payload",
        ),
        (
            "shape",
            variant("none", Some(Val::U8(1))),
            ".shape.none: expected no payload, found u8",
        ),
        (
            "shape",
            variant("text", Some(Val::U8(1))),
            ".shape.text: expected string, found u8",
        ),
        ("color", Val::Enum("blue".into()), "found `blue`"),
        ("color", variant("red", None), ".color: expected enum"),
        ("perms", Val::Flags(vec!["run".into()]), "found `run`"),
        (
            "items",
            Val::List(vec![
                item(Val::U32(1), Val::from("c")),
                item(Val::U32(2), Val::List(vec![Val::U8(1)])),
            ]),
            ".items.1.name: expected string, found",
        ),
        (
            "items",
            Val::List(vec![Val::Record(vec![("id".into(), Val::U32(1))])]),
            ".items.0: expected 2 fields, found 1",
        ),
        (
            "items",
            Val::List(vec![Val::Record(vec![
                ("id".into(), Val::U32(1)),
                ("nam".into(), Val::from("c")),
            ])]),
            ".items.0: expected a field `name`, found none",
        ),
        (
            "items",
            Val::List(vec![Val::Record(vec![
                ("id".into(), Val::U32(1)),
                ("id".into(), Val::U32(1)),
            ])]),
            ".items.0: expected a field `name`, found none",
        ),
        (
            "maybe",
            some(Val::U32(2)),
            ".maybe.some: expected u8, found u32",
        ),
        ("maybe", Val::U8(2), ".maybe: expected option<u8>, found u8"),
        (
            "outcome",
            Val::Result(Err(Some(Box::new(Val::U8(3))))),
            ".outcome.err: expected string, found u8",
        ),
        (
            "outcome",
            Val::Result(Ok(None)),
            ".outcome.ok: expected u8, found no payload",
        ),
        (
            "two",
            Val::List(vec![Val::U8(4); 3]),
            ".two: expected 2 elements, found 3",
        ),
        ("c", Val::from("d"), ".c: expected char, found string"),
    ]
}

#[test]
fn what_is_wrong_is_named_by_its_place_and_nothing_runs() {
    let host = Host::new();
    let (store, instance) = host.instantiate(TAKES).unwrap();
    let take = instance.get_func(&store, "take").unwrap();
    let call = |all: Val| store.block_on(take.call(&store, &[Val::U8(0), all]));
    for (field, val, says) in wrong() {
        let mut fields = right();
        let place = fields.iter().position(|(name, _)| *name == field).unwrap();
        fields[place].1 = val;
        let error = call(record(fields)).unwrap_err();
        let ErrorKind::Type(text) = error.kind() else {
            panic!("{field}: {error:?}");
        };
        for part in ["function `take`", "argument `all`", says] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let error = store
        .block_on(take.call(&store, &[Val::U8(0)]))
        .unwrap_err();
    assert!(
        error.to_string().contains("expected 2 arguments, found 1"),
        "{error}"
    );
    // The order of fields does not matter, and this is the first call that reaches the guest.
    let mut fields = right();
    fields.reverse();
    assert_eq!(call(record(fields)).unwrap(), Some(Val::U32(1)));
}
