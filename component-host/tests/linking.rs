//! What the root's imports are bound to: core modules, and what other instances export.

mod common;

use common::{Host, call_u32};
use vestibule_component_host::{Caller, Error, ErrorKind, Instance, Linker, Store};

/// Exports core modules that differ in one thing each.
const MODULES: &str = r#"(component $modules
  (core module (export "plain")
    (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (memory (export "mem") 1 2))
  (core module (export "more")
    (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 2)))
    (func (export "g"))
    (memory (export "mem") 2 2))
  (core module (export "less") (memory (export "mem") 1 2))
  (core module (export "other-type")
    (func (export "f") (param i64) (result i32) (i32.const 0))
    (memory (export "mem") 1 2))
  (core module (export "unbounded")
    (func (export "f") (param i32) (result i32) (local.get 0))
    (memory (export "mem") 1))
  (core module (export "needs")
    (import "env" "secret" (func))
    (func (export "f") (param i32) (result i32) (local.get 0))
    (memory (export "mem") 1 2))
  (core module (export "needs-table")
    (import "env" "t" (table 3 funcref))
    (func (export "f") (param i32) (result i32) (local.get 0))
    (memory (export "mem") 1 2)))"#;

/// Imports a core module with a function and a memory, giving it a table of two elements.
const IMPORTS_MODULE: &str = r#"(component $imports
  (import "m" (core module $M
    (import "env" "t" (table 2 funcref))
    (export "f" (func (param i32) (result i32)))
    (export "mem" (memory 1 3))))
  (core module $T (table (export "t") 2 funcref))
  (core instance $t (instantiate $T))
  (core instance $m (instantiate $M (with "env" (instance $t))))
  (core module $N
    (import "m" "f" (func $f (param i32) (result i32)))
    (func (export "value") (result i32) (call $f (i32.const 40))))
  (core instance $n (instantiate $N (with "m" (instance $m))))
  (func (export "value") (result u32) (canon lift (core func $n "value"))))"#;

fn link_text(error: &Error) -> &str {
    match error.kind() {
        ErrorKind::Link(text) => text,
        other => panic!("expected a link error, got {other:?}"),
    }
}

fn import_module(export: &str) -> Result<u32, Error> {
    let host = Host::new();
    let (store, modules) = host.instantiate(MODULES)?;
    let mut linker = Linker::new();
    linker.root().export("m", &modules, export)?;
    let instance = linker.instantiate(&store, &host.component(IMPORTS_MODULE))?;
    Ok(call_u32(&store, &instance, "value"))
}

#[test]
fn a_core_module_that_imports_less_and_exports_more_fits() {
    assert_eq!(import_module("plain").unwrap(), 41);
    assert_eq!(import_module("more").unwrap(), 42);
}

#[test]
fn a_core_module_that_does_not_fit_is_refused_with_the_difference() {
    for (export, problem) in [
        ("less", "it has no export `f`"),
        (
            "other-type",
            "its export `f`: expected a function of type (i32) -> (i32), found (i64) -> (i32)",
        ),
        (
            "unbounded",
            "its export `mem`: expected at most 3 pages, found no maximum",
        ),
        (
            "needs",
            "it imports `env` `secret`, which the module type does not have",
        ),
        (
            "needs-table",
            "its import `env` `t`: expected at least 3 elements, found 2",
        ),
    ] {
        let error = import_module(export).unwrap_err();
        let text = link_text(&error);
        assert!(
            text.contains("import `m`") && text.contains(problem),
            "{export}: {text}"
        );
    }
}

/// Exports an instance with a resource, its constructor and a method, and a function of its own.
const PROVIDER: &str = r#"(component $provider
  (component $R
    (type $r' (resource (rep i32)))
    (core func $new (canon resource.new $r'))
    (core module $M
      (import "" "new" (func $new (param i32) (result i32)))
      (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
      (func (export "rep") (param i32) (result i32) (local.get 0)))
    (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
    (export $r "r" (type $r'))
    (func (export "new") (param "rep" u32) (result (own $r)) (canon lift (core func $m "new")))
    (func (export "rep") (param "r" (borrow $r)) (result u32)
      (canon lift (core func $m "rep"))))
  (instance $r (instantiate $R))
  (core module $M (func (export "seven") (result i32) (i32.const 7)))
  (core instance $m (instantiate $M))
  (export "res" (instance $r))
  (func (export "seven") (result u32) (canon lift (core func $m "seven"))))"#;

/// Imports what [`PROVIDER`] exports; an instance type takes the resource out of another.
const CONSUMER: &str = r#"(component $consumer
  (import "res" (instance $res
    (export "r" (type $r (sub resource)))
    (export "new" (func (param "rep" u32) (result (own $r))))
    (export "rep" (func (param "r" (borrow $r)) (result u32)))))
  (import "seven" (func $seven (result u32)))
  (alias export $res "r" (type $r))
  (alias export $res "new" (func $new))
  (alias export $res "rep" (func $rep))
  (core func $new' (canon lower (func $new)))
  (core func $rep' (canon lower (func $rep)))
  (core func $seven' (canon lower (func $seven)))
  (core func $drop (canon resource.drop $r))
  (core module $M
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "rep" (func $rep (param i32) (result i32)))
    (import "" "seven" (func $seven (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "value") (result i32) (local $r i32) (local $rep i32)
      (local.set $r (call $new (i32.const 35)))
      (local.set $rep (call $rep (local.get $r)))
      (call $drop (local.get $r))
      (i32.add (local.get $rep) (call $seven))))
  (core instance $m (instantiate $M (with "" (instance
    (export "new" (func $new')) (export "rep" (func $rep'))
    (export "seven" (func $seven')) (export "drop" (func $drop))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;

fn offer<T: 'static>(linker: &mut Linker<T>, provider: &Instance) {
    let mut root = linker.root();
    root.export("res", provider, "res").unwrap();
    root.export("seven", provider, "seven").unwrap();
}

#[test]
fn an_instance_and_a_function_of_another_instance_are_linked() {
    let host = Host::new();
    let (store, provider) = host.instantiate(PROVIDER).unwrap();
    let mut linker = Linker::new();
    offer(&mut linker, &provider);
    let consumer = linker
        .instantiate(&store, &host.component(CONSUMER))
        .unwrap();
    assert_eq!(call_u32(&store, &consumer, "value"), 42);
}

#[test]
fn functions_of_another_store_are_refused() {
    let host = Host::new();
    let (_store, provider) = host.instantiate(PROVIDER).unwrap();
    let mut linker = Linker::new();
    offer(&mut linker, &provider);
    let elsewhere: Store<()> = host.store(());
    let error = linker
        .instantiate(&elsewhere, &host.component(CONSUMER))
        .unwrap_err();
    assert!(link_text(&error).contains("in another store"), "{error}");
}

#[test]
fn a_function_of_another_type_is_refused() {
    let host = Host::new();
    let (store, provider) = host.instantiate(PROVIDER).unwrap();
    let mut linker = Linker::new();
    linker.root().export("f", &provider, "seven").unwrap();
    let component =
        host.component(r#"(component (import "f" (func (param "x" u8) (result u32))))"#);
    let error = linker.instantiate(&store, &component).unwrap_err();
    let text = link_text(&error);
    assert!(
        text.contains("does not fit: the instance exports"),
        "{text}"
    );
}

#[test]
fn an_export_that_is_not_there_is_an_error_that_says_what_is() {
    let host = Host::new();
    let (_store, provider) = host.instantiate(PROVIDER).unwrap();
    let mut linker = Linker::<()>::new();
    let error = linker.root().export("f", &provider, "eight").unwrap_err();
    assert!(link_text(&error).contains("`res`, `seven`"), "{error}");
    let mut root = linker.root();
    root.export("f", &provider, "seven").unwrap();
    let error = root.export("f", &provider, "seven").unwrap_err();
    assert!(link_text(&error).contains("defined twice"), "{error}");
}

#[test]
fn a_type_that_an_instance_type_takes_out_of_an_inner_instance_is_that_type() {
    let host = Host::new();
    let (store, provider) = host.instantiate(PROVIDER).unwrap();
    let component = host.component(
        r#"(component
          (import "outer" (instance $outer
            (export "res" (instance $res (export "r" (type (sub resource)))))
            (alias export $res "r" (type $r))
            (export "same" (type (eq $r)))
            (export "f" (func (param "r" (borrow $r)) (result u32)))))
          (export "outer" (instance $outer)))"#,
    );
    let mut linker = Linker::<()>::new();
    let mut outer = linker.instance("outer").unwrap();
    outer.export("res", &provider, "res").unwrap();
    outer.export("f", &provider, "res#rep").unwrap();
    linker.instantiate(&store, &component).unwrap();

    // The function of another instance takes another resource.
    let (_, other) = host.instantiate(PROVIDER).unwrap();
    let mut linker = Linker::<()>::new();
    let mut outer = linker.instance("outer").unwrap();
    outer.export("res", &other, "res").unwrap();
    outer.export("f", &provider, "res#rep").unwrap();
    let error = linker.instantiate(&store, &component).unwrap_err();
    assert!(link_text(&error).contains("does not fit"), "{error}");
}

#[test]
fn all_missing_imports_are_reported_at_once_and_nothing_runs() {
    let host = Host::new();
    let component = host.component(
        r#"(component
          (import "a" (func $a (param "x" u32) (result string)))
          (import "b" (instance $b
            (export "t" (type $t (sub resource)))
            (export "f" (func (param "t" (own $t))))
            (export "g" (func))))
          (alias export $b "t" (type $t))
          (import "c" (type (eq $t)))
          (import "d" (func (param "t" (own $t))))
          (core module $M (func $s unreachable) (start $s))
          (core instance (instantiate $M)))"#,
    );
    let mut linker = Linker::<()>::new();
    linker
        .instance("b")
        .unwrap()
        .func("g", |_: Caller<'_, ()>, ()| Ok(()))
        .unwrap();
    let error = linker.instantiate(&host.store(()), &component).unwrap_err();
    let text = link_text(&error);
    assert!(text.starts_with("4 imports cannot be satisfied"), "{text}");
    for name in ["`a`", "`b#t`", "`b#f`", "`d`"] {
        assert!(
            text.contains(&format!("missing import named {name}")),
            "{text}"
        );
    }
}

#[test]
fn a_component_cannot_be_linked_to_an_import() {
    let host = Host::new();
    let (store, provider) = host
        .instantiate(r#"(component (component $C) (export "c" (component $C)))"#)
        .unwrap();
    let component = host.component(r#"(component (import "c" (component)))"#);
    let mut linker = Linker::<()>::new();
    let error = linker.instantiate(&store, &component).unwrap_err();
    assert!(
        link_text(&error).contains("a component is wanted"),
        "{error}"
    );
    linker.root().export("c", &provider, "c").unwrap();
    let error = linker.instantiate(&store, &component).unwrap_err();
    assert!(link_text(&error).contains("compose the two"), "{error}");
}

#[test]
fn a_segment_that_does_not_fit_is_the_trap_of_an_access_out_of_bounds() {
    for (segment, trap) in [
        (
            "(table 1 funcref) (func $f) (elem (i32.const 1) $f)",
            vestibule_component_host::Trap::TableOutOfBounds,
        ),
        (
            "(table 1 funcref) (func $f) (elem (i32.const -1) $f)",
            vestibule_component_host::Trap::TableOutOfBounds,
        ),
        (
            r#"(memory 1) (data (i32.const 65536) "x")"#,
            vestibule_component_host::Trap::MemoryOutOfBounds,
        ),
    ] {
        let host = Host::new();
        let error = host
            .instantiate(&format!(
                "(component (core module $M {segment}) (core instance (instantiate $M)))"
            ))
            .unwrap_err();
        assert_eq!(error.trap(), Some(&trap), "{segment}: {error}");
    }
}

#[test]
fn a_table_copy_out_of_bounds_is_that_trap() {
    let host = Host::new();
    let error = host
        .instantiate(
            r#"(component
              (core module $M
                (table 2 funcref)
                (func $start (table.copy (i32.const 1) (i32.const 0) (i32.const 2)))
                (start $start))
              (core instance (instantiate $M)))"#,
        )
        .unwrap_err();
    let trap = vestibule_component_host::Trap::TableOutOfBounds;
    assert_eq!(error.trap(), Some(&trap), "{error}");
}
