//! Drives: rounds, blocking, and blocking in a phase.

use super::{Counts, Flow, Kind, Model, Stage};
use crate::script::{Blocks, Bounds};

impl Model {
    pub(super) fn begin_drive(&mut self) -> bool {
        self.drives += 1;
        std::mem::take(&mut self.armed) && self.messages.is_empty()
    }

    /// Arms the host's waker, if nothing is ready.
    pub(super) fn settle(&mut self) {
        if self.drives > 1 || !self.host || self.closed {
            return;
        }
        while self.ready.is_empty() {
            if self.messages.is_empty() {
                self.armed = true;
                return;
            }
            self.drain();
        }
    }

    /// Ends a drive that reports nothing to the host.
    pub(super) fn end_drive(&mut self, host_slept: bool) {
        self.settle();
        self.drives -= 1;
        if host_slept && !self.ready.is_empty() {
            self.host_wakes += 1;
        }
    }

    pub(super) fn next_ready(&self, end: u64) -> Option<usize> {
        let (name, wake) = self.ready.first()?;
        (*wake < end).then_some(*name)
    }

    pub(super) fn next_ready_in(&self, group: usize) -> Option<usize> {
        let ready = self.ready.iter().map(|(name, _)| *name);
        let mut ready = ready.filter(|name| self.entries[*name].group == Some(group));
        ready.next()
    }

    /// Says whether it was cut short.
    pub(super) fn run_rounds(&mut self, bounds: Bounds, mut done: impl FnMut() -> bool) -> bool {
        let (mut polls, mut rounds) = (bounds.polls, bounds.rounds);
        while rounds != Some(0) && !self.closed {
            rounds = rounds.map(|rounds| rounds - 1);
            self.drain();
            if done() {
                return true;
            }
            let end = self.wakes;
            let mut polled = false;
            while let Some(name) = self.next_ready(end) {
                if polls == Some(0) || bounds.past {
                    return true;
                }
                polls = polls.map(|polls| polls - 1);
                polled = true;
                self.poll_task(name);
                if done() || self.closed {
                    return true;
                }
            }
            if !polled {
                break;
            }
        }
        false
    }

    pub(super) fn tick(
        &mut self,
        what: &str,
        kind: Kind,
        bounds: Bounds,
        done: impl FnMut() -> bool,
    ) {
        if !self.check(kind) {
            return;
        }
        let Counts {
            polls,
            completed,
            spawned,
            woken_local,
            woken_remote,
            ..
        } = self.counts;
        self.begin_drive();
        let cut_short = self.run_rounds(bounds, done);
        self.settle();
        self.drives -= 1;
        let end = match (self.live(), self.ready.len()) {
            (0, _) => "Empty",
            (_, 0) => "Stalled",
            _ if cut_short => "Budget",
            _ => "Round",
        };
        let mut woken = (
            self.counts.woken_local - woken_local,
            self.counts.woken_remote - woken_remote,
        );
        if self.closed {
            woken = (0, 0);
        }
        self.say(format!(
            "{what}: Tick {{ polled: {}, completed: {}, spawned: {}, woken_local: {}, \
             woken_remote: {}, ready: {}, live: {}, end: {end} }}",
            self.counts.polls - polls,
            self.counts.completed - completed,
            self.counts.spawned - spawned,
            woken.0,
            woken.1,
            self.ready.len(),
            self.live(),
        ));
    }

    pub(super) fn block_on(&mut self, name: usize) -> Flow {
        if let Some(reason) = self.reason(Kind::BlockOn) {
            // The future goes before the world can say anything about the refusal.
            self.counts.refused += 1;
            self.say("hook: refused");
            let at = self.trace.len();
            self.counts.refused -= 1;
            self.refuse(Kind::BlockOn, reason);
            let said = self.trace.split_off(at);
            let _ = self.drop_future(name);
            self.trace.extend(said.into_iter().skip(1));
            return Ok(());
        }
        let host_slept = self.begin_drive();
        self.mains.push((name, true));
        let result = self.block(name);
        let _ = self.drop_future(name);
        self.mains.pop();
        self.end_drive(host_slept);
        self.say(result?);
        Ok(())
    }

    /// Drives until the main future is done; returns what the world will say.
    pub(super) fn block(&mut self, name: usize) -> Flow<String> {
        loop {
            self.drain();
            let woken = self.mains.last_mut().map(|(_, woken)| woken);
            if woken.is_some_and(std::mem::take) && self.poll(name)? {
                return Ok(format!("blocked on {name}"));
            }
            let end = self.wakes;
            while !self.closed
                && let Some(name) = self.next_ready(end)
            {
                self.poll_task(name);
            }
            if self.closed {
                let at = self.trace.len();
                self.refuse(Kind::BlockOn, "Closed");
                let said = self.trace.split_off(at + 1);
                return Ok(said.concat());
            }
            let woken = self.mains.last().is_some_and(|(_, woken)| *woken);
            if self.ready.is_empty() && !woken && self.messages.is_empty() {
                let deadlock = !self.spawner && self.escaped(name) == 0;
                if !deadlock {
                    self.parked = true;
                    for op in self.parks.pop().iter().flatten() {
                        let _ = self.op(op);
                    }
                    self.parked = false;
                    let woken = self.mains.last().is_some_and(|(_, woken)| *woken);
                    if woken || !self.ready.is_empty() || !self.messages.is_empty() {
                        continue;
                    }
                }
                let (pending, escaped_wakers) = (self.live(), self.escaped(name));
                self.say("hook: stalled");
                return Ok(format!(
                    "Stalled {{ pending: {pending}, escaped_wakers: {escaped_wakers}, \
                     deadlock: {deadlock} }}"
                ));
            }
        }
    }

    /// How many have a waker out, of the tasks that are not on the stack and the main future.
    pub(super) fn escaped(&self, main: usize) -> usize {
        let waits = |name: usize| matches!(self.entries[name].stage, Stage::Idle | Stage::Queued);
        (0..self.entries.len())
            .filter(|&name| waits(name) || name == main)
            .filter(|&name| {
                let mut entries = self.entries.iter();
                self.entries[name].waker
                    || entries.any(|other| other.remote && other.waiter == Some(name))
            })
            .count()
    }

    pub(super) fn block_in_phase(&mut self, asks: u8) {
        let mut asked = 0;
        if self.check(Kind::BlockInPhase) {
            let (blocks, group) = match self.frames.last() {
                Some(frame) => (frame.blocks, frame.group),
                None => unreachable!("checked"),
            };
            let host_slept = self.begin_drive();
            let result = loop {
                asked += 1;
                if asked > asks {
                    break "block_in_phase: ok".to_string();
                }
                if self.closed {
                    let at = self.trace.len();
                    self.refuse(Kind::BlockInPhase, "Closed");
                    break self.trace.split_off(at + 1).concat();
                }
                self.drain();
                let next = match blocks {
                    Blocks::All(_) => self.next_ready(u64::MAX),
                    _ => self.next_ready_in(group),
                };
                match next {
                    Some(name) => self.poll_task(name),
                    None => break "nothing ready".to_string(),
                }
            };
            self.end_drive(host_slept);
            self.say(result);
        }
        self.say(format!("asked {asked}"));
    }

    pub(super) fn step(&mut self, group: usize) {
        if self.check(Kind::Step) {
            let host_slept = self.begin_drive();
            self.drain();
            let next = self.next_ready_in(group);
            if let Some(name) = next {
                self.poll_task(name);
            }
            self.end_drive(host_slept);
            self.say(format!("step: {}", next.is_some()));
        }
    }
}
