//! `Linker::instantiate_pre` compares everything that a component imports with what the linker
//! offers, before anything is made.

mod common;

use common::{Host, PLAIN};
use std::cell::Cell;
use std::rc::Rc;
use vestibule_component_host::{
    Accessor, Caller, Error, ErrorKind, Linker, ResourceType, Store, Val,
};

/// Imports a function, a resource type with a function that uses it, and a core module; after an
/// inner instance, another function. Its start function runs `f`.
const IMPORTS: &str = r#"(component
  (import "f" (func $f (param "x" u32) (result u32)))
  (import "things" (instance $things
    (export "thing" (type $thing (sub resource)))
    (export "make" (func (param "n" u32) (result (own $thing))))))
  (import "m" (core module $M0 (export "g" (func (result i32)))))
  (component $Inner
    (type $r (resource (rep i32)))
    (export $r' "r" (type $r))
    (core module $N (func (export "none") (result i32) (i32.const 0)))
    (core instance $n (instantiate $N))
    (func (export "none") (result (own $r')) (canon lift (core func $n "none"))))
  (instance $inner (instantiate $Inner))
  (alias export $inner "r" (type $r))
  (alias export $inner "none" (func $none))
  (component $Outer
    (import "r" (type $r (sub resource)))
    (import "none" (func (result (own $r)))))
  (instance (instantiate $Outer (with "r" (type $r)) (with "none" (func $none))))
  (import "late" (func $late (param "p" u64)))
  (core func $f' (canon lower (func $f)))
  (core module $M
    (import "" "f" (func $f (param i32) (result i32)))
    (func $start (drop (call $f (i32.const 1))))
    (start $start))
  (core instance (instantiate $M (with "" (instance (export "f" (func $f')))))))"#;

/// What to leave out of, or to put wrongly into, a linker for [`IMPORTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum But {
    Nothing,
    NoF,
    AsyncF,
    WrongF,
    FIsAnInstance,
    NoMake,
    ThingIsAFunction,
    WrongModule,
    NoModule,
    WrongLate,
}

impl But {
    const ALL: [But; 10] = [
        But::Nothing,
        But::NoF,
        But::AsyncF,
        But::WrongF,
        But::FIsAnInstance,
        But::NoMake,
        But::ThingIsAFunction,
        But::WrongModule,
        But::NoModule,
        But::WrongLate,
    ];

    /// What the error says.
    fn complaint(self) -> &'static str {
        match self {
            But::Nothing => "",
            But::NoF => "missing import named `f`",
            But::AsyncF => "import `f`, which is func(x: u32) -> u32, is of synchronous type",
            But::WrongF => ".0: expected string, found u32",
            But::FIsAnInstance => "import `f`: func(x: u32) -> u32 is wanted",
            But::NoMake => "missing import named `things#make`",
            But::ThingIsAFunction => "import `things#thing`: a resource type is wanted",
            But::WrongModule => "import `m`: the core module that the linker has there",
            But::NoModule => "missing import named `m`",
            But::WrongLate => "import `late`",
        }
    }
}

/// How often `f` was called.
type Calls = Rc<Cell<u32>>;

/// A linker for components that are instantiated in the store, which offers the module.
fn linker(host: &Host, store: &Store<()>, but: But) -> (Linker<()>, Calls) {
    let (mut linker, calls) = (Linker::new(), Calls::default());
    let counter = Rc::clone(&calls);
    let mut root = linker.root();
    match but {
        But::NoF => {}
        But::AsyncF => root
            .func_async("f", |_: Accessor<()>, (x,): (u32,)| async move { Ok((x,)) })
            .unwrap(),
        But::WrongF => root
            .func("f", |_: Caller<'_, ()>, (_,): (String,)| Ok((1u32,)))
            .unwrap(),
        But::FIsAnInstance => drop(root.instance("f").unwrap()),
        _ => root
            .func("f", move |_: Caller<'_, ()>, (x,): (u32,)| {
                counter.set(counter.get() + 1);
                Ok((x,))
            })
            .unwrap(),
    }
    let mut things = root.instance("things").unwrap();
    match but {
        But::ThingIsAFunction => things
            .func("thing", |_: Caller<'_, ()>, ()| Ok(()))
            .unwrap(),
        _ => things
            .resource("thing", ResourceType::host_dynamic(), |_, _| Ok(()))
            .unwrap(),
    }
    if but != But::NoMake {
        things
            .func("make", |_: Caller<'_, ()>, _: Vec<Val>| {
                Err::<Vec<Val>, _>(Error::host("nothing to be made"))
            })
            .unwrap();
    }
    let provider = match but {
        But::WrongModule => {
            r#"(component (core module $m (func (export "h"))) (export "m" (core module $m)))"#
        }
        _ => {
            r#"(component (core module $m (func (export "g") (result i32) (i32.const 1))) (export "m" (core module $m)))"#
        }
    };
    let provider = Linker::new()
        .instantiate(store, &host.component(provider))
        .unwrap();
    if but != But::NoModule {
        root.export("m", &provider, "m").unwrap();
    }
    match but {
        But::WrongLate => root
            .func("late", |_: Caller<'_, ()>, (_,): (u32,)| Ok(()))
            .unwrap(),
        _ => root
            .func("late", |_: Caller<'_, ()>, _: Vec<Val>| Ok(Vec::new()))
            .unwrap(),
    }
    (linker, calls)
}

#[test]
fn what_does_not_fit_is_an_error_at_creation_and_what_fits_is_instantiated() {
    for but in But::ALL {
        let host = Host::new();
        let store = host.store(());
        let component = host.component(IMPORTS);
        let (linker, calls) = linker(&host, &store, but);
        let prepared = linker.instantiate_pre(&component);
        assert_eq!(calls.get(), 0, "nothing has run");
        let made = linker.instantiate(&store, &component);
        match prepared {
            Ok(prepared) => {
                assert_eq!(but, But::Nothing);
                made.unwrap();
                for _ in 0..2 {
                    prepared.instantiate(&store).unwrap();
                }
                assert_eq!(calls.get(), 3);
            }
            Err(error) => {
                let (text, at_last) = (error.to_string(), made.unwrap_err().to_string());
                assert!(
                    matches!(error.kind(), ErrorKind::Link(_)),
                    "{but:?}: {text}"
                );
                assert!(text.contains(but.complaint()), "{but:?}: {text}");
                assert!(at_last.contains(but.complaint()), "{but:?}: {at_last}");
            }
        }
    }
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let host = Host::new();
    let error = <Linker<()>>::new()
        .instantiate_pre(&host.component(
            r#"(component (import "a" (func)) (import "b" (func)) (import "c" (func)))"#,
        ))
        .unwrap_err()
        .to_string();
    for part in ["3 imports", "`a`", "`b`", "`c`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let mut linker = <Linker<()>>::new();
    linker.define_unknown_imports_as_traps();
    linker
        .instantiate_pre(
            &host
                .component(r#"(component (import "a" (func)) (import "r" (type (sub resource))))"#),
        )
        .unwrap();
}

#[test]
fn an_export_of_another_store_is_found_when_the_store_is_known() {
    let host = Host::new();
    let (here, there) = (host.store(()), host.store(()));
    let plain = Linker::new()
        .instantiate(&there, &host.component(PLAIN))
        .unwrap();
    let mut linker = Linker::new();
    linker.root().export("value", &plain, "value").unwrap();
    let prepared = linker
        .instantiate_pre(&host.component(r#"(component (import "value" (func (result u32))))"#))
        .unwrap();
    prepared.instantiate(&there).unwrap();
    let error = prepared.instantiate(&here).unwrap_err().to_string();
    assert!(error.contains("another store"), "{error}");
    linker
        .instantiate_pre(&host.component(r#"(component (import "value" (func (result string))))"#))
        .unwrap_err();
}

#[test]
fn a_component_beyond_the_limits_is_refused_at_creation() {
    // Each level has two instances of the next: too many to make.
    let mut text = String::from("(component $c0)");
    for level in 1..40 {
        let inner = format!("(instance (instantiate $c{}))", level - 1);
        text = format!("(component $c{level} {text} {inner} {inner})");
    }
    let host = Host::new();
    let error = <Linker<()>>::new()
        .instantiate_pre(&host.component(&text))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
}
