//! Checks that a value given by the embedder has a type, and says where it has not.

use super::{ResourceAny, Val};
use crate::types::{Name, Record, ResourceType, Type};

impl Val {
    /// Checks that this is a value of the given type.
    ///
    /// # Errors
    /// Says where in the value, what was expected there, and what was found, as in
    /// `.2.name: expected string, found list`.
    pub fn type_check(&self, ty: &Type) -> Result<(), String> {
        check(self, ty).map_err(|error| match error.strip_prefix(": ") {
            Some(at_top) => at_top.to_owned(),
            None => error,
        })
    }
}

/// The error starts with the path, innermost part last, then `: `.
fn check(value: &Val, ty: &Type) -> Result<(), String> {
    match (value, ty) {
        (Val::Bool(_), Type::Bool)
        | (Val::S8(_), Type::S8)
        | (Val::U8(_), Type::U8)
        | (Val::S16(_), Type::S16)
        | (Val::U16(_), Type::U16)
        | (Val::S32(_), Type::S32)
        | (Val::U32(_), Type::U32)
        | (Val::S64(_), Type::S64)
        | (Val::U64(_), Type::U64)
        | (Val::Float32(_), Type::Float32)
        | (Val::Float64(_), Type::Float64)
        | (Val::Char(_), Type::Char)
        | (Val::String(_), Type::String)
        | (Val::ErrorContext(_), Type::ErrorContext)
        // What these carry is checked when they are lowered.
        | (Val::Stream(_), Type::Stream(_))
        | (Val::Future(_), Type::Future(_)) => Ok(()),
        (Val::List(values), Type::List(list)) => {
            check_all(values.iter().map(|value| (value, list.ty())))
        }
        (Val::List(values), Type::FixedLengthList(list)) => {
            check_length(values.len(), list.size() as usize, "elements")?;
            check_all(values.iter().map(|value| (value, list.ty())))
        }
        (Val::Map(entries), Type::Map(map)) => entries.iter().enumerate().try_for_each(
            |(i, (key, value))| {
                let entry = check_all([(key, map.key()), (value, map.value())].into_iter());
                entry.map_err(|error| format!(".{i}{error}"))
            },
        ),
        (Val::Record(fields), Type::Record(record)) => check_record(fields, record),
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            check_length(values.len(), tuple.types().len(), "elements")?;
            check_all(values.iter().zip(tuple.types()))
        }
        (Val::Variant(name, payload), Type::Variant(variant)) => {
            let case = variant.find(name).ok_or_else(|| no_such("case", name, ty))?;
            let (_, payload_ty) = &variant.named_cases()[case as usize];
            check_payload(name, payload.as_deref(), payload_ty.as_ref())
        }
        (Val::Enum(name), Type::Enum(enum_)) => match enum_.find(name) {
            Some(_) => Ok(()),
            None => Err(no_such("case", name, ty)),
        },
        (Val::Option(None), Type::Option(_)) => Ok(()),
        (Val::Option(Some(value)), Type::Option(option)) => {
            check_payload("some", Some(value), Some(option.ty()))
        }
        (Val::Result(Ok(value)), Type::Result(result)) => {
            check_payload("ok", value.as_deref(), result.ok())
        }
        (Val::Result(Err(value)), Type::Result(result)) => {
            check_payload("err", value.as_deref(), result.err())
        }
        (Val::Flags(set), Type::Flags(flags)) => {
            match set.iter().find(|name| !flags.shared_names().contains(name)) {
                None => Ok(()),
                Some(name) => Err(no_such("flag", name, ty)),
            }
        }
        (Val::Resource(resource), Type::Own(rt)) => check_resource(resource, *rt, true, ty),
        (Val::Resource(resource), Type::Borrow(rt)) => check_resource(resource, *rt, false, ty),
        _ => Err(format!(": expected {ty}, found {}", value.kind())),
    }
}

fn check_all<'a>(parts: impl Iterator<Item = (&'a Val, &'a Type)>) -> Result<(), String> {
    for (i, (value, ty)) in parts.enumerate() {
        check(value, ty).map_err(|error| format!(".{i}{error}"))?;
    }
    Ok(())
}

fn check_record(fields: &[(Name, Val)], record: &Record) -> Result<(), String> {
    check_length(fields.len(), record.fields().len(), "fields")?;
    for (i, (name, ty)) in record.fields().enumerate() {
        // As many fields as the type has, and each of the type's: so each just once.
        let value = field(fields, i, name)
            .ok_or_else(|| format!(": expected a field `{name}`, found none"))?;
        check(value, ty).map_err(|error| format!(".{name}{error}"))?;
    }
    Ok(())
}

/// The field of this name, which is looked for at its own index first.
pub(crate) fn field<'a>(fields: &'a [(Name, Val)], index: usize, name: &str) -> Option<&'a Val> {
    let in_order = fields.get(index).filter(|(found, _)| **found == *name);
    let found = in_order.or_else(|| fields.iter().find(|(found, _)| **found == *name));
    found.map(|(_, value)| value)
}

fn check_payload(name: &str, value: Option<&Val>, ty: Option<&Type>) -> Result<(), String> {
    match (value, ty) {
        (None, None) => Ok(()),
        (Some(value), Some(ty)) => check(value, ty).map_err(|error| format!(".{name}{error}")),
        (Some(value), None) => Err(format!(
            ".{name}: expected no payload, found {}",
            value.kind()
        )),
        (None, Some(ty)) => Err(format!(".{name}: expected {ty}, found no payload")),
    }
}

fn check_length(found: usize, expected: usize, what: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!(": expected {expected} {what}, found {found}"))
}

/// An owned resource may be given where a borrow is asked for.
fn check_resource(
    resource: &ResourceAny,
    rt: ResourceType,
    owned: bool,
    ty: &Type,
) -> Result<(), String> {
    if resource.ty() == rt && (resource.owned() || !owned) {
        return Ok(());
    }
    Err(format!(": expected {ty}, found {}", resource.handle_type()))
}

fn no_such(what: &str, name: &str, ty: &Type) -> String {
    format!(": expected a {what} of {ty}, found `{name}`")
}
