//! Rust types whose values are kept as [`Val`]s while nobody knows the type of a stream's elements.

use crate::types::Type;
use crate::val::{ResourceAny, Val};

/// A Rust type whose values can be made into `Val`s, and back, without a type beside them.
#[allow(unnameable_types, reason = "sealed")]
pub trait ElementValue: Sized + 'static {
    /// Whether a value of the component type can be a value of this Rust type, and back.
    fn accepts(ty: &Type) -> bool;

    /// The component type that is expected, as WIT writes it.
    fn describe() -> String;

    /// Converts from a value of an accepted type.
    fn from_val(val: Val) -> Option<Self>;

    /// Converts to a value.
    fn into_val(self) -> Val;
}

macro_rules! primitive {
    ($($rust:ty => $case:ident $wit:literal,)*) => {$(
        impl ElementValue for $rust {
            fn accepts(ty: &Type) -> bool {
                matches!(ty, Type::$case)
            }

            fn describe() -> String {
                $wit.to_owned()
            }

            fn from_val(val: Val) -> Option<Self> {
                match val {
                    Val::$case(value) => Some(value.into()),
                    _ => None,
                }
            }

            fn into_val(self) -> Val {
                Val::$case(self.into())
            }
        }
    )*};
}

primitive! {
    bool => Bool "bool",
    i8 => S8 "s8",
    u8 => U8 "u8",
    i16 => S16 "s16",
    u16 => U16 "u16",
    i32 => S32 "s32",
    u32 => U32 "u32",
    i64 => S64 "s64",
    u64 => U64 "u64",
    f32 => Float32 "f32",
    f64 => Float64 "f64",
    char => Char "char",
    String => String "string",
}

impl ElementValue for ResourceAny {
    fn accepts(ty: &Type) -> bool {
        matches!(ty, Type::Own(_) | Type::Borrow(_))
    }

    fn describe() -> String {
        "a resource".to_owned()
    }

    fn from_val(val: Val) -> Option<ResourceAny> {
        match val {
            Val::Resource(resource) => Some(resource),
            _ => None,
        }
    }

    fn into_val(self) -> Val {
        Val::Resource(self)
    }
}

impl ElementValue for Val {
    fn accepts(_ty: &Type) -> bool {
        true
    }

    fn describe() -> String {
        "any type".to_owned()
    }

    fn from_val(val: Val) -> Option<Val> {
        Some(val)
    }

    fn into_val(self) -> Val {
        self
    }
}

impl<V: ElementValue> ElementValue for Vec<V> {
    fn accepts(ty: &Type) -> bool {
        matches!(ty, Type::List(list) if V::accepts(list.ty()))
    }

    fn describe() -> String {
        format!("list<{}>", V::describe())
    }

    fn from_val(val: Val) -> Option<Self> {
        match val {
            Val::List(vals) => vals.into_iter().map(V::from_val).collect(),
            _ => None,
        }
    }

    fn into_val(self) -> Val {
        Val::List(self.into_iter().map(V::into_val).collect())
    }
}

impl<V: ElementValue> ElementValue for Option<V> {
    fn accepts(ty: &Type) -> bool {
        matches!(ty, Type::Option(option) if V::accepts(option.ty()))
    }

    fn describe() -> String {
        format!("option<{}>", V::describe())
    }

    fn from_val(val: Val) -> Option<Self> {
        match val {
            Val::Option(Some(val)) => V::from_val(*val).map(Some),
            Val::Option(None) => Some(None),
            _ => None,
        }
    }

    fn into_val(self) -> Val {
        Val::Option(self.map(|value| Box::new(value.into_val())))
    }
}
