//! Rust types whose values are kept as [`Val`]s while nobody knows the type of a stream's elements.

use crate::resource::Resource;
use crate::typed::{ComponentType, for_each_tuple};
use crate::types::{ResourceType, Type};
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

impl<V: ElementValue> ElementValue for Box<V> {
    fn accepts(ty: &Type) -> bool {
        V::accepts(ty)
    }

    fn describe() -> String {
        V::describe()
    }

    fn from_val(val: Val) -> Option<Self> {
        V::from_val(val).map(Box::new)
    }

    fn into_val(self) -> Val {
        (*self).into_val()
    }
}

impl<V: ElementValue, const N: usize> ElementValue for [V; N] {
    fn accepts(ty: &Type) -> bool {
        matches!(ty, Type::FixedLengthList(list)
            if list.size() as usize == N && V::accepts(list.ty()))
    }

    fn describe() -> String {
        format!("list<{}, {N}>", V::describe())
    }

    fn from_val(val: Val) -> Option<Self> {
        Vec::from_val(val)?.try_into().ok()
    }

    fn into_val(self) -> Val {
        Val::List(self.into_iter().map(V::into_val).collect())
    }
}

impl<O: ElementValue, E: ElementValue> ElementValue for Result<O, E> {
    fn accepts(ty: &Type) -> bool {
        matches!(ty, Type::Result(result)
            if result.ok().is_some_and(O::accepts) && result.err().is_some_and(E::accepts))
    }

    fn describe() -> String {
        format!("result<{}, {}>", O::describe(), E::describe())
    }

    fn from_val(val: Val) -> Option<Self> {
        match val {
            Val::Result(Ok(payload)) => O::from_val(*payload?).map(Ok),
            Val::Result(Err(payload)) => E::from_val(*payload?).map(Err),
            _ => None,
        }
    }

    fn into_val(self) -> Val {
        Val::Result(match self {
            Ok(value) => Ok(Some(Box::new(value.into_val()))),
            Err(value) => Err(Some(Box::new(value.into_val()))),
        })
    }
}

impl<T: 'static> ElementValue for Resource<T> {
    fn accepts(ty: &Type) -> bool {
        <Resource<T> as ComponentType>::typecheck(ty).is_ok()
    }

    fn describe() -> String {
        <Resource<T> as ComponentType>::describe()
    }

    fn from_val(val: Val) -> Option<Self> {
        match val {
            Val::Resource(resource) if resource.owned() => Some(Resource::new_own(resource.rep())),
            Val::Resource(resource) => Some(Resource::new_borrow(resource.rep())),
            _ => None,
        }
    }

    fn into_val(self) -> Val {
        let ty = ResourceType::host::<T>();
        Val::Resource(match self.owned() {
            true => ResourceAny::own(ty, self.rep()),
            false => ResourceAny::borrow(ty, self.rep()),
        })
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt)+))*) => {$(
        impl<$($name: ElementValue),+> ElementValue for ($($name,)+) {
            fn accepts(ty: &Type) -> bool {
                let checks: &[fn(&Type) -> bool] = &[$($name::accepts),+];
                match ty {
                    Type::Tuple(tuple) => {
                        let types = tuple.types();
                        types.len() == checks.len()
                            && types.iter().zip(checks).all(|(ty, accepts)| accepts(ty))
                    }
                    _ => false,
                }
            }

            fn describe() -> String {
                format!("tuple<{}>", [$($name::describe()),+].join(", "))
            }

            fn from_val(val: Val) -> Option<Self> {
                let Val::Tuple(parts) = val else {
                    return None;
                };
                let mut parts = parts.into_iter();
                Some(($($name::from_val(parts.next()?)?,)+))
            }

            fn into_val(self) -> Val {
                Val::Tuple(vec![$(self.$index.into_val()),+])
            }
        }
    )*};
}

for_each_tuple!(tuples);
