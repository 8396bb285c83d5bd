//! Spec: ## Flat Lifting

use super::despecialization::variant_layout;
use super::flattening::{flat_ptr, flatten_type, scalar_core_type};
use super::loading::{
    lift_discriminant, lift_scalar, load_list_from_range, load_map_from_range,
    load_string_from_range,
};
use super::options::{LiftLower, PtrType};
use crate::engine::{CoreType, CoreVal, core_val_to_bits};
use crate::error::{Error, bug};
use crate::transit::Transit;
use crate::types::{Type, ValueTypes};

/// The core values of a call, taken one by one, as bits.
#[derive(Debug)]
pub(crate) struct CoreValueIter<'a> {
    values: std::slice::Iter<'a, CoreVal>,
}

impl<'a> CoreValueIter<'a> {
    pub(crate) fn new(values: &'a [CoreVal]) -> CoreValueIter<'a> {
        CoreValueIter {
            values: values.iter(),
        }
    }

    /// The next core value, as the given type, zero-extended.
    ///
    /// It may have a wider type, in a variant whose cases share it. The spec's `CoerceValueIter`
    /// reinterprets such a value; as bits, it only loses those that are too many.
    pub(crate) fn next(&mut self, want: CoreType) -> Result<u64, Error> {
        let (have, bits) = self.next_any()?;
        match (have, want) {
            (CoreType::I64, CoreType::I32 | CoreType::F32) => Ok(bits & 0xffff_ffff),
            (CoreType::I32, CoreType::F32) | (CoreType::I64, CoreType::F64) => Ok(bits),
            _ if have == want => Ok(bits),
            _ => Err(bug!("a core value is of type {have:?}, not {want:?}")),
        }
    }

    /// The next core value as a pointer or a length.
    pub(crate) fn next_ptr(&mut self, ptr_type: PtrType) -> Result<u64, Error> {
        self.next(flat_ptr(ptr_type))
    }

    /// The pointer to where results of these types go, when they go by memory: the last parameter.
    pub(crate) fn next_out_param(
        &mut self,
        max_flat: usize,
        ts: &ValueTypes,
        ptr_type: PtrType,
    ) -> Result<Option<u64>, Error> {
        match ts.flat(max_flat, ptr_type) {
            Some(_) => Ok(None),
            None => self.next_ptr(ptr_type).map(Some),
        }
    }

    /// Whether all were taken.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn done(&self) -> bool {
        self.values.as_slice().is_empty()
    }

    fn next_any(&mut self) -> Result<(CoreType, u64), Error> {
        let value = self.values.next().and_then(core_val_to_bits);
        value.ok_or_else(|| bug!("a core value is missing, or is not a number"))
    }
}

/// Takes a value's core values, and adds it to `out`. What it takes there was charged with the
/// parameters that it belongs to.
pub(crate) fn lift_flat<C: LiftLower>(
    cx: &mut C,
    vi: &mut CoreValueIter<'_>,
    t: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    match t {
        Type::String => {
            let (ptr, packed_length) = next_pair(cx, vi)?;
            out.text(load_string_from_range(cx, ptr, packed_length)?);
            Ok(())
        }
        Type::List(list) => {
            let (ptr, length) = next_pair(cx, vi)?;
            load_list_from_range(cx, ptr, length, list.ty(), out)
        }
        Type::FixedLengthList(list) => {
            (0..list.size()).try_for_each(|_| lift_flat(cx, vi, list.ty(), out))
        }
        Type::Map(map) => {
            let (ptr, length) = next_pair(cx, vi)?;
            load_map_from_range(cx, ptr, length, map, out)
        }
        Type::Record(record) => {
            let mut fields = record.named_fields().iter();
            fields.try_for_each(|(_, t)| lift_flat(cx, vi, t, out))
        }
        Type::Tuple(tuple) => {
            let mut types = tuple.types().iter();
            types.try_for_each(|t| lift_flat(cx, vi, t, out))
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            lift_flat_variant(cx, vi, t, out)
        }
        _ => match scalar_core_type(t) {
            Some(want) => {
                let bits = vi.next(want)?;
                lift_scalar(cx, bits, t, out)
            }
            None => Err(bug!("{t} is not one core value")),
        },
    }
}

/// A pointer and a length, as strings and lists are when they are flat.
fn next_pair<C: LiftLower>(cx: &C, vi: &mut CoreValueIter<'_>) -> Result<(u64, u64), Error> {
    let ptr = vi.next_ptr(cx.ptr_type())?;
    Ok((ptr, vi.next_ptr(cx.ptr_type())?))
}

fn lift_flat_variant<C: LiftLower>(
    cx: &mut C,
    vi: &mut CoreValueIter<'_>,
    t: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    let ptr_type = cx.ptr_type();
    let layout = variant_layout(t, ptr_type);
    let Some((layout, flat)) = layout.and_then(|layout| Some((layout, layout.layout.flat?))) else {
        return Err(bug!("{t} is not a variant, or not a flat one"));
    };
    let case_index = vi.next(CoreType::I32)? as u32;
    let taken = match lift_discriminant(t, case_index, layout, out)? {
        Some(payload) => {
            lift_flat(cx, vi, payload, out)?;
            flatten_type(payload, ptr_type).map_or(0, |flat| flat.len())
        }
        None => 0,
    };
    // What the other cases would have used.
    for _ in 1 + taken..flat.len() {
        vi.next_any()?;
    }
    Ok(())
}
