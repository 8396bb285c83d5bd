//! What derived implementations call.

use super::Mismatch;
use crate::error::{Error, Result, bug};
use crate::transit::{Arrivals, Transit};
use crate::types::Type;
use crate::val::Val;
use std::sync::Arc;

pub use crate::streams::ElementValue;

type Typecheck = fn(&Type) -> Result<(), Mismatch>;

pub fn record(rust: &str, ty: &Type, fields: &[(&str, Typecheck)]) -> Result<(), Mismatch> {
    let Type::Record(record) = ty else {
        return Err(Mismatch::expected(rust, ty));
    };
    names(
        "field",
        fields.iter().map(|(name, _)| *name),
        record.fields().map(|(name, _)| name),
    )?;
    for ((name, check), (_, ty)) in fields.iter().zip(record.fields()) {
        check(ty).map_err(|mismatch| mismatch.within(name))?;
    }
    Ok(())
}

pub fn variant(rust: &str, ty: &Type, cases: &[(&str, Option<Typecheck>)]) -> Result<(), Mismatch> {
    let Type::Variant(variant) = ty else {
        return Err(Mismatch::expected(rust, ty));
    };
    names(
        "case",
        cases.iter().map(|(name, _)| *name),
        variant.cases().map(|(name, _)| name),
    )?;
    for ((name, check), (_, ty)) in cases.iter().zip(variant.cases()) {
        let checked = match (check, ty) {
            (None, None) => Ok(()),
            (Some(check), Some(ty)) => check(ty),
            (None, Some(ty)) => Err(Mismatch::expected("no payload", ty)),
            (Some(_), None) => Err(Mismatch::of("expected a payload, found none")),
        };
        checked.map_err(|mismatch| mismatch.within(name))?;
    }
    Ok(())
}

/// An enum; a variant whose cases have no payloads will do.
pub fn enumeration(rust: &str, ty: &Type, cases: &[&str]) -> Result<(), Mismatch> {
    match ty {
        Type::Enum(enum_) => names("case", cases.iter().copied(), enum_.names()),
        Type::Variant(_) => {
            let cases: Vec<(&str, Option<Typecheck>)> =
                cases.iter().map(|name| (*name, None)).collect();
            variant(rust, ty, &cases)
        }
        _ => Err(Mismatch::expected(rust, ty)),
    }
}

pub fn flags(rust: &str, ty: &Type, flags: &[&str]) -> Result<(), Mismatch> {
    match ty {
        Type::Flags(found) => names("flag", flags.iter().copied(), found.names()),
        _ => Err(Mismatch::expected(rust, ty)),
    }
}

/// Compares names, which have to be the same in the same order.
fn names<'a>(
    what: &str,
    expected: impl ExactSizeIterator<Item = &'a str>,
    found: impl ExactSizeIterator<Item = &'a str>,
) -> Result<(), Mismatch> {
    let (mut expected, mut found) = (expected, found);
    loop {
        return Err(Mismatch::of(match (expected.next(), found.next()) {
            (None, None) => return Ok(()),
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => format!("expected the {what} `{a}`, found `{b}`"),
            (Some(a), None) => format!("expected the {what} `{a}`, found none"),
            (None, Some(b)) => format!("expected no more {what}s, found `{b}`"),
        }));
    }
}

/// The type of a field of a record.
pub fn field(ty: &Type, index: usize) -> Result<&Type> {
    let field = match ty {
        Type::Record(record) => record.named_fields().get(index).map(|(_, ty)| ty),
        _ => None,
    };
    super::part(field, ty)
}

/// The type of the payload of a case.
pub fn payload(ty: &Type, case: u32) -> Result<&Type> {
    super::part(crate::abi::despecialization::case_type(ty, case), ty)
}

pub fn put_case(to: &mut Transit, case: u32) {
    to.word(u64::from(case));
}

pub fn take_case(from: &mut Arrivals) -> Result<u32> {
    from.case()
}

pub fn no_such_case(ty: &Type, case: u32) -> Error {
    bug!("{ty} arrived with the case {case}")
}

pub fn put_flags(to: &mut Transit, flags: &[bool]) {
    let bits = flags.iter().enumerate();
    to.word(bits.fold(0, |bits, (i, set)| bits | u64::from(*set) << i));
}

pub fn take_flags(from: &mut Arrivals) -> Result<u64> {
    from.word()
}

/// The fields of a record in the order of the names.
pub fn record_fields(val: Val, names: &[&str]) -> Option<Vec<Val>> {
    let Val::Record(mut fields) = val else {
        return None;
    };
    let mut take = |name: &&str| {
        let place = fields.iter().position(|(field, _)| **field == **name)?;
        Some(fields.swap_remove(place).1)
    };
    names.iter().map(&mut take).collect()
}

pub fn record_val<const N: usize>(fields: [(&str, Val); N]) -> Val {
    let fields = fields.into_iter().map(|(name, val)| (name.into(), val));
    Val::Record(fields.collect())
}

/// Which of the flags are set, in the order of the names.
pub fn flags_set(val: Val, names: &[&str]) -> Option<Vec<bool>> {
    let Val::Flags(set) = val else {
        return None;
    };
    let is_set = |name: &&str| set.iter().any(|flag| **flag == **name);
    Some(names.iter().map(is_set).collect())
}

pub fn flags_val(flags: &[(&str, bool)]) -> Val {
    let set = flags.iter().filter(|(_, set)| *set);
    Val::Flags(set.map(|(name, _)| (*name).into()).collect())
}

pub fn variant_case(val: Val) -> Option<(Arc<str>, Option<Val>)> {
    match val {
        Val::Variant(case, payload) => Some((case, payload.map(|payload| *payload))),
        _ => None,
    }
}

pub fn variant_val(case: &str, payload: Option<Val>) -> Val {
    Val::Variant(case.into(), payload.map(Box::new))
}

pub fn is_enum(ty: &Type) -> bool {
    matches!(ty, Type::Enum(_))
}

pub fn enum_case(val: Val) -> Option<Arc<str>> {
    match val {
        Val::Enum(case) => Some(case),
        _ => None,
    }
}

pub fn enum_val(case: &str) -> Val {
    Val::Enum(case.into())
}
