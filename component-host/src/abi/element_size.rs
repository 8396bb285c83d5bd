//! Spec: ## Element Size
//!
//! Sizes saturate: the validator refuses types of 2^28 bytes and more, but for the entries of a
//! map, which are lists in memory and bounded as such.

use super::alignment::{
    alignment, alignment_flags, alignment_record, alignment_variant, discriminant_type,
    max_case_alignment,
};
use super::options::{PtrType, ptr_size};
use crate::types::Type;

/// The number of bytes a type takes in memory.
pub(crate) fn elem_size(t: &Type, ptr_type: PtrType) -> u64 {
    match t {
        Type::Bool | Type::S8 | Type::U8 => 1,
        Type::S16 | Type::U16 => 2,
        Type::S32 | Type::U32 | Type::Float32 | Type::Char => 4,
        Type::S64 | Type::U64 | Type::Float64 => 8,
        Type::String => 2 * u64::from(ptr_size(ptr_type)),
        Type::ErrorContext => 4,
        Type::List(_) | Type::Map(_) => 2 * u64::from(ptr_size(ptr_type)),
        Type::FixedLengthList(list) => list.layout(ptr_type).size,
        Type::Record(record) => record.layout(ptr_type).layout.size,
        Type::Tuple(tuple) => tuple.layout(ptr_type).layout.size,
        Type::Variant(variant) => variant.layout(ptr_type).layout.size,
        Type::Enum(enum_) => enum_.layout(ptr_type).layout.size,
        Type::Option(option) => option.layout(ptr_type).layout.size,
        Type::Result(result) => result.layout(ptr_type).layout.size,
        Type::Flags(flags) => elem_size_flags(flags.names().len()),
        Type::Own(_) | Type::Borrow(_) => 4,
        Type::Stream(_) | Type::Future(_) => 4,
    }
}

pub(crate) fn elem_size_fixed_length_list(elem_type: &Type, length: u32, ptr_type: PtrType) -> u64 {
    u64::from(length).saturating_mul(elem_size(elem_type, ptr_type))
}

pub(crate) fn elem_size_record<'a>(
    fields: impl Iterator<Item = &'a Type> + Clone,
    ptr_type: PtrType,
) -> u64 {
    let mut size = 0_u64;
    for field in fields.clone() {
        size = align_to(size, alignment(field, ptr_type));
        size = size.saturating_add(elem_size(field, ptr_type));
    }
    align_to(size, alignment_record(fields, ptr_type))
}

/// Rounds up to a multiple of `alignment`, a power of two.
pub(crate) fn align_to(ptr: u64, alignment: u32) -> u64 {
    ptr.checked_next_multiple_of(u64::from(alignment))
        .unwrap_or(u64::MAX)
}

pub(crate) fn elem_size_variant<'a>(
    cases: impl Iterator<Item = Option<&'a Type>> + Clone,
    case_count: u32,
    ptr_type: PtrType,
) -> u64 {
    let payload = align_to(
        u64::from(discriminant_type(case_count)),
        max_case_alignment(cases.clone(), ptr_type),
    );
    let largest = cases
        .clone()
        .flatten()
        .map(|case| elem_size(case, ptr_type))
        .max();
    align_to(
        payload.saturating_add(largest.unwrap_or(0)),
        alignment_variant(cases, case_count, ptr_type),
    )
}

pub(crate) fn elem_size_flags(labels: usize) -> u64 {
    u64::from(alignment_flags(labels))
}
