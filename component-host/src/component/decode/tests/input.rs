//! Input that is cut off, broken, too large, or no component at all; and when modules are compiled.

use super::*;

#[test]
fn modules_are_compiled_in_order_and_only_when_all_is_valid() {
    let bytes = wasm(
        r#"(component
             (component (component (core module $A)))
             (core module $B (func))
             (component (core module $C)))"#,
    );
    let mut order = Vec::new();
    let limits = DecodeLimits::default();
    let decoded = decode(&bytes, &limits, &mut |raw| {
        assert_eq!(raw.bytes, &bytes[raw.info.range.clone()]);
        order.push(raw.info.name.as_deref().map(str::to_owned));
        compiled(raw)
    });
    assert_eq!(order, ["A", "B", "C"].map(|name| Some(name.to_owned())));
    let root = decoded.expect("it decodes").root;
    assert_eq!(definitions(&root), ["Component", "CoreModule", "Component"]);
    assert_eq!(definitions(&nested(&nested(&root)[0])[0]), ["CoreModule"]);

    let mut invalid = bytes.clone();
    invalid.push(0xff);
    let never = &mut |_: RawModule<'_>| panic!("compiled though the component is invalid");
    decode(&invalid, &limits, never).expect_err("it is refused");
}

#[test]
fn an_error_of_the_engine_names_the_module() {
    let bytes = wasm("(component (core module $M))");
    let refuse = &mut |_: RawModule<'_>| Err(Error::link("too hard"));
    let error = decode(&bytes, &DecodeLimits::default(), refuse).expect_err("it is refused");
    assert_eq!(
        error.to_string(),
        "too hard\n    in core module `M` at offset 0xa"
    );
}

#[test]
fn a_core_module_is_refused_with_advice() {
    let (message, offset) = error_of(&wasm("(module)"));
    assert!(
        message.contains("this is a core WebAssembly module"),
        "{message}"
    );
    assert!(message.contains("wasm-tools component new"), "{message}");
    assert_eq!(offset, Some(0));
}

#[test]
fn what_is_no_wasm_at_all_is_refused() {
    for bytes in [
        &b""[..],
        b"\0",
        b"\0asm",
        b"not wasm at all",
        b"(component)",
    ] {
        let (_, offset) = error_of(bytes);
        assert!(offset.is_some(), "{bytes:?}");
    }
}

/// A component that has something of everything.
fn of_everything() -> Vec<u8> {
    wasm(&with_canonicals(
        r#"(type (instance (export "r" (type (sub resource)))))
           (core type (module (type (func)) (import "a" "b" (func (type 0)))))
           (component $C (import "i" (func)) (core module (func $x nop) (start $x)))
           (func $g (import "g"))
           (instance $c (instantiate $C (with "i" (func $g))))
           (core func (canon stream.new $s))
           (func $h (param "s" string) (result u32)
             (canon lift (core func $m "f") (memory $mem) (realloc (core func $m "realloc"))))
           (export "e" (instance $c))"#,
    ))
}

#[test]
fn cut_off_anywhere_is_an_error_with_an_offset_or_a_shorter_component() {
    let bytes = of_everything();
    try_decode(&bytes).expect("the whole decodes");
    for end in 0..bytes.len() {
        if let Err(error) = try_decode(&bytes[..end]) {
            let ErrorKind::Invalid { offset, .. } = error.kind() else {
                panic!("cut at {end}: {error}");
            };
            assert!(
                offset.is_some_and(|offset| offset <= end),
                "cut at {end}: {error}"
            );
        }
    }
}

#[test]
fn no_changed_byte_makes_it_panic() {
    let bytes = of_everything();
    for at in 0..bytes.len() {
        for byte in [0, 1, 3, 8, 0x60, 0x7f, 0x80] {
            let mut broken = bytes.clone();
            broken[at] = byte;
            if let Ok(decoded) = try_decode(&broken) {
                for module in &decoded.core_modules {
                    let _ = module.func_name(0);
                }
            }
        }
    }
}

/// Components in one another, written as bytes: the text format stops earlier.
fn nested_bytes(depth: usize) -> Vec<u8> {
    use wasm_encoder::{Component, NestedComponentSection};
    let mut component = Component::new();
    for _ in 1..depth {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&component));
        component = outer;
    }
    component.finish()
}

#[test]
fn a_thousand_nested_components() {
    let decoded = try_decode(&nested_bytes(1_000)).expect("it decodes");
    let mut depth = 1;
    let mut component = decoded.root;
    while let Some(inner) = nested(&component).pop() {
        depth += 1;
        component = inner;
    }
    assert_eq!(depth, 1_000);
    let (message, _) = error_of(&nested_bytes(1_001));
    assert!(message.contains("count exceeds limit of 1000"), "{message}");
}

#[test]
fn sizes_are_limited() {
    let bytes = wasm("(component (core module (func nop nop nop)))");
    for (component_size, core_module_size, name) in [
        (bytes.len() - 1, usize::MAX, "max_component_size"),
        (usize::MAX, 10, "max_core_module_size"),
    ] {
        let limits = DecodeLimits {
            component_size,
            core_module_size,
        };
        let error = decode(&bytes, &limits, &mut compiled).expect_err("it is refused");
        assert!(matches!(error.kind(), ErrorKind::Limit(limit) if limit.limit == name));
    }
}

#[test]
fn a_broken_name_section_is_no_error() {
    for contents in [
        &b"\x0ecomponent-name\xff"[..],
        b"\x0ecomponent-name\x00\x02\x05a",
    ] {
        let mut bytes = wasm("(component)");
        bytes.extend([0, u8::try_from(contents.len()).expect("short")]);
        bytes.extend(contents);
        assert_eq!(try_decode(&bytes).expect("it decodes").root.name, None);
    }
}
