//! Spec: ### `canon lift`

use super::component_instances::InstanceId;
use super::context::{LiftLowerContext, Scope};
use super::flat_lifting::CoreValueIter;
use super::flattening::{MAX_FLAT_PARAMS, MAX_FLAT_RESULTS};
use super::options::Peer;
use super::options::PtrType;
use super::resolve::{on_cancelled, on_resolve, on_start};
use super::subtask_state::Callee;
use super::tasks::{Caller, TaskId, TaskState};
use super::threads::{Continuation, Entry, Flow, ThreadId, Until, park, start};
use super::values::{lift_flat_values, lower_flat_values};
use super::waitable_state::{EventCode, EventTuple, SetId};
use crate::component::definitions::StringEncoding;
use crate::engine::{self, Context, CoreFunc, CoreMemory, CoreVal, Run};
use crate::error::{Error, bug, trap_if};
use crate::origin::CoreOrigin;
use crate::store::drive::SyncCall;
use crate::store::{Event, State};
use crate::transit::Transit;
use crate::trap::Trap;
use crate::types::FuncType;
use std::rc::Rc;
use std::sync::Arc;

/// A core function as a component function: what `canon lift` defines.
#[derive(Debug)]
pub(crate) struct Lifted {
    pub(crate) core: CoreFunc,
    pub(crate) ty: Arc<FuncType>,
    pub(crate) opts: Rc<CanonicalOptions>,
    pub(crate) inst: InstanceId,
    pub(crate) entry: Rc<Entry>,
    /// Whether calls may go the short way (`abi/direct.rs`).
    pub(crate) direct: bool,
}

/// Spec: ## Canonical ABI Options
#[derive(Debug)]
pub(crate) struct CanonicalOptions {
    pub(crate) string_encoding: StringEncoding,
    pub(crate) ptr_type: PtrType,
    pub(crate) memory: Option<CoreMemory>,
    pub(crate) realloc: Option<Realloc>,
    pub(crate) post_return: Option<CoreFunc>,
    pub(crate) async_: bool,
    pub(crate) callback: Option<CoreFunc>,
    pub(crate) origins: OptionOrigins,
}

/// The `realloc` of the options.
#[derive(Debug)]
pub(crate) struct Realloc {
    pub(crate) func: CoreFunc,
    /// As what its threads enter the instance.
    pub(crate) entry: Rc<Entry>,
}

/// Where the functions among the options come from, for errors.
#[derive(Debug, Default)]
pub(crate) struct OptionOrigins {
    pub(crate) post_return: CoreOrigin,
    pub(crate) callback: CoreOrigin,
}

impl Default for CanonicalOptions {
    fn default() -> CanonicalOptions {
        CanonicalOptions {
            string_encoding: StringEncoding::Utf8,
            ptr_type: PtrType::I32,
            memory: None,
            realloc: None,
            post_return: None,
            async_: false,
            callback: None,
            origins: OptionOrigins::default(),
        }
    }
}

/// Which core function of a lift is on top of a thread's core stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoreFrame {
    Callee,
    Callback,
    PostReturn,
    /// The function of an explicit thread.
    Thread,
}

/// How passing the gate ended.
pub(crate) enum Entered {
    /// Backpressure: the thread waits at the gate.
    Blocked,
    /// The call was cancelled at the gate.
    Cancelled,
    /// The callee was called.
    Called(Run),
}

impl Lifted {
    /// `Task.needs_exclusive`
    pub(crate) fn needs_exclusive(&self) -> bool {
        !self.opts.async_ || self.opts.callback.is_some()
    }

    fn flat_results(&self) -> usize {
        if self.opts.async_ {
            usize::from(self.opts.callback.is_some())
        } else {
            usize::from(self.ty.result().is_some())
        }
    }
}

/// Calls a lifted function: makes its task and runs it until it ends or blocks.
///
/// A callee of synchronous type that blocks is paused, with its caller: the driver at the base
/// runs candidates of the callee's instance until the task is resolved, or traps.
pub(crate) fn canon_lift(
    cx: &mut Context<'_>,
    callee: &Rc<Lifted>,
    caller: Caller,
) -> Result<(TaskId, Flow), Error> {
    let (task, thread) = begin_task(cx.data_mut(), callee, caller)?;
    let synchronous = !callee.ty.is_async();
    let observed = cx.data().observer.is_some();
    if observed {
        let component = cx.data().path(callee.inst);
        cx.data().emit(|_| Event::Entered {
            component: &component,
            function: &callee.entry.name,
        });
    }
    let flow = nested(cx, |cx| start(cx, thread));
    if observed {
        cx.data().emit(|_| Event::Left);
    }
    let flow = flow?;
    if !synchronous || flow == Flow::Paused {
        return Ok((task, flow));
    }
    if cx.data().task_resolved(task) {
        cx.data_mut().sync_calls.pop();
        Ok((task, Flow::Returned))
    } else {
        Ok((task, Flow::Paused))
    }
}

/// Makes the task of a call, and its thread; a synchronous call is in progress from now on.
pub(crate) fn begin_task(
    state: &mut State,
    callee: &Rc<Lifted>,
    caller: Caller,
) -> Result<(TaskId, ThreadId), Error> {
    state.check_enter(callee.inst)?;
    let subtask = match &caller {
        Caller::Subtask(subtask) => Some(*subtask),
        Caller::Host(_) | Caller::Internal(_) => None,
    };
    let task = state.new_task(callee, caller)?;
    let thread = state.task(task)?.implicit_thread;
    if let Some(subtask) = subtask {
        state.subtask_mut(subtask)?.callee = Callee::Task(task);
    }
    if !callee.ty.is_async() {
        let depth = state.native.len();
        state.sync_calls.push(SyncCall {
            task,
            thread,
            inst: callee.inst,
            depth,
            cancel: None,
        });
    }
    Ok((task, thread))
}

/// Runs guest code inside a host function. Nothing else bounds how deep guest and host may call
/// each other on the native stack.
pub(crate) fn nested<R>(
    cx: &mut Context<'_>,
    run: impl FnOnce(&mut Context<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let state = cx.data_mut();
    if state.nesting >= state.config.max_nesting {
        return Err(state.limit_refused("max_nesting"));
    }
    state.nesting += 1;
    let result = run(cx);
    cx.data_mut().nesting -= 1;
    result
}

/// `Task.enter_implicit_thread`, and then the call of the core function.
pub(crate) fn enter_implicit_thread(
    cx: &mut Context<'_>,
    thread: ThreadId,
    waited: bool,
) -> Result<Entered, Error> {
    let state = cx.data_mut();
    let Some(task_id) = state.thread(thread)?.task else {
        return Err(bug!("an implicit thread has no task"));
    };
    let callee = Rc::clone(&state.task(task_id)?.callee);
    let inst = callee.inst;
    if callee.ty.is_async() {
        if waited {
            state.instance_mut(inst).num_waiting_to_enter -= 1;
            if !callee.needs_exclusive() {
                // It takes no turn, so the next one may enter too.
                state.offer_turn(inst);
            }
            if state.caller_is_gone(task_id) || state.has_pending_cancel(Some(task_id)) {
                let cancelled = state.deliver_pending_cancel(task_id)?;
                if cancelled {
                    on_cancelled(cx, task_id)?;
                }
                let state = cx.data_mut();
                state.tasks.remove(task_id);
                state.offer_turn(inst);
                return Ok(Entered::Cancelled);
            }
        } else if state.has_backpressure(task_id) || state.instance(inst).num_waiting_to_enter > 0 {
            state.instance_mut(inst).num_waiting_to_enter += 1;
            return Ok(Entered::Blocked);
        }
        if callee.needs_exclusive() {
            debug_assert!(state.instance(inst).exclusive_thread.is_none());
            state.instance_mut(inst).exclusive_thread = Some(thread);
        }
    }
    state.register_thread(task_id, thread)?;
    state.task_mut(task_id)?.state = TaskState::Started;
    let flat_args = match &state.task(task_id)?.caller {
        Caller::Internal(flat_args) => flat_args.to_vec(),
        caller => {
            let caller = caller.clone();
            lower_args(cx, task_id, &callee, &caller)?
        }
    };
    let run = engine::call(cx, callee.core, &flat_args, callee.flat_results());
    cx.data_mut().keep_vals(flat_args);
    run.map(Entered::Called)
}

fn lower_args(
    cx: &mut Context<'_>,
    task: TaskId,
    callee: &Rc<Lifted>,
    caller: &Caller,
) -> Result<Vec<CoreVal>, Error> {
    let args = on_start(cx, caller)?;
    let peer = peer(caller);
    let mut flat_args = cx.data_mut().spare_vals();
    let mut lower = LiftLowerContext::new(cx, &callee.opts, callee.inst, Scope::Task(task), peer);
    lower_flat_values(
        &mut lower,
        MAX_FLAT_PARAMS,
        args,
        callee.ty.param_types(),
        None,
        &mut flat_args,
    )?;
    Ok(flat_args)
}

pub(crate) fn peer(caller: &Caller) -> Peer {
    match caller {
        Caller::Subtask(_) => Peer::Guest,
        Caller::Host(_) | Caller::Internal(_) => Peer::Host,
    }
}

/// Whether the results will be `Val`s.
pub(crate) fn as_vals(caller: &Caller) -> bool {
    matches!(caller, Caller::Host(call) if call.as_vals())
}

/// What follows when a core function of a lift returned or was suspended.
pub(crate) fn after_run(
    cx: &mut Context<'_>,
    thread: ThreadId,
    mut frame: CoreFrame,
    mut run: Run,
) -> Result<Flow, Error> {
    let Some(task_id) = cx.data().thread(thread)?.task else {
        return Err(bug!("an implicit thread has no task"));
    };
    let callee = Rc::clone(&cx.data().task(task_id)?.callee);
    loop {
        let result = match run {
            Run::Done(result) => result,
            Run::Suspended(stack) => return park(cx, thread, stack, frame),
        };
        if frame == CoreFrame::Thread {
            let state = cx.data_mut();
            state.exit_thread(thread)?;
            state.pop_native(thread)?;
            return Ok(Flow::Returned);
        }
        if !callee.opts.async_ {
            return_sync(cx, thread, task_id, &callee, result)?;
        } else if callee.opts.callback.is_some() {
            match unpack_callback_result(cx, thread, task_id, &callee, result.as_ref())? {
                Next::Exit => {}
                Next::Block(flow) => return Ok(flow),
                Next::Call(event) => {
                    run = call_callback(cx, thread, &callee, event)?;
                    frame = CoreFrame::Callback;
                    continue;
                }
            }
        }
        let state = cx.data_mut();
        state.exit_implicit_thread(task_id, thread)?;
        state.pop_native(thread)?;
        return Ok(Flow::Returned);
    }
}

/// The end of a synchronously lifted function: its result, and `post-return`.
fn return_sync(
    cx: &mut Context<'_>,
    thread: ThreadId,
    task: TaskId,
    callee: &Rc<Lifted>,
    result: Option<CoreVal>,
) -> Result<(), Error> {
    let flat_results: &[CoreVal] = result.as_slice();
    let caller = cx.data().task(task)?.caller.clone();
    let results = if callee.ty.result().is_some() {
        let mut lift = LiftLowerContext::new(
            cx,
            &callee.opts,
            callee.inst,
            Scope::Task(task),
            peer(&caller),
        )
        .for_vals(as_vals(&caller));
        let mut values = CoreValueIter::new(flat_results);
        lift_flat_values(
            &mut lift,
            MAX_FLAT_RESULTS,
            &mut values,
            callee.ty.result_type(),
        )?
    } else {
        Transit::new()
    };
    task_return(cx, task, results)?;
    post_return(cx, thread, callee, flat_results)
}

/// Gives the core function of the option `post-return` its chance to clean up.
pub(crate) fn post_return(
    cx: &mut Context<'_>,
    thread: ThreadId,
    callee: &Lifted,
    flat_results: &[CoreVal],
) -> Result<(), Error> {
    if let Some(post_return) = callee.opts.post_return {
        cx.data_mut().thread_mut(thread)?.frame = CoreFrame::PostReturn;
        cx.data_mut().instance_mut(callee.inst).may_leave = false;
        let outer = cx.data_mut().fuel.begin_unsuspended();
        match engine::call(cx, post_return, flat_results, 0)? {
            Run::Done(_) => {}
            Run::Suspended(_) => return Err(bug!("post-return was suspended")),
        }
        cx.data_mut().fuel.end_unsuspended(outer);
        cx.data_mut().instance_mut(callee.inst).may_leave = true;
    }
    Ok(())
}

/// `Task.return_`
pub(crate) fn task_return(
    cx: &mut Context<'_>,
    task: TaskId,
    results: Transit,
) -> Result<(), Error> {
    cx.data().check_return(task)?;
    on_resolve(cx, task, results)?;
    cx.data_mut().task_mut(task)?.state = TaskState::Resolved;
    Ok(())
}

enum Next {
    Exit,
    Block(Flow),
    Call(EventTuple),
}

const CALLBACK_EXIT: u32 = 0;
const CALLBACK_YIELD: u32 = 1;
const CALLBACK_WAIT: u32 = 2;

/// `unpack_callback_result`, and the waiting that the code asks for.
fn unpack_callback_result(
    cx: &mut Context<'_>,
    thread: ThreadId,
    task: TaskId,
    callee: &Rc<Lifted>,
    packed: Option<&CoreVal>,
) -> Result<Next, Error> {
    let Some(&CoreVal::I32(packed)) = packed else {
        return Err(bug!("a callback-lifted function returned {packed:?}"));
    };
    let (code, si) = (packed as u32 & 0xf, packed as u32 >> 4);
    trap_if!(code > CALLBACK_WAIT, Trap::UnsupportedCallbackCode(code));
    if code == CALLBACK_EXIT {
        return Ok(Next::Exit);
    }
    let state = cx.data_mut();
    if state.deliver_pending_cancel(task)? {
        return Ok(Next::Call((EventCode::TaskCancelled, 0, 0)));
    }
    let set = match code {
        CALLBACK_YIELD => None,
        _ => Some(state.waitable_set(callee.inst, si)?),
    };
    state.release_exclusive(callee.inst);
    let until = set.map_or(Until::Turn, Until::TurnAndEvent);
    state
        .block(thread, until, Continuation::Callback { set })
        .map(Next::Block)
}

/// A callback-lifted function's wait is over: takes its turn and calls the callback.
pub(crate) fn callback_event(
    cx: &mut Context<'_>,
    thread: ThreadId,
    set: Option<SetId>,
) -> Result<Run, Error> {
    let state = cx.data_mut();
    let Some(task_id) = state.thread(thread)?.task else {
        return Err(bug!("an implicit thread has no task"));
    };
    let callee = Rc::clone(&state.task(task_id)?.callee);
    let event = if state.deliver_pending_cancel(task_id)? {
        if let Some(set) = set {
            state.offer_event(set);
        }
        (EventCode::TaskCancelled, 0, 0)
    } else {
        match set {
            Some(set) => state.set_get_pending_event(set)?,
            None => (EventCode::None, 0, 0),
        }
    };
    debug_assert!(state.instance(callee.inst).exclusive_thread.is_none());
    state.instance_mut(callee.inst).exclusive_thread = Some(thread);
    call_callback(cx, thread, &callee, event)
}

fn call_callback(
    cx: &mut Context<'_>,
    thread: ThreadId,
    callee: &Lifted,
    (code, p1, p2): EventTuple,
) -> Result<Run, Error> {
    let Some(callback) = callee.opts.callback else {
        return Err(bug!("a function without a callback waits for one"));
    };
    cx.data_mut().thread_mut(thread)?.frame = CoreFrame::Callback;
    let args = [code as u32, p1, p2].map(|value| CoreVal::I32(value as i32));
    engine::call(cx, callback, &args, 1)
}
