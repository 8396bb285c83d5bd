//! Spec: ### `canon resource.new`, ### `canon resource.drop`, ### `canon resource.rep`

use super::canon_lift::canon_lift;
use super::component_instances::{Handle, InstanceId};
use super::finish::Then;
use super::host_resources::call_host_dtor;
use super::resource_state::{ResourceHandle, ResourceImpl};
use super::tasks::Caller;
use super::threads::{Block, Flow};
use crate::engine::{Context, CoreVal, HostOutcome};
use crate::error::{Error, trap_if};
use crate::store::State;
use crate::trap::Trap;
use crate::types::ResourceType;
use std::rc::Rc;

/// What is said when a handle has another resource type than was expected.
fn mismatch(expected: Option<&ResourceImpl>, found: Option<&ResourceImpl>) -> &'static str {
    let guest = |implementation| matches!(implementation, Some(&ResourceImpl::Guest { .. }));
    match (guest(expected), guest(found)) {
        (true, true) => {
            "expected guest-defined resource but found a different guest-defined resource"
        }
        (true, false) => "expected guest-defined resource but found a host-defined resource",
        (false, true) => "expected host-defined resource but found a guest-defined resource",
        (false, false) => {
            "expected host-defined resource but found a different host-defined resource"
        }
    }
}

impl State {
    /// Looks up the handle of a resource of the given type.
    pub(crate) fn resource_handle(
        &mut self,
        inst: InstanceId,
        index: u32,
        rt: ResourceType,
    ) -> Result<&mut ResourceHandle, Error> {
        let detail = match self.instance(inst).handles.get(index)? {
            Handle::Resource(handle) if handle.rt != rt => {
                mismatch(self.resources.get(&rt), self.resources.get(&handle.rt))
            }
            _ => "",
        };
        match self.instance_mut(inst).handles.get_mut(index)? {
            Handle::Resource(handle) if handle.rt == rt => Ok(handle),
            _ => Err(Trap::HandleWrongType { index, detail }.into()),
        }
    }
}

pub(crate) fn resource_new(
    state: &mut State,
    inst: InstanceId,
    rt: ResourceType,
    rep: u32,
) -> Result<u32, Error> {
    state.check_leave(inst)?;
    let handle = ResourceHandle {
        rt,
        rep,
        own: true,
        borrow_scope: None,
        num_lends: 0,
    };
    state.add_handle(inst, Handle::Resource(handle))
}

pub(crate) fn resource_rep(
    state: &mut State,
    inst: InstanceId,
    rt: ResourceType,
    index: u32,
) -> Result<u32, Error> {
    Ok(state.resource_handle(inst, index, rt)?.rep)
}

pub(crate) fn resource_drop(
    cx: &mut Context<'_>,
    inst: InstanceId,
    rt: ResourceType,
    index: u32,
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    state.check_leave(inst)?;
    let handle = state.resource_handle(inst, index, rt)?;
    trap_if!(handle.num_lends != 0, Trap::CannotRemoveLent);
    let (own, rep, scope) = (handle.own, handle.rep, handle.borrow_scope);
    state.remove_handle(inst, index)?;
    if !own {
        if let Some(task) = scope {
            state.task_mut(task)?.num_borrows -= 1;
        }
        return Ok(HostOutcome::Return);
    }
    let dtor = match state.resources.get(&rt).cloned() {
        Some(ResourceImpl::Guest {
            dtor: Some(dtor), ..
        }) => dtor,
        Some(ResourceImpl::Host(dtor)) => {
            call_host_dtor(&dtor, rep)?;
            return Ok(HostOutcome::Return);
        }
        Some(ResourceImpl::Guest { dtor: None, .. }) | None => return Ok(HostOutcome::Return),
    };
    // A destructor is called as a synchronous function of the instance that implements the type.
    let args: Rc<[CoreVal]> = Rc::new([CoreVal::I32(rep as i32)]);
    match canon_lift(cx, &dtor, Caller::Internal(args))? {
        (_, Flow::Returned) => Ok(HostOutcome::Return),
        (_, Flow::Paused) => {
            cx.data_mut().pending = Some(Block::Paused(Then::ResourceDrop));
            Ok(HostOutcome::Suspend)
        }
    }
}
