//! A second opinion on the Canonical ABI: random types and values, compared with what the
//! specification's executable definitions say, and passed through a real guest.

use super::oracle::{Lowered, Oracle, encoding_name, hex, ptr_name, type_json, value_json};
use crate::abi::flattening::flatten_type;
use crate::abi::mock::{HEAP, Mock, PAGE, core_vals, lift, lift_from_memory, lower, store_at};
use crate::abi::options::PtrType;
use crate::abi::random::Random;
use crate::component::definitions::StringEncoding::{self, Latin1Utf16, Utf8, Utf16};
use crate::engine::CoreType;
use crate::error::Error;
use crate::types::Type;
use crate::val::Val;
use crate::{Component, Config, Engine, Instance, Linker, Store};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::json;
use std::fmt::Write as _;
use vestibule_executor::Executor;

const ENCODINGS: [StringEncoding; 3] = [Utf8, Utf16, Latin1Utf16];
const PTR_TYPES: [PtrType; 2] = [PtrType::I32, PtrType::I64];

fn random(bytes: &[u8]) -> Random<'_> {
    Random {
        bytes,
        seed: 0x9e37_79b9_7f4a_7c15,
        parts: 40,
        handles: false,
        any_nan: false,
    }
}

fn bytes() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn lifting_undoes_lowering(bytes in bytes()) {
        let mut random = Random { handles: true, ..random(&bytes) };
        let t = random.ty(4);
        let v = random.val(&t);
        assert_eq!(v.type_check(&t), Ok(()), "{t}");
        for (encoding, ptr_type) in configurations() {
            let mut cx = Mock::with_encoding(encoding);
            cx.ptr_type = ptr_type;
            cx.memory = vec![0xff; 1 << 20];
            cx.next = 1 << 19;
            cx.budget = 1 << 30;
            store_at(&mut cx, &v, &t, 1 << 10).unwrap();
            assert_eq!(lift_from_memory(&mut cx, &t, 1 << 10).unwrap(), v, "{t}");
            let Some(flat_types) = flatten_type(&t, ptr_type) else { continue };
            let flat = lower(&mut cx, &v, &t).unwrap();
            let (types, bits): (Vec<_>, Vec<_>) = flat.into_iter().unzip();
            assert_eq!(types, flat_types.as_slice(), "{t}");
            assert_eq!(core_vals(&flat_types, &bits).len(), bits.len());
            assert_eq!(lift(&mut cx, &t, &bits).unwrap(), v, "{t}");
        }
    }
}

fn configurations() -> impl Iterator<Item = (StringEncoding, PtrType)> {
    ENCODINGS
        .into_iter()
        .flat_map(|encoding| PTR_TYPES.into_iter().map(move |ptr| (encoding, ptr)))
}

#[test]
fn lowered_bytes_are_those_of_the_specification() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let mut bytes_compared = 0;
    for (round, bytes) in samples(3_000).iter().enumerate() {
        let mut random = Random {
            any_nan: true,
            ..random(bytes)
        };
        // Half of them by memory: a list's elements.
        let t = match round % 2 {
            0 => random.ty(4),
            _ => Type::list(random.ty(3)),
        };
        let v = random.val(&t);
        let (encoding, ptr_type) = configurations().nth(round / 2 % 6).unwrap();
        let ours = lowered(&v, &t, encoding, ptr_type);
        let theirs = oracle.ask(&json!({
            "ptr": ptr_name(ptr_type), "encoding": encoding_name(encoding),
            "type": type_json(&t), "value": value_json(&v, &t),
        }));
        assert_eq!(
            ours, theirs,
            "round {round}, {encoding:?}, {ptr_type:?}: {v} of {t}"
        );
        if let Lowered::Done(_, memory) = ours {
            bytes_compared += memory.len() / 2;
        }
    }
    println!("3000 values lowered alike, {bytes_compared} bytes of memory");
    assert!(bytes_compared > 10_000, "{bytes_compared}");
}

#[test]
fn what_is_not_an_encoding_is_refused_by_us_as_by_the_specification() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let (mut lifted, mut refused) = (0, 0);
    for (round, bytes) in samples(6_000).iter().enumerate() {
        let mut random = random(bytes);
        let t = random.ty(3);
        let (encoding, ptr_type) = configurations().nth(round % 6).unwrap();
        let memory = hostile_memory(&mut random);
        let at = match random.below(20) {
            0 => PAGE as u64 - random.below(16) as u64,
            1 => random.below(64) as u64,
            _ => 16 * random.below(8) as u64,
        };
        let mut cx = Mock::with_encoding(encoding);
        cx.ptr_type = ptr_type;
        cx.budget = u64::MAX;
        cx.memory[..memory.len()].copy_from_slice(&memory);
        let ours = match lift_from_memory(&mut cx, &t, at) {
            Ok(v) => lowered(&v, &t, encoding, ptr_type),
            Err(error) => {
                assert!(error.trap().is_some(), "{error}");
                Lowered::Trap
            }
        };
        let theirs = oracle.ask(&json!({
            "ptr": ptr_name(ptr_type), "encoding": encoding_name(encoding),
            "type": type_json(&t), "at": at, "memory": hex(&memory),
        }));
        assert_eq!(
            ours, theirs,
            "round {round}, {encoding:?}, {ptr_type:?}: {t} at {at}"
        );
        match ours {
            Lowered::Trap => refused += 1,
            _ => lifted += 1,
        }
    }
    println!("6000 memories alike: {lifted} lifted, {refused} refused");
    assert!(lifted > 1_000 && refused > 1_000, "{lifted}, {refused}");
}

/// As above, with core values in place of memory: bits that no type has a meaning for, and payloads
/// of variants in core values that cases share.
#[test]
fn core_values_of_any_bits_are_lifted_or_refused_as_by_the_specification() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let (mut lifted, mut refused) = (0, 0);
    for (round, bytes) in samples(6_000).iter().enumerate() {
        let mut random = random(bytes);
        // Half of them in a variant whose payload shares an i64.
        let t = match round % 2 {
            0 => random.ty(3),
            _ => Type::result(Some(random.ty(2)), Some(Type::U64)),
        };
        let (encoding, ptr_type) = configurations().nth(round % 6).unwrap();
        let Some(flat_types) = flatten_type(&t, ptr_type) else {
            continue;
        };
        let flat: Vec<u64> = flat_types
            .as_slice()
            .iter()
            .map(|ft| {
                let bits = match random.below(5) {
                    0 => random.next(),
                    1 => u64::MAX << random.below(64),
                    2 => random.next() & 0xffff,
                    _ => random.next() % 24,
                };
                match ft {
                    CoreType::I32 | CoreType::F32 => bits & 0xffff_ffff,
                    CoreType::I64 | CoreType::F64 => bits,
                }
            })
            .collect();
        let memory = hostile_memory(&mut random);
        let mut cx = Mock::with_encoding(encoding);
        cx.ptr_type = ptr_type;
        cx.budget = u64::MAX;
        cx.memory[..memory.len()].copy_from_slice(&memory);
        let ours = match lift(&mut cx, &t, &flat) {
            Ok(v) => lowered(&v, &t, encoding, ptr_type),
            Err(error) => {
                assert!(error.trap().is_some(), "{error}");
                Lowered::Trap
            }
        };
        let theirs = oracle.ask(&json!({
            "ptr": ptr_name(ptr_type), "encoding": encoding_name(encoding),
            "type": type_json(&t), "flat": flat, "memory": hex(&memory),
        }));
        assert_eq!(
            ours, theirs,
            "round {round}, {encoding:?}, {ptr_type:?}: {t} of {flat:x?}"
        );
        match ours {
            Lowered::Trap => refused += 1,
            _ => lifted += 1,
        }
    }
    println!("core values alike: {lifted} lifted, {refused} refused");
    assert!(lifted > 1_000 && refused > 300, "{lifted}, {refused}");
}

/// Memory in which pointers and lengths are often good: bytes that are mostly zero, or small.
fn hostile_memory(random: &mut Random<'_>) -> Vec<u8> {
    let mut byte = || match random.below(8) {
        0 => random.next() as u8,
        1 | 2 => random.below(5) as u8,
        3 => b'a' + random.below(3) as u8,
        _ => 0,
    };
    (0..256).map(|_| byte()).collect()
}

/// Byte strings from proptest's strategies, the same in each run.
fn samples(count: usize) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let sample = |_| bytes().new_tree(&mut runner).expect("a tree").current();
    (0..count).map(sample).collect()
}

fn lowered(v: &Val, t: &Type, encoding: StringEncoding, ptr_type: PtrType) -> Lowered {
    let mut cx = Mock::with_encoding(encoding);
    cx.ptr_type = ptr_type;
    match lower(&mut cx, v, t) {
        Ok(flat) => {
            let bits = flat.into_iter().map(|(_, bits)| bits).collect();
            let heap = &cx.memory[HEAP as usize..cx.next as usize];
            Lowered::Done(bits, hex(heap))
        }
        Err(error) => {
            assert!(error.trap().is_some(), "{error}");
            Lowered::Full
        }
    }
}

/// The text of a type; what needs a name is defined, and exported, before it is used.
fn type_text(t: &Type, definitions: &mut String, count: &mut u32) -> String {
    let mut of = |t: &Type| type_text(t, definitions, count);
    let quoted = |names: Vec<&str>| {
        names.iter().fold(String::new(), |mut text, name| {
            let _ = write!(text, " \"{name}\"");
            text
        })
    };
    let named = match t {
        Type::List(list) => return format!("(list {})", of(list.ty())),
        Type::FixedLengthList(list) => {
            return format!("(list {} {})", of(list.ty()), list.size());
        }
        Type::Map(map) => return format!("(map {} {})", of(map.key()), of(map.value())),
        Type::Tuple(tuple) => {
            let types: Vec<String> = tuple.types().iter().map(of).collect();
            return format!("(tuple {})", types.join(" "));
        }
        Type::Option(option) => return format!("(option {})", of(option.ty())),
        Type::Result(result) => {
            let ok = result.ok().map_or_else(String::new, &mut of);
            let err = result
                .err()
                .map_or_else(String::new, |t| format!("(error {})", of(t)));
            return format!("(result {ok} {err})");
        }
        Type::Record(record) => {
            let fields = record
                .fields()
                .map(|(name, t)| format!("(field \"{name}\" {})", of(t)));
            format!("(record {})", fields.collect::<Vec<_>>().join(" "))
        }
        Type::Variant(variant) => {
            let cases = variant.cases().map(|(name, t)| {
                format!("(case \"{name}\" {})", t.map_or_else(String::new, &mut of))
            });
            format!("(variant {})", cases.collect::<Vec<_>>().join(" "))
        }
        Type::Enum(enum_) => format!("(enum{})", quoted(enum_.names().collect())),
        Type::Flags(flags) => format!("(flags{})", quoted(flags.names().collect())),
        primitive => return primitive.to_string(),
    };
    let n = *count;
    *count += 1;
    let _ = write!(
        definitions,
        "(type $t{n}' {named}) (export $t{n} \"t{n}\" (type $t{n}')) "
    );
    format!("$t{n}")
}

/// A component whose `echo` gives back what it gets, by memory, and whose `heap` returns what its
/// `realloc`, which does as the mock's does, has handed out.
fn echo_text(t: &Type, encoding: StringEncoding, ptr_type: PtrType) -> String {
    let mut definitions = String::new();
    let ty = type_text(t, &mut definitions, &mut 0);
    let pad = " u8".repeat(17);
    let (ptr, encoding) = (ptr_name(ptr_type), encoding_name(encoding));
    let (limits, length_at) = match ptr_type {
        PtrType::I32 => ("16", 4),
        PtrType::I64 => ("i64 16", 8),
    };
    format!(
        r#"(component
          (core module $M
            (memory (export "mem") {limits})
            (global $next (mut {ptr}) ({ptr}.const {HEAP}))
            (func (export "realloc")
              (param $old {ptr}) (param $old-size {ptr}) (param $align {ptr}) (param $size {ptr})
              (result {ptr}) (local $new {ptr})
              (if (i32.and ({ptr}.ne (local.get $old) ({ptr}.const 0))
                    ({ptr}.le_u (local.get $size) (local.get $old-size)))
                (then (return (local.get $old))))
              (local.set $new ({ptr}.and
                ({ptr}.add (global.get $next) ({ptr}.sub (local.get $align) ({ptr}.const 1)))
                ({ptr}.sub ({ptr}.const 0) (local.get $align))))
              (global.set $next ({ptr}.add (local.get $new) (local.get $size)))
              (memory.copy (local.get $new) (local.get $old) (local.get $old-size))
              (local.get $new))
            (func (export "echo") (param {ptr}) (result {ptr}) (local.get 0))
            (func (export "heap") (result {ptr})
              ({ptr}.store ({ptr}.const 0) ({ptr}.const {HEAP}))
              ({ptr}.store ({ptr}.const {length_at})
                ({ptr}.sub (global.get $next) ({ptr}.const {HEAP})))
              ({ptr}.const 0)))
          (core instance $m (instantiate $M))
          {definitions}
          (type $t (tuple {ty}{pad}))
          (func (export "echo") (param "x" $t) (result $t) (canon lift (core func $m "echo")
            (memory (core memory $m "mem")) (realloc (core func $m "realloc"))
            string-encoding={encoding}))
          (func (export "heap") (result (list u8)) (canon lift (core func $m "heap")
            (memory (core memory $m "mem")))))"#
    )
}

struct Echo {
    store: Store<()>,
    instance: Instance,
    _executor: Executor,
}

impl Echo {
    fn new(t: &Type, encoding: StringEncoding, ptr_type: PtrType) -> Result<Echo, Error> {
        let engine = Engine::new(Config::new());
        let executor = Executor::new();
        let store = Store::new(&engine, &executor, ());
        let text = echo_text(t, encoding, ptr_type);
        let component = Component::new(&engine, text.as_bytes())?;
        let instance = Linker::new().instantiate(&store, &component)?;
        Ok(Echo {
            store,
            instance,
            _executor: executor,
        })
    }

    fn call(&self, name: &str, args: &[Val]) -> Result<Val, Error> {
        let func = self.instance.get_func(&self.store, name)?;
        let result = self.store.block_on(func.call(&self.store, args))?;
        Ok(result.expect("it has a result"))
    }
}

#[test]
fn a_real_guest_gives_back_what_it_gets_and_sees_the_specifications_bytes() {
    let mut oracle = Oracle::start();
    for (round, bytes) in samples(600).iter().enumerate() {
        let mut random = random(bytes);
        let t = random.ty(4);
        let v = random.val(&t);
        let (encoding, ptr_type) = configurations().nth(round % 6).unwrap();
        let mut types = vec![t.clone()];
        types.extend(std::iter::repeat_n(Type::U8, 17));
        let padded = Type::tuple(types);
        let mut values = vec![v];
        values.extend((0..17).map(Val::U8));
        let v = Val::Tuple(values);
        let echo = Echo::new(&t, encoding, ptr_type)
            .unwrap_or_else(|error| panic!("round {round}: {error}, for {t}"));
        let back = echo.call("echo", std::slice::from_ref(&v));
        assert_eq!(
            back.unwrap(),
            v,
            "round {round}, {encoding:?}, {ptr_type:?}: {t}"
        );
        let Val::List(heap) = echo.call("heap", &[]).unwrap() else {
            panic!("not a list");
        };
        let heap: Vec<u8> = heap
            .iter()
            .map(|byte| match byte {
                Val::U8(byte) => *byte,
                other => panic!("{other}"),
            })
            .collect();
        let Some(oracle) = &mut oracle else { continue };
        let Lowered::Done(_, theirs) = oracle.ask(&json!({
            "ptr": ptr_name(ptr_type), "encoding": encoding_name(encoding),
            "type": type_json(&padded), "value": value_json(&v, &padded),
        })) else {
            panic!("round {round}: the definitions refuse {v}");
        };
        assert_eq!(
            hex(&heap),
            theirs,
            "round {round}, {encoding:?}, {ptr_type:?}: {t}"
        );
    }
}
