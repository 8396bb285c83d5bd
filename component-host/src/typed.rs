//! Rust types as parameters and results of host functions.

use crate::types::{FuncType, Type};
use crate::val::{ResourceAny, Val};

/// A Rust type that stands for a component value type.
///
/// Implemented for the primitive types, `String`, `Vec`, `Option`, [`ResourceAny`], and for
/// [`Val`], which takes any type.
pub trait ComponentValue: Sized + 'static {
    /// Whether a value of the component type can be a value of this Rust type, and back.
    fn accepts(ty: &Type) -> bool;

    /// The component type that is expected, as WIT writes it.
    fn describe() -> String;

    /// Converts from a value of an accepted type.
    fn from_val(val: Val) -> Option<Self>;

    /// Converts to a value.
    fn into_val(self) -> Val;
}

/// The parameters of a host function: a tuple of [`ComponentValue`]s, or `Vec<Val>` for any.
pub trait ComponentParams: Sized + 'static {
    /// Says how the parameters of a function type differ from these.
    fn check(ty: &FuncType) -> Result<(), String>;

    /// Converts from values of the checked types.
    fn from_vals(vals: Vec<Val>) -> Option<Self>;
}

/// The result of a host function: `()`, a tuple of one [`ComponentValue`], or `Option<Val>` for
/// any.
pub trait ComponentResult: Sized + 'static {
    /// Says how the result of a function type differs from this.
    fn check(result: Option<&Type>) -> Result<(), String>;

    /// Converts to values.
    fn into_vals(self) -> Vec<Val>;
}

macro_rules! primitive {
    ($($rust:ty => $case:ident $wit:literal,)*) => {$(
        impl ComponentValue for $rust {
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

impl ComponentValue for ResourceAny {
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

impl ComponentValue for Val {
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

impl<V: ComponentValue> ComponentValue for Vec<V> {
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

impl<V: ComponentValue> ComponentValue for Option<V> {
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

impl ComponentParams for Vec<Val> {
    fn check(_ty: &FuncType) -> Result<(), String> {
        Ok(())
    }

    fn from_vals(vals: Vec<Val>) -> Option<Self> {
        Some(vals)
    }
}

macro_rules! tuple_params {
    ($($name:ident)*) => {
        impl<$($name: ComponentValue),*> ComponentParams for ($($name,)*) {
            #[allow(unused_mut, unused_variables, reason = "the empty tuple has no parameters")]
            fn check(ty: &FuncType) -> Result<(), String> {
                let mut params = ty.params();
                let wanted: Vec<String> = vec![$($name::describe()),*];
                if params.len() != wanted.len() {
                    return Err(format!(
                        "the host function takes {} parameters, the import {}",
                        wanted.len(),
                        params.len()
                    ));
                }
                $(
                    if let Some((name, ty)) = params.next()
                        && !$name::accepts(ty)
                    {
                        return Err(format!(
                            "parameter `{name}`: the host function takes {}, the import {ty}",
                            $name::describe()
                        ));
                    }
                )*
                Ok(())
            }

            #[allow(unused_mut, unused_variables, reason = "the empty tuple has no parameters")]
            fn from_vals(vals: Vec<Val>) -> Option<Self> {
                let mut vals = vals.into_iter();
                Some(($($name::from_val(vals.next()?)?,)*))
            }
        }
    };
}

tuple_params!();
tuple_params!(A);
tuple_params!(A B);
tuple_params!(A B C);
tuple_params!(A B C D);
tuple_params!(A B C D E);
tuple_params!(A B C D E F);
tuple_params!(A B C D E F G);
tuple_params!(A B C D E F G H);

impl ComponentResult for () {
    fn check(result: Option<&Type>) -> Result<(), String> {
        match result {
            None => Ok(()),
            Some(ty) => Err(format!(
                "the host function has no result, the import returns {ty}"
            )),
        }
    }

    fn into_vals(self) -> Vec<Val> {
        Vec::new()
    }
}

impl<R: ComponentValue> ComponentResult for (R,) {
    fn check(result: Option<&Type>) -> Result<(), String> {
        match result {
            Some(ty) if R::accepts(ty) => Ok(()),
            Some(ty) => Err(format!(
                "result: the host function returns {}, the import {ty}",
                R::describe()
            )),
            None => Err(format!(
                "the host function returns {}, the import nothing",
                R::describe()
            )),
        }
    }

    fn into_vals(self) -> Vec<Val> {
        vec![self.0.into_val()]
    }
}

impl ComponentResult for Option<Val> {
    fn check(_result: Option<&Type>) -> Result<(), String> {
        Ok(())
    }

    fn into_vals(self) -> Vec<Val> {
        self.into_iter().collect()
    }
}
