//! Spec: ## Flat Lifting

use super::despecialization::{case_type, lift_case, variant_layout};
use super::flattening::{flat_ptr, flatten_type};
use super::loading::{
    charge_for, lift_scalar, load_list_from_range, load_map_from_range, load_string_from_range,
};
use super::options::{LiftLower, PtrType};
use crate::engine::{CoreType, CoreVal, core_val_to_bits};
use crate::error::{Error, bug, trap_if};
use crate::trap::Trap;
use crate::types::{Name, Type, ValueTypes};
use crate::val::Val;

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

pub(crate) fn lift_flat<C: LiftLower>(
    cx: &mut C,
    vi: &mut CoreValueIter<'_>,
    t: &Type,
) -> Result<Val, Error> {
    match t {
        Type::String => {
            let (ptr, packed_length) = next_pair(cx, vi)?;
            load_string_from_range(cx, ptr, packed_length)
        }
        Type::List(list) => {
            let (ptr, length) = next_pair(cx, vi)?;
            load_list_from_range(cx, ptr, length, list.ty())
        }
        Type::FixedLengthList(list) => {
            charge_for::<Val>(cx, u64::from(list.size()))?;
            let elements = (0..list.size()).map(|_| lift_flat(cx, vi, list.ty()));
            Ok(Val::List(elements.collect::<Result<_, Error>>()?))
        }
        Type::Map(map) => {
            let (ptr, length) = next_pair(cx, vi)?;
            load_map_from_range(cx, ptr, length, map)
        }
        Type::Record(record) => {
            let fields = record.named_fields();
            charge_for::<(Name, Val)>(cx, fields.len() as u64)?;
            let fields = fields.iter();
            let fields = fields.map(|(name, t)| Ok((Name::clone(name), lift_flat(cx, vi, t)?)));
            Ok(Val::Record(fields.collect::<Result<_, Error>>()?))
        }
        Type::Tuple(tuple) => {
            charge_for::<Val>(cx, tuple.types().len() as u64)?;
            let elements = tuple.types().iter().map(|t| lift_flat(cx, vi, t));
            Ok(Val::Tuple(elements.collect::<Result<_, Error>>()?))
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            lift_flat_variant(cx, vi, t)
        }
        _ => match flatten_type(t, cx.ptr_type())
            .as_ref()
            .map(|ft| ft.as_slice())
        {
            Some([want]) => {
                let bits = vi.next(*want)?;
                lift_scalar(cx, bits, t)
            }
            _ => Err(bug!("{t} is not one core value")),
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
) -> Result<Val, Error> {
    let ptr_type = cx.ptr_type();
    let layout = variant_layout(t, ptr_type);
    let Some((layout, flat)) = layout.and_then(|layout| Some((layout, layout.layout.flat?))) else {
        return Err(bug!("{t} is not a variant, or not a flat one"));
    };
    let case_index = vi.next(CoreType::I32)? as u32;
    trap_if!(
        case_index >= layout.case_count,
        Trap::InvalidDiscriminant(case_index)
    );
    let (payload, taken) = match case_type(t, case_index) {
        Some(payload) => (
            Some(lift_flat(cx, vi, payload)?),
            flatten_type(payload, ptr_type).map_or(0, |flat| flat.len()),
        ),
        None => (None, 0),
    };
    // What the other cases would have used.
    for _ in 1 + taken..flat.len() {
        vi.next_any()?;
    }
    lift_case(cx, t, case_index, payload)
}
