//! Spec: ## Flattening
//!
//! Flat types are kept up to [`MAX_FLAT_PARAMS`], the most that any core function takes; of longer
//! lists nothing is known but that they are longer. A `list<u8, 1000000>` therefore costs nothing.

use super::layout::FlatTypes;
use super::options::{FlattenOptions, PtrType};
use crate::engine::CoreType;
use crate::types::{FuncType, Type, ValueTypes};

pub(crate) const MAX_FLAT_PARAMS: usize = 16;
pub(crate) const MAX_FLAT_ASYNC_PARAMS: usize = 4;
pub(crate) const MAX_FLAT_RESULTS: usize = 1;

/// For which of the two canonical definitions a function type is flattened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlattenContext {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the validator has checked lifts")
    )]
    Lift,
    Lower,
}

/// The type of a core function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreFuncType {
    pub(crate) params: Vec<CoreType>,
    pub(crate) results: Vec<CoreType>,
}

pub(crate) fn flatten_functype(
    opts: FlattenOptions,
    ft: &FuncType,
    context: FlattenContext,
) -> CoreFuncType {
    let ptr_type = opts.ptr_type;
    let max_flat_params = match (opts.async_, context) {
        (true, FlattenContext::Lower) => MAX_FLAT_ASYNC_PARAMS,
        _ => MAX_FLAT_PARAMS,
    };
    let mut params = flat_or_pointer(ft.param_types(), max_flat_params, ptr_type);
    let results = match (opts.async_, context) {
        (false, FlattenContext::Lift) => {
            flat_or_pointer(ft.result_type(), MAX_FLAT_RESULTS, ptr_type)
        }
        (false, FlattenContext::Lower) => {
            if ft.result_type().flat(MAX_FLAT_RESULTS, ptr_type).is_none() {
                params.push(flat_ptr(ptr_type));
                Vec::new()
            } else {
                flat_or_pointer(ft.result_type(), MAX_FLAT_RESULTS, ptr_type)
            }
        }
        (true, FlattenContext::Lift) if opts.callback => vec![CoreType::I32],
        (true, FlattenContext::Lift) => Vec::new(),
        (true, FlattenContext::Lower) => {
            if ft.result_type().flat(0, ptr_type).is_none() {
                params.push(flat_ptr(ptr_type));
            }
            vec![CoreType::I32]
        }
    };
    CoreFuncType { params, results }
}

/// The flat types, or one pointer to the memory where the values are when there are too many.
pub(crate) fn flat_or_pointer(
    types: &ValueTypes,
    max_flat: usize,
    ptr_type: PtrType,
) -> Vec<CoreType> {
    match types.flat(max_flat, ptr_type) {
        Some(flat) => flat.as_slice().to_vec(),
        None => vec![flat_ptr(ptr_type)],
    }
}

/// The core type of a pointer or a length.
pub(crate) fn flat_ptr(ptr_type: PtrType) -> CoreType {
    match ptr_type {
        PtrType::I32 => CoreType::I32,
        PtrType::I64 => CoreType::I64,
    }
}

/// The core types of a type's flat form; none when there are more than [`MAX_FLAT_PARAMS`].
pub(crate) fn flatten_type(t: &Type, ptr_type: PtrType) -> Option<FlatTypes> {
    if let Some(one) = scalar_core_type(t) {
        return FlatTypes::from_slice(&[one]);
    }
    match t {
        Type::String | Type::List(_) | Type::Map(_) => {
            FlatTypes::from_slice(&[flat_ptr(ptr_type); 2])
        }
        Type::FixedLengthList(list) => list.layout(ptr_type).flat,
        Type::Record(record) => record.layout(ptr_type).layout.flat,
        Type::Tuple(tuple) => tuple.layout(ptr_type).layout.flat,
        Type::Variant(variant) => variant.layout(ptr_type).layout.flat,
        Type::Enum(enum_) => enum_.layout(ptr_type).layout.flat,
        Type::Option(option) => option.layout(ptr_type).layout.flat,
        Type::Result(result) => result.layout(ptr_type).layout.flat,
        _ => None,
    }
}

/// The core type of what is one core value, whatever the memory.
pub(crate) fn scalar_core_type(t: &Type) -> Option<CoreType> {
    Some(match t {
        Type::Bool | Type::Char => CoreType::I32,
        Type::U8 | Type::U16 | Type::U32 => CoreType::I32,
        Type::S8 | Type::S16 | Type::S32 => CoreType::I32,
        Type::S64 | Type::U64 => CoreType::I64,
        Type::Float32 => CoreType::F32,
        Type::Float64 => CoreType::F64,
        Type::ErrorContext | Type::Flags(_) => CoreType::I32,
        Type::Own(_) | Type::Borrow(_) => CoreType::I32,
        Type::Stream(_) | Type::Future(_) => CoreType::I32,
        _ => return None,
    })
}

pub(crate) fn flatten_fixed_length_list(
    elem_type: &Type,
    length: u32,
    ptr_type: PtrType,
) -> Option<FlatTypes> {
    let elem = flatten_type(elem_type, ptr_type)?;
    // Every type has a flat type; were there one without, this would still end.
    if length as usize > MAX_FLAT_PARAMS {
        return None;
    }
    let mut flat = FlatTypes::empty();
    for _ in 0..length {
        flat.extend(elem.as_slice())?;
    }
    Some(flat)
}

pub(crate) fn flatten_record<'a>(
    fields: impl Iterator<Item = &'a Type>,
    ptr_type: PtrType,
) -> Option<FlatTypes> {
    let mut flat = FlatTypes::empty();
    for field in fields {
        flat.extend(flatten_type(field, ptr_type)?.as_slice())?;
    }
    Some(flat)
}

pub(crate) fn flatten_variant<'a>(
    cases: impl Iterator<Item = Option<&'a Type>>,
    ptr_type: PtrType,
) -> Option<FlatTypes> {
    // The discriminant, of whatever size, is an i32.
    let mut flat = FlatTypes::from_slice(&[CoreType::I32])?;
    for case in cases.flatten() {
        let case = flatten_type(case, ptr_type)?;
        let shared = case.len().min(flat.len() - 1);
        let (joined, added) = case.as_slice().split_at(shared);
        for (slot, ft) in flat.as_mut_slice()[1..].iter_mut().zip(joined) {
            *slot = join(*slot, *ft);
        }
        flat.extend(added)?;
    }
    Some(flat)
}

fn join(a: CoreType, b: CoreType) -> CoreType {
    match (a, b) {
        _ if a == b => a,
        (CoreType::I32, CoreType::F32) | (CoreType::F32, CoreType::I32) => CoreType::I32,
        _ => CoreType::I64,
    }
}
