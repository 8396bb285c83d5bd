use super::*;
use std::fmt::Write;
use wasmi::{Engine, Linker, Module as Compiled, Store, Val};

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text parses")
}

fn validate(bytes: &[u8]) {
    wasmparser::Validator::new()
        .validate_all(bytes)
        .expect("the rewritten module is valid");
}

fn start_of(text: &str) -> (Vec<u8>, Start) {
    let bytes = wasm(text);
    let rewritten = rewrite(&bytes).expect("it is rewritten");
    validate(&rewritten.bytes);
    let has_start = wasmparser::Parser::new(0)
        .parse_all(&rewritten.bytes)
        .any(|payload| matches!(payload, Ok(wasmparser::Payload::StartSection { .. })));
    assert!(!has_start, "the start section is gone");
    let start = rewritten.start.expect("there is a start function");
    (rewritten.bytes.into_owned(), start)
}

/// An engine that translates at once, so that a limit is met when the module is compiled.
fn eager() -> Engine {
    let mut config = wasmi::Config::default();
    config.compilation_mode(wasmi::CompilationMode::Eager);
    Engine::new(&config)
}

fn is_refused(bytes: &[u8]) -> bool {
    Compiled::new(&eager(), bytes).is_err()
}

/// Instantiates a module with no imports but `"host" "add"`, calls an export, and returns its
/// results and those of `add`, which sums what it is called with.
fn run(bytes: &[u8], export: &str, results: &mut [Val]) -> i32 {
    let engine = eager();
    let module = Compiled::new(&engine, bytes).expect("the engine takes it");
    let mut store = Store::new(&engine, 0);
    let mut linker = <Linker<i32>>::new(&engine);
    linker
        .func_wrap(
            "host",
            "add",
            |mut caller: wasmi::Caller<'_, i32>, n: i32| *caller.data_mut() += n,
        )
        .expect("a fresh name");
    linker
        .func_wrap("host", "init", |mut caller: wasmi::Caller<'_, i32>| {
            *caller.data_mut() += 100
        })
        .expect("a fresh name");
    let instance = linker
        .instantiate_and_start(&mut store, &module)
        .expect("it instantiates");
    let func = instance.get_func(&store, export).expect("it is exported");
    func.call(&mut store, &[], results).expect("it runs");
    *store.data()
}

#[test]
fn a_module_that_is_fine_is_borrowed() {
    let bytes = wasm(
        r#"(module (memory 1) (func (export "f") (result i32) i32.const 1) (data (i32.const 0) "x"))"#,
    );
    let rewritten = rewrite(&bytes).expect("it is rewritten");
    assert!(matches!(rewritten.bytes, Cow::Borrowed(same) if std::ptr::eq(same, &*bytes)));
    assert_eq!(rewritten.start, None);
}

#[test]
fn a_start_function_of_the_module_is_exported_and_not_run() {
    let (bytes, start) = start_of(
        r#"(module
             (import "host" "add" (func $add (param i32)))
             (func (export "other"))
             (func $begin (call $add (i32.const 5)))
             (start $begin))"#,
    );
    assert_eq!(start.func, 2);
    assert_eq!(start.export, "\0vestibule:start");
    assert_eq!(start.name.as_deref(), Some("begin"));
    assert_eq!(start.imported, None);
    assert_eq!(run(&bytes, "other", &mut []), 0);
    assert_eq!(run(&bytes, &start.export, &mut []), 5);
}

#[test]
fn an_imported_start_function_is_exported_too() {
    let (bytes, start) = start_of(
        r#"(module
             (import "host" "add" (func (param i32)))
             (import "host" "init" (func $init))
             (start $init))"#,
    );
    assert_eq!(start.func, 1);
    assert_eq!(start.imported, Some(("host".into(), "init".into())));
    assert_eq!(run(&bytes, &start.export, &mut []), 100);
}

#[test]
fn the_export_section_is_created_in_its_place() {
    let every_section = r#"(module
        (type (func))
        (import "host" "init" (func))
        (table 1 funcref) (memory 1) (global i32 (i32.const 1))
        (start $begin)
        (elem (i32.const 0) $begin)
        (func $begin (data.drop 0))
        (data "x")
        (@custom "mine" (after last) "kept"))"#;
    let (bytes, start) = start_of(every_section);
    run(&bytes, &start.export, &mut []);
    assert!(bytes.windows(8).any(|window| window == b"minekept"));

    let (_, start) = start_of(r#"(module (import "host" "init" (func)) (start 0))"#);
    assert_eq!(start.name, None);
}

#[test]
fn a_private_name_that_is_taken_gets_a_number() {
    let (bytes, start) = start_of(
        r#"(module
             (func $a) (func $b (export "\00vestibule:start")) (func (export "\00vestibule:start0"))
             (start $a))"#,
    );
    assert_eq!(start.export, "\0vestibule:start1");
    run(&bytes, &start.export, &mut []);
}

/// A function that stores `count` constants of every type, then sums them up in order.
fn module_with_constants(count: usize) -> String {
    let mut text = String::from(
        r#"(module
             (global $g (export "g") (mut i64) (i64.const 7))
             (func (export "small") (result i64) i64.const 1 global.get $g i64.add)
             (func (export "sum") (result i64) (local $sum i64)"#,
    );
    for n in 0..count {
        // Spread over the types, and wide, so that no two have the same bits.
        let constant = match n % 4 {
            0 => format!("i64.extend_i32_s (i32.const {})", 0x4000_0000 + n),
            1 => format!("i64.const {}", 0x7_0000_0000 + n),
            2 => format!("i64.trunc_sat_f32_s (f32.const {})", 1 + 2 * n),
            _ => format!("i64.trunc_sat_f64_s (f64.const {}.5)", n),
        };
        let _ = writeln!(
            text,
            "(local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) ({})))",
            constant
        );
    }
    text.push_str("local.get $sum))");
    text
}

fn expected_sum(count: usize) -> i64 {
    let mut sum = 0i64;
    for n in 0..count {
        let n = i64::try_from(n).expect("small");
        let constant = match n % 4 {
            0 => 0x4000_0000 + n,
            1 => 0x7_0000_0000 + n,
            2 => 1 + 2 * n,
            _ => n,
        };
        sum = sum.wrapping_mul(31).wrapping_add(constant);
    }
    sum
}

#[test]
fn constants_beyond_the_limit_become_globals() {
    for count in [1_000, 30_000, 40_000] {
        let bytes = wasm(&module_with_constants(count));
        let rewritten = rewrite(&bytes).expect("it is rewritten");
        validate(&rewritten.bytes);
        let mut results = [Val::I64(0)];
        run(&rewritten.bytes, "sum", &mut results);
        assert_eq!(
            results[0].i64(),
            Some(expected_sum(count)),
            "{count} constants"
        );
        run(&rewritten.bytes, "small", &mut results);
        assert_eq!(results[0].i64(), Some(8));
        assert_eq!(matches!(rewritten.bytes, Cow::Borrowed(_)), count == 1_000);
    }
}

#[test]
fn the_engine_still_has_the_limit() {
    // When this fails, the engine has grown, and this part of the rewriter can go.
    assert!(is_refused(&wasm(&distinct(32_768, "i64.const", ""))));
    assert!(!is_refused(&wasm(&distinct(32_766, "i64.const", ""))));
}

/// A function that stores in a global `count` constants of one type, none of which fits in the
/// instruction that uses it.
fn distinct(count: usize, constant: &str, fraction: &str) -> String {
    let ty = constant.split('.').next().expect("a type");
    let mut text = format!(
        "(module (global $g (mut {ty}) ({constant} 0)) (func (export \"last\") (result {ty})\n"
    );
    for n in 0..count {
        let _ = writeln!(
            text,
            "(global.set $g ({constant} {}{fraction}))",
            100_000 + n
        );
    }
    text.push_str("(global.get $g)))");
    text
}

#[test]
fn each_type_of_constant_keeps_its_value() {
    let last = 100_000 + 40_000 - 1;
    let mut results = [Val::I32(0)];
    for (constant, fraction) in [
        ("i32.const", ""),
        ("i64.const", ""),
        ("f32.const", ".5"),
        ("f64.const", ".25"),
    ] {
        let bytes = wasm(&distinct(40_000, constant, fraction));
        let rewritten = rewrite(&bytes).expect("it is rewritten");
        assert!(matches!(rewritten.bytes, Cow::Owned(_)));
        validate(&rewritten.bytes);
        run(&rewritten.bytes, "last", &mut results);
        let same = match &results[0] {
            Val::I32(value) => *value == last,
            Val::I64(value) => *value == i64::from(last),
            Val::F32(value) => value.to_float() == last as f32 + 0.5,
            Val::F64(value) => value.to_float() == f64::from(last) + 0.25,
            other => panic!("{other:?}"),
        };
        assert!(same, "{constant}: {results:?}");
    }
}

#[test]
fn not_a_number_keeps_its_bits() {
    let mut text = distinct(MAX_CONSTANTS + 10, "i32.const", "");
    text.truncate(text.len() - "(global.get $g)))".len());
    text.push_str(
        "(drop (i32.reinterpret_f32 (f32.const nan:0x200001)))
         (i32.reinterpret_f32 (f32.const -nan:0x1234))))",
    );
    let bytes = wasm(&text);
    let rewritten = rewrite(&bytes).expect("it is rewritten");
    let mut results = [Val::I32(0)];
    run(&rewritten.bytes, "last", &mut results);
    assert_eq!(results[0].i32(), Some(0xff80_1234_u32 as i32));
}

#[test]
fn far_jumps_are_counted_as_the_constants_they_cost() {
    // Every jump leaves a block that is too long for a short one, so each costs a constant.
    let jumps = 17_000;
    let mut text = String::from(
        "(module (global $g (mut i32) (i32.const 0)) (func (export \"last\") (result i32)
         (local $n i32)\n",
    );
    for n in 0..jumps {
        let _ = writeln!(
            text,
            "(block (br_if 0 (local.get $n)) (global.set $g (i32.const {}))",
            100_000 + n
        );
    }
    for _ in 0..35_000 {
        text.push_str("(global.set $g (local.get $n))\n");
    }
    text.push_str("(global.set $g (i32.const 511999))");
    text.push_str(&")".repeat(jumps));
    text.push_str("(global.get $g)))");
    let bytes = wasm(&text);
    assert!(is_refused(&bytes));
    let rewritten = rewrite(&bytes).expect("it is rewritten");
    validate(&rewritten.bytes);
    let mut results = [Val::I32(0)];
    run(&rewritten.bytes, "last", &mut results);
    assert_eq!(results[0].i32(), Some(511_999));
}

#[test]
fn both_jobs_at_once() {
    let mut text = distinct(40_000, "i64.const", "");
    text.pop();
    text.push_str("(func $begin (global.set $g (i64.const 3))) (start $begin))");
    let (bytes, start) = start_of(&text);
    run(&bytes, &start.export, &mut []);
    let mut results = [Val::I64(0)];
    run(&bytes, "last", &mut results);
    assert_eq!(results[0].i64(), Some(139_999));
}

#[test]
fn bytes_that_are_no_module_are_an_error_or_come_back_changed() {
    let bytes = wasm(
        r#"(module (import "host" "init" (func $init)) (func (export "f") (call $init)) (start 0))"#,
    );
    for end in 0..bytes.len() {
        let _ = rewrite(&bytes[..end]);
    }
    for at in 0..bytes.len() {
        for byte in [0, 1, 7, 8, 0x7f, 0xff] {
            let mut broken = bytes.clone();
            broken[at] = byte;
            let _ = rewrite(&broken);
        }
    }
    assert!(rewrite(b"").is_err());
    assert!(rewrite(b"\0asm\x0d\0\x01\0").is_err());
}

/// What a module exports, its start function's private name apart, and whether it has a start
/// section.
fn outline(bytes: &[u8]) -> (Vec<String>, bool) {
    let (mut exports, mut start) = (Vec::new(), false);
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        match payload.expect("a valid module") {
            wasmparser::Payload::ExportSection(section) => {
                for export in section {
                    let export = export.expect("a valid export");
                    exports.push(format!(
                        "{} {:?} {}",
                        export.name, export.kind, export.index
                    ));
                }
            }
            wasmparser::Payload::StartSection { .. } => start = true,
            _ => {}
        }
    }
    exports.retain(|export| !export.starts_with(START_EXPORT));
    (exports, start)
}

#[test]
fn whatever_is_valid_is_taken_rewritten_into_what_is_valid_and_compiled() {
    let mut config = wasmi::Config::default();
    config
        .compilation_mode(wasmi::CompilationMode::Eager)
        .wasm_custom_page_sizes(true)
        .wasm_wide_arithmetic(true);
    let engine = Engine::new(&config);
    let (mut modules, mut started, mut smaller) = (0, 0, 0);
    for seed in 1..=150 {
        let Some(bytes) = super::super::generated::module(seed) else {
            continue;
        };
        validate(&bytes);
        modules += 1;
        let (exports, start) = outline(&bytes);
        // With the engine's limit of constants, and with one that most functions are above.
        for max_constants in [MAX_CONSTANTS, 2] {
            let rewritten = rewrite_within(&bytes, max_constants)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            validate(&rewritten.bytes);
            let (exports_now, start_now) = outline(&rewritten.bytes);
            assert_eq!(exports_now, exports, "seed {seed}");
            assert_eq!(rewritten.start.is_some(), start, "seed {seed}");
            assert!(!start_now, "seed {seed}: the start section is gone");
            Compiled::new(&engine, &rewritten.bytes[..])
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if max_constants == MAX_CONSTANTS {
                let borrowed = matches!(rewritten.bytes, Cow::Borrowed(_));
                assert_eq!(borrowed, !start, "seed {seed}: nothing else is changed");
            } else {
                smaller += i32::from(rewritten.bytes.len() != bytes.len());
            }
        }
        started += i32::from(start);
    }
    // The generator must not have stopped to generate what this is about.
    assert!(
        modules > 100 && started > 5 && smaller > 70,
        "{modules} modules, {started} with a start section, {smaller} with constants taken out"
    );
}
