//! Spec: ### `canon waitable-set.*`, ### `canon waitable.join`

use super::canon_lower::write_results;
use super::component_instances::{Handle, InstanceId};
use super::finish::Then;
use super::threads::{Block, Until};
use super::waitable_state::{WaitableSet, unpack_event};
use crate::engine::{Context, CoreMemory, CoreVal, HostOutcome};
use crate::error::{Error, trap_if};
use crate::store::State;
use crate::trap::Trap;

pub(crate) fn waitable_set_new(state: &mut State, inst: InstanceId) -> Result<u32, Error> {
    state.check_leave(inst)?;
    state.check_handles(1)?;
    state.check_waitables(1)?;
    let set = state.sets.insert(WaitableSet::default());
    state.add_handle(inst, Handle::WaitableSet(set))
}

pub(crate) fn waitable_set_wait(
    cx: &mut Context<'_>,
    inst: InstanceId,
    memory: CoreMemory,
    si: u32,
    ptr: u64,
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    state.check_leave(inst)?;
    let set = state.waitable_set(inst, si)?;
    if state.set_has_pending_event(set) {
        let event = state.set_get_pending_event(set)?;
        let code = unpack_event(cx, memory, ptr, event)?;
        write_results(results, &[CoreVal::I32(code as i32)])?;
        return Ok(HostOutcome::Return);
    }
    state.pending = Some(Block::Wait(
        Until::Event(set),
        Then::WaitableSetWait { set, memory, ptr },
    ));
    Ok(HostOutcome::Suspend)
}

pub(crate) fn waitable_set_poll(
    cx: &mut Context<'_>,
    inst: InstanceId,
    memory: CoreMemory,
    si: u32,
    ptr: u64,
) -> Result<u32, Error> {
    let state = cx.data_mut();
    state.check_leave(inst)?;
    let set = state.waitable_set(inst, si)?;
    let event = state.set_poll(set)?;
    unpack_event(cx, memory, ptr, event)
}

pub(crate) fn waitable_set_drop(state: &mut State, inst: InstanceId, si: u32) -> Result<(), Error> {
    state.check_leave(inst)?;
    let set = state.waitable_set(inst, si)?;
    state.drop_set(set)?;
    state.remove_handle(inst, si)?;
    Ok(())
}

pub(crate) fn waitable_join(
    state: &mut State,
    inst: InstanceId,
    wi: u32,
    si: u32,
) -> Result<(), Error> {
    state.check_leave(inst)?;
    let waitable = state.waitable(inst, wi)?;
    trap_if!(state.has_sync_waiter(waitable), Trap::WaitableSyncInSet);
    let set = match si {
        0 => None,
        si => Some(state.waitable_set(inst, si)?),
    };
    state.join_set(waitable, set);
    Ok(())
}
