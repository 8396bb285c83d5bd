//! What each operation does.

use std::sync::Arc;

use super::{Entry, Flow, GroupModel, Kind, Message, Model, Stage};
use crate::script::{Bounds, Ending, Op, Task, Waking, pick};

impl Model {
    pub(super) fn name(&mut self, task: &Task) -> usize {
        self.entries.push(Entry {
            task: Arc::new(task.clone()),
            at: 0,
            half: false,
            joining: None,
            stage: Stage::Out,
            id: 0,
            group: None,
            outcome: None,
            handle: false,
            waiter: None,
            remote: false,
            abort_asked: false,
            waker: false,
            over: false,
            claimed: false,
        });
        self.entries.len() - 1
    }

    pub(super) fn op(&mut self, op: &Op) -> Flow {
        match op {
            Op::Spawn { group, defer, task } => {
                let name = self.name(task);
                let group = group.and_then(|group| self.group(group));
                let kind = if *defer { Kind::Defer } else { Kind::Spawn };
                if self.check(kind) {
                    self.insert(name, group, *defer);
                    self.entries[name].handle = true;
                } else {
                    let _ = self.drop_future(name);
                }
            }
            Op::SpawnRemotely(task) => {
                let name = self.name(task);
                if self.closed {
                    self.say("no spawner");
                } else {
                    self.entries[name].remote = true;
                    self.entries[name].handle = true;
                    self.send(Message::Spawn(name));
                }
            }
            Op::BlockOn(task) => {
                let mut task = task.clone();
                task.drop_panics = false;
                let name = self.name(&task);
                self.block_on(name)?;
            }
            Op::WithPhase {
                group,
                blocks,
                ops,
                leaving,
            } => self.with_phase(*group, *blocks, ops, *leaving)?,
            Op::Enter { group, blocks } => {
                if let Some(group) = self.group(*group)
                    && self.check(Kind::EnterPhase)
                {
                    let serial = self.enter(group, *blocks);
                    self.guards.push(Some(serial));
                }
            }
            Op::End { guard, how } => {
                let taken = pick(*guard, self.guards.len()).and_then(|at| self.guards[at].take());
                if let Some(serial) = taken {
                    let ended = match how {
                        Ending::Commit => self.end_phase(serial, true),
                        Ending::Discard => self.end_phase(serial, false),
                        Ending::Drop => {
                            self.end_phase(serial, false);
                            false
                        }
                        Ending::Forget => false,
                    };
                    self.say(format!("{how:?}: {ended}"));
                }
            }
            Op::Wake { task, how } => self.wake_op(*task, *how),
            Op::DropWaker(task) => {
                if let Some(name) = pick(*task, self.entries.len()) {
                    self.entries[name].waker = false;
                }
            }
            Op::DropHandle(task) => {
                if let Some(name) = self.take_handle(*task) {
                    self.entries[name].waiter = None;
                }
            }
            Op::Abort(task) => {
                if let Some(name) = self.take_handle(*task) {
                    if !self.entries[name].remote {
                        self.end_task(name, "aborted");
                    } else {
                        self.entries[name].abort_asked = true;
                        if self.entries[name].id > 0 && !self.closed {
                            self.send(Message::Abort(name));
                        }
                    }
                    self.entries[name].handle = true;
                }
            }
            Op::HoldSpawner(hold) => self.spawner = *hold && !self.closed,
            Op::Shutdown => self.shut_down(),
            Op::AbortAll(_)
            | Op::AbortTree(_)
            | Op::NewGroup(_)
            | Op::DropGroup(_)
            | Op::Step(_) => self.group_op(op),
            Op::Tick
            | Op::TickWith(_)
            | Op::RunUntilStalled(_)
            | Op::TickUntil(_)
            | Op::BlockInPhase(_) => self.drive_op(op),
        }
        Ok(())
    }

    pub(super) fn drive_op(&mut self, op: &Op) {
        let once = Bounds {
            rounds: Some(1),
            ..Bounds::default()
        };
        match op {
            Op::Tick => self.tick("tick", Kind::Tick, once, || false),
            Op::TickWith(bounds) => {
                let rounds = bounds.rounds.or(Some(1));
                let bounds = Bounds { rounds, ..*bounds };
                self.tick("tick_with", Kind::Tick, bounds, || false);
            }
            Op::RunUntilStalled(bounds) => {
                self.tick("run_until_stalled", Kind::RunUntilStalled, *bounds, || {
                    false
                });
            }
            Op::TickUntil(asks) => {
                let mut asked = 0;
                let done = || {
                    asked += 1;
                    asked > *asks
                };
                self.tick("tick_until", Kind::RunUntilStalled, Bounds::default(), done);
                self.say(format!("asked {asked}"));
            }
            Op::BlockInPhase(asks) => self.block_in_phase(*asks),
            _ => unreachable!(),
        }
    }

    pub(super) fn group_op(&mut self, op: &Op) {
        let abort = |model: &mut Self, group: usize| {
            for name in model.groups[group].members.clone() {
                model.end_task(name, "aborted");
            }
        };
        match op {
            Op::AbortAll(group) => {
                if let Some(group) = self.group(*group) {
                    abort(self, group);
                }
            }
            Op::AbortTree(group) => {
                // store, second, first: whose trees end with "second" all.
                let from = [0, 2, 1][usize::from(group % 3)];
                (from..3).for_each(|group| abort(self, group));
            }
            Op::NewGroup(parent) => {
                let parent = pick(*parent, self.held_groups.len() - 3)
                    .and_then(|at| self.held_groups[3 + at]);
                let group = parent.map(|parent| {
                    self.groups.push(GroupModel {
                        name: "new",
                        parent: Some(parent),
                        handles: 1,
                        members: Vec::new(),
                    });
                    self.groups.len() - 1
                });
                self.held_groups.push(group);
            }
            Op::DropGroup(group) => {
                let taken = pick(*group, self.held_groups.len() - 4)
                    .and_then(|at| self.held_groups[4 + at].take());
                if let Some(group) = taken {
                    self.groups[group].handles -= 1;
                }
            }
            Op::Step(group) => {
                if let Some(group) = self.group(*group) {
                    self.step(group);
                }
            }
            _ => unreachable!(),
        }
    }

    pub(super) fn wake_op(&mut self, task: u8, how: Waking) {
        let Some(name) = pick(task, self.entries.len()) else {
            return;
        };
        let entry = &self.entries[name];
        match how {
            Waking::Handle if entry.handle && !entry.remote => self.wake(name),
            Waking::Waker if entry.waker && !self.closed => self.wake(name),
            Waking::Thread if self.host && entry.over => {}
            Waking::Thread if entry.waker && !entry.claimed && !self.closed => {
                self.entries[name].claimed = true;
                self.send(Message::Wake(name));
            }
            _ => {}
        }
    }
}
