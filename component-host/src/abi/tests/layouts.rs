//! Alignments, sizes and flat types, worked out by hand from the specification.

use super::{name, names};
use crate::abi::alignment::alignment;
use crate::abi::element_size::elem_size;
use crate::abi::flattening::{
    FlattenContext, MAX_FLAT_ASYNC_PARAMS, flatten_functype, flatten_type,
};
use crate::abi::options::{FlattenOptions, PtrType};
use crate::abi::type_predicates::{contains_async_value, contains_borrow, none_or_number_type};
use crate::engine::CoreType::{self, F32, F64, I32, I64};
use crate::types::{FuncType, ResourceType, Type};

fn layout(t: &Type, ptr_type: PtrType) -> (u64, u32, Option<Vec<CoreType>>) {
    let flat = flatten_type(t, ptr_type).map(|flat| flat.as_slice().to_vec());
    (elem_size(t, ptr_type), alignment(t, ptr_type), flat)
}

#[track_caller]
fn assert_layout(t: &Type, size: u64, alignment: u32, flat: &[CoreType]) {
    let expected = (size, alignment, Some(flat.to_vec()));
    assert_eq!(layout(t, PtrType::I32), expected, "{t}");
}

#[track_caller]
fn assert_layout64(t: &Type, size: u64, alignment: u32, flat: &[CoreType]) {
    let expected = (size, alignment, Some(flat.to_vec()));
    assert_eq!(layout(t, PtrType::I64), expected, "{t}");
}

#[test]
fn primitive_types() {
    for (t, size, flat) in [
        (Type::Bool, 1, I32),
        (Type::S8, 1, I32),
        (Type::U8, 1, I32),
        (Type::S16, 2, I32),
        (Type::U16, 2, I32),
        (Type::S32, 4, I32),
        (Type::U32, 4, I32),
        (Type::S64, 8, I64),
        (Type::U64, 8, I64),
        (Type::Float32, 4, F32),
        (Type::Float64, 8, F64),
        (Type::Char, 4, I32),
        (Type::ErrorContext, 4, I32),
        (Type::Own(ResourceType::fresh()), 4, I32),
        (Type::Borrow(ResourceType::fresh()), 4, I32),
        (Type::stream(Some(Type::U64)), 4, I32),
        (Type::future(None), 4, I32),
    ] {
        assert_layout(&t, size, size as u32, &[flat]);
        assert_layout64(&t, size, size as u32, &[flat]);
    }
}

#[test]
fn pointers_are_as_wide_as_the_memory_s_addresses() {
    for t in [
        Type::String,
        Type::list(Type::U8),
        Type::map(Type::U8, Type::U8),
    ] {
        assert_layout(&t, 8, 4, &[I32, I32]);
        assert_layout64(&t, 16, 8, &[I64, I64]);
    }
}

#[test]
fn fields_are_aligned_and_the_end_is_padded() {
    let t = Type::record([
        (name("a"), Type::U8),
        (name("b"), Type::U64),
        (name("c"), Type::String),
        (name("d"), Type::Bool),
    ]);
    assert_layout(&t, 32, 8, &[I32, I64, I32, I32, I32]);
    assert_layout64(&t, 40, 8, &[I32, I64, I64, I64, I32]);
    let Type::Record(record) = &t else { panic!() };
    assert_eq!(*record.layout(PtrType::I32).offsets, [0, 8, 16, 24]);
    assert_eq!(*record.layout(PtrType::I64).offsets, [0, 8, 16, 32]);
    let pair = Type::tuple([Type::U16, Type::U8]);
    assert_layout(&pair, 4, 2, &[I32, I32]);
}

#[test]
fn lists_of_fixed_length_lie_in_place() {
    let t = Type::fixed_length_list(Type::tuple([Type::U16, Type::U8]), 3);
    assert_layout(&t, 12, 2, &[I32; 6]);
    let long = Type::fixed_length_list(Type::U8, u32::MAX);
    assert_eq!(layout(&long, PtrType::I32), (u64::from(u32::MAX), 1, None));
}

#[test]
fn payloads_share_the_widest_layout_and_join_their_flat_types() {
    let t = Type::variant([
        (name("a"), None),
        (name("b"), Some(Type::U8)),
        (name("c"), Some(Type::Float64)),
    ]);
    assert_layout(&t, 16, 8, &[I32, I64]);
    let cases = |cases: &[Type]| {
        let cases = cases.iter().enumerate();
        let cases = cases.map(|(i, t)| (name(&format!("c{i}")), Some(t.clone())));
        Type::variant(cases.collect::<Vec<_>>())
    };
    assert_layout(&cases(&[Type::U32, Type::Float32]), 8, 4, &[I32, I32]);
    assert_layout(&cases(&[Type::Float32, Type::U32]), 8, 4, &[I32, I32]);
    assert_layout(&cases(&[Type::Float32, Type::Float32]), 8, 4, &[I32, F32]);
    assert_layout(&cases(&[Type::Float32, Type::Float64]), 16, 8, &[I32, I64]);
    let pair = Type::tuple([Type::Float32, Type::Float32]);
    assert_layout(&cases(&[pair, Type::U64]), 16, 8, &[I32, I64, F32]);
    assert_layout64(&cases(&[Type::String, Type::U32]), 24, 8, &[I32, I64, I64]);
    assert_layout(&Type::option(Type::U8), 2, 1, &[I32, I32]);
    assert_layout(&Type::result(None, None), 1, 1, &[I32]);
    let result = Type::result(None, Some(Type::String));
    assert_layout(&result, 12, 4, &[I32, I32, I32]);
}

#[test]
fn discriminants_grow_with_the_number_of_cases() {
    for (cases, size) in [(1, 1), (0x100, 1), (0x101, 2), (0x1_0000, 2), (0x1_0001, 4)] {
        assert_layout(&Type::enum_(names("e", cases)), size, size as u32, &[I32]);
    }
    for (flags, size) in [(1, 1), (8, 1), (9, 2), (16, 2), (17, 4), (32, 4)] {
        assert_layout(&Type::flags(names("f", flags)), size, size as u32, &[I32]);
    }
}

#[test]
fn flat_types_are_counted_up_to_the_limit() {
    let tuple = |count| Type::tuple(vec![Type::U8; count]);
    assert_layout(&tuple(16), 16, 1, &[I32; 16]);
    assert_eq!(layout(&tuple(17), PtrType::I32), (17, 1, None));
    // The discriminant is one too many.
    assert_eq!(
        flatten_type(&Type::option(tuple(16)), PtrType::I32).map(|f| f.len()),
        None
    );
}

fn options(async_: bool, callback: bool) -> FlattenOptions {
    FlattenOptions {
        async_,
        callback,
        ptr_type: PtrType::I32,
    }
}

fn func(params: usize, result: Option<Type>) -> FuncType {
    let params = names("p", params).into_iter().map(|name| (name, Type::U64));
    FuncType::new(false, params, result)
}

#[test]
fn synchronous_functions_spill_beyond_sixteen_parameters_and_one_result() {
    use FlattenContext::{Lift, Lower};
    let flatten = |ft: &FuncType, context| {
        let core = flatten_functype(options(false, false), ft, context);
        (core.params, core.results)
    };
    let ft = func(16, Some(Type::Float32));
    assert_eq!(flatten(&ft, Lift), (vec![I64; 16], vec![F32]));
    assert_eq!(flatten(&ft, Lower), (vec![I64; 16], vec![F32]));
    let ft = func(17, Some(Type::String));
    assert_eq!(flatten(&ft, Lift), (vec![I32], vec![I32]));
    assert_eq!(flatten(&ft, Lower), (vec![I32, I32], vec![]));
    assert_eq!(flatten(&func(0, None), Lower), (vec![], vec![]));
}

#[test]
fn asynchronous_functions_return_codes() {
    use FlattenContext::{Lift, Lower};
    let flatten = |ft: &FuncType, callback, context| {
        let core = flatten_functype(options(true, callback), ft, context);
        (core.params, core.results)
    };
    let ft = func(5, Some(Type::U8));
    assert_eq!(flatten(&ft, false, Lift), (vec![I64; 5], vec![]));
    assert_eq!(flatten(&ft, true, Lift), (vec![I64; 5], vec![I32]));
    assert_eq!(flatten(&ft, false, Lower), (vec![I32, I32], vec![I32]));
    let ft = func(MAX_FLAT_ASYNC_PARAMS, None);
    assert_eq!(flatten(&ft, false, Lower), (vec![I64; 4], vec![I32]));
    assert_eq!(flatten(&func(17, None), true, Lift), (vec![I32], vec![I32]));
}

/// As a tree, this type has 2^100 parts.
fn shared_a_hundred_times() -> Type {
    (0..100).fold(Type::U8, |t, _| {
        let list = Type::list(t);
        Type::variant([(name("a"), Some(list.clone())), (name("b"), Some(list))])
    })
}

#[test]
fn a_type_that_shares_its_parts_is_not_walked_as_a_tree() {
    let (a, b) = (shared_a_hundred_times(), shared_a_hundred_times());
    assert_eq!(a, b);
    assert_ne!(a, Type::list(b.clone()));
    assert_layout(&a, 12, 4, &[I32, I32, I32]);
    assert!(!contains_borrow(&a));
    let text = a.to_string();
    assert!(text.len() < 20_000 && text.contains(".."), "{}", text.len());
    let error = crate::Val::Bool(true).type_check(&a).unwrap_err();
    assert!(error.len() < 30_000);
}

#[test]
fn sizes_saturate() {
    let t = (0..10).fold(Type::U64, |t, _| Type::fixed_length_list(t, u32::MAX));
    assert_eq!(elem_size(&t, PtrType::I32), u64::MAX);
    let t = Type::tuple([t.clone(), Type::option(t)]);
    assert_eq!(elem_size(&t, PtrType::I64), u64::MAX);
}

#[test]
fn predicates_look_into_parts() {
    let rt = ResourceType::fresh();
    let borrow = Type::option(Type::tuple([Type::U8, Type::Borrow(rt)]));
    assert!(contains_borrow(&borrow));
    assert!(!contains_borrow(&Type::list(Type::Own(rt))));
    assert!(!contains_async_value(&borrow));
    let stream = Type::map(
        Type::U8,
        Type::result(None, Some(Type::stream(Some(borrow)))),
    );
    assert!(contains_async_value(&stream) && contains_borrow(&stream));
    assert!(none_or_number_type(None) && none_or_number_type(Some(&Type::S16)));
    assert!(!none_or_number_type(Some(&Type::Bool)) && !none_or_number_type(Some(&Type::Char)));
}

#[test]
fn types_are_equal_by_structure_and_resources_by_identity() {
    let (r1, r2) = (ResourceType::fresh(), ResourceType::fresh());
    assert_eq!(Type::list(Type::Own(r1)), Type::list(Type::Own(r1)));
    assert_ne!(Type::list(Type::Own(r1)), Type::list(Type::Own(r2)));
    assert_ne!(Type::Own(r1), Type::Borrow(r1));
    assert_ne!(Type::stream(None), Type::stream(Some(Type::U8)));
    assert_ne!(Type::stream(None), Type::future(None));
    let record = |field| Type::record([(name(field), Type::U8)]);
    assert_ne!(record("a"), record("b"));
    assert_ne!(func(1, None), func(1, Some(Type::U8)));
    assert_eq!(func(1, None), func(1, None));
}

#[test]
fn types_are_printed_as_wit() {
    let t = Type::record([
        (name("a"), Type::list(Type::U8)),
        (
            name("b"),
            Type::result(None, Some(Type::fixed_length_list(Type::S8, 4))),
        ),
        (
            name("c"),
            Type::variant([(name("x"), None), (name("y"), Some(Type::Char))]),
        ),
        (
            name("d"),
            Type::map(Type::String, Type::flags([name("r"), name("w")])),
        ),
        (
            name("e"),
            Type::tuple([Type::option(Type::Bool), Type::stream(None)]),
        ),
    ]);
    assert_eq!(
        t.to_string(),
        "record { a: list<u8>, b: result<_, list<s8, 4>>, c: variant { x, y(char) }, \
         d: map<string, flags { r, w }>, e: tuple<option<bool>, stream> }"
    );
    let ft = FuncType::new(true, [(name("x"), Type::U32)], Some(Type::String));
    assert_eq!(ft.to_string(), "async func(x: u32) -> string");
    assert_eq!(func(0, None).to_string(), "func()");
}

#[test]
fn a_value_is_five_words() {
    // Lists are vectors of these, so this is what each byte of a `list<u8>` costs the host.
    assert!(size_of::<crate::Val>() <= 40, "{}", size_of::<crate::Val>());
}
