//! Spec: ## Lifting and Lowering Context

use super::canon_lift::{CanonicalOptions, nested};
use super::canon_stream::{lift_end, lower_end};
use super::component_instances::{Handle, InstanceId};
use super::host_buffer::Unwanted;
use super::options::{LiftLower, Peer, PtrType};
use super::resource_state::{ResourceHandle, ResourceImpl};
use super::subtask_state::SubtaskId;
use super::tasks::TaskId;
use super::threads::Entry;
use crate::arena::Id;
use crate::component::definitions::StringEncoding;
use crate::engine::{self, Context, CoreFunc, CoreVal, Run};
use crate::error::{Error, bug, trap_if};
use crate::transit::Transit;
use crate::trap::Trap;
use crate::types::{ResourceType, Type};
use crate::val::{ErrorContextAny, FutureAny, ResourceAny, StreamAny, Val};
use std::rc::Rc;

/// What lifting and lowering need to know of the instance whose values they read and write.
pub(crate) struct LiftLowerContext<'a, 'b> {
    cx: &'a mut Context<'b>,
    opts: &'a CanonicalOptions,
    inst: InstanceId,
    scope: Scope,
    peer: Peer,
    /// Whether the embedder gets what is lifted as `Val`s.
    as_vals: bool,
    /// What the host may still allocate for this call, or this copy.
    bytes_left: u64,
    /// The limit that says so.
    limit: &'static str,
}

/// How many bytes of values the host handles in about the time of one interpreted instruction.
pub(crate) const BYTES_PER_FUEL: u64 = 32;

/// `borrow_scope`
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    None,
    Task(TaskId),
    Subtask(SubtaskId),
}

impl<'a, 'b> LiftLowerContext<'a, 'b> {
    pub(crate) fn new(
        cx: &'a mut Context<'b>,
        opts: &'a CanonicalOptions,
        inst: InstanceId,
        scope: Scope,
        peer: Peer,
    ) -> Self {
        let bytes_left = cx.data().config.max_call_bytes;
        LiftLowerContext {
            cx,
            opts,
            inst,
            scope,
            peer,
            as_vals: false,
            bytes_left,
            limit: "max_call_bytes",
        }
    }

    /// For the elements of a stream or a future.
    pub(crate) fn for_copy(mut self) -> Self {
        self.limit = "max_stream_bytes";
        self.bytes_left = self.cx.data().config.max_stream_bytes;
        self
    }

    /// What is lifted will be a tree of `Val`s, which takes more memory.
    pub(crate) fn for_vals(mut self, as_vals: bool) -> Self {
        self.as_vals = as_vals;
        self
    }

    /// The handle of a resource of the given type.
    fn resource(&mut self, index: u32, rt: ResourceType) -> Result<&mut ResourceHandle, Error> {
        self.cx.data_mut().resource_handle(self.inst, index, rt)
    }
}

impl LiftLower for LiftLowerContext<'_, '_> {
    fn string_encoding(&self) -> StringEncoding {
        self.opts.string_encoding
    }

    fn ptr_type(&self) -> PtrType {
        self.opts.ptr_type
    }

    fn peer(&self) -> Peer {
        self.peer
    }

    fn memory(&self) -> Result<&[u8], Error> {
        match &self.opts.memory {
            Some(memory) => Ok(memory.data(&*self.cx)),
            None => Err(bug!("a value needs memory, and the function has none")),
        }
    }

    fn memory_mut(&mut self) -> Result<&mut [u8], Error> {
        match &self.opts.memory {
            Some(memory) => Ok(memory.data_mut(&mut *self.cx)),
            None => Err(bug!("a value needs memory, and the function has none")),
        }
    }

    fn reallocate(
        &mut self,
        old: u64,
        old_byte_length: u64,
        alignment: u32,
        new_byte_length: u64,
    ) -> Result<u64, Error> {
        let Some(realloc) = &self.opts.realloc else {
            return Err(bug!("a value needs `realloc`, and the function has none"));
        };
        let args = [old, old_byte_length, u64::from(alignment), new_byte_length];
        // The length of what the host lowers is below 2^32 (`REALLOC_I32_MAX`).
        let args = args.map(|arg| match self.opts.ptr_type {
            PtrType::I32 => CoreVal::I32(arg as u32 as i32),
            PtrType::I64 => CoreVal::I64(arg as i64),
        });
        let entry = Rc::clone(&realloc.entry);
        match call_without_leaving(self.cx, self.inst, entry, realloc.func, &args, 1)? {
            Some(CoreVal::I32(ptr)) => Ok(u64::from(ptr as u32)),
            Some(CoreVal::I64(ptr)) => Ok(ptr as u64),
            other => Err(bug!("realloc returned {other:?}")),
        }
    }

    fn lift_own(&mut self, index: u32, rt: ResourceType) -> Result<ResourceAny, Error> {
        let handle = self.resource(index, rt)?;
        trap_if!(handle.num_lends != 0, Trap::CannotRemoveLent);
        trap_if!(
            !handle.own,
            Trap::HandleWrongType {
                index,
                detail: "expected an owned handle but found a borrowed one"
            }
        );
        let rep = handle.rep;
        let state = self.cx.data_mut();
        state.remove_handle(self.inst, index)?;
        match self.peer {
            Peer::Guest => Ok(ResourceAny::own(rt, rep)),
            Peer::Host => state.hold_own(rt, rep),
        }
    }

    fn lift_borrow(&mut self, index: u32, rt: ResourceType) -> Result<ResourceAny, Error> {
        let rep = self.resource(index, rt)?.rep;
        let Scope::Subtask(subtask) = self.scope else {
            return Ok(ResourceAny::borrow(rt, rep));
        };
        let state = self.cx.data_mut();
        state.add_lender(subtask, index)?;
        match self.peer {
            Peer::Guest => Ok(ResourceAny::borrow(rt, rep)),
            Peer::Host => Ok(state.hold_borrow(rt, rep, subtask)),
        }
    }

    fn lower_own(&mut self, resource: &ResourceAny, rt: ResourceType) -> Result<u32, Error> {
        check_resource(resource, rt)?;
        let handle = ResourceHandle {
            rt,
            rep: resource.rep(),
            own: true,
            borrow_scope: None,
            num_lends: 0,
        };
        self.cx
            .data_mut()
            .add_handle(self.inst, Handle::Resource(handle))
    }

    fn lower_borrow(&mut self, resource: &ResourceAny, rt: ResourceType) -> Result<u32, Error> {
        check_resource(resource, rt)?;
        let state = self.cx.data_mut();
        if matches!(
            state.resources.get(&rt),
            Some(ResourceImpl::Guest { inst, .. }) if *inst == self.inst
        ) {
            return Ok(resource.rep());
        }
        let Scope::Task(task) = self.scope else {
            return Err(bug!("a borrow is lowered outside a task"));
        };
        let handle = ResourceHandle {
            rt,
            rep: resource.rep(),
            own: false,
            borrow_scope: Some(task),
            num_lends: 0,
        };
        let index = state.add_handle(self.inst, Handle::Resource(handle))?;
        state.task_mut(task)?.num_borrows += 1;
        Ok(index)
    }

    fn lift_stream(&mut self, index: u32, t: Option<&Type>) -> Result<Val, Error> {
        let end = lift_end(self.cx.data_mut(), self.inst, false, t, index, self.peer)?;
        let store = self.cx.data().id;
        Ok(Val::Stream(StreamAny::in_store(store, end.to_bits())))
    }

    fn lift_future(&mut self, index: u32, t: Option<&Type>) -> Result<Val, Error> {
        let end = lift_end(self.cx.data_mut(), self.inst, true, t, index, self.peer)?;
        let store = self.cx.data().id;
        Ok(Val::Future(FutureAny::in_store(store, end.to_bits())))
    }

    fn lower_stream(&mut self, value: &Val, t: Option<&Type>) -> Result<u32, Error> {
        let Val::Stream(stream) = value else {
            return Err(Error::ty("a stream was expected"));
        };
        let end = stream.id_in(self.cx.data().id).and_then(Id::from_bits);
        lower_end(self.cx.data_mut(), self.inst, false, t, end)
    }

    fn lower_future(&mut self, value: &Val, t: Option<&Type>) -> Result<u32, Error> {
        let Val::Future(future) = value else {
            return Err(Error::ty("a future was expected"));
        };
        let end = future.id_in(self.cx.data().id).and_then(Id::from_bits);
        lower_end(self.cx.data_mut(), self.inst, true, t, end)
    }

    fn lift_error_context(&mut self, index: u32) -> Result<ErrorContextAny, Error> {
        self.cx.data().error_context(self.inst, index)
    }

    fn lower_error_context(&mut self, value: &ErrorContextAny) -> Result<u32, Error> {
        let handle = Handle::ErrorContext(value.clone());
        self.cx.data_mut().add_handle(self.inst, handle)
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        // What the host does for the guest takes its time too.
        engine::charge(self.cx, bytes / BYTES_PER_FUEL)?;
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.bytes_left = left;
                Ok(())
            }
            None => Err(self.cx.data().limit_refused(self.limit)),
        }
    }

    fn charge_tree(&mut self, bytes: u64) -> Result<(), Error> {
        match self.as_vals {
            true => self.charge(bytes),
            false => Ok(()),
        }
    }

    fn abandon(&mut self, lifted: Transit) {
        // What was on its way to another guest goes with the run that failed.
        if self.peer == Peer::Host {
            let lifted = Unwanted::Held(lifted.into_handles());
            self.cx.data_mut().aftermath.unwanted.push(lifted);
        }
    }
}

fn check_resource(resource: &ResourceAny, rt: ResourceType) -> Result<(), Error> {
    if resource.ty() == rt {
        Ok(())
    } else {
        Err(Error::ty(format!(
            "expected a handle of resource {rt}, found {}",
            resource.handle_type()
        )))
    }
}

/// Calls a core function that may not leave its instance, and so cannot block: on a thread of its
/// own, as the specification lifts it.
pub(crate) fn call_without_leaving(
    cx: &mut Context<'_>,
    inst: InstanceId,
    entry: Rc<Entry>,
    func: CoreFunc,
    args: &[CoreVal],
    results: usize,
) -> Result<Option<CoreVal>, Error> {
    let state = cx.data_mut();
    state.check_enter(inst)?;
    let role = entry.role;
    let thread = state.new_thread(inst, None, entry);
    state.native.push(thread);
    state.instance_mut(inst).may_leave = false;
    let outer = state.fuel.begin_unsuspended();
    let run = nested(cx, |cx| engine::call(cx, func, args, results))?;
    let state = cx.data_mut();
    state.fuel.end_unsuspended(outer);
    state.instance_mut(inst).may_leave = true;
    state.pop_native(thread)?;
    state.threads.remove(thread);
    match run {
        Run::Done(result) => Ok(result),
        Run::Suspended(_) => Err(bug!("{role:?} was suspended, although it may not leave")),
    }
}
