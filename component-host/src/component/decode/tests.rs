//! Each kind of definition, and what is known beside them.

mod input;

use super::*;
use crate::component::definitions::*;
use crate::engine::Engine;
use crate::error::ErrorKind;
use std::sync::LazyLock;
use wasmparser::ValType;

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text parses")
}

fn compiled(raw: RawModule<'_>) -> Result<Arc<CoreModule>> {
    static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);
    CoreModule::new(&ENGINE, raw.bytes, raw.info).map(Arc::new)
}

fn try_decode(bytes: &[u8]) -> Result<Decoded> {
    decode(bytes, &DecodeLimits::default(), &mut compiled)
}

fn decoded(text: &str) -> Decoded {
    try_decode(&wasm(text)).expect("it decodes")
}

/// The message and the offset of the error that decoding gives.
fn error_of(bytes: &[u8]) -> (String, Option<usize>) {
    match try_decode(bytes).expect_err("it is refused").into_kind() {
        ErrorKind::Invalid { message, offset } => (message, offset),
        other => panic!("{other:?}"),
    }
}

/// A component's definitions, written as `Debug` writes them; nested ones by their kind only.
fn definitions(component: &ComponentDef) -> Vec<String> {
    let written = |definition: &Definition| match definition {
        Definition::CoreModule(_) => "CoreModule".to_owned(),
        Definition::Component(_) => "Component".to_owned(),
        other => format!("{other:?}"),
    };
    component.definitions.iter().map(written).collect()
}

/// The components that are defined in a component.
fn nested(component: &ComponentDef) -> Vec<Arc<ComponentDef>> {
    let components = component
        .definitions
        .iter()
        .filter_map(|definition| match definition {
            Definition::Component(nested) => Some(nested.clone()),
            _ => None,
        });
    components.collect()
}

#[track_caller]
fn assert_definitions(text: &str, expected: &[&str]) {
    assert_eq!(definitions(&decoded(text).root), expected);
}

#[test]
fn value_types() {
    assert_definitions(
        r#"(component
             (type string)
             (type (record (field "a" u8) (field "b" 0)))
             (type (variant (case "x") (case "y" 1)))
             (type (list s16)) (type (list f32 4)) (type (map string u64))
             (type (tuple bool char)) (type (flags "p" "q")) (type (enum "r"))
             (type (option f64)) (type (result u32 (error error-context))) (type (result))
             (type (stream u8)) (type (future))
             (import "res" (type $r (sub resource)))
             (type (own $r)) (type (borrow $r)))"#,
        &[
            "Type(Value(Prim(String)))",
            r#"Type(Value(Record([("a", Prim(U8)), ("b", Index(0))])))"#,
            r#"Type(Value(Variant([("x", None), ("y", Some(Index(1)))])))"#,
            "Type(Value(List(Prim(S16))))",
            "Type(Value(FixedLengthList(Prim(F32), 4)))",
            "Type(Value(Map(Prim(String), Prim(U64))))",
            "Type(Value(Tuple([Prim(Bool), Prim(Char)])))",
            r#"Type(Value(Flags(["p", "q"])))"#,
            r#"Type(Value(Enum(["r"])))"#,
            "Type(Value(Option(Prim(F64))))",
            "Type(Value(Result { ok: Some(Prim(U32)), err: Some(Prim(ErrorContext)) }))",
            "Type(Value(Result { ok: None, err: None }))",
            "Type(Value(Stream(Some(Prim(U8)))))",
            "Type(Value(Future(None)))",
            r#"Import { name: "res", ty: SubResource }"#,
            "Type(Value(Own(14)))",
            "Type(Value(Borrow(14)))",
        ],
    );
}

#[test]
fn function_component_and_instance_types() {
    assert_definitions(
        r#"(component
             (type (func async (param "a" u8) (result string)))
             (type (resource (rep i32)))
             (type (instance
               (type (list u8))
               (export "t" (type (eq 0)))
               (alias outer 1 0 (type))
               (export "f" (func (type 2)))))
             (type (component
               (import "r" (type (sub resource)))
               (export "i" (instance)))))"#,
        &[
            "Type(Func(FuncTypeDef { async_: true, params: [(\"a\", Prim(U8))], \
             result: Some(Prim(String)) }))",
            "Type(Resource { dtor: None })",
            "Type(Instance([Type(Value(List(Prim(U8)))), Export { name: \"t\", ty: TypeEq(0) }, \
             Alias(Outer { sort: Type, count: 1, index: 0 }), \
             Export { name: \"f\", ty: Func(2) }]))",
            "Type(Component([Import { name: \"r\", ty: SubResource }, Type(Instance([])), \
             Export { name: \"i\", ty: Instance(1) }]))",
        ],
    );
}

#[test]
fn instances_aliases_imports_and_exports() {
    assert_definitions(
        r#"(component
             (import "a:b/c@1.2.3" (instance $i (export "f" (func))))
             (alias export $i "f" (func $f))
             (component $c (import "g" (func)) (export "h" (func 0)))
             (instance $n (instantiate $c (with "g" (func $f))))
             (instance $m (export "x" (func $f)))
             (component (alias outer 1 $c (component)))
             (export "out" (func $f) (func)))"#,
        &[
            "Type(Instance([Type(Func(FuncTypeDef { async_: false, params: [], result: None })), \
             Export { name: \"f\", ty: Func(0) }]))",
            r#"Import { name: "a:b/c@1.2.3", ty: Instance(0) }"#,
            r#"Alias(InstanceExport { sort: Func, instance: 0, name: "f" })"#,
            "Component",
            r#"Instance(Instantiate { component: 0, args: [("g", Func, 0)] })"#,
            r#"Instance(FromExports([("x", Func, 0)]))"#,
            "Component",
            "Type(Func(FuncTypeDef { async_: false, params: [], result: None }))",
            r#"Export { name: "out", sort: Func, index: 0, ty: Some(Func(1)) }"#,
        ],
    );
}

#[test]
fn core_definitions() {
    assert_definitions(
        r#"(component
             (core module $M (import "m" "f" (func (param i32))) (memory (export "mem") 1))
             (core type (func (param i32) (result i64)))
             (type $r (resource (rep i32)))
             (core func $f (canon resource.drop $r))
             (core instance $a (export "f" (func $f)))
             (core instance $i (instantiate $M (with "m" (instance $a))))
             (alias core export $i "mem" (core memory $mem))
             (component (alias outer 1 $M (core module))))"#,
        &[
            "CoreModule",
            "CoreType(Func(CoreFuncTypeDef { params: [I32], results: [I64] }))",
            "Type(Resource { dtor: None })",
            "Canon(ResourceDrop { resource: 0 })",
            r#"CoreInstance(FromExports([("f", Func, 0)]))"#,
            r#"CoreInstance(Instantiate { module: 0, args: [("m", 0)] })"#,
            r#"Alias(CoreInstanceExport { sort: Memory, instance: 1, name: "mem" })"#,
            "Component",
        ],
    );
}

#[test]
fn core_types_are_resolved_through_every_scope() {
    let decoded = decoded(
        r#"(component
             (core type $f (func (param f32)))
             (type (component
               (core type $local (func (result v128)))
               (alias outer 1 $f (core type $up))
               (core type (module
                 (alias outer 1 $up (type $a))
                 (alias outer 1 $local (type $b))
                 (import "m" "a" (func (type $a)))
                 (import "m" "g" (global (mut i64)))
                 (export "b" (func (type $b))))))))"#,
    );
    let [_, Definition::Type(TypeDef::Component(declarations))] = &*decoded.root.definitions else {
        panic!("{:?}", decoded.root);
    };
    let Some(TypeDecl::CoreType(CoreTypeDef::Module(module))) = declarations.last() else {
        panic!("{declarations:?}");
    };
    let func = |params: &[ValType], results: &[ValType]| {
        CoreExternType::Func(Arc::new(CoreFuncTypeDef {
            params: params.into(),
            results: results.into(),
        }))
    };
    assert_eq!(
        module.imports[0],
        ("m".into(), "a".into(), func(&[ValType::F32], &[]))
    );
    assert!(matches!(module.imports[1].2, CoreExternType::Global(ty) if ty.mutable));
    assert_eq!(module.exports[0], ("b".into(), func(&[], &[ValType::V128])));
}

/// The text of a component with a memory, a table and types for every built-in.
fn with_canonicals(canonicals: &str) -> String {
    format!(
        r#"(component
             (core module $M
               (memory (export "mem") 1)
               (table (export "table") 1 funcref)
               (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
               (func (export "f") (param i32 i32) (result i32) unreachable)
               (func (export "post") (param i32))
               (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
             (core instance $m (instantiate $M))
             (alias core export $m "mem" (core memory $mem))
             (core type $entry (func (param i32)))
             (type $r (resource (rep i32)))
             (type $s (stream u8))
             (type $f (future string))
             {canonicals})"#
    )
}

fn canonicals(text: &str) -> Vec<String> {
    let written = definitions(&decoded(&with_canonicals(text)).root);
    let canonicals = written
        .into_iter()
        .filter(|definition| definition.starts_with("Canon("));
    canonicals.collect()
}

#[test]
fn lift_and_lower_have_their_options() {
    let written = canonicals(
        r#"(func $in (param "s" string) (result string)
             (canon lift (core func $m "f") (memory $mem) (realloc (core func $m "realloc"))
               (post-return (core func $m "post")) string-encoding=utf16))
           (func $async async (param "a" u32) (param "b" u32)
             (canon lift (core func $m "f") async (callback (core func $m "callback"))))
           (core func (canon lower (func $async) async))
           (core func (canon lower (func $in) (memory $mem) (realloc (core func $m "realloc"))
             string-encoding=latin1+utf16))"#,
    );
    let options = |options: CanonOptions| format!("{options:?}");
    let [lift, lift_async, lower_async, lower] = &*written else {
        panic!("{written:#?}");
    };
    assert!(
        lift.starts_with("Canon(Lift { core_func: 0, ty: 3, "),
        "{lift}"
    );
    assert!(lift.contains(&options(CanonOptions {
        string_encoding: StringEncoding::Utf16,
        memory: Some(0),
        realloc: Some(1),
        post_return: Some(2),
        ..CanonOptions::default()
    })));
    assert!(lift_async.contains(&options(CanonOptions {
        async_: true,
        callback: Some(4),
        ..CanonOptions::default()
    })));
    assert!(
        lower_async.starts_with("Canon(Lower { func: 1, "),
        "{lower_async}"
    );
    assert!(lower_async.contains(&options(CanonOptions {
        async_: true,
        ..CanonOptions::default()
    })));
    assert!(lower.contains("string_encoding: Latin1Utf16, memory: Some(0), realloc: Some("));
}

#[test]
fn built_ins_that_run() {
    let written = canonicals(
        "(core func (canon resource.new $r)) (core func (canon resource.drop $r))
         (core func (canon resource.rep $r))
         (core func (canon context.get i32 0)) (core func (canon context.set i32 1))
         (core func (canon backpressure.inc)) (core func (canon backpressure.dec))
         (core func (canon task.return (result string) (memory $mem)))
         (core func (canon task.cancel))
         (core func (canon waitable-set.new))
         (core func (canon waitable-set.wait (memory $mem)))
         (core func (canon waitable-set.poll (memory $mem)))
         (core func (canon waitable-set.drop)) (core func (canon waitable.join))
         (core func (canon subtask.cancel async)) (core func (canon subtask.drop))
         (core func (canon thread.yield))",
    );
    let options = CanonOptions {
        memory: Some(0),
        ..CanonOptions::default()
    };
    let expected = [
        "ResourceNew { resource: 0 }",
        "ResourceDrop { resource: 0 }",
        "ResourceRep { resource: 0 }",
        "ContextGet { ty: I32, slot: 0 }",
        "ContextSet { ty: I32, slot: 1 }",
        "BackpressureInc",
        "BackpressureDec",
        &format!("TaskReturn {{ result: Some(Prim(String)), options: {options:?} }}"),
        "TaskCancel",
        "WaitableSetNew",
        "WaitableSetWait { memory: 0 }",
        "WaitableSetPoll { memory: 0 }",
        "WaitableSetDrop",
        "WaitableJoin",
        "SubtaskCancel { async_: true }",
        "SubtaskDrop",
        "ThreadYield",
    ];
    assert_eq!(written, expected.map(|canon| format!("Canon({canon})")));
}

#[test]
fn other_built_ins_have_the_signature_that_the_validator_gave() {
    for (canon, params, results) in [
        ("stream.new $s", "[]", "[I64]"),
        (
            "stream.read $s async (memory $mem)",
            "[I32, I32, I32]",
            "[I32]",
        ),
        ("stream.write $s (memory $mem)", "[I32, I32, I32]", "[I32]"),
        ("stream.cancel-read $s", "[I32]", "[I32]"),
        ("stream.cancel-write $s async", "[I32]", "[I32]"),
        ("stream.drop-readable $s", "[I32]", "[]"),
        ("stream.drop-writable $s", "[I32]", "[]"),
        ("stream.forward $s", "[I32, I32]", "[]"),
        ("future.new $f", "[]", "[I64]"),
        ("future.write $f (memory $mem)", "[I32, I32]", "[I32]"),
        ("future.cancel-read $f", "[I32]", "[I32]"),
        ("future.cancel-write $f", "[I32]", "[I32]"),
        ("future.drop-readable $f", "[I32]", "[]"),
        ("future.drop-writable $f", "[I32]", "[]"),
        ("future.forward $f", "[I32, I32]", "[]"),
        ("error-context.new (memory $mem)", "[I32, I32]", "[I32]"),
        ("error-context.drop", "[I32]", "[]"),
        ("thread.index", "[]", "[I32]"),
        ("thread.resume-later", "[I32]", "[]"),
        ("thread.suspend", "[]", "[I32]"),
        ("thread.suspend-then-resume", "[I32]", "[I32]"),
        ("thread.yield-then-resume", "[I32]", "[I32]"),
        ("thread.suspend-then-promote", "[I32]", "[I32]"),
        ("thread.yield-then-promote", "[I32]", "[I32]"),
    ] {
        // A built-in before it, in the same section, and a lift, which adds no core function.
        let written = canonicals(&format!(
            "(core func (canon task.cancel)) (func (canon lift (core func 0)))
             (core func (canon {canon}))"
        ));
        let written = written.last().map(String::as_str).unwrap_or_default();
        assert!(written.starts_with("Canon(Builtin {"), "{canon}: {written}");
        assert!(
            written.ends_with(&format!("params: {params}, results: {results} }})")),
            "{canon}: {written}"
        );
    }
}

#[test]
fn names_of_definitions() {
    let decoded = decoded(
        r#"(component $Root
             (component $Inner (core module $Deep))
             (core module $M (func $begin) (start $begin))
             (core module (;unnamed;))
             (core instance $m (instantiate $M))
             (instance $i)
             (func $f (import "f")))"#,
    );
    let root = &decoded.root;
    assert_eq!(root.name.as_deref(), Some("Root"));
    assert_eq!(&*root.core_instance_names, [(0, "m".into())]);
    assert_eq!(&*root.instance_names, [(0, "i".into())]);
    assert_eq!(&*root.func_names, [(0, "f".into())]);
    assert_eq!(nested(root)[0].name.as_deref(), Some("Inner"));

    let names = decoded.core_modules.iter();
    let names = names.map(|module| (module.component.as_deref(), module.name.as_deref()));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            (Some("Inner"), Some("Deep")),
            (Some("Root"), Some("M")),
            (Some("Root"), None)
        ]
    );
}

#[test]
fn what_is_known_about_a_core_module() {
    let text = r#"(component
        (core module $M
          (import "env" "memory" (memory 1))
          (import "env" "_initialize" (func $init))
          (func $run (export "run") (param i32) (result i64) unreachable)
          (start $init))
        (core module (func) (func $begin) (start $begin)))"#;
    let bytes = wasm(text);
    let decoded = try_decode(&bytes).expect("it decodes");
    let [first, second] = &*decoded.core_modules else {
        panic!("{decoded:?}");
    };
    assert_eq!(&bytes[first.range.clone()][..4], b"\0asm");
    assert_eq!(first.start, Some(0));
    assert_eq!(first.func_name(0), Some("init"));
    assert_eq!(first.func_name(1), Some("run"));
    assert_eq!(first.func_name(2), None);
    assert_eq!(first.unsupported, None);
    let imports = first
        .ty
        .imports
        .iter()
        .map(|(module, field, _)| format!("{module}.{field}"));
    assert_eq!(
        imports.collect::<Vec<_>>(),
        ["env.memory", "env._initialize"]
    );
    assert!(matches!(&first.ty.exports[..], [(name, CoreExternType::Func(_))] if name == "run"));

    assert_eq!(second.start, Some(1));
    assert_eq!(second.func_name(1), Some("begin"));
}

#[test]
fn what_the_engine_lacks_is_named() {
    for (module, what) in [
        ("(tag)", "exceptions proposal not enabled"),
        ("(func try_table end)", "exceptions support is not enabled"),
        ("(type (struct))", "without the gc feature"),
        ("(memory 1 1 shared)", "threads must be enabled"),
        ("(func (param (ref func)))", "function references required"),
    ] {
        let decoded = decoded(&format!("(component (core module) (core module {module}))"));
        let [fine, lacking] = &*decoded.core_modules else {
            panic!("{decoded:?}");
        };
        assert_eq!(fine.unsupported, None);
        let unsupported = lacking.unsupported.as_ref().expect(module);
        assert!(unsupported.what.contains(what), "{module}: {unsupported:?}");
        assert!(
            lacking.range.contains(&unsupported.offset),
            "{module}: {unsupported:?}"
        );
    }
}

#[test]
fn imports_and_exports_of_the_root() {
    let decoded = decoded(
        r#"(component
             (import "a:b/c@1.2.3" (instance))
             (import "store" (implements "w:kv/s") (external-id "x") (instance))
             (component (import "hidden" (func)))
             (import "t" (type $t (sub resource)))
             (import "[constructor]t" (func (result (own $t))))
             (export "e" (type $t)))"#,
    );
    let written = |externs: &[Extern]| {
        let written = externs
            .iter()
            .map(|item| format!("{} {:?}", item.name, item.sort));
        written.collect::<Vec<_>>()
    };
    assert_eq!(
        written(&decoded.imports),
        [
            "a:b/c@1.2.3 Instance",
            "store Instance",
            "t Type",
            "[constructor]t Func"
        ]
    );
    assert_eq!(written(&decoded.exports), ["e Type"]);
    assert_eq!(decoded.imports[1].implements.as_deref(), Some("w:kv/s"));
    assert_eq!(decoded.imports[1].external_id.as_deref(), Some("x"));
    assert_eq!(decoded.imports[0].implements, None);
}
