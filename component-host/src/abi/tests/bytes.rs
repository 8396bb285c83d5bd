//! What is in memory and in core values, written by hand from the specification.

use super::{HEAP, Mock, PAGE, Realloc, lift, lift_from_memory, lower, name, names, store_at};
use crate::abi::flat_lifting::CoreValueIter;
use crate::abi::options::PtrType;
use crate::abi::values::{lift_flat_values, lower_flat_values};
use crate::engine::CoreType::{F32, F64, I32, I64};
use crate::engine::{CoreType, core_val_from_bits, core_val_to_bits};
use crate::types::{Name, ResourceType, Type, ValueTypes};
use crate::val::{ResourceAny, Val, receive, send};

/// The bytes at 64 after a value was stored there; around it, memory is full of ones.
fn stored(t: &Type, v: &Val, ptr_type: PtrType) -> Vec<u8> {
    let mut cx = Mock::new();
    cx.ptr_type = ptr_type;
    cx.memory[..128].fill(0xff);
    store_at(&mut cx, v, t, 64).expect("it is stored");
    let size = crate::abi::element_size::elem_size(t, ptr_type) as usize;
    assert!(cx.memory[..64].iter().all(|byte| *byte == 0xff));
    assert!(cx.memory[64 + size..128].iter().all(|byte| *byte == 0xff));
    cx.memory[64..64 + size].to_vec()
}

#[track_caller]
fn assert_stored(t: &Type, v: Val, bytes: &[u8]) {
    assert_eq!(stored(t, &v, PtrType::I32), bytes, "{t}");
}

#[test]
fn scalars_are_little_endian() {
    assert_stored(&Type::Bool, Val::Bool(true), &[1]);
    assert_stored(&Type::S8, Val::S8(-2), &[0xfe]);
    assert_stored(&Type::S16, Val::S16(-2), &[0xfe, 0xff]);
    assert_stored(&Type::S32, Val::S32(-2), &[0xfe, 0xff, 0xff, 0xff]);
    assert_stored(&Type::U32, Val::U32(0x0102_0304), &[4, 3, 2, 1]);
    assert_stored(&Type::U64, Val::U64(0x0102), &[2, 1, 0, 0, 0, 0, 0, 0]);
    assert_stored(&Type::Float32, Val::Float32(1.0), &[0, 0, 0x80, 0x3f]);
    assert_stored(
        &Type::Float64,
        Val::Float64(-2.0),
        &[0, 0, 0, 0, 0, 0, 0, 0xc0],
    );
    assert_stored(&Type::Char, Val::Char('🍰'), &[0x70, 0xf3, 1, 0]);
}

#[test]
fn padding_is_left_alone() {
    let t = Type::tuple([Type::U8, Type::U32]);
    let v = Val::Tuple(vec![Val::U8(1), Val::U32(2)]);
    assert_stored(&t, v, &[1, 0xff, 0xff, 0xff, 2, 0, 0, 0]);
    let t = Type::option(Type::U16);
    assert_stored(&t, Val::Option(None), &[0, 0xff, 0xff, 0xff]);
    let some = Val::Option(Some(Box::new(Val::U16(0x102))));
    assert_stored(&t, some, &[1, 0xff, 2, 1]);
}

#[test]
fn handles_and_flags_and_cases_are_integers() {
    let rt = ResourceType::fresh();
    let own = Val::Resource(ResourceAny::own(rt, 5));
    assert_stored(&Type::Own(rt), own, &[105, 0, 0, 0]);
    let t = Type::flags(names("f", 9));
    let v = Val::Flags(vec![name("f8"), name("f0"), name("f0")]);
    assert_stored(&t, v, &[1, 1]);
    let t = Type::enum_(names("e", 300));
    assert_stored(&t, Val::Enum(name("e258")), &[2, 1]);
}

#[test]
fn lists_are_a_pointer_and_a_length_to_what_realloc_gave() {
    let t = Type::list(Type::tuple([Type::U8, Type::U16]));
    let element = |a, b| Val::Tuple(vec![Val::U8(a), Val::U16(b)]);
    let v = Val::List(vec![element(1, 2), element(3, 4)]);
    let mut cx = Mock::new();
    assert_eq!(lower(&mut cx, &v, &t).unwrap(), [(I32, HEAP), (I32, 2)]);
    assert_eq!(cx.memory[0x400..0x408], [1, 0, 2, 0, 3, 0, 4, 0]);
    let call = Realloc {
        old_byte_length: 0,
        alignment: 2,
        new_byte_length: 8,
    };
    assert_eq!(cx.reallocs, [call]);
    assert_stored(&t, v.clone(), &[0, 4, 0, 0, 2, 0, 0, 0]);
    let wide = [0, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(stored(&t, &v, PtrType::I64), wide);
}

#[test]
fn an_empty_list_asks_realloc_too() {
    let mut cx = Mock::new();
    let flat = lower(&mut cx, &Val::List(vec![]), &Type::list(Type::U64)).unwrap();
    assert_eq!(flat, [(I32, HEAP), (I32, 0)]);
    assert_eq!(cx.reallocs.len(), 1);
    assert_eq!(
        (cx.reallocs[0].alignment, cx.reallocs[0].new_byte_length),
        (8, 0)
    );
}

#[test]
fn maps_are_lists_of_pairs() {
    let t = Type::map(Type::U8, Type::U32);
    let v = Val::Map(vec![(Val::U8(1), Val::U32(2)), (Val::U8(3), Val::U32(4))]);
    let mut cx = Mock::new();
    assert_eq!(lower(&mut cx, &v, &t).unwrap(), [(I32, HEAP), (I32, 2)]);
    let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
    assert_eq!(cx.memory[0x400..0x410], bytes);
    assert_eq!(lift(&mut cx, &t, &[HEAP, 2]).unwrap(), v);
}

#[test]
fn memory_that_grows_in_realloc_is_looked_at_again() {
    let mut cx = Mock::new();
    cx.grow_to = Some(2 * PAGE);
    cx.next = PAGE as u64;
    let v = Val::List(vec![Val::String("abc".into())]);
    let flat = lower(&mut cx, &v, &Type::list(Type::String)).unwrap();
    assert_eq!(flat, [(I32, PAGE as u64), (I32, 1)]);
    assert_eq!(cx.memory[PAGE..PAGE + 11], *b"\x08\0\x01\0\x03\0\0\0abc");
}

#[test]
fn small_integers_are_extended_to_32_bits_and_no_further() {
    let mut cx = Mock::new();
    let flat = |v, t: Type| lower(&mut Mock::new(), &v, &t).unwrap();
    assert_eq!(flat(Val::S8(-1), Type::S8), [(I32, 0xffff_ffff)]);
    assert_eq!(flat(Val::S16(-2), Type::S16), [(I32, 0xffff_fffe)]);
    assert_eq!(flat(Val::U8(255), Type::U8), [(I32, 255)]);
    assert_eq!(flat(Val::S64(-1), Type::S64), [(I64, u64::MAX)]);
    assert_eq!(lift(&mut cx, &Type::U8, &[0x1_02]).unwrap(), Val::U8(2));
    assert_eq!(lift(&mut cx, &Type::S8, &[0x1_80]).unwrap(), Val::S8(-128));
    assert_eq!(lift(&mut cx, &Type::S16, &[0xffff]).unwrap(), Val::S16(-1));
    assert_eq!(
        lift(&mut cx, &Type::Bool, &[0x8000_0000]).unwrap(),
        Val::Bool(true)
    );
}

#[test]
fn the_high_bits_of_flags_are_ignored() {
    let mut cx = Mock::new();
    let t = Type::flags(names("f", 3));
    let v = lift(&mut cx, &t, &[0xffff_fff5]).unwrap();
    assert_eq!(v, Val::Flags(vec![name("f0"), name("f2")]));
    let all = Type::flags(names("f", 32));
    let v = lift(&mut cx, &all, &[0xffff_ffff]).unwrap();
    assert_eq!(v, Val::Flags(names("f", 32)));
    assert_eq!(lower(&mut cx, &v, &all).unwrap(), [(I32, 0xffff_ffff)]);
}

#[test]
fn there_is_one_nan() {
    let mut cx = Mock::new();
    let odd32 = u64::from(0xffab_cdef_u32);
    let odd64 = 0xfff1_2345_6789_abcd;
    let bits32 = |v: Val| match v {
        Val::Float32(f) => f.to_bits(),
        v => panic!("{v}"),
    };
    let bits64 = |v: Val| match v {
        Val::Float64(f) => f.to_bits(),
        v => panic!("{v}"),
    };
    assert_eq!(
        bits32(lift(&mut cx, &Type::Float32, &[odd32]).unwrap()),
        0x7fc0_0000
    );
    assert_eq!(
        bits64(lift(&mut cx, &Type::Float64, &[odd64]).unwrap()),
        0x7ff8 << 48
    );
    let odd = Val::Float32(f32::from_bits(odd32 as u32));
    assert_eq!(
        lower(&mut cx, &odd, &Type::Float32).unwrap(),
        [(F32, 0x7fc0_0000)]
    );
    let odd = Val::Float64(f64::from_bits(odd64));
    assert_eq!(
        lower(&mut cx, &odd, &Type::Float64).unwrap(),
        [(F64, 0x7ff8 << 48)]
    );
    // In a list, the short way must do the same.
    cx.write(8, &(odd32 as u32).to_le_bytes());
    let list = lift(&mut cx, &Type::list(Type::Float32), &[8, 1]).unwrap();
    assert_eq!(
        list,
        Val::List(vec![Val::Float32(f32::from_bits(0x7fc0_0000))])
    );
    let odd = Val::List(vec![odd]);
    lower(&mut cx, &odd, &Type::list(Type::Float64)).unwrap();
    assert_eq!(cx.memory[0x400..0x408], [0, 0, 0, 0, 0, 0, 0xf8, 0x7f]);
}

#[test]
fn payloads_travel_in_joined_core_values() {
    let mix = Type::variant([
        (name("f"), Some(Type::Float32)),
        (name("l"), Some(Type::U64)),
        (name("s"), Some(Type::S8)),
        (name("d"), Some(Type::Float64)),
        (name("n"), None),
    ]);
    let case = |case: &str, v| Val::Variant(name(case), Some(Box::new(v)));
    for (v, index, payload) in [
        (case("f", Val::Float32(3.0)), 0, 0x4040_0000),
        (case("l", Val::U64(u64::MAX)), 1, u64::MAX),
        (case("s", Val::S8(-1)), 2, 0xffff_ffff),
        (case("d", Val::Float64(1.0)), 3, 0x3ff0 << 48),
        (Val::Variant(name("n"), None), 4, 0),
    ] {
        let mut cx = Mock::new();
        let flat = lower(&mut cx, &v, &mix).unwrap();
        assert_eq!(flat, [(I32, index), (I64, payload)]);
        assert_eq!(lift(&mut cx, &mix, &[index, payload]).unwrap(), v);
    }
    // The high half is dropped.
    let f = lift(&mut Mock::new(), &mix, &[0, 0xffff_ffff_4040_0000]).unwrap();
    assert_eq!(f, case("f", Val::Float32(3.0)));
}

#[test]
fn shorter_cases_are_filled_with_zeros() {
    let t = Type::tuple([
        Type::result(Some(Type::String), Some(Type::Float32)),
        Type::U8,
    ]);
    let err = Val::Result(Err(Some(Box::new(Val::Float32(1.0)))));
    let v = Val::Tuple(vec![err, Val::U8(7)]);
    let mut cx = Mock::new();
    let flat = lower(&mut cx, &v, &t).unwrap();
    assert_eq!(flat, [(I32, 1), (I32, 0x3f80_0000), (I32, 0), (I32, 7)]);
    assert_eq!(lift(&mut cx, &t, &[1, 0x3f80_0000, 99, 7]).unwrap(), v);
}

#[test]
fn seventeen_parameters_go_by_memory() {
    let ts = ValueTypes::new(vec![Type::U16; 17]);
    let vs: Vec<Val> = (0..17).map(Val::U16).collect();
    let mut cx = Mock::new();
    let mut flat = Vec::new();
    let sent = send(&vs, ts.types()).unwrap();
    lower_flat_values(&mut cx, 16, sent, &ts, None, &mut flat).unwrap();
    assert_eq!(flat.len(), 1);
    assert_eq!(core_val_to_bits(&flat[0]), Some((I32, HEAP)));
    assert_eq!(
        (cx.reallocs[0].alignment, cx.reallocs[0].new_byte_length),
        (2, 34)
    );
    let bytes: Vec<u8> = (0..17).flat_map(|i| [i, 0]).collect();
    assert_eq!(cx.memory[0x400..0x400 + 34], bytes);
    let mut vi = CoreValueIter::new(&flat);
    let lifted = lift_flat_values(&mut cx, 16, &mut vi, &ts).unwrap();
    assert_eq!(receive(ts.types(), &mut lifted.read()).unwrap(), vs);
}

#[test]
fn sixteen_parameters_are_flat_unless_fewer_are_allowed() {
    let ts = ValueTypes::new(vec![Type::U8; 5]);
    let vs: Vec<Val> = (0..5).map(Val::U8).collect();
    let lowered = |max_flat| {
        let mut flat = Vec::new();
        let sent = send(&vs, ts.types()).unwrap();
        lower_flat_values(&mut Mock::new(), max_flat, sent, &ts, None, &mut flat).unwrap();
        flat.len()
    };
    assert_eq!((lowered(16), lowered(5), lowered(4)), (5, 5, 1));
}

#[test]
fn results_go_to_the_pointer_that_the_caller_gave() {
    let mut cx = Mock::new();
    store_at(&mut cx, &Val::U32(7), &Type::U32, 16).unwrap();
    assert!(cx.reallocs.is_empty());
    assert_eq!(
        lift_from_memory(&mut cx, &Type::U32, 16).unwrap(),
        Val::U32(7)
    );
    let ts = ValueTypes::new([Type::String]);
    let last = [core_val_from_bits(I32, 16)];
    let mut vi = CoreValueIter::new(&last);
    let ptr = vi.next_out_param(1, &ts, PtrType::I32).unwrap();
    assert_eq!(ptr, Some(16));
    assert_eq!(vi.next_out_param(2, &ts, PtrType::I32).unwrap(), None);
}

#[test]
fn names_of_lifted_values_are_those_of_the_type() {
    let shared = name("a");
    let t = Type::record([(Name::clone(&shared), Type::enum_([Name::clone(&shared)]))]);
    let Val::Record(fields) = lift(&mut Mock::new(), &t, &[0]).unwrap() else {
        panic!()
    };
    assert!(Name::ptr_eq(&fields[0].0, &shared));
}

#[test]
fn a_core_value_of_another_type_is_a_bug_of_ours() {
    let float = [core_val_from_bits(CoreType::F64, 0)];
    let next = || CoreValueIter::new(&float).next(I32).is_err();
    let caught = std::panic::catch_unwind(next);
    assert!(
        caught.unwrap_or(true),
        "a panic in debug builds, else an error"
    );
}
