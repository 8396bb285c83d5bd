use crate::types::{Name, ResourceType, Type};
use crate::val::{ErrorContextAny, FutureAny, ResourceAny, StreamAny, Val};

fn read_and_print(ty: &Type, text: &str) {
    let value = Val::from_wave(ty, text).unwrap_or_else(|error| panic!("{error}"));
    value.type_check(ty).expect("what was read has the type");
    assert_eq!(value.to_string(), text);
}

#[test]
fn text_is_read_and_printed_for_each_kind_of_type() {
    let name = |name: &str| Name::from(name);
    let point = Type::record([(name("x"), Type::S32), (name("y"), Type::Float64)]);
    let shape = Type::variant([(name("dot"), None), (name("at"), Some(point.clone()))]);
    for (ty, text) in [
        (Type::Bool, "true"),
        (Type::S8, "-128"),
        (Type::U64, "18446744073709551615"),
        (Type::Float32, "nan"),
        (Type::Float64, "-inf"),
        (Type::Char, "'☃'"),
        (Type::String, r#""a\n\"b\"""#),
        (Type::list(Type::U8), "[1, 2]"),
        (Type::fixed_length_list(Type::U8, 2), "[1, 2]"),
        (Type::map(Type::String, Type::U8), r#"{"a": 1, "b": 2}"#),
        (point.clone(), "{x: -1, y: 0.5}"),
        (Type::tuple([Type::U8, Type::Bool]), "(1, false)"),
        (shape.clone(), "dot"),
        (shape, "at({x: 1, y: 2})"),
        (Type::enum_([name("true"), name("b")]), "%true"),
        (Type::option(Type::U8), "some(1)"),
        (Type::option(Type::U8), "none"),
        (Type::result(Some(Type::U8), None), "ok(1)"),
        (Type::result(Some(Type::U8), None), "err"),
        (Type::flags([name("r"), name("w")]), "{r, w}"),
    ] {
        read_and_print(&ty, text);
    }
}

#[test]
fn text_of_another_type_is_an_error_of_kind_type() {
    for (ty, text) in [
        (Type::U8, "256"),
        (Type::fixed_length_list(Type::U8, 2), "[1]"),
        (Type::enum_([Name::from("a")]), "b"),
        (Type::flags([Name::from("a")]), "{b}"),
        (Type::stream(None), "1"),
        (Type::Own(ResourceType::fresh()), "1"),
    ] {
        let error = Val::from_wave(&ty, text).expect_err(text);
        assert!(matches!(error.kind(), crate::ErrorKind::Type(_)), "{error}");
    }
}

#[test]
fn what_has_no_text_is_printed_in_angle_brackets() {
    let ty = ResourceType::fresh();
    let values = Val::List(vec![
        Val::Resource(ResourceAny::own(ty, 3)),
        Val::Resource(ResourceAny::borrow(ty, 4)),
        Val::Stream(StreamAny::new(5)),
        Val::Future(FutureAny::new(6)),
        Val::ErrorContext(ErrorContextAny::new("7")),
    ]);
    let text = "[<own 3>, <borrow 4>, <stream 5>, <future 6>, <error-context 7>]";
    assert_eq!(values.to_string(), text);
}
