//! Shows who waits for whom in a store, for the day something is stuck.

mod cycle;

use super::{State, Store};
use crate::abi::canon_lower::FuncInst;
use crate::abi::component_instances::InstanceId;
use crate::abi::stream_state::{End, EndId, EndState, Holder};
use crate::abi::subtask_state::{Callee, SubtaskId};
use crate::abi::tasks::{Caller, TaskId, TaskState};
use crate::abi::threads::{ThreadId, ThreadState, Until};
use crate::abi::waitable_state::{SetId, WaitableId};
use crate::error::Result;
use cycle::cycle;
use std::fmt;
use std::panic::Location;

/// A store's live guest threads and what they wait for, at one moment.
///
/// Since when something waits is told in the store's own time: the number of its
/// [entries](crate::Totals::entries). It prints as text, a line for each thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSnapshot {
    /// How many entries from the host the store had had.
    pub entries: u64,
    /// The guest threads.
    pub threads: Vec<ThreadInfo>,
    /// The calls out of component instances that are not over.
    pub subtasks: Vec<String>,
    /// The waitable sets that somebody waits on, or that have members.
    pub waitable_sets: Vec<String>,
    /// The ends of streams and futures.
    pub ends: Vec<String>,
    /// Threads of which each waits for the next, and the last for the first, by their numbers: a
    /// circle out of which no other thread, and nothing that is in progress in the host, can help.
    pub cycle: Option<Vec<u32>>,
}

/// One guest thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadInfo {
    /// Its number, unique among the live ones.
    pub number: u32,
    /// The component instance, as errors name it.
    pub component: String,
    /// What it entered the instance by, such as `wait`.
    pub entry: String,
    /// Who called: `the host`, or the thread that did, by its number.
    pub caller: String,
    /// What it does: `running`, `suspended`, or what it waits for.
    pub state: String,
    /// How many entries the store had had when it came into this state.
    pub since: u64,
    /// Whether it could go on: it waits only for its turn of the executor.
    pub ready: bool,
    /// The threads of which one may bring about what it waits for, by their numbers: those of the
    /// call it made, of the instance that has the other end of a stream, of the instance it is
    /// suspended in.
    pub waits_for: Vec<u32>,
    /// Whether the host may bring it about: it carries out the call, or has the other end.
    pub waits_for_host: bool,
}

impl<T: 'static> Store<T> {
    /// Who waits for whom at this moment.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn snapshot(&self) -> Result<StoreSnapshot> {
        self.inner
            .enter("take a snapshot", Location::caller(), |cx| {
                cx.data().snapshot()
            })
    }

    /// Who waited for whom when a run last ended at a limit of time or fuel, or because it could
    /// not wait: before its instances were locked down.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn last_failure(&self) -> Result<Option<StoreSnapshot>> {
        self.inner
            .enter("look at the last failure", Location::caller(), |cx| {
                cx.data().last_failure.as_deref().cloned()
            })
    }
}

/// What a thread does that waits for nothing.
const RUNNING: &str = "running";

/// Who could bring about what a thread waits for; any of them.
#[derive(Debug, Default)]
struct Helpers {
    threads: Vec<ThreadId>,
    host: bool,
}

impl Helpers {
    fn of(threads: Vec<ThreadId>) -> Helpers {
        let host = false;
        Helpers { threads, host }
    }

    fn host() -> Helpers {
        let (threads, host) = (Vec::new(), true);
        Helpers { threads, host }
    }

    fn add(&mut self, other: Helpers) {
        self.threads.extend(other.threads);
        self.host |= other.host;
    }
}

fn number<T>(id: crate::arena::Id<T>) -> u32 {
    id.to_bits() as u32
}

impl State {
    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        let threads: Vec<ThreadInfo> = self
            .threads
            .iter()
            .map(|(id, _)| self.thread_info(id))
            .collect();
        let subtasks = self.subtasks.iter();
        let sets = self.sets.iter();
        StoreSnapshot {
            entries: self.totals.entries,
            cycle: cycle(&threads),
            threads,
            subtasks: subtasks
                .filter_map(|(id, _)| self.subtask_line(id))
                .collect(),
            waitable_sets: sets.map(|(id, _)| self.set_line(id)).collect(),
            ends: self.ends.iter().map(|(id, _)| self.end_line(id)).collect(),
        }
    }

    fn thread_info(&self, id: ThreadId) -> ThreadInfo {
        let mut info = ThreadInfo {
            number: number(id),
            component: String::new(),
            entry: String::new(),
            caller: "-".to_owned(),
            state: RUNNING.to_owned(),
            since: 0,
            ready: false,
            waits_for: Vec::new(),
            waits_for_host: false,
        };
        let Some(thread) = self.threads.get(id) else {
            return info;
        };
        info.component = self.path(thread.inst).to_string();
        info.entry = thread.entry.name.to_string();
        info.since = thread.since;
        info.ready = self.is_ready(id);
        info.caller = match thread.task.and_then(|task| self.tasks.get(task)) {
            None => "-".to_owned(),
            Some(task) => match &task.caller {
                Caller::Host(_) | Caller::Internal(_) => "the host".to_owned(),
                Caller::Subtask(subtask) => match self.subtasks.get(*subtask) {
                    Some(subtask) => format!("thread {}", number(subtask.caller)),
                    None => "a caller that is gone".to_owned(),
                },
            },
        };
        let helpers = match &thread.state {
            ThreadState::Running => Helpers::default(),
            ThreadState::Paused(_) => {
                info.state = "in a call that has not returned".to_owned();
                Helpers::of(self.called_by(id))
            }
            ThreadState::Suspended(_) => {
                info.state = "suspended, until another thread resumes it".to_owned();
                Helpers::of(self.threads_of(thread.inst, id))
            }
            ThreadState::Waiting { until, .. } => {
                let (state, helpers) = self.waiting(id, thread.inst, *until);
                info.state = state;
                helpers
            }
        };
        info.waits_for = helpers.threads.into_iter().map(number).collect();
        info.waits_for_host = helpers.host;
        info
    }

    /// The threads of an instance, but for one.
    fn threads_of(&self, inst: InstanceId, but: ThreadId) -> Vec<ThreadId> {
        let threads = self.threads.iter();
        let others = threads.filter(|(id, thread)| thread.inst == inst && *id != but);
        others.map(|(id, _)| id).collect()
    }

    /// The threads of the synchronous call that a thread made and that has not returned.
    fn called_by(&self, id: ThreadId) -> Vec<ThreadId> {
        let Some(at) = self.native.iter().position(|thread| *thread == id) else {
            return Vec::new();
        };
        match self.sync_calls.iter().find(|call| call.depth == at + 1) {
            Some(call) => self.task_threads(call.task),
            None => self.native.get(at + 1).copied().into_iter().collect(),
        }
    }

    /// What a thread waits for, and who could bring it about.
    fn waiting(&self, id: ThreadId, inst: InstanceId, until: Until) -> (String, Helpers) {
        match until {
            Until::Always => (
                "waits for its turn of the executor".to_owned(),
                Helpers::default(),
            ),
            Until::Gate | Until::Turn => {
                let holder = self.instance(inst).exclusive_thread;
                let state = match (holder, self.instance(inst).backpressure) {
                    (Some(holder), _) => {
                        format!("waits for thread {} to leave the instance", number(holder))
                    }
                    (None, 0) => "waits for its turn in the instance".to_owned(),
                    (None, count) => format!("waits at the gate: backpressure is {count}"),
                };
                let threads = match holder {
                    Some(holder) => vec![holder],
                    None => self.threads_of(inst, id),
                };
                (state, Helpers::of(threads))
            }
            Until::Event(set) | Until::TurnAndEvent(set) => {
                let (members, mut helpers) = self.members(set);
                if let Some(holder) = self.instance(inst).exclusive_thread
                    && self.set_has_pending_event(set)
                {
                    // It has its event, and waits for the instance.
                    helpers = Helpers::of(vec![holder]);
                }
                let members = match members.is_empty() {
                    true => "which is empty".to_owned(),
                    false => members.join(", "),
                };
                let state = format!("waits on waitable set {}: {members}", number(set));
                (state, helpers)
            }
            Until::Resolved(subtask) | Until::Pending(WaitableId::Subtask(subtask)) => (
                format!("waits for {}", self.subtask_name(subtask)),
                self.callee(subtask),
            ),
            Until::Pending(WaitableId::End(end)) => (
                format!("waits for {}", self.end_name(end)),
                self.far_side(end),
            ),
        }
    }

    /// What is in a waitable set, and who could make an event of it.
    fn members(&self, set: SetId) -> (Vec<String>, Helpers) {
        let (mut names, mut helpers) = (Vec::new(), Helpers::default());
        for (id, subtask) in self.subtasks.iter() {
            if subtask.waitable.wset == Some(set) {
                names.push(self.subtask_name(id));
                helpers.add(self.callee(id));
            }
        }
        for (id, end) in self.ends.iter() {
            if end.waitable.wset == Some(set) {
                names.push(self.end_name(id));
                helpers.add(self.far_side(id));
            }
        }
        (names, helpers)
    }

    fn subtask_name(&self, id: SubtaskId) -> String {
        match self.subtasks.get(id) {
            Some(subtask) => format!("the call of import `{}`", subtask.lowered.import),
            None => "a call that is over".to_owned(),
        }
    }

    /// Who carries out a subtask.
    fn callee(&self, id: SubtaskId) -> Helpers {
        match self.subtasks.get(id).map(|subtask| &subtask.callee) {
            Some(Callee::Task(task)) => Helpers::of(self.task_threads(*task)),
            Some(Callee::Host(_)) => Helpers::host(),
            Some(Callee::None) | None => Helpers::default(),
        }
    }

    fn task_threads(&self, task: TaskId) -> Vec<ThreadId> {
        let threads = self.threads.iter();
        let its = threads.filter(|(_, thread)| thread.task == Some(task));
        its.map(|(id, _)| id).collect()
    }

    /// Who has the other end of a stream or a future.
    fn far_side(&self, id: EndId) -> Helpers {
        let other = self.ends.get(id).and_then(|end| end.other);
        match other.and_then(|other| self.ends.get(other)) {
            Some(End {
                holder: Holder::Instance(inst),
                ..
            }) => {
                let threads = self.threads.iter();
                let its = threads.filter(|(_, thread)| thread.inst == *inst);
                Helpers::of(its.map(|(id, _)| id).collect())
            }
            Some(_) => Helpers::host(),
            None => Helpers::default(),
        }
    }

    fn subtask_line(&self, id: SubtaskId) -> Option<String> {
        let subtask = self.subtasks.get(id)?;
        let whom = match (&subtask.callee, &subtask.lowered.func) {
            (_, FuncInst::Host(host)) => {
                format!(
                    "host function {} (defined at {})",
                    host.type_name, host.defined_at
                )
            }
            (Callee::Task(task), _) => match self.tasks.get(*task) {
                Some(task) => {
                    let state = match task.state {
                        TaskState::Initial => "not started",
                        TaskState::Started => "started",
                        TaskState::PendingCancel => "asked to cancel",
                        TaskState::CancelDelivered => "cancelling",
                        TaskState::Resolved => "resolved",
                    };
                    format!(
                        "{}, {state}, thread {}",
                        self.path(task.callee.inst),
                        number(task.implicit_thread)
                    )
                }
                None => "a task that has ended".to_owned(),
            },
            _ => "nobody any more".to_owned(),
        };
        let caller = (self.path(subtask.lowered.inst), number(subtask.caller));
        let result = if subtask.resolved() {
            ", resolved and not taken note of"
        } else {
            ""
        };
        Some(format!(
            "`{}`, called by thread {} of {}: {whom}{result}",
            subtask.lowered.import, caller.1, caller.0
        ))
    }

    fn set_line(&self, id: SetId) -> String {
        let (members, _) = self.members(id);
        let waiting = self.threads.iter().filter(|(_, thread)| {
            matches!(&thread.state, ThreadState::Waiting { until: Until::Event(set) | Until::TurnAndEvent(set), .. } if *set == id)
        });
        let waiting: Vec<String> = waiting.map(|(id, _)| number(id).to_string()).collect();
        let list = |items: &[String]| match items.is_empty() {
            true => "none".to_owned(),
            false => items.join(", "),
        };
        format!(
            "{}: members {}; waiting threads {}",
            number(id),
            list(&members),
            list(&waiting)
        )
    }

    fn end_name(&self, id: EndId) -> String {
        let Some(end) = self.ends.get(id) else {
            return "an end that is gone".to_owned();
        };
        let what = match (end.kind.future, end.kind.readable) {
            (false, true) => "a stream to be written",
            (false, false) => "a stream to be read",
            (true, true) => "a future to be written",
            (true, false) => "a future to be read",
        };
        match end.other.and_then(|other| self.ends.get(other)) {
            Some(other) => format!("{what} by {}", self.holder(&other.holder)),
            None => format!("{what}, whose other end is gone"),
        }
    }

    fn holder(&self, holder: &Holder) -> String {
        match holder {
            Holder::Instance(inst) => self.path(*inst).to_string(),
            Holder::Host => "the host".to_owned(),
            _ => "whoever it is on its way to".to_owned(),
        }
    }

    fn end_line(&self, id: EndId) -> String {
        let Some(end) = self.ends.get(id) else {
            return String::new();
        };
        let state = match end.state {
            EndState::Idle => "idle",
            EndState::Copying => "copying",
            EndState::CancellingCopy => "cancelling a copy",
            EndState::Done => "done",
        };
        let what = match (end.kind.future, end.kind.readable) {
            (false, true) => "stream, readable end",
            (false, false) => "stream, writable end",
            (true, true) => "future, readable end",
            (true, false) => "future, writable end",
        };
        format!(
            "{}: {what} of {}, {state}",
            number(id),
            self.holder(&end.holder)
        )
    }
}

impl fmt::Display for StoreSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.threads.len();
        let noun = if count == 1 { "thread" } else { "threads" };
        writeln!(f, "{count} guest {noun} after {} entries", self.entries)?;
        for thread in &self.threads {
            writeln!(
                f,
                "  thread {} in `{}` of {}, called by {}: {}{}, since entry {}",
                thread.number,
                thread.entry,
                thread.component,
                thread.caller,
                thread.state,
                if thread.ready { " (ready)" } else { "" },
                thread.since,
            )?;
        }
        let lists = [
            ("calls in progress", &self.subtasks),
            ("waitable sets", &self.waitable_sets),
            ("ends of streams and futures", &self.ends),
        ];
        for (title, lines) in lists {
            if !lines.is_empty() {
                writeln!(f, "{title}:")?;
            }
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        if let Some(cycle) = &self.cycle {
            writeln!(
                f,
                "each of these threads waits for the next, the last for the first:"
            )?;
            for number in cycle {
                if let Some(thread) = self.threads.iter().find(|thread| thread.number == *number) {
                    writeln!(
                        f,
                        "  thread {number} of {}: {}",
                        thread.component, thread.state
                    )?;
                }
            }
        }
        Ok(())
    }
}
