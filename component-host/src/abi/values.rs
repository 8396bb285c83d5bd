//! Spec: ## Lifting and Lowering Values

use super::flat_lifting::{CoreValueIter, lift_flat};
use super::flat_lowering::{Bits, lower_flat};
use super::flattening::flat_ptr;
use super::loading::{charge_elements, in_bounds, is_aligned, load_tuple};
use super::options::LiftLower;
use super::storing::{Content, allocate, store_tuple};
use crate::engine::{CoreVal, core_val_from_bits};
use crate::error::{Error, trap_if};
use crate::transit::Transit;
use crate::trap::Trap;
use crate::types::ValueTypes;

/// Lifts a parameter list or a result: from core values when there are at most `max_flat`, else
/// from memory.
pub(crate) fn lift_flat_values<C: LiftLower>(
    cx: &mut C,
    max_flat: usize,
    vi: &mut CoreValueIter<'_>,
    ts: &ValueTypes,
) -> Result<Transit, Error> {
    let mut out = Transit::new();
    match lift_into(cx, max_flat, vi, ts, &mut out) {
        Ok(()) => Ok(out),
        Err(error) => {
            cx.abandon(out);
            Err(error)
        }
    }
}

fn lift_into<C: LiftLower>(
    cx: &mut C,
    max_flat: usize,
    vi: &mut CoreValueIter<'_>,
    ts: &ValueTypes,
    out: &mut Transit,
) -> Result<(), Error> {
    let ptr_type = cx.ptr_type();
    if ts.flat(max_flat, ptr_type).is_some() {
        charge_elements(cx, 1, &ts.contents())?;
        for t in ts.types() {
            lift_flat(cx, vi, t, out)?;
        }
        return Ok(());
    }
    let ptr = vi.next_ptr(ptr_type)?;
    check_tuple_pointer(cx, ptr, ts)?;
    charge_elements(cx, 1, &ts.contents())?;
    let offsets = &ts.layout(ptr_type).offsets;
    load_tuple(cx, ptr, ts.types(), offsets, out)
}

/// Lowers a parameter list or a result: to core values when there are at most `max_flat`, else to
/// memory; to `out_param` when the caller gave one, else to what `realloc` returns, and then the
/// pointer is the only core value.
pub(crate) fn lower_flat_values<C: LiftLower>(
    cx: &mut C,
    max_flat: usize,
    vs: Transit,
    ts: &ValueTypes,
    out_param: Option<u64>,
    flat_vals: &mut Vec<CoreVal>,
) -> Result<(), Error> {
    let ptr_type = cx.ptr_type();
    let tuple = ts.layout(ptr_type);
    let mut from = vs.read();
    if let Some(flat_types) = ts.flat(max_flat, ptr_type) {
        let mut flat = Bits::new();
        for t in ts.types() {
            lower_flat(cx, &mut from, t, &mut flat)?;
        }
        debug_assert!(from.done(), "all values were lowered");
        let typed = flat_types.as_slice().iter().zip(flat);
        flat_vals.extend(typed.map(|(ft, bits)| core_val_from_bits(*ft, bits)));
        return Ok(());
    }
    let ptr = match out_param {
        Some(ptr) => {
            check_tuple_pointer(cx, ptr, ts)?;
            ptr
        }
        None => {
            let layout = &tuple.layout;
            let ptr = allocate(cx, layout.alignment, layout.size, Content::Values)?;
            flat_vals.push(core_val_from_bits(flat_ptr(ptr_type), ptr));
            ptr
        }
    };
    store_tuple(cx, &mut from, ts.types(), &tuple.offsets, ptr)?;
    debug_assert!(from.done(), "all values were lowered");
    Ok(())
}

/// Checks a pointer that a guest gave for values that go by memory.
fn check_tuple_pointer<C: LiftLower>(cx: &C, ptr: u64, ts: &ValueTypes) -> Result<(), Error> {
    let tuple = &ts.layout(cx.ptr_type()).layout;
    trap_if!(!is_aligned(ptr, tuple.alignment), Trap::UnalignedPointer);
    trap_if!(
        !in_bounds(cx.memory()?, ptr, tuple.size),
        Trap::PointerOutOfBounds
    );
    Ok(())
}
