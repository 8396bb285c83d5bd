//! Spec: ### Threads
//!
//! The specification's stack switching maps onto the core engine as follows. A thread that runs is
//! on the native stack, and on [`State::native`], which says the same as data. A thread that
//! blocks leaves both: its core stack becomes a value, its [`Continuation`], and a task of the
//! executor goes on with it when it is ready: its *runner*, which it has from its first wait to its
//! end.
//!
//! ```text
//!             resume (1)                    ends (5)
//!   Suspended ──────────► Running ─────────────────────► gone
//!             ◄──────────  ▲  │ ▲ │
//!              suspend (2) │  │ │ └── a call it made is paused (6) ──► Paused
//!            resume (4)    │  │ └──────── that call returned (7) ───────┘
//!       Waiting ───────────┘  │
//!               ◄─────────────┘
//!                 block (3)
//! ```
//! 1, 4: [`resume`]; 2, 3, 6: `after_run`; 5: `exit_thread`; 7: [`continue_paused`]. A paused
//! thread is *running* in the specification's terms: it is on the native stack there, and never
//! a candidate; only its Rust frames are gone.

use super::canon_lift::{CoreFrame, Entered, after_run, callback_event, enter_implicit_thread};
use super::component_instances::InstanceId;
use super::finish::{Finish, Then, finish};
use super::subtask_state::SubtaskId;
use super::tasks::TaskId;
use super::waitable_state::{SetId, WaitableId};
use crate::arena::Id;
use crate::component::definitions::Name;
use crate::config::FUEL_PER_SUSPENSION;
use crate::engine::{self, Context, CoreFunc, CoreVal, Run, Suspended};
use crate::error::{Error, bug};
use crate::origin::CoreOrigin;
use crate::store::State;
use crate::store::drive::GuestThread;
use std::rc::Rc;
use vestibule_executor::JoinHandle;

pub(crate) type ThreadId = Id<Thread>;

/// A thread of a component instance.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) inst: InstanceId,
    /// The task it belongs to; `realloc` and the like run on threads without one.
    pub(crate) task: Option<TaskId>,
    /// Its index in the instance's thread table, while it is registered.
    pub(crate) index: Option<u32>,
    /// What `context.get` and `context.set` access.
    pub(crate) storage: [u64; 2],
    pub(crate) state: ThreadState,
    /// Which core function it was entered by, for errors.
    pub(crate) entry: Rc<Entry>,
    /// Which core function of its lift it last called, for errors.
    pub(crate) frame: CoreFrame,
    /// How many entries the store had had when it last began to run or to wait.
    pub(crate) since: u64,
    /// The task of the executor that resumes it, once it has waited.
    pub(crate) runner: Option<JoinHandle<()>>,
    /// The number of that task: an earlier one finds out that it is not wanted any more.
    pub(crate) runners: u32,
    /// Under which it stands in the queues of what it waits for.
    pub(crate) ticket: u64,
}

/// The core function through which a thread entered its instance.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) role: Role,
    /// What the component calls it.
    pub(crate) name: Name,
    pub(crate) core: CoreOrigin,
}

/// As what a thread entered its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Start,
    Export,
    Realloc,
    Destructor,
    Thread,
}

#[derive(Debug)]
pub(crate) enum ThreadState {
    Running,
    Paused(Continuation),
    Suspended(Continuation),
    Waiting { until: Until, cont: Continuation },
}

/// What a thread does when it is resumed.
#[derive(Debug)]
pub(crate) enum Continuation {
    /// The implicit thread of a task: pass the gate, lower the arguments, call.
    Enter { waited: bool },
    /// A core function suspended in a built-in or an import.
    Core {
        stack: Suspended,
        then: Then,
        frame: CoreFrame,
    },
    /// An explicit thread that has not run yet.
    Start { func: CoreFunc, arg: CoreVal },
    /// A callback-lifted function between two calls; waits for this set, or yielded.
    Callback { set: Option<SetId> },
}

/// When a waiting thread is ready: the specification's `ready_func`, as data.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Always,
    /// No backpressure, and nobody has the exclusive thread this one needs.
    Gate,
    /// No other thread of the instance runs exclusively.
    Turn,
    /// As `Turn`, and the set has an event or the task a cancellation.
    TurnAndEvent(SetId),
    /// The set has an event.
    Event(SetId),
    /// The subtask is resolved.
    Resolved(SubtaskId),
    /// The waitable has an event.
    Pending(WaitableId),
}

/// Why a built-in suspends its guest.
#[derive(Debug)]
pub(crate) enum Block {
    /// The thread waits.
    Wait(Until, Then),
    /// The thread is suspended until another resumes it.
    Suspend(Then),
    /// A call that the thread made is paused: it stays on the native stack.
    Paused(Then),
}

/// How a run of a thread ended for the one who resumed it.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It ended or blocked, and has left the native stack.
    Returned,
    /// It, or a call it made, waits for a synchronous call. It is still on the native stack, so
    /// the resumer must pause too; the driver at the base goes on.
    Paused,
}

impl Thread {
    /// Lets go of the task that resumes it; the task finds that out when it is polled.
    pub(crate) fn drop_runner(&mut self) {
        self.runners = self.runners.wrapping_add(1);
        if let Some(runner) = self.runner.take() {
            runner.wake();
        }
    }
}

impl State {
    pub(crate) fn new_thread(
        &mut self,
        inst: InstanceId,
        task: Option<TaskId>,
        entry: Rc<Entry>,
    ) -> ThreadId {
        self.threads.insert(Thread {
            inst,
            task,
            index: None,
            storage: [0, 0],
            state: ThreadState::Running,
            entry,
            frame: CoreFrame::Callee,
            since: self.totals.entries,
            runner: None,
            runners: 0,
            ticket: 0,
        })
    }

    /// `current_thread()`
    pub(crate) fn current_thread(&self) -> Result<ThreadId, Error> {
        self.native
            .last()
            .copied()
            .ok_or_else(|| bug!("a built-in ran without a thread"))
    }

    pub(crate) fn thread(&self, id: ThreadId) -> Result<&Thread, Error> {
        self.threads
            .get(id)
            .ok_or_else(|| bug!("thread {id:?} is gone"))
    }

    pub(crate) fn thread_mut(&mut self, id: ThreadId) -> Result<&mut Thread, Error> {
        self.threads
            .get_mut(id)
            .ok_or_else(|| bug!("thread {id:?} is gone"))
    }

    /// `Thread.ready()`: the predicate itself, not whether somebody woke the thread.
    pub(crate) fn is_ready(&self, id: ThreadId) -> bool {
        let Some(thread) = self.threads.get(id) else {
            return false;
        };
        let ThreadState::Waiting { until, .. } = &thread.state else {
            return false;
        };
        let inst = self.instance(thread.inst);
        match *until {
            Until::Always => true,
            Until::Gate => thread.task.is_some_and(|task| !self.has_backpressure(task)),
            Until::Turn => inst.exclusive_thread.is_none(),
            Until::TurnAndEvent(set) => {
                inst.exclusive_thread.is_none()
                    && (self.set_has_pending_event(set) || self.has_pending_cancel(thread.task))
            }
            Until::Event(set) => self.set_has_pending_event(set),
            Until::Resolved(subtask) => self
                .subtasks
                .get(subtask)
                .is_some_and(|subtask| subtask.resolved()),
            Until::Pending(waitable) => self.has_pending_event(waitable),
        }
    }

    /// Has the executor look at a waiting thread again.
    pub(crate) fn wake_thread(&mut self, id: ThreadId) {
        if let Some(Thread {
            state: ThreadState::Waiting { .. },
            runner: Some(runner),
            ..
        }) = self.threads.get(id)
        {
            #[cfg(test)]
            (self.wakes += 1);
            runner.wake();
        }
    }

    /// `Thread.start_waiting`: a task of the executor resumes the thread when it is ready.
    #[inline(always)]
    fn start_waiting(
        &mut self,
        id: ThreadId,
        until: Until,
        cont: Continuation,
    ) -> Result<(), Error> {
        let since = self.totals.entries;
        // The task that polls may be its own, and go on with the thread that is switched to:
        // nobody could poll it meanwhile.
        let switches = self.switch_to.is_some();
        let thread = self.thread_mut(id)?;
        thread.since = since;
        thread.state = ThreadState::Waiting { until, cont };
        match &thread.runner {
            Some(runner) if !switches => {
                if let Until::Always = until {
                    runner.wake();
                    return Ok(());
                }
                self.join_queues(id, until)?;
                if self.is_ready(id) {
                    self.wake_thread(id);
                }
                Ok(())
            }
            _ => {
                self.join_queues(id, until)?;
                self.spawn_runner(id)
            }
        }
    }

    /// Makes the task that resumes a thread. Registered threads are candidates in synchronous
    /// calls, so they join their instance's group; a thread at the gate is not registered yet.
    fn spawn_runner(&mut self, id: ThreadId) -> Result<(), Error> {
        let store = self.store.clone();
        let thread = self.thread_mut(id)?;
        thread.drop_runner();
        let (inst, registered, number) = (thread.inst, thread.index.is_some(), thread.runners);
        let group = if registered {
            &self.instance(inst).group
        } else {
            &self.group
        };
        let runner = self
            .executor
            .task()
            .name("guest thread")
            .group(group)
            .spawn(GuestThread {
                store,
                thread: id,
                number,
            })
            .map_err(|error| Error::from(error.into_refused()))?;
        self.thread_mut(id)?.runner = Some(runner);
        Ok(())
    }

    /// `Thread.resume_later`
    pub(crate) fn resume_later(&mut self, id: ThreadId) -> Result<(), Error> {
        let thread = self.thread_mut(id)?;
        match std::mem::replace(&mut thread.state, ThreadState::Running) {
            ThreadState::Suspended(cont) => self.start_waiting(id, Until::Always, cont),
            other => Err(bug!("thread {id:?} is resumed while it is {other:?}")),
        }
    }

    /// The current thread blocks: it leaves the native stack and waits.
    // Inlined, as `start_waiting`, so that the continuation is made where it stays.
    #[inline(always)]
    pub(crate) fn block(
        &mut self,
        id: ThreadId,
        until: Until,
        cont: Continuation,
    ) -> Result<Flow, Error> {
        self.pop_native(id)?;
        self.start_waiting(id, until, cont)?;
        Ok(Flow::Returned)
    }

    /// Takes the thread off the top of the native stack.
    pub(crate) fn pop_native(&mut self, id: ThreadId) -> Result<(), Error> {
        match self.native.pop() {
            Some(top) if top == id => Ok(()),
            top => Err(bug!(
                "thread {id:?} is not on top of the native stack, but {top:?}"
            )),
        }
    }
}

/// `Thread.resume`: runs a thread that does not run until it ends, blocks, or is paused.
pub(crate) fn resume(cx: &mut Context<'_>, id: ThreadId) -> Result<Flow, Error> {
    let cont = take_continuation(cx.data_mut(), id)?;
    cx.data_mut().native.push(id);
    cx.data_mut().totals.resumptions += 1;
    engine::charge(cx, FUEL_PER_SUSPENSION)?;
    let flow = go_on(cx, id, cont)?;
    switch(cx, flow)
}

/// A thread that left the native stack may have named the one that takes its place.
pub(crate) fn switch(cx: &mut Context<'_>, mut flow: Flow) -> Result<Flow, Error> {
    while flow == Flow::Returned
        && let Some(next) = cx.data_mut().switch_to.take()
    {
        let cont = take_continuation(cx.data_mut(), next)?;
        cx.data_mut().native.push(next);
        engine::charge(cx, FUEL_PER_SUSPENSION)?;
        flow = go_on(cx, next, cont)?;
    }
    Ok(flow)
}

/// What a thread that does not run does when it is resumed; from now on it runs.
fn take_continuation(state: &mut State, id: ThreadId) -> Result<Continuation, Error> {
    let thread = state.thread_mut(id)?;
    match std::mem::replace(&mut thread.state, ThreadState::Running) {
        ThreadState::Waiting { until, cont } => {
            if let Until::Gate = until {
                // It was no candidate at the gate, and is one inside.
                thread.drop_runner();
            }
            // `Thread.stop_waiting`
            state.leave_queues(id, until)?;
            Ok(cont)
        }
        ThreadState::Suspended(cont) => Ok(cont),
        other => Err(bug!("thread {id:?} is resumed while it is {other:?}")),
    }
}

/// Runs a new thread for the first time.
pub(crate) fn start(cx: &mut Context<'_>, id: ThreadId) -> Result<Flow, Error> {
    cx.data_mut().native.push(id);
    let flow = go_on(cx, id, Continuation::Enter { waited: false })?;
    switch(cx, flow)
}

/// Goes on with the paused thread on top of the native stack, whose call has returned.
pub(crate) fn continue_paused(cx: &mut Context<'_>) -> Result<Flow, Error> {
    let id = cx.data().current_thread()?;
    let thread = cx.data_mut().thread_mut(id)?;
    match std::mem::replace(&mut thread.state, ThreadState::Running) {
        ThreadState::Paused(cont) => {
            let flow = go_on(cx, id, cont)?;
            switch(cx, flow)
        }
        other => Err(bug!("thread {id:?} is continued while it is {other:?}")),
    }
}

fn go_on(cx: &mut Context<'_>, id: ThreadId, cont: Continuation) -> Result<Flow, Error> {
    match cont {
        Continuation::Enter { waited } => match enter_implicit_thread(cx, id, waited)? {
            Entered::Blocked => {
                cx.data_mut()
                    .block(id, Until::Gate, Continuation::Enter { waited: true })
            }
            Entered::Cancelled => {
                let state = cx.data_mut();
                state.pop_native(id)?;
                state.threads.remove(id);
                Ok(Flow::Returned)
            }
            Entered::Called(run) => after_run(cx, id, CoreFrame::Callee, run),
        },
        Continuation::Core { stack, then, frame } => {
            let resumed = match then {
                // As `finish` says, for what guests do most often.
                Then::Yield => engine::resume(cx, stack, &[CoreVal::I32(0)]),
                then => match finish(cx, then)? {
                    Finish::Value(value) => engine::resume(cx, stack, value.as_slice()),
                    Finish::Block(block) => {
                        cx.data_mut().pending = Some(block);
                        return park(cx, id, stack, frame);
                    }
                },
            };
            match resumed? {
                Run::Suspended(stack) => park(cx, id, stack, frame),
                Run::Done(result) => after_run(cx, id, frame, Run::Done(result)),
            }
        }
        Continuation::Start { func, arg } => {
            let run = engine::call(cx, func, &[arg], 0)?;
            after_run(cx, id, CoreFrame::Thread, run)
        }
        Continuation::Callback { set } => {
            let run = callback_event(cx, id, set)?;
            after_run(cx, id, CoreFrame::Callback, run)
        }
    }
}

/// Keeps the core stack of a thread that a built-in suspended, which says in the state until when.
pub(crate) fn park(
    cx: &mut Context<'_>,
    id: ThreadId,
    stack: Suspended,
    frame: CoreFrame,
) -> Result<Flow, Error> {
    let state = cx.data_mut();
    // Taken apart where it is: copied as a whole, it would be read before it is written.
    let cont = |then| Continuation::Core { stack, then, frame };
    match state.pending {
        Some(Block::Wait(until, then)) => {
            state.pending = None;
            state.block(id, until, cont(then))
        }
        Some(Block::Suspend(then)) => {
            state.pending = None;
            state.pop_native(id)?;
            state.thread_mut(id)?.state = ThreadState::Suspended(cont(then));
            Ok(Flow::Returned)
        }
        Some(Block::Paused(then)) => {
            state.pending = None;
            state.thread_mut(id)?.state = ThreadState::Paused(cont(then));
            Ok(Flow::Paused)
        }
        None => Err(bug!("a thread was suspended without saying until when")),
    }
}
