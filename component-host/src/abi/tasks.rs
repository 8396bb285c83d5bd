//! Spec: ### Tasks

use super::canon_lift::Lifted;
use super::component_instances::InstanceId;
use super::subtask_state::SubtaskId;
use super::threads::{Thread, ThreadId};
use crate::arena::Id;
use crate::engine::CoreVal;
use crate::error::{Error, bug, trap_if};
use crate::func::HostCall;
use crate::store::State;
use crate::trap::Trap;
use std::rc::Rc;

pub(crate) type TaskId = Id<Task>;

/// A call into a component instance.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) callee: Rc<Lifted>,
    pub(crate) caller: Caller,
    pub(crate) state: TaskState,
    pub(crate) num_borrows: u32,
    pub(crate) implicit_thread: ThreadId,
    pub(crate) threads: u32,
}

/// Who made the call: `on_start` and `on_resolve`, as data.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The embedder.
    Host(Rc<HostCall>),
    /// An instance, through a lowered function.
    Subtask(SubtaskId),
    /// The host itself, with flat arguments and without results: start functions, destructors.
    Internal(Rc<[CoreVal]>),
}

/// ```text
/// Initial ─start─► Started ─request_cancellation─► PendingCancel ─deliver─► CancelDelivered
///    │                │ return                         │ return                │ return, cancel
///    └─ request_cancellation ─► PendingCancel          ▼                       ▼
///                     └─────────────────────────► Resolved ◄───────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    Initial,
    Started,
    PendingCancel,
    CancelDelivered,
    Resolved,
}

impl State {
    /// Makes a task and its implicit thread.
    pub(crate) fn new_task(
        &mut self,
        callee: &Rc<Lifted>,
        caller: Caller,
    ) -> Result<TaskId, Error> {
        if self.tasks.len() >= self.config.max_tasks {
            return Err(self.limit_refused("max_tasks"));
        }
        self.check_threads()?;
        let thread = self.new_thread(callee.inst, None, Rc::clone(&callee.entry));
        let task = self.tasks.insert(Task {
            callee: Rc::clone(callee),
            caller,
            state: TaskState::Initial,
            num_borrows: 0,
            implicit_thread: thread,
            threads: 0,
        });
        self.thread_mut(thread)?.task = Some(task);
        Ok(task)
    }

    pub(crate) fn task(&self, id: TaskId) -> Result<&Task, Error> {
        self.tasks
            .get(id)
            .ok_or_else(|| bug!("task {id:?} is gone"))
    }

    pub(crate) fn task_mut(&mut self, id: TaskId) -> Result<&mut Task, Error> {
        self.tasks
            .get_mut(id)
            .ok_or_else(|| bug!("task {id:?} is gone"))
    }

    /// `current_task()`
    pub(crate) fn current_task(&self) -> Result<TaskId, Error> {
        let thread = self.thread(self.current_thread()?)?;
        thread
            .task
            .ok_or_else(|| bug!("a thread without a task left its instance"))
    }

    /// Whether the call can no longer start: the instance that made it was locked down.
    pub(crate) fn caller_is_gone(&self, id: TaskId) -> bool {
        match self.tasks.get(id).map(|task| &task.caller) {
            Some(Caller::Subtask(subtask)) => self.subtasks.get(*subtask).is_none(),
            _ => false,
        }
    }

    /// Whether a task is resolved; one that is gone is.
    pub(crate) fn task_resolved(&self, id: TaskId) -> bool {
        self.tasks
            .get(id)
            .is_none_or(|task| task.state == TaskState::Resolved)
    }

    /// `has_backpressure` of `Task.enter_implicit_thread`
    pub(crate) fn has_backpressure(&self, task: TaskId) -> bool {
        let Some(task) = self.tasks.get(task) else {
            return false;
        };
        let inst = self.instance(task.callee.inst);
        inst.backpressure > 0 || (task.callee.needs_exclusive() && inst.exclusive_thread.is_some())
    }

    /// `Task.register_thread`
    pub(crate) fn register_thread(&mut self, task: TaskId, thread: ThreadId) -> Result<(), Error> {
        let inst = self.thread(thread)?.inst;
        let index = self.instance_mut(inst).threads.add(thread)?;
        self.thread_mut(thread)?.index = Some(index);
        self.task_mut(task)?.threads += 1;
        Ok(())
    }

    /// `Task.unregister_thread`, and the end of the thread.
    pub(crate) fn exit_thread(&mut self, thread: ThreadId) -> Result<(), Error> {
        let Thread {
            inst,
            task: Some(task_id),
            index: Some(index),
            ..
        } = *self.thread(thread)?
        else {
            return Err(bug!("thread {thread:?} ended without being registered"));
        };
        let task = self.task_mut(task_id)?;
        if task.threads == 1 {
            trap_if!(task.state != TaskState::Resolved, Trap::NoAsyncResult);
            debug_assert!(task.num_borrows == 0);
            self.tasks.remove(task_id);
        } else {
            task.threads -= 1;
        }
        if let Some(mut thread) = self.threads.remove(thread) {
            thread.drop_runner();
        }
        self.instance_mut(inst).threads.remove(index)?;
        Ok(())
    }

    /// `Task.exit_implicit_thread`
    pub(crate) fn exit_implicit_thread(
        &mut self,
        task: TaskId,
        thread: ThreadId,
    ) -> Result<(), Error> {
        let callee = Rc::clone(&self.task(task)?.callee);
        self.exit_thread(thread)?;
        if callee.ty.is_async() && callee.needs_exclusive() {
            self.release_exclusive(callee.inst);
        }
        Ok(())
    }

    pub(crate) fn release_exclusive(&mut self, inst: InstanceId) {
        self.instance_mut(inst).exclusive_thread = None;
        self.offer_turn(inst);
    }

    pub(crate) fn has_pending_cancel(&self, task: Option<TaskId>) -> bool {
        task.and_then(|task| self.tasks.get(task))
            .is_some_and(|task| task.state == TaskState::PendingCancel)
    }

    /// `Task.deliver_pending_cancel`
    pub(crate) fn deliver_pending_cancel(&mut self, task: TaskId) -> Result<bool, Error> {
        let task = self.task_mut(task)?;
        let pending = task.state == TaskState::PendingCancel;
        if pending {
            task.state = TaskState::CancelDelivered;
        }
        Ok(pending)
    }

    /// The checks of `Task.return_`; `on_resolve` follows.
    pub(crate) fn check_return(&self, task: TaskId) -> Result<(), Error> {
        let task = self.task(task)?;
        trap_if!(task.state == TaskState::Resolved, Trap::TaskReturnTwice);
        trap_if!(task.num_borrows > 0, Trap::BorrowsRemain);
        Ok(())
    }

    /// The checks of `Task.cancel`; `on_resolve` follows.
    pub(crate) fn check_cancel(&self, task: TaskId) -> Result<(), Error> {
        let task = self.task(task)?;
        trap_if!(
            task.state != TaskState::CancelDelivered,
            Trap::TaskCancelNotCancelled
        );
        trap_if!(task.num_borrows > 0, Trap::BorrowsRemain);
        Ok(())
    }
}
