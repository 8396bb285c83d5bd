//! Parameter lists and results: tuples of Rust types, or `Val`s of any type.

use super::tuples::for_each_tuple;
use super::{ComponentType, Lift, Lower, Mismatch};
use crate::error::{Result, bug};
use crate::transit::{Arrivals, Transit};
use crate::types::{FuncType, Type};
use crate::val::{Val, receive, send_into};

/// The parameters, or the result, of a function.
///
/// Parameters are a tuple of as many [`ComponentType`]s, `()` for none. A result is a tuple of
/// one, or `()` for none. `Vec<Val>` stands for parameters, and `Option<Val>` for a result, of any
/// type.
pub trait ComponentNamedList: Sized {
    /// Whether the values are [`Val`]s, which take more memory than what they are made from.
    #[doc(hidden)]
    const AS_VALS: bool;

    /// Compares the types with a component's.
    ///
    /// # Errors
    ///
    /// Says where they differ, and how; the path begins with the place in the list.
    fn typecheck_all(types: &[Type]) -> Result<(), Mismatch>;
}

/// Parameters or a result that are sent.
pub trait LowerList: ComponentNamedList {
    /// Adds the values to those that are sent.
    ///
    /// # Errors
    ///
    /// As [`Lower::lower`]; `Type` when `Val`s are not of the types.
    fn lower_all(self, types: &[Type], to: &mut Transit) -> Result<()>;
}

/// Parameters or a result that arrive.
pub trait LiftList: ComponentNamedList {
    /// Takes the values from those that arrive.
    ///
    /// # Errors
    ///
    /// As [`Lift::lift`].
    fn lift_all(types: &[Type], from: &mut Arrivals) -> Result<Self>;
}

/// Says how a function's type differs from `P` and `R`. `rust` names the function they are of.
pub(crate) fn check_func<P: ComponentNamedList, R: ComponentNamedList>(
    ty: &FuncType,
    rust: &str,
) -> Result<(), String> {
    P::typecheck_all(ty.param_types().types())
        .map_err(|mismatch| format!("the parameters of {rust}: {mismatch}"))?;
    R::typecheck_all(ty.result_type().types())
        .map_err(|mismatch| format!("the result of {rust}: {mismatch}"))
}

type Typecheck = fn(&Type) -> Result<(), Mismatch>;

pub(super) fn typecheck_all(types: &[Type], checks: &[Typecheck]) -> Result<(), Mismatch> {
    for (i, (ty, check)) in types.iter().zip(checks).enumerate() {
        check(ty).map_err(|mismatch| mismatch.within(i))?;
    }
    match types.len() == checks.len() {
        true => Ok(()),
        false => Err(Mismatch::of(format!(
            "expected {}, found {}",
            count(checks.len()),
            count(types.len())
        ))),
    }
}

fn count(types: usize) -> String {
    match types {
        0 => "none".to_owned(),
        1 => "1 type".to_owned(),
        types => format!("{types} types"),
    }
}

macro_rules! named_lists {
    ($(($($name:ident $index:tt)*))*) => {$(
        impl<$($name: ComponentType),*> ComponentNamedList for ($($name,)*) {
            const AS_VALS: bool = false;

            fn typecheck_all(types: &[Type]) -> Result<(), Mismatch> {
                typecheck_all(types, &[$($name::typecheck),*])
            }
        }

        #[allow(unused_variables, reason = "the empty tuple has no parts")]
        impl<$($name: Lower),*> LowerList for ($($name,)*) {
            fn lower_all(self, types: &[Type], to: &mut Transit) -> Result<()> {
                $(self.$index.lower(at(types, $index)?, to)?;)*
                Ok(())
            }
        }

        #[allow(unused_variables, reason = "the empty tuple has no parts")]
        impl<$($name: Lift),*> LiftList for ($($name,)*) {
            fn lift_all(types: &[Type], from: &mut Arrivals) -> Result<Self> {
                Ok(($($name::lift(at(types, $index)?, from)?,)*))
            }
        }
    )*};
}

fn at(types: &[Type], index: usize) -> Result<&Type> {
    types
        .get(index)
        .ok_or_else(|| bug!("a list of types was taken for a longer one"))
}

named_lists! { () }
for_each_tuple!(named_lists);

macro_rules! dynamic_lists {
    ($rust:ty, |$vals:ident| $as_slice:expr, |$list:ident| $from_list:expr) => {
        impl ComponentNamedList for $rust {
            const AS_VALS: bool = true;

            fn typecheck_all(_types: &[Type]) -> Result<(), Mismatch> {
                Ok(())
            }
        }

        impl LowerList for $rust {
            fn lower_all(self, types: &[Type], to: &mut Transit) -> Result<()> {
                let $vals = &self;
                send_into($as_slice, types, to)
            }
        }

        impl LiftList for $rust {
            fn lift_all(types: &[Type], from: &mut Arrivals) -> Result<Self> {
                let $list = receive(types, from)?;
                Ok($from_list)
            }
        }
    };
}

dynamic_lists!(Vec<Val>, |vals| vals, |list| list);
dynamic_lists!(Option<Val>, |vals| vals.as_slice(), |list| list
    .into_iter()
    .next());
