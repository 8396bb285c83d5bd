//! Spec: ## Flat Lowering
//!
//! Core values are built up as bits, zero-extended. A payload that shares its core value with a
//! wider one of another case is then already what the specification encodes it as; the types are
//! put on at the end, by `lower_flat_values`.

use super::despecialization::{case_type, match_case, type_mismatch};
use super::flattening::flatten_type;
use super::options::LiftLower;
use super::storing::{
    check_length, lower_scalar, missing_field, store_list_into_range, store_map_into_range,
};
use super::strings::store_string_into_range;
use crate::error::{Error, bug};
use crate::types::Type;
use crate::val::{Val, field};

/// Appends the bits of each core value.
pub(crate) fn lower_flat<C: LiftLower>(
    cx: &mut C,
    v: &Val,
    t: &Type,
    flat: &mut Vec<u64>,
) -> Result<(), Error> {
    match (t, v) {
        (Type::String, Val::String(text)) => {
            let (ptr, packed_length) = store_string_into_range(cx, text)?;
            flat.extend([ptr, packed_length]);
        }
        (Type::List(list), Val::List(elements)) => {
            let (ptr, length) = store_list_into_range(cx, elements, list.ty())?;
            flat.extend([ptr, length]);
        }
        (Type::FixedLengthList(list), Val::List(elements)) => {
            check_length(list, elements)?;
            for e in elements {
                lower_flat(cx, e, list.ty(), flat)?;
            }
        }
        (Type::Map(map), Val::Map(entries)) => {
            let (ptr, length) = store_map_into_range(cx, entries, map)?;
            flat.extend([ptr, length]);
        }
        (Type::Record(record), Val::Record(fields))
            if fields.len() == record.named_fields().len() =>
        {
            for (i, (name, t)) in record.named_fields().iter().enumerate() {
                let v = field(fields, i, name).ok_or_else(|| missing_field(name))?;
                lower_flat(cx, v, t, flat)?;
            }
        }
        (Type::Tuple(tuple), Val::Tuple(elements)) if elements.len() == tuple.types().len() => {
            for (v, t) in elements.iter().zip(tuple.types()) {
                lower_flat(cx, v, t, flat)?;
            }
        }
        (Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_), _) => {
            lower_flat_variant(cx, v, t, flat)?;
        }
        (Type::Record(_) | Type::Tuple(_), _) => return Err(type_mismatch(v, t)),
        _ => flat.push(lower_scalar(cx, v, t)?),
    }
    Ok(())
}

fn lower_flat_variant<C: LiftLower>(
    cx: &mut C,
    v: &Val,
    t: &Type,
    flat: &mut Vec<u64>,
) -> Result<(), Error> {
    let (case_index, case_value) = match_case(v, t)?;
    let Some(flat_types) = flatten_type(t, cx.ptr_type()) else {
        return Err(bug!("{t} is not flat"));
    };
    let end = flat.len() + flat_types.len();
    flat.push(u64::from(case_index));
    if let (Some(v), Some(t)) = (case_value, case_type(t, case_index)) {
        lower_flat(cx, v, t, flat)?;
    }
    // What the other cases would have used.
    flat.resize(end, 0);
    Ok(())
}
