//! Shows who waits for whom in a store, for the day something is stuck.

use super::{State, Store};
use crate::abi::canon_lower::FuncInst;
use crate::abi::component_instances::InstanceId;
use crate::abi::stream_state::{EndId, EndState, Holder};
use crate::abi::subtask_state::{Callee, SubtaskId};
use crate::abi::tasks::{Caller, TaskState};
use crate::abi::threads::{ThreadId, ThreadState, Until};
use crate::abi::waitable_state::{SetId, WaitableId};
use crate::error::Result;
use std::collections::HashSet;
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
    /// Threads of which each waits for the next, and the last for the first, by their numbers.
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
    /// The threads that it waits for, by their numbers.
    pub waits_for: Vec<u32>,
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
            state: "running".to_owned(),
            since: 0,
            ready: false,
            waits_for: Vec::new(),
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
        match &thread.state {
            ThreadState::Running => {}
            ThreadState::Paused(_) => info.state = "in a call that has not returned".to_owned(),
            ThreadState::Suspended(_) => {
                info.state = "suspended, until another thread resumes it".to_owned();
            }
            ThreadState::Waiting { until, .. } => {
                let (state, waits_for) = self.waiting(thread.inst, *until);
                info.state = state;
                info.waits_for = waits_for.into_iter().map(number).collect();
            }
        }
        info
    }

    /// What a thread waits for, and which threads could bring it about.
    fn waiting(&self, inst: InstanceId, until: Until) -> (String, Vec<ThreadId>) {
        match until {
            Until::Always => ("waits for its turn of the executor".to_owned(), Vec::new()),
            Until::Gate | Until::Turn => {
                let holder = self.instance(inst).exclusive_thread;
                let state = match (holder, self.instance(inst).backpressure) {
                    (Some(holder), _) => {
                        format!("waits for thread {} to leave the instance", number(holder))
                    }
                    (None, 0) => "waits for its turn in the instance".to_owned(),
                    (None, count) => format!("waits at the gate: backpressure is {count}"),
                };
                (state, holder.into_iter().collect())
            }
            Until::Event(set) | Until::TurnAndEvent(set) => {
                let (members, threads) = self.members(set);
                let members = match members.is_empty() {
                    true => "which is empty".to_owned(),
                    false => members.join(", "),
                };
                (
                    format!("waits on waitable set {}: {members}", number(set)),
                    threads,
                )
            }
            Until::Resolved(subtask) => (
                format!("waits for {}", self.subtask_name(subtask)),
                self.callee_threads(subtask),
            ),
            Until::Pending(WaitableId::Subtask(subtask)) => (
                format!("waits for {}", self.subtask_name(subtask)),
                self.callee_threads(subtask),
            ),
            Until::Pending(WaitableId::End(end)) => {
                (format!("waits for {}", self.end_name(end)), Vec::new())
            }
        }
    }

    /// What is in a waitable set, and the threads that could make an event of it.
    fn members(&self, set: SetId) -> (Vec<String>, Vec<ThreadId>) {
        let (mut names, mut threads) = (Vec::new(), Vec::new());
        for (id, subtask) in self.subtasks.iter() {
            if subtask.waitable.wset == Some(set) {
                names.push(self.subtask_name(id));
                threads.extend(self.callee_threads(id));
            }
        }
        for (id, end) in self.ends.iter() {
            if end.waitable.wset == Some(set) {
                names.push(self.end_name(id));
            }
        }
        (names, threads)
    }

    fn subtask_name(&self, id: SubtaskId) -> String {
        match self.subtasks.get(id) {
            Some(subtask) => format!("the call of import `{}`", subtask.lowered.import),
            None => "a call that is over".to_owned(),
        }
    }

    /// The threads of the task that a subtask is; none for one of the host's.
    fn callee_threads(&self, id: SubtaskId) -> Vec<ThreadId> {
        match self.subtasks.get(id).map(|subtask| &subtask.callee) {
            Some(Callee::Task(task)) => self
                .tasks
                .get(*task)
                .map(|task| task.implicit_thread)
                .into_iter()
                .collect(),
            _ => Vec::new(),
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

/// The first cycle among threads that cannot go on.
fn cycle(threads: &[ThreadInfo]) -> Option<Vec<u32>> {
    let next = |number: u32| {
        let thread = threads
            .iter()
            .find(|thread| thread.number == number && !thread.ready);
        thread.and_then(|thread| thread.waits_for.first().copied())
    };
    let mut done = HashSet::new();
    for thread in threads {
        let mut path = Vec::new();
        let mut at = Some(thread.number);
        while let Some(number) = at {
            if let Some(first) = path.iter().position(|seen| *seen == number) {
                return Some(path.split_off(first));
            }
            if !done.insert(number) {
                break;
            }
            path.push(number);
            at = next(number);
        }
    }
    None
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
            let cycle: Vec<String> = cycle.iter().map(u32::to_string).collect();
            writeln!(
                f,
                "each of these threads waits for the next, the last for the first: {}",
                cycle.join(" → ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(number: u32, waits_for: &[u32], ready: bool) -> ThreadInfo {
        ThreadInfo {
            number,
            component: "component `c`".to_owned(),
            entry: "run".to_owned(),
            caller: "the host".to_owned(),
            state: "waits".to_owned(),
            since: 0,
            ready,
            waits_for: waits_for.to_vec(),
        }
    }

    #[test]
    fn a_cycle_is_found_behind_a_chain_that_leads_into_it() {
        let threads = [
            thread(1, &[2], false),
            thread(2, &[3], false),
            thread(3, &[4], false),
            thread(4, &[2], false),
        ];
        assert_eq!(cycle(&threads), Some(vec![2, 3, 4]));
    }

    #[test]
    fn a_chain_a_ready_thread_and_a_thread_that_is_gone_make_no_cycle() {
        assert_eq!(
            cycle(&[thread(1, &[2], false), thread(2, &[], false)]),
            None
        );
        assert_eq!(
            cycle(&[thread(1, &[2], false), thread(2, &[1], true)]),
            None
        );
        assert_eq!(cycle(&[thread(1, &[9], false)]), None);
    }

    #[test]
    fn a_thread_that_waits_for_itself_is_a_cycle() {
        assert_eq!(cycle(&[thread(1, &[1], false)]), Some(vec![1]));
    }
}
