//! Shows every live task as a table, for the day something is stuck.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;

use crate::core::Core;
use crate::extra::Waiter;
use crate::ids::TaskId;
use crate::state::{Source, State};
use crate::task::{Key, NO_EXTRA, Slot};

/// Who made a task ready the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WakeSource {
    /// Nobody since it was spawned, or released by the end of a phase.
    Spawn,
    /// A task of the same executor, while it was polled.
    Task(TaskId),
    /// A main future, while it was polled.
    MainFuture,
    /// The owner's thread, outside of any poll.
    Owner,
    /// Another thread.
    Thread,
}

impl fmt::Display for WakeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn => f.write_str("spawn"),
            Self::Task(id) => write!(f, "task {id}"),
            Self::MainFuture => f.write_str("main future"),
            Self::Owner => f.write_str("owner"),
            Self::Thread => f.write_str("thread"),
        }
    }
}

/// Where a live task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// It will be polled when its turn comes.
    Ready,
    /// It is on the native stack.
    Polling,
    /// It waits for a wake.
    Waiting,
    /// It waits for the end of a phase.
    Deferred,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Polling => "polling",
            Self::Waiting => "waiting",
            Self::Deferred => "deferred",
        })
    }
}

/// What is known about one live task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: Option<Cow<'static, str>>,
    /// Its group's name.
    pub group: Option<Cow<'static, str>>,
    /// Where it is.
    pub state: TaskState,
    /// How many polls the executor had made when the task came into this state.
    pub since: u64,
    /// Who made it ready the last time.
    pub last_wake: WakeSource,
    /// The task whose [`JoinHandle`](crate::JoinHandle) it awaits directly; of those in a
    /// [`JoinSet`](crate::JoinSet), the youngest that has not ended.
    pub awaits: Option<TaskId>,
    /// Somebody else holds a waker of it. A task that waits with none, and awaits no other,
    /// waits for ever, unless who has its handle or a [`LocalWaker`](crate::LocalWaker) wakes it.
    pub waker_held: bool,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
}

/// All live tasks of an executor at one moment, oldest first.
///
/// It prints as a table:
///
/// ```
/// use vestibule_executor::{Executor, TaskState};
///
/// let executor = Executor::new();
/// let download = executor.task().name("download").spawn(std::future::pending::<()>())?;
/// let report = executor.task().name("report").spawn(download)?;
/// executor.tick()?;
///
/// let snapshot = executor.snapshot();
/// assert_eq!(snapshot.tasks[0].state, TaskState::Waiting);
/// assert_eq!(snapshot.tasks[1].awaits, Some(snapshot.tasks[0].id));
/// let text = snapshot.to_string();
/// assert!(text.starts_with("2 live tasks after 2 polls\n"), "{text}");
/// assert!(text.contains("#2  report    -      waiting  poll 2  spawn      #1"), "{text}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The tasks, in the order in which they were spawned.
    pub tasks: Vec<TaskInfo>,
    /// How many polls the executor had made.
    pub polls: u64,
    /// The task whose handle the innermost main future awaits directly.
    pub main_awaits: Option<TaskId>,
}

impl Snapshot {
    /// The task with this id, if it lived.
    pub fn get(&self, id: TaskId) -> Option<&TaskInfo> {
        self.tasks.iter().find(|task| task.id == id)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tasks,
            polls,
            main_awaits,
        } = self;
        writeln!(f, "{} live tasks after {polls} polls", tasks.len())?;
        if let Some(id) = main_awaits {
            writeln!(f, "the main future awaits {id}")?;
        }
        let dash = || String::from("-");
        let mut rows = vec![
            [
                "id",
                "name",
                "group",
                "state",
                "since",
                "last wake",
                "awaits",
                "waker",
            ]
            .map(String::from),
        ];
        for task in tasks {
            rows.push([
                task.id.to_string(),
                task.name.as_ref().map_or_else(dash, |name| quote(name)),
                task.group.as_ref().map_or_else(dash, |name| quote(name)),
                task.state.to_string(),
                format!("poll {}", task.since),
                task.last_wake.to_string(),
                task.awaits.map_or_else(dash, |id| id.to_string()),
                String::from(if task.waker_held { "held" } else { "-" }),
            ]);
        }
        let mut widths = [0; 8];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A name on one line, however it was given.
fn quote(name: &str) -> String {
    name.chars().flat_map(char::escape_debug).collect()
}

impl Core {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let extras = self.table.extras.borrow();
        let main = self.main.get().map(Key::of);
        let mut awaits = Vec::new();
        let mut main_awaits = None;
        let mut tasks: Vec<TaskInfo> = Vec::with_capacity(self.table.live());
        for slot in self.table.tasks() {
            let id = TaskId::of(slot);
            let extra = (slot.extra() != NO_EXTRA).then(|| extras.get(slot.extra()));
            let waiter = match extra.map(|extra| &extra.waiter) {
                Some(Waiter::Ours(waiter)) => Some(*waiter),
                Some(Waiter::Set(ends)) => ends.awaited_by(slot),
                _ => None,
            };
            if let Some(waiter) = waiter {
                if main == Some(waiter) {
                    main_awaits = Some(id);
                }
                awaits.push((waiter.number(), id));
            }
            tasks.push(TaskInfo {
                id,
                name: extra.and_then(|extra| Some(extra.name.as_ref()?.to_cow())),
                group: extra
                    .and_then(|extra| extra.group)
                    .and_then(|group| extras.groups.name_at(group)),
                state: state_of(slot),
                since: slot.since(),
                last_wake: self.source_of(slot),
                awaits: None,
                waker_held: slot.has_waker(),
                spawned_at: slot.spawned_at(),
            });
        }
        for (waiter, awaited) in awaits {
            let at = tasks.binary_search_by_key(&waiter, |task| task.id.number());
            if let Ok(at) = at {
                tasks[at].awaits = Some(awaited);
            }
        }
        Snapshot {
            tasks,
            polls: self.table.polls(),
            main_awaits,
        }
    }

    fn source_of(&self, slot: Slot) -> WakeSource {
        match slot.state().source() {
            Source::Spawn => WakeSource::Spawn,
            Source::Task => WakeSource::Task(TaskId {
                number: last_with_lower_half(slot.woken_by(), self.table.spawned()),
            }),
            Source::MainFuture => WakeSource::MainFuture,
            Source::Owner => WakeSource::Owner,
            Source::Thread => WakeSource::Thread,
        }
    }
}

/// The last number up to `newest` whose lower half this is: a slot has no more of who woke it.
fn last_with_lower_half(lower: u32, newest: u64) -> u64 {
    const HALF: u64 = 1 << 32;
    let number = newest - newest % HALF + u64::from(lower);
    if number > newest {
        number - HALF
    } else {
        number
    }
}

fn state_of(slot: Slot) -> TaskState {
    let state = slot.state();
    if state.has(State::POLLING) {
        TaskState::Polling
    } else if state.has(State::QUEUED) {
        TaskState::Ready
    } else if state.has(State::DEFERRED) {
        TaskState::Deferred
    } else {
        TaskState::Waiting
    }
}

#[cfg(test)]
mod tests {
    use super::last_with_lower_half;

    #[test]
    fn a_number_is_made_up_from_its_lower_half_and_the_newest_number() {
        for (number, newest) in [
            (1, 1),
            (1, 7),
            (u64::from(u32::MAX), 1 << 32),
            (1 << 32, 1 << 32),
            ((1 << 32) + 5, (1 << 32) + 5),
            ((1 << 32) + 6, (2 << 32) + 5),
            ((2 << 32) + 5, (2 << 32) + 5),
        ] {
            assert_eq!(
                last_with_lower_half(number as u32, newest),
                number,
                "{newest}"
            );
        }
    }
}
