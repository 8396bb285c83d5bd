//! Spec: ## Lifting and Lowering Values

use super::flat_lifting::{CoreValueIter, lift_flat};
use super::flat_lowering::lower_flat;
use super::flattening::flat_ptr;
use super::loading::{charge_for, in_bounds, is_aligned, load_tuple};
use super::options::LiftLower;
use super::storing::{Content, allocate, store_tuple};
use crate::engine::{CoreVal, core_val_from_bits};
use crate::error::{Error, trap_if};
use crate::trap::Trap;
use crate::types::ValueTypes;
use crate::val::Val;

/// Lifts a parameter list or a result: from core values when there are at most `max_flat`, else
/// from memory.
pub(crate) fn lift_flat_values<C: LiftLower>(
    cx: &mut C,
    max_flat: usize,
    vi: &mut CoreValueIter<'_>,
    ts: &ValueTypes,
) -> Result<Vec<Val>, Error> {
    let ptr_type = cx.ptr_type();
    if ts.flat(max_flat, ptr_type).is_some() {
        charge_for::<Val>(cx, ts.types().len() as u64)?;
        return ts.types().iter().map(|t| lift_flat(cx, vi, t)).collect();
    }
    let ptr = vi.next_ptr(ptr_type)?;
    check_tuple_pointer(cx, ptr, ts)?;
    load_tuple(cx, ptr, ts.types(), &ts.layout(ptr_type).offsets)
}

/// Lowers a parameter list or a result: to core values when there are at most `max_flat`, else to
/// memory; to `out_param` when the caller gave one, else to what `realloc` returns, and then the
/// pointer is the only core value.
pub(crate) fn lower_flat_values<C: LiftLower>(
    cx: &mut C,
    max_flat: usize,
    vs: &[Val],
    ts: &ValueTypes,
    out_param: Option<u64>,
    flat_vals: &mut Vec<CoreVal>,
) -> Result<(), Error> {
    if vs.len() != ts.types().len() {
        return Err(Error::ty(format!(
            "expected {} values, found {}",
            ts.types().len(),
            vs.len()
        )));
    }
    let ptr_type = cx.ptr_type();
    let tuple = ts.layout(ptr_type);
    if let Some(flat_types) = ts.flat(max_flat, ptr_type) {
        let mut flat = Vec::with_capacity(flat_types.len());
        for (v, t) in vs.iter().zip(ts.types()) {
            lower_flat(cx, v, t, &mut flat)?;
        }
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
    store_tuple(cx, vs, ts.types(), &tuple.offsets, ptr)
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
