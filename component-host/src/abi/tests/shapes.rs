//! Values of the embedder's that are not of the type: an error of kind `Type`, never a panic.

use super::{Mock, assert_type_error, lower, name, names, store_at};
use crate::types::{ResourceType, Type, ValueTypes};
use crate::val::{ErrorContextAny, FutureAny, ResourceAny, StreamAny, Val, send};

/// A type of each kind, and a value of it.
fn one_of_each() -> Vec<(Type, Val)> {
    let rt = ResourceType::fresh();
    let boxed = |v| Some(Box::new(v));
    vec![
        (Type::Bool, Val::Bool(true)),
        (Type::S8, Val::S8(1)),
        (Type::U8, Val::U8(1)),
        (Type::S16, Val::S16(1)),
        (Type::U16, Val::U16(1)),
        (Type::S32, Val::S32(1)),
        (Type::U32, Val::U32(1)),
        (Type::S64, Val::S64(1)),
        (Type::U64, Val::U64(1)),
        (Type::Float32, Val::Float32(1.0)),
        (Type::Float64, Val::Float64(1.0)),
        (Type::Char, Val::Char('a')),
        (Type::String, Val::String("a".into())),
        (Type::list(Type::U8), Val::List(vec![Val::U8(1)])),
        (
            Type::map(Type::U8, Type::Bool),
            Val::Map(vec![(Val::U8(1), Val::Bool(true))]),
        ),
        (
            Type::record([(name("a"), Type::U8)]),
            Val::Record(vec![(name("a"), Val::U8(1))]),
        ),
        (Type::tuple([Type::U8]), Val::Tuple(vec![Val::U8(1)])),
        (
            Type::variant([(name("a"), Some(Type::U8)), (name("b"), None)]),
            Val::Variant(name("a"), boxed(Val::U8(1))),
        ),
        (Type::enum_([name("a")]), Val::Enum(name("a"))),
        (Type::option(Type::U8), Val::Option(boxed(Val::U8(1)))),
        (
            Type::result(Some(Type::U8), None),
            Val::Result(Ok(boxed(Val::U8(1)))),
        ),
        (Type::flags([name("a")]), Val::Flags(vec![name("a")])),
        (Type::Own(rt), Val::Resource(ResourceAny::own(rt, 1))),
        (
            Type::ErrorContext,
            Val::ErrorContext(ErrorContextAny::new("1")),
        ),
        (Type::stream(None), Val::Stream(StreamAny::new(1))),
        (Type::future(None), Val::Future(FutureAny::new(1))),
    ]
}

/// Refused flat, in memory, and as an element, and by the check.
#[track_caller]
fn assert_refused(v: &Val, t: &Type) -> String {
    let mut cx = Mock::new();
    assert_type_error(lower(&mut cx, v, t));
    assert_type_error(store_at(&mut cx, v, t, 64));
    let (vs, ts) = (Val::List(vec![v.clone()]), Type::list(t.clone()));
    assert_type_error(lower(&mut cx, &vs, &ts));
    v.type_check(t).expect_err("it is refused")
}

#[test]
fn each_kind_of_value_is_of_its_own_type_only() {
    let all = one_of_each();
    for (i, (t, _)) in all.iter().enumerate() {
        for (j, (_, v)) in all.iter().enumerate() {
            if i == j {
                assert_eq!(v.type_check(t), Ok(()));
                assert!(lower(&mut Mock::new(), v, t).is_ok(), "{t}");
                assert!(store_at(&mut Mock::new(), v, t, 64).is_ok(), "{t}");
            } else {
                assert_refused(v, t);
            }
        }
    }
}

#[test]
fn names_and_numbers_of_parts_are_those_of_the_type() {
    let (u8_, one) = (Type::U8, Val::U8(1));
    let record = Type::record([(name("a"), Type::U8), (name("b"), Type::U8)]);
    let fields = |fields: &[&str]| {
        let fields = fields.iter().map(|field| (name(field), Val::U8(1)));
        Val::Record(fields.collect())
    };
    for wrong in [&["a"][..], &["a", "c"], &["a", "a"], &["a", "b", "c"], &[]] {
        assert_refused(&fields(wrong), &record);
    }
    let pair = Type::tuple([Type::U8, Type::U8]);
    assert_refused(&Val::Tuple(vec![one.clone()]), &pair);
    assert_refused(&Val::Tuple(vec![one.clone(); 3]), &pair);
    let fixed = Type::fixed_length_list(u8_, 2);
    assert_refused(&Val::List(vec![one.clone()]), &fixed);
    let variant = Type::variant([(name("a"), Some(Type::U8)), (name("b"), None)]);
    let payload = || Some(Box::new(Val::U8(1)));
    assert_refused(&Val::Variant(name("a"), None), &variant);
    assert_refused(&Val::Variant(name("b"), payload()), &variant);
    assert_refused(&Val::Variant(name("c"), None), &variant);
    assert_refused(&Val::Enum(name("z")), &Type::enum_(names("e", 300)));
    let result = Type::result(None, Some(Type::U8));
    assert_refused(&Val::Result(Ok(payload())), &result);
    assert_refused(&Val::Result(Err(None)), &result);
    assert_refused(&Val::Flags(vec![name("b")]), &Type::flags([name("a")]));
}

#[test]
fn fields_may_come_in_any_order() {
    let t = Type::record([(name("a"), Type::U8), (name("b"), Type::U16)]);
    let v = Val::Record(vec![(name("b"), Val::U16(2)), (name("a"), Val::U8(1))]);
    assert_eq!(v.type_check(&t), Ok(()));
    let mut cx = Mock::new();
    store_at(&mut cx, &v, &t, 64).unwrap();
    assert_eq!(cx.memory[64..68], [1, 0, 2, 0]);
    let flat = lower(&mut cx, &v, &t).unwrap();
    assert_eq!((flat[0].1, flat[1].1), (1, 2));
}

#[test]
fn a_borrow_is_no_own_but_an_own_will_do_for_a_borrow() {
    let (rt, other) = (ResourceType::fresh(), ResourceType::fresh());
    let own = Val::Resource(ResourceAny::own(rt, 1));
    let borrow = Val::Resource(ResourceAny::borrow(rt, 1));
    assert_refused(&borrow, &Type::Own(rt));
    assert_refused(&own, &Type::Own(other));
    assert_refused(&borrow, &Type::Borrow(other));
    assert_eq!(own.type_check(&Type::Borrow(rt)), Ok(()));
    assert!(lower(&mut Mock::new(), &own, &Type::Borrow(rt)).is_ok());
}

#[test]
fn the_number_of_parameters_is_that_of_the_function() {
    let ts = ValueTypes::new([Type::U8]);
    for vs in [vec![], vec![Val::U8(1); 2]] {
        assert_type_error(send(&vs, ts.types()));
    }
}

#[test]
fn an_error_says_where_what_was_expected_and_what_was_found() {
    let t = Type::tuple([
        Type::U8,
        Type::list(Type::U8),
        Type::record([(name("name"), Type::option(Type::String))]),
    ]);
    let v = |inner| {
        Val::Tuple(vec![
            Val::U8(1),
            Val::List(vec![]),
            Val::Record(vec![(name("name"), Val::Option(Some(Box::new(inner))))]),
        ])
    };
    assert_eq!(v(Val::String("a".into())).type_check(&t), Ok(()));
    let error = v(Val::List(vec![])).type_check(&t).unwrap_err();
    assert_eq!(error, ".2.name.some: expected string, found list");
    let error = Val::U8(1).type_check(&Type::list(Type::U8)).unwrap_err();
    assert_eq!(error, "expected list<u8>, found u8");
    let list = Val::List(vec![Val::U8(1), Val::Bool(true)]);
    let error = list.type_check(&Type::list(Type::U8)).unwrap_err();
    assert_eq!(error, ".1: expected u8, found bool");
    let error = Val::Enum(name("z")).type_check(&Type::enum_([name("a")]));
    assert_eq!(
        error.unwrap_err(),
        "expected a case of enum { a }, found `z`"
    );
}

#[test]
fn values_are_equal_when_no_guest_could_tell_them_apart() {
    assert_eq!(Val::Float32(f32::NAN), Val::Float32(f32::NAN));
    assert_ne!(Val::Float64(0.0), Val::Float64(-0.0));
    let flags = |flags: &[&str]| Val::Flags(flags.iter().map(|flag| name(flag)).collect());
    assert_eq!(flags(&["a", "b"]), flags(&["b", "a", "a"]));
    assert_ne!(flags(&["a"]), flags(&["a", "b"]));
    assert_ne!(Val::U8(1), Val::S8(1));
}
