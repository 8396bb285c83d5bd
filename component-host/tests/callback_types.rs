//! The core functions of a lift have the types that the specification says, or the component is
//! invalid: another host took the number of a callback's results on trust, and overflowed its stack.

mod common;

use common::{Host, PLAIN, call_u32};
use vestibule_component_host::{Component, ErrorKind};

/// An async export with a function and a callback of the given types.
fn lifted(core: &str, callback: &str) -> String {
    format!(
        r#"(component
      (core module $M
        (func (export "run") {core} unreachable)
        (func (export "cb") {callback} unreachable))
      (core instance $m (instantiate $M))
      (func (export "run") async
        (canon lift (core func $m "run") async (callback (core func $m "cb")))))"#
    )
}

const CORE: &str = "(result i32)";
const CALLBACK: &str = "(param i32 i32 i32) (result i32)";

#[track_caller]
fn assert_invalid(wat: &str) {
    let host = Host::new();
    let error = Component::new(&host.engine, wat.as_bytes()).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Invalid {
                offset: Some(_),
                ..
            }
        ),
        "{error:?}"
    );
    let (store, instance) = host.instantiate(PLAIN).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn a_callback_of_another_arity_or_type_is_invalid() {
    let host = Host::new();
    host.component(&lifted(CORE, CALLBACK));
    for callback in [
        "",
        "(result i32)",
        "(param i32 i32) (result i32)",
        "(param i32 i32 i32 i32) (result i32)",
        "(param i32 i32 i64) (result i32)",
        "(param i32 i32 i32)",
        "(param i32 i32 i32) (result i64)",
        "(param i32 i32 i32) (result i32 i32)",
    ] {
        assert_invalid(&lifted(CORE, callback));
    }
    let many = format!("(param i32 i32 i32) (result{})", " i32".repeat(999));
    assert_invalid(&lifted(CORE, &many));
}

#[test]
fn a_function_with_a_callback_that_does_not_return_a_code_is_invalid() {
    for core in [
        "",
        "(result i64)",
        "(result i32 i32)",
        "(param i32) (result i32)",
    ] {
        assert_invalid(&lifted(core, CALLBACK));
    }
}

#[test]
fn a_realloc_a_post_return_and_a_destructor_of_another_type_are_invalid() {
    let option = |realloc: &str, post: &str| {
        format!(
            r#"(component
          (core module $M
            (memory (export "mem") 1)
            (func (export "realloc") {realloc} unreachable)
            (func (export "post") {post} unreachable)
            (func (export "take") (param i32 i32) (result i32) unreachable))
          (core instance $m (instantiate $M))
          (func (export "take") (param "s" string) (result u32)
            (canon lift (core func $m "take") (memory (core memory $m "mem"))
              (realloc (core func $m "realloc")) (post-return (core func $m "post")))))"#
        )
    };
    const REALLOC: &str = "(param i32 i32 i32 i32) (result i32)";
    Host::new().component(&option(REALLOC, "(param i32)"));
    for realloc in [
        "",
        "(param i32 i32 i32) (result i32)",
        "(param i32 i32 i32 i32)",
        "(param i32 i32 i32 i32) (result i64)",
    ] {
        assert_invalid(&option(realloc, "(param i32)"));
    }
    for post in [
        "",
        "(param i64)",
        "(param i32 i32)",
        "(param i32) (result i32)",
    ] {
        assert_invalid(&option(REALLOC, post));
    }
    for dtor in [
        "",
        "(param i64)",
        "(param i32) (result i32)",
        "(param i32 i32)",
    ] {
        assert_invalid(&format!(
            r#"(component
          (core module $M (func (export "dtor") {dtor} unreachable))
          (core instance $m (instantiate $M))
          (type $r (resource (rep i32) (dtor (core func $m "dtor")))))"#
        ));
    }
}

/// A callback that waits for what is there, and is no set of its own: a set that was dropped, one of
/// another instance, a handle of another kind.
#[test]
fn a_callback_that_waits_for_a_set_that_is_gone_or_not_its_own_traps() {
    let waits_for = |set: &str| {
        format!(
            r#"(component
          (component $Other
            (core func $new (canon waitable-set.new))
            (core module $M (import "" "new" (func $new (result i32)))
              (func (export "set") (result i32) (drop (call $new)) (call $new)))
            (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
            (func (export "set") (result u32) (canon lift (core func $m "set"))))
          (instance $other (instantiate $Other))
          (type $s (stream u8))
          (core func $foreign (canon lower (func $other "set")))
          (core func $new (canon waitable-set.new))
          (core func $drop (canon waitable-set.drop))
          (core func $stream (canon stream.new $s))
          (core module $M
            (import "" "foreign" (func $foreign (result i32)))
            (import "" "new" (func $new (result i32)))
            (import "" "drop" (func $drop (param i32)))
            (import "" "stream" (func $stream (result i64)))
            (func (export "run") (result i32) (local $set i32)
              {set}
              (i32.or (i32.const 2) (i32.shl (local.get $set) (i32.const 4))))
            (func (export "cb") (param i32 i32 i32) (result i32) unreachable))
          (core instance $m (instantiate $M (with "" (instance (export "foreign" (func $foreign))
            (export "new" (func $new)) (export "drop" (func $drop))
            (export "stream" (func $stream))))))
          (func (export "run") async
            (canon lift (core func $m "run") async (callback (core func $m "cb")))))"#
        )
    };
    for (set, text) in [
        ("(local.set $set (i32.const 0))", "unknown handle index 0"),
        (
            "(local.set $set (call $new)) (call $drop (local.get $set))",
            "unknown handle index 1",
        ),
        ("(local.set $set (call $foreign))", "unknown handle index 2"),
        (
            "(local.set $set (i32.wrap_i64 (call $stream)))",
            "used with the wrong type",
        ),
    ] {
        let host = Host::new();
        let (store, instance) = host.instantiate(&waits_for(set)).unwrap();
        let run = instance.get_func(&store, "run").unwrap();
        let error = store.block_on(run.call(&store, &[])).unwrap_err();
        assert!(error.trap().is_some(), "{error}");
        assert!(error.to_string().contains(text), "{set}: {error}");
    }
}
