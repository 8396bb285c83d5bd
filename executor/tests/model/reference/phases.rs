//! Phases, and the work deferred in them.

use super::{Flow, Frame, Kind, Model, Stage, Unwind};
use crate::script::{Blocks, Leaving, Op};

impl Model {
    pub(super) fn enter(&mut self, group: usize, blocks: Blocks) -> usize {
        let serial = self.serials;
        self.serials += 1;
        self.groups[group].handles += 1;
        self.frames.push(Frame {
            serial,
            group,
            blocks,
            drives: self.drives,
            deferred: Vec::new(),
        });
        let (depth, name) = (self.frames.len(), self.groups[group].name);
        self.say(format!("hook: phase Entered {depth} of {name}"));
        serial
    }

    pub(super) fn end_phases_above(&mut self, depth: usize) {
        while self.frames.len() > depth {
            if let Some(frame) = self.frames.pop() {
                self.end_frame(frame, false);
            }
        }
    }

    /// Ends those that were entered since then, whatever became of the others.
    pub(super) fn end_phases_since(&mut self, serial: usize) {
        while self
            .frames
            .last()
            .is_some_and(|frame| frame.serial >= serial)
        {
            if let Some(frame) = self.frames.pop() {
                self.end_frame(frame, false);
            }
        }
    }

    pub(super) fn end_phase(&mut self, serial: usize, commits: bool) -> bool {
        let at = |frames: &[Frame]| frames.iter().position(|frame| frame.serial == serial);
        let Some(position) = at(&self.frames) else {
            return false;
        };
        self.end_phases_above(position + 1);
        match at(&self.frames) {
            Some(position) => {
                let frame = self.frames.remove(position);
                self.end_frame(frame, commits);
                true
            }
            None => false,
        }
    }

    pub(super) fn end_frame(&mut self, frame: Frame, commits: bool) {
        let event = if commits { "Committed" } else { "Discarded" };
        let (depth, name) = (self.frames.len() + 1, self.groups[frame.group].name);
        self.say(format!("hook: phase {event} {depth} of {name}"));
        if !commits {
            for name in frame.deferred {
                if self.entries[name].stage == Stage::Deferred {
                    self.take_out(name);
                    self.say(format!("hook: discarded #{}", self.entries[name].id));
                    self.finish(name, "discarded");
                }
            }
        } else if !frame.deferred.is_empty() {
            let scope = self.root(frame.group);
            let same = |outer: &usize| self.root(self.frames[*outer].group) == scope;
            match (0..self.frames.len()).rev().find(same) {
                Some(outer) => self.frames[outer].deferred.extend(frame.deferred),
                None => {
                    for name in frame.deferred {
                        if self.entries[name].stage == Stage::Deferred {
                            self.queue(name);
                        }
                    }
                    self.tell_host();
                }
            }
        }
        self.groups[frame.group].handles -= 1;
    }

    pub(super) fn with_phase(
        &mut self,
        group: u8,
        blocks: Blocks,
        ops: &[Op],
        leaving: Leaving,
    ) -> Flow {
        let Some(group) = self.group(group) else {
            return Ok(());
        };
        if !self.check(Kind::EnterPhase) {
            return Ok(());
        }
        let serial = self.enter(group, blocks);
        for op in ops {
            if self.op(op).is_err() {
                self.end_phase(serial, false);
                return Err(Unwind);
            }
        }
        self.end_phase(serial, leaving == Leaving::Ok);
        match leaving {
            Leaving::Ok => self.say("with_phase: ok"),
            Leaving::Err => self.say("with_phase: err"),
            Leaving::Panic => return Err(Unwind),
        }
        Ok(())
    }
}
