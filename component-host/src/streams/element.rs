//! Which Rust types can be elements of a stream, and how they are kept.

use super::element_value::ElementValue;
use crate::abi::host_buffer::{Items, unit};
use crate::abi::host_ends::Accepts;
use crate::types::Type;
use crate::val::{FutureAny, StreamAny, Val};
use std::any::{Any, TypeId};

/// The elements of a stream, or the value of a future: numbers, `bool`, `char`, `String`; `Vec`,
/// `Option`, `Box`, arrays, tuples and `Result` of such; [`Resource`](crate::Resource) and
/// [`ResourceAny`](crate::ResourceAny); the readable ends of streams and futures; `()` for one
/// without a payload; and structs and enums that derive it.
///
/// ```
/// use vestibule_component_host::{ComponentType, Element};
///
/// #[derive(ComponentType, Element)]
/// struct Reading {
///     sensor: String,
///     celsius: Option<f32>,
/// }
/// ```
///
/// [`Val`] stands for elements of any type; one without a payload is an empty tuple then.
pub trait Element: sealed::Element {}

impl<V: sealed::Element> Element for V {}

pub(super) mod sealed {
    use super::*;

    #[allow(unnameable_types, reason = "sealed")]
    pub trait Element: Sized + 'static {
        fn accepts(t: Option<&Type>) -> bool;
        fn describe() -> String;
        fn from_val(val: Val) -> Option<Self>;
        fn into_val(self) -> Val;
    }

    impl<V: ElementValue> Element for V {
        fn accepts(t: Option<&Type>) -> bool {
            match t {
                Some(t) => V::accepts(t),
                None => TypeId::of::<V>() == TypeId::of::<Val>(),
            }
        }

        fn describe() -> String {
            V::describe()
        }

        fn from_val(val: Val) -> Option<V> {
            V::from_val(val)
        }

        fn into_val(self) -> Val {
            V::into_val(self)
        }
    }

    impl Element for () {
        fn accepts(t: Option<&Type>) -> bool {
            t.is_none()
        }

        fn describe() -> String {
            "no payload".to_owned()
        }

        fn from_val(_: Val) -> Option<()> {
            Some(())
        }

        fn into_val(self) -> Val {
            unit()
        }
    }
}

pub(super) fn accepts<V: Element>() -> Accepts {
    Accepts {
        check: V::accepts,
        describe: V::describe,
    }
}

/// An empty collection for elements of `V`.
pub(super) fn empty<V: Element>() -> Items {
    match TypeId::of::<V>() == TypeId::of::<u8>() {
        true => Items::Bytes(Vec::new()),
        false => Items::Vals(Vec::new()),
    }
}

pub(super) fn into_items<V: Element>(items: Vec<V>) -> Items {
    let items: Box<dyn Any> = Box::new(items);
    match items.downcast::<Vec<u8>>() {
        Ok(bytes) => Items::Bytes(*bytes),
        Err(items) => match items.downcast::<Vec<V>>() {
            Ok(items) => Items::Vals(items.into_iter().map(V::into_val).collect()),
            Err(_) => Items::Vals(Vec::new()),
        },
    }
}

/// None when one of them is of another type: the store has checked the type before.
pub(super) fn from_items<V: Element>(items: Items) -> Option<Vec<V>> {
    match items {
        Items::Bytes(bytes) => {
            let bytes: Box<dyn Any> = Box::new(bytes);
            bytes.downcast::<Vec<V>>().ok().map(|items| *items)
        }
        Items::Vals(vals) => vals.into_iter().map(V::from_val).collect(),
    }
}

macro_rules! readable_end {
    ($($end:ident $case:ident $wit:literal)*) => {$(
        /// The identity of a readable end, of any element type.
        impl ElementValue for $end {
            fn accepts(ty: &Type) -> bool {
                matches!(ty, Type::$case(_))
            }

            fn describe() -> String {
                $wit.to_owned()
            }

            fn from_val(val: Val) -> Option<$end> {
                match val {
                    Val::$case(end) => Some(end),
                    _ => None,
                }
            }

            fn into_val(self) -> Val {
                Val::$case(self)
            }
        }
    )*};
}

readable_end! {
    StreamAny Stream "a stream"
    FutureAny Future "a future"
}
