//! Spec: ## Despecialization
//!
//! The specification turns enums, options and results into variants before it looks at them. Here
//! the types stay what they are, since their values do; these functions answer for all four.

use super::layout::VariantLayout;
use super::options::PtrType;
use crate::error::{Error, bug};
use crate::types::{Name, Type};
use crate::val::Val;

/// The layout of a variant, an enum, an option or a result.
pub(crate) fn variant_layout(t: &Type, ptr_type: PtrType) -> Option<&VariantLayout> {
    match t {
        Type::Variant(variant) => Some(variant.layout(ptr_type)),
        Type::Enum(enum_) => Some(enum_.layout(ptr_type)),
        Type::Option(option) => Some(option.layout(ptr_type)),
        Type::Result(result) => Some(result.layout(ptr_type)),
        _ => None,
    }
}

/// The type of the payload of a case.
pub(crate) fn case_type(t: &Type, case_index: u32) -> Option<&Type> {
    match (t, case_index) {
        (Type::Variant(variant), index) => {
            let (_, payload) = variant.named_cases().get(index as usize)?;
            payload.as_ref()
        }
        (Type::Option(option), 1) => Some(option.ty()),
        (Type::Result(result), 0) => result.ok(),
        (Type::Result(result), 1) => result.err(),
        _ => None,
    }
}

/// The value of a case; its payload is as [`case_type`] says.
pub(crate) fn lift_case(t: &Type, case_index: u32, payload: Option<Val>) -> Result<Val, Error> {
    let payload = payload.map(Box::new);
    match (t, case_index) {
        (Type::Variant(variant), index) => {
            if let Some((name, _)) = variant.named_cases().get(index as usize) {
                return Ok(Val::Variant(Name::clone(name), payload));
            }
        }
        (Type::Enum(enum_), index) => {
            if let Some(name) = enum_.shared_names().get(index as usize) {
                return Ok(Val::Enum(Name::clone(name)));
            }
        }
        (Type::Option(_), 0 | 1) => return Ok(Val::Option(payload)),
        (Type::Result(_), 0) => return Ok(Val::Result(Ok(payload))),
        (Type::Result(_), 1) => return Ok(Val::Result(Err(payload))),
        _ => {}
    }
    Err(bug!("{t} has no case {case_index}"))
}

/// The index and the payload of the value's case. The payload is there when the case has one, and
/// of whatever type.
pub(crate) fn match_case<'v>(v: &'v Val, t: &Type) -> Result<(u32, Option<&'v Val>), Error> {
    let case = match (v, t) {
        (Val::Variant(name, payload), Type::Variant(variant)) => {
            variant.find(name).map(|index| (index, payload.as_deref()))
        }
        (Val::Enum(name), Type::Enum(enum_)) => enum_.find(name).map(|index| (index, None)),
        (Val::Option(None), Type::Option(_)) => Some((0, None)),
        (Val::Option(some), Type::Option(_)) => Some((1, some.as_deref())),
        (Val::Result(Ok(ok)), Type::Result(_)) => Some((0, ok.as_deref())),
        (Val::Result(Err(err)), Type::Result(_)) => Some((1, err.as_deref())),
        _ => None,
    };
    case.filter(|(index, payload)| payload.is_some() == case_type(t, *index).is_some())
        .ok_or_else(|| type_mismatch(v, t))
}

/// The error for a value given by the embedder that is not of the type.
pub(crate) fn type_mismatch(v: &Val, t: &Type) -> Error {
    // A value that is wrong further down was refused there; this one is wrong at its top.
    match v.type_check(t) {
        Err(message) => Error::ty(message),
        Ok(()) => Error::ty(format!("expected {t}, found {}", v.kind())),
    }
}
