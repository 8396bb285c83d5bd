//! Says what the executor ought to do: its rules, written down a second time, with the plainest
//! data there are.
//!
//! Everything is in vectors that are searched, tasks are numbers, and a poll is a call of
//! [`Model::run_script`]. A panic is an `Err` that is handed up.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::script::{Blocks, Case, Op, Task, pick};

mod drives;
mod ops;
mod phases;
mod refusals;
mod tasks;

/// A panic on its way up.
pub(crate) struct Unwind;

type Flow<T = ()> = Result<T, Unwind>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not in the table: a main future, a task that was refused or has not arrived, or is over.
    Out,
    Idle,
    Queued,
    Deferred,
    Polling {
        woken: bool,
        doom: Option<&'static str>,
    },
}

struct Entry {
    task: Arc<Task>,
    at: usize,
    half: bool,
    joining: Option<(usize, bool)>,
    stage: Stage,
    id: u64,
    group: Option<usize>,
    /// `None` while it has not ended.
    outcome: Option<&'static str>,
    /// The world holds the handle.
    handle: bool,
    /// Who awaits it.
    waiter: Option<usize>,
    remote: bool,
    abort_asked: bool,
    /// The world holds a waker.
    waker: bool,
    /// The future is gone.
    over: bool,
    /// A wake by another thread is under way.
    claimed: bool,
}

struct GroupModel {
    name: &'static str,
    parent: Option<usize>,
    /// Handles: the world's, and those of phases in force.
    handles: usize,
    members: Vec<usize>,
}

struct Frame {
    serial: usize,
    group: usize,
    blocks: Blocks,
    drives: usize,
    deferred: Vec<usize>,
}

enum Message {
    Wake(usize),
    Abort(usize),
    Spawn(usize),
}

#[derive(Default)]
struct Counts {
    spawned: u64,
    completed: u64,
    polls: u64,
    woken_local: u64,
    woken_remote: u64,
    panicked: u64,
    refused: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    BlockOn,
    Tick,
    RunUntilStalled,
    Step,
    BlockInPhase,
    Spawn,
    Defer,
    EnterPhase,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::BlockOn => "BlockOn",
            Self::Tick => "Tick",
            Self::RunUntilStalled => "RunUntilStalled",
            Self::Step => "Step",
            Self::BlockInPhase => "BlockInPhase",
            Self::Spawn => "Spawn",
            Self::Defer => "Defer",
            Self::EnterPhase => "EnterPhase",
        }
    }
}

/// The executor, as it ought to be.
pub(crate) struct Model {
    trace: Vec<String>,
    max_poll_depth: usize,
    parks: Vec<Vec<Op>>,
    entries: Vec<Entry>,
    /// Ready tasks, each with the number of its wake.
    ready: Vec<(usize, u64)>,
    wakes: u64,
    next_id: u64,
    /// The world's groups, by the model's numbers; the model frees none, but counts.
    held_groups: Vec<Option<usize>>,
    groups: Vec<GroupModel>,
    frames: Vec<Frame>,
    serials: usize,
    guards: Vec<Option<usize>>,
    /// The polls on the stack.
    running: Vec<usize>,
    drives: usize,
    mains: Vec<(usize, bool)>,
    parked: bool,
    spawner: bool,
    closed: bool,
    gone: bool,
    quiet: bool,
    messages: VecDeque<Message>,
    counts: Counts,
    host: bool,
    armed: bool,
    host_wakes: usize,
}

impl Model {
    /// Runs the case, and returns what ought to have happened.
    pub(crate) fn run(case: &Case) -> Vec<String> {
        let group = |name, parent, handles| GroupModel {
            name,
            parent,
            handles,
            members: Vec::new(),
        };
        let mut model = Self {
            trace: Vec::new(),
            max_poll_depth: case.max_poll_depth as usize,
            parks: case.parks.iter().rev().cloned().collect(),
            entries: Vec::new(),
            ready: Vec::new(),
            wakes: 0,
            next_id: 1,
            // In the order of the world's, which is not the one in which they were made.
            held_groups: vec![Some(0), Some(2), Some(1), Some(3)],
            groups: vec![
                group("store", None, 1),
                group("first", Some(0), 1),
                group("second", Some(1), 1),
                group("other", None, 1),
            ],
            frames: Vec::new(),
            serials: 0,
            guards: Vec::new(),
            running: Vec::new(),
            drives: 0,
            mains: Vec::new(),
            parked: false,
            spawner: false,
            closed: false,
            gone: false,
            quiet: false,
            messages: VecDeque::new(),
            counts: Counts::default(),
            host: case.host,
            armed: case.host,
            host_wakes: 0,
        };
        for op in &case.ops {
            if model.op(op).is_err() {
                model.say("unwound");
            }
            let seen = model.observe();
            model.say(seen);
        }
        model.shut_down();
        model.gone = true;
        model.frames.clear();
        let seen = model.observe();
        model.say(seen);
        for name in 0..model.entries.len() {
            if model.entries[name].handle {
                let outcome = model.entries[name].outcome.unwrap_or("never answered");
                model.say(format!("{name}: {outcome}"));
            }
        }
        model.say("left: 0 futures, 0 outputs");
        model.trace
    }

    fn say(&mut self, text: impl Into<String>) {
        self.trace.push(text.into());
    }

    fn observe(&self) -> String {
        let Counts {
            spawned,
            completed,
            polls,
            mut woken_local,
            mut woken_remote,
            panicked,
            refused,
        } = self.counts;
        if self.closed {
            (woken_local, woken_remote) = (0, 0);
        }
        let metrics = if self.gone {
            "Metrics { spawned: 0, completed: 0, polls: 0, woken_local: 0, woken_remote: 0, \
             panicked: 0, foreign_panics: 0, refused: 0, live: 0, ready: 0, groups: 0 }"
                .to_string()
        } else {
            format!(
                "Metrics {{ spawned: {spawned}, completed: {completed}, polls: {polls}, \
                 woken_local: {woken_local}, woken_remote: {woken_remote}, panicked: {panicked}, \
                 foreign_panics: 0, refused: {refused}, live: {}, ready: {}, groups: {} }}",
                self.live(),
                self.ready.len(),
                (0..self.groups.len())
                    .filter(|&group| self.exists(group))
                    .count(),
            )
        };
        let held = self.held_groups.iter().flatten();
        let counts: Vec<_> = held
            .map(|&group| {
                let in_group = |(name, _): &&(usize, u64)| self.entries[*name].group == Some(group);
                let ready = self.ready.iter().filter(in_group).count();
                (self.groups[group].members.len(), ready)
            })
            .collect();
        let finished: Vec<_> = self
            .entries
            .iter()
            .map(|entry| entry.handle.then_some(entry.outcome.is_some()))
            .collect();
        let activity = if self.closed { "Closed" } else { "Idle" };
        format!(
            "{metrics} {activity} phases {} groups {counts:?} finished {finished:?} host {}",
            self.frames.len(),
            self.host_wakes
        )
    }

    fn live(&self) -> usize {
        let live = |entry: &&Entry| entry.stage != Stage::Out;
        self.entries.iter().filter(live).count()
    }

    fn exists(&self, group: usize) -> bool {
        let entry = &self.groups[group];
        entry.handles > 0
            || !entry.members.is_empty()
            || (0..self.groups.len())
                .any(|child| self.groups[child].parent == Some(group) && self.exists(child))
    }

    fn root(&self, mut group: usize) -> usize {
        while let Some(parent) = self.groups[group].parent {
            group = parent;
        }
        group
    }

    fn group(&self, number: u8) -> Option<usize> {
        self.held_groups[pick(number, self.held_groups.len())?]
    }

    // --- The end.

    fn shut_down(&mut self) {
        let (start, quiet) = (self.trace.len(), std::mem::replace(&mut self.quiet, true));
        if !self.closed {
            self.closed = true;
            self.armed = false;
            self.end_phases_above(0);
            for message in std::mem::take(&mut self.messages) {
                if let Message::Spawn(name) = message {
                    self.entries[name].outcome = Some("gone");
                    self.answer(name);
                }
            }
            for name in 0..self.entries.len() {
                self.end_task(name, "gone");
            }
        }
        self.quiet = quiet;
        self.trace[start..].sort();
        self.say("shut down");
    }
}
