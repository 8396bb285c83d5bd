//! Rust types as component-level types: what typed calls and host functions are made of.
//!
//! A Rust type is compared with the component's once, when a function is looked up or linked; what
//! does not fit is a [`Mismatch`], which says where in the type. Calls then neither compare nor
//! build [`Val`](crate::Val)s.
//!
//! | Rust | WIT |
//! |---|---|
//! | `bool`, `u8` .. `u64`, `i8` .. `i64`, `f32`, `f64`, `char` | the same; `s8` .. `s64` for `i8` .. `i64` |
//! | `String`, `&str`, `Box<str>`, [`Text`](crate::Text) | `string` |
//! | `Vec<T>`, `&[T]`, `Box<[T]>` | `list<T>` |
//! | `[T; N]` | `list<T, N>` |
//! | `BTreeMap<K, V>`, `HashMap<K, V>` | `map<K, V>` |
//! | `Option<T>` | `option<T>` |
//! | `Result<T, E>`, `()` for what is not there | `result<T, E>` |
//! | tuples of 1 to 16 | `tuple<..>` |
//! | `Box<T>` | as `T` |
//! | structs and enums with derived traits | records, variants, enums, flags |
//! | [`Resource<T>`](crate::Resource) | `own<R>`, `borrow<R>`, where the host implements `R` |
//! | [`ResourceAny`](crate::ResourceAny) | `own<R>`, `borrow<R>` |
//! | [`StreamAny`](crate::StreamAny), [`FutureAny`](crate::FutureAny), [`ErrorContextAny`](crate::ErrorContextAny) | `stream`, `future`, `error-context` |
//! | [`Val`](crate::Val) | any |

mod containers;
mod lists;
mod scalars;
mod tuples;

#[doc(hidden)]
#[allow(missing_docs, reason = "there for derived implementations alone")]
#[path = "typed/derived.rs"]
pub mod __derived;

pub(crate) use lists::check_func;
pub use lists::{ComponentNamedList, LiftList, LowerList};
pub(crate) use tuples::for_each_tuple;

use crate::error::Result;
pub use crate::transit::{Arrivals, Transit};
use crate::types::Type;
use std::fmt;

/// A Rust type that stands for a component-level type.
///
/// Implemented for the types of [the table](self), and derived for structs and enums. A type that
/// only arrives needs [`Lift`] beside it, one that is only sent [`Lower`].
pub trait ComponentType {
    /// Whether it stands for a payload that is not there.
    #[doc(hidden)]
    const NOTHING: bool = false;

    /// Compares the type with a component's.
    ///
    /// # Errors
    ///
    /// Says where they differ, and how.
    fn typecheck(ty: &Type) -> Result<(), Mismatch>;

    /// The component-level type it stands for, for people.
    fn describe() -> String;
}

/// A [`ComponentType`] whose values are sent: arguments of calls, results of host functions.
pub trait Lower: ComponentType {
    /// Adds the value to those that are sent.
    ///
    /// # Errors
    ///
    /// `Resource` when the value is a resource that cannot be sent as `ty` says.
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()>;

    /// Adds a list of such values; numbers as bytes.
    #[doc(hidden)]
    fn lower_list(list: Vec<Self>, element: &Type, to: &mut Transit) -> Result<()>
    where
        Self: Sized,
    {
        to.word(list.len() as u64);
        list.into_iter()
            .try_for_each(|value| value.lower(element, to))
    }
}

/// A [`ComponentType`] whose values arrive: results of calls, arguments of host functions.
pub trait Lift: ComponentType + Sized {
    /// Takes the next value from those that arrive.
    ///
    /// # Errors
    ///
    /// Only for an error of this crate.
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Self>;

    /// Takes a list of such values.
    #[doc(hidden)]
    fn lift_list(element: &Type, from: &mut Arrivals) -> Result<Vec<Self>> {
        let length = from.word()?;
        (0..length).map(|_| Self::lift(element, from)).collect()
    }
}

/// Where a Rust type and a component's type differ, and how.
///
/// `Display` prints the path into the type and both types: `.2.name: expected string, found
/// list<u8>`. Elements of a list are `[]`, payloads have the name of their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    path: String,
    problem: String,
}

impl Mismatch {
    /// The component's type is another than the Rust type stands for.
    pub fn expected(expected: impl fmt::Display, found: &Type) -> Mismatch {
        Mismatch::of(format!("expected {expected}, found {found}"))
    }

    /// They differ as `problem` says.
    pub fn of(problem: impl Into<String>) -> Mismatch {
        Mismatch {
            path: String::new(),
            problem: problem.into(),
        }
    }

    /// The same, seen from the type that has it as a part of this name.
    #[must_use]
    pub fn within(mut self, part: impl fmt::Display) -> Mismatch {
        self.path.insert_str(0, &format!(".{part}"));
        self
    }

    fn in_elements(mut self) -> Mismatch {
        self.path.insert_str(0, "[]");
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for Mismatch {}

/// The type inside another; which it is was compared before.
fn part<'t>(part: Option<&'t Type>, ty: &Type) -> Result<&'t Type> {
    part.ok_or_else(|| crate::error::bug!("{ty} was taken for another type"))
}

impl crate::Val {
    /// A Rust value as a value of the given type.
    ///
    /// # Errors
    ///
    /// `Type` when the Rust type is another; as [`Lower::lower`].
    pub fn from_rust<V: Lower>(value: V, ty: &Type) -> Result<crate::Val> {
        V::typecheck(ty).map_err(|mismatch| crate::Error::ty(mismatch.to_string()))?;
        let mut sent = Transit::new();
        value.lower(ty, &mut sent)?;
        crate::val::receive_val(&mut sent.read(), ty)
    }

    /// This value, which is of the given type, as a Rust value.
    ///
    /// # Errors
    ///
    /// `Type` when the Rust type is another, or when this is not a value of the type.
    pub fn to_rust<V: Lift>(&self, ty: &Type) -> Result<V> {
        V::typecheck(ty).map_err(|mismatch| crate::Error::ty(mismatch.to_string()))?;
        let mut sent = Transit::new();
        crate::val::send_val(self, ty, &mut sent)?;
        V::lift(ty, &mut sent.read())
    }
}
