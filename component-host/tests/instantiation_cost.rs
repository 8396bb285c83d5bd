//! Small components that ask for much: names, types and definitions that are evaluated anew for
//! each of thousands of instances. Each ends in an error that names the limit, and what the host
//! allocates meanwhile is in proportion to what the limit says.

mod common;

use cap::Cap;
use common::{Host, PLAIN, call_u32};
use std::alloc;
use std::fmt::Write as _;
use vestibule_component_host::{Component, ErrorKind, Linker};

#[global_allocator]
static ALLOCATOR: Cap<alloc::System> = Cap::new(alloc::System, usize::MAX);

/// How far beyond its own count the host may be: the count is an estimate.
const ALLOWED: usize = 512 << 20;

/// A component that instantiates another, of these definitions, many times.
fn many(inner: &str, times: usize) -> String {
    format!(
        "(component (component $inner {inner}) {})",
        "(instance (instantiate $inner))".repeat(times)
    )
}

/// Instantiates, which must fail at the limit; gives what was allocated at the end of it, in bytes.
fn refused(text: &str, limit: &str) -> usize {
    let host = Host::new();
    let store = host.store(());
    let linker = Linker::new();
    let bystander = linker.instantiate(&store, &host.component(PLAIN)).unwrap();
    let component = Component::new(&host.engine, text.as_bytes()).unwrap();
    let before = ALLOCATOR.allocated();
    let error = linker.instantiate(&store, &component).unwrap_err();
    let kept = ALLOCATOR.allocated().saturating_sub(before);
    let ErrorKind::Limit(found) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(found.limit, limit, "{error}");
    assert!(error.to_string().len() < 1 << 20, "a readable error");
    assert_eq!(call_u32(&store, &bystander, "value"), 7);
    kept
}

/// One after another: they share the allocator that counts.
#[test]
fn what_a_component_asks_for_too_often_ends_at_the_limit() {
    let limit = "instantiation_bytes";

    let builtins = "(core func (canon thread.yield))".repeat(1_000);
    let kept = refused(&many(&builtins, 4_000), limit);
    assert!(kept < ALLOWED, "built-ins: {kept}");

    let fields: String = (0..5_000).fold(String::new(), |mut text, i| {
        let _ = write!(text, "(field \"f{i}\" u8)");
        text
    });
    let record = format!("(type (record {fields}))");
    let kept = refused(&many(&record, 4_000), limit);
    assert!(kept < ALLOWED, "types: {kept}");

    let functions = "(core module $M".to_owned() + &"(func)".repeat(20_000) + ")";
    let text = format!(
        "(component {functions} {})",
        "(core instance (instantiate $M))".repeat(4_000)
    );
    let kept = refused(&text, limit);
    assert!(kept < ALLOWED, "core functions: {kept}");

    let elements = "(core module $M (func $f) (elem func".to_owned() + &" $f".repeat(50_000) + "))";
    let text = format!(
        "(component {elements} {})",
        "(core instance (instantiate $M))".repeat(4_000)
    );
    let kept = refused(&text, limit);
    assert!(kept < ALLOWED, "elements: {kept}");

    // The same segment is copied for each instance, to the one memory that all share.
    let data = format!(
        r#"(core module $Memory (memory (export "m") 1)) (core instance $memory (instantiate $Memory))
           (core module $M (import "" "m" (memory 1)) (data (i32.const 0) "{0}") (data (i32.const 0) "{0}"))"#,
        "x".repeat(65_536)
    );
    let text = format!(
        r#"(component {data} {})"#,
        r#"(core instance (instantiate $M (with "" (instance $memory))))"#.repeat(4_000)
    );
    let kept = refused(&text, limit);
    assert!(kept < ALLOWED, "data: {kept}");
}

#[test]
fn names_are_put_together_up_to_a_length() {
    let nested = |depth: usize, length: usize| {
        let mut text = "(component".to_owned();
        for level in 0..depth {
            let name = format!("c{level}{}", "n".repeat(length));
            let _ = write!(text, "(component ${name}");
        }
        for level in (0..depth).rev() {
            let name = format!("c{level}{}", "n".repeat(length));
            let _ = write!(text, ") (instance ${name} (instantiate ${name}))");
        }
        text + ")"
    };
    refused(&nested(90, 2_000), "instance_path");
    let host = Host::new();
    assert!(host.instantiate(&nested(2, 60_000)).is_ok());
    assert!(host.instantiate(&nested(90, 1_000)).is_ok());
}
