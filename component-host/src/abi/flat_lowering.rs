//! Spec: ## Flat Lowering
//!
//! Core values are built up as bits, zero-extended. A payload that shares its core value with a
//! wider one of another case is then already what the specification encodes it as; the types are
//! put on at the end, by `lower_flat_values`.

use super::despecialization::case_type;
use super::flattening::flatten_type;
use super::options::LiftLower;
use super::storing::{lower_scalar, store_list_into_range, store_map_into_range};
use super::strings::store_string_into_range;
use crate::error::{Error, bug};
use crate::transit::Arrivals;
use crate::types::Type;
use smallvec::SmallVec;

/// The bits of core values, of which few calls have more.
pub(crate) type Bits = SmallVec<[u64; 8]>;

/// Appends the bits of each core value of the next value.
pub(crate) fn lower_flat<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    t: &Type,
    flat: &mut Bits,
) -> Result<(), Error> {
    match t {
        Type::String => {
            let (ptr, packed_length) = store_string_into_range(cx, &from.text()?)?;
            flat.extend([ptr, packed_length]);
        }
        Type::List(list) => {
            let (ptr, length) = store_list_into_range(cx, from, list.ty())?;
            flat.extend([ptr, length]);
        }
        Type::FixedLengthList(list) => {
            for _ in 0..list.size() {
                lower_flat(cx, from, list.ty(), flat)?;
            }
        }
        Type::Map(map) => {
            let (ptr, length) = store_map_into_range(cx, from, map)?;
            flat.extend([ptr, length]);
        }
        Type::Record(record) => {
            for (_, t) in record.named_fields() {
                lower_flat(cx, from, t, flat)?;
            }
        }
        Type::Tuple(tuple) => {
            for t in tuple.types() {
                lower_flat(cx, from, t, flat)?;
            }
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            let Some(flat_types) = flatten_type(t, cx.ptr_type()) else {
                return Err(bug!("{t} is not flat"));
            };
            let case_index = from.case()?;
            let end = flat.len() + flat_types.len();
            flat.push(u64::from(case_index));
            if let Some(payload) = case_type(t, case_index) {
                lower_flat(cx, from, payload, flat)?;
            }
            // What the other cases would have used.
            flat.resize(end, 0);
        }
        _ => flat.push(lower_scalar(cx, from, t)?),
    }
    Ok(())
}
