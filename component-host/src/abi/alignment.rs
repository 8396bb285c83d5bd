//! Spec: ## Alignment

use super::options::{PtrType, ptr_size};
use crate::types::Type;

/// The alignment of a type in memory, in bytes; a power of two.
pub(crate) fn alignment(t: &Type, ptr_type: PtrType) -> u32 {
    match t {
        Type::Bool | Type::S8 | Type::U8 => 1,
        Type::S16 | Type::U16 => 2,
        Type::S32 | Type::U32 | Type::Float32 | Type::Char => 4,
        Type::S64 | Type::U64 | Type::Float64 => 8,
        Type::String => ptr_size(ptr_type),
        Type::ErrorContext => 4,
        Type::List(_) | Type::Map(_) => ptr_size(ptr_type),
        Type::FixedLengthList(list) => list.layout(ptr_type).alignment,
        Type::Record(record) => record.layout(ptr_type).layout.alignment,
        Type::Tuple(tuple) => tuple.layout(ptr_type).layout.alignment,
        Type::Variant(variant) => variant.layout(ptr_type).layout.alignment,
        Type::Enum(enum_) => enum_.layout(ptr_type).layout.alignment,
        Type::Option(option) => option.layout(ptr_type).layout.alignment,
        Type::Result(result) => result.layout(ptr_type).layout.alignment,
        Type::Flags(flags) => alignment_flags(flags.names().len()),
        Type::Own(_) | Type::Borrow(_) => 4,
        Type::Stream(_) | Type::Future(_) => 4,
    }
}

pub(crate) fn alignment_record<'a>(
    fields: impl Iterator<Item = &'a Type>,
    ptr_type: PtrType,
) -> u32 {
    fields
        .map(|field| alignment(field, ptr_type))
        .max()
        .unwrap_or(1)
}

pub(crate) fn alignment_variant<'a>(
    cases: impl Iterator<Item = Option<&'a Type>>,
    case_count: u32,
    ptr_type: PtrType,
) -> u32 {
    discriminant_type(case_count).max(max_case_alignment(cases, ptr_type))
}

/// The size of the smallest of `u8`, `u16` and `u32` that counts the cases.
pub(crate) fn discriminant_type(case_count: u32) -> u32 {
    match case_count {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

pub(crate) fn max_case_alignment<'a>(
    cases: impl Iterator<Item = Option<&'a Type>>,
    ptr_type: PtrType,
) -> u32 {
    alignment_record(cases.flatten(), ptr_type)
}

pub(crate) fn alignment_flags(labels: usize) -> u32 {
    match labels {
        0..=8 => 1,
        9..=16 => 2,
        _ => 4,
    }
}
