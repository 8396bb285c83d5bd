//! What the Canonical ABI computes from a type alone, computed once, when the type is made.
//!
//! The specification asks for alignments, sizes and flat types by recursion over the type, at each
//! load and store. A type may be a hundred levels deep and share its parts, so the recursion would
//! be exponential; here each part keeps its own answers, for both pointer types.

use super::alignment::{
    alignment, alignment_record, alignment_variant, discriminant_type, max_case_alignment,
};
use super::element_size::{
    align_to, elem_size, elem_size_fixed_length_list, elem_size_record, elem_size_variant,
};
use super::flattening::{
    MAX_FLAT_PARAMS, flatten_fixed_length_list, flatten_record, flatten_variant,
};
use super::options::PtrType;
use crate::engine::CoreType;
use crate::types::Type;
use std::ops::Index;

/// One value for each pointer type.
#[derive(Debug, Clone)]
pub(crate) struct PerPtrType<T> {
    i32: T,
    i64: T,
}

/// What is known of every type.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The spec's `elem_size`. It saturates, far beyond what the validator accepts.
    pub(crate) size: u64,
    pub(crate) alignment: u32,
    /// None when there are more than any core function takes: such a value goes by memory.
    pub(crate) flat: Option<FlatTypes>,
}

/// What is known of a record or a tuple.
#[derive(Debug, Clone)]
pub(crate) struct RecordLayout {
    pub(crate) layout: Layout,
    /// Where each field starts.
    pub(crate) offsets: Box<[u64]>,
}

/// What is known of a variant, an enum, an option or a result.
#[derive(Debug, Clone)]
pub(crate) struct VariantLayout {
    pub(crate) layout: Layout,
    pub(crate) case_count: u32,
    pub(crate) discriminant_size: u32,
    pub(crate) payload_offset: u64,
}

/// At most [`MAX_FLAT_PARAMS`] core types.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlatTypes {
    len: u8,
    types: [CoreType; MAX_FLAT_PARAMS],
}

impl<T> PerPtrType<T> {
    pub(crate) fn new(mut layout: impl FnMut(PtrType) -> T) -> PerPtrType<T> {
        PerPtrType {
            i32: layout(PtrType::I32),
            i64: layout(PtrType::I64),
        }
    }
}

impl<T> Index<PtrType> for PerPtrType<T> {
    type Output = T;

    fn index(&self, ptr_type: PtrType) -> &T {
        match ptr_type {
            PtrType::I32 => &self.i32,
            PtrType::I64 => &self.i64,
        }
    }
}

impl RecordLayout {
    pub(crate) fn new<'a>(
        fields: impl Iterator<Item = &'a Type> + Clone,
        ptr_type: PtrType,
    ) -> RecordLayout {
        let mut end = 0_u64;
        let offsets = fields.clone().map(|field| {
            let offset = align_to(end, alignment(field, ptr_type));
            end = offset.saturating_add(elem_size(field, ptr_type));
            offset
        });
        RecordLayout {
            offsets: offsets.collect(),
            layout: Layout {
                size: elem_size_record(fields.clone(), ptr_type),
                alignment: alignment_record(fields.clone(), ptr_type),
                flat: flatten_record(fields, ptr_type),
            },
        }
    }
}

/// The layout of a list of fixed length.
pub(crate) fn layout_fixed_length_list(elem_type: &Type, length: u32, ptr_type: PtrType) -> Layout {
    Layout {
        size: elem_size_fixed_length_list(elem_type, length, ptr_type),
        alignment: alignment(elem_type, ptr_type),
        flat: flatten_fixed_length_list(elem_type, length, ptr_type),
    }
}

impl VariantLayout {
    pub(crate) fn new<'a>(
        cases: impl ExactSizeIterator<Item = Option<&'a Type>> + Clone,
        ptr_type: PtrType,
    ) -> VariantLayout {
        let case_count = u32::try_from(cases.len()).unwrap_or(u32::MAX);
        let discriminant_size = discriminant_type(case_count);
        VariantLayout {
            case_count,
            discriminant_size,
            payload_offset: align_to(
                u64::from(discriminant_size),
                max_case_alignment(cases.clone(), ptr_type),
            ),
            layout: Layout {
                size: elem_size_variant(cases.clone(), case_count, ptr_type),
                alignment: alignment_variant(cases.clone(), case_count, ptr_type),
                flat: flatten_variant(cases, ptr_type),
            },
        }
    }
}

impl FlatTypes {
    pub(crate) fn empty() -> FlatTypes {
        FlatTypes {
            len: 0,
            types: [CoreType::I32; MAX_FLAT_PARAMS],
        }
    }

    pub(crate) fn from_slice(types: &[CoreType]) -> Option<FlatTypes> {
        let mut flat = FlatTypes::empty();
        flat.extend(types)?;
        Some(flat)
    }

    /// Adds the types at the end; none when they do not fit.
    pub(crate) fn extend(&mut self, types: &[CoreType]) -> Option<()> {
        let start = self.len();
        let end = start.checked_add(types.len())?;
        self.types.get_mut(start..end)?.copy_from_slice(types);
        self.len = u8::try_from(end).ok()?;
        Some(())
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(crate) fn as_slice(&self) -> &[CoreType] {
        &self.types[..self.len()]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [CoreType] {
        let len = self.len();
        &mut self.types[..len]
    }
}
