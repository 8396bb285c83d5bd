//! Wakes, the life of a task, and polls.

use std::sync::Arc;

use std::collections::VecDeque;

use super::{Flow, Message, Model, Stage, Unwind};
use crate::script::{Step, pick};

impl Model {
    pub(super) fn queue(&mut self, name: usize) {
        self.entries[name].stage = Stage::Queued;
        self.ready.push((name, self.wakes));
        self.wakes += 1;
    }

    /// Makes it ready, if it is not; says whether that changed anything.
    pub(super) fn make_ready(&mut self, name: usize) -> bool {
        if let Some((_, woken)) = self.mains.iter_mut().find(|(main, _)| *main == name) {
            return !std::mem::replace(woken, true);
        }
        match &mut self.entries[name].stage {
            Stage::Idle => self.queue(name),
            Stage::Polling { woken, .. } if !*woken => *woken = true,
            _ => return false,
        }
        true
    }

    pub(super) fn wake(&mut self, name: usize) {
        if self.make_ready(name) {
            self.counts.woken_local += 1;
            self.tell_host();
        }
    }

    /// Something became ready on this thread.
    pub(super) fn tell_host(&mut self) {
        if std::mem::take(&mut self.armed) && self.messages.is_empty() {
            self.host_wakes += 1;
        }
    }

    pub(super) fn send(&mut self, message: Message) {
        if self.messages.is_empty() && self.armed {
            self.host_wakes += 1;
        }
        self.messages.push_back(message);
    }

    pub(super) fn drain(&mut self) {
        // Wakes first, as many as are there; then all else, also what comes meanwhile.
        let messages = std::mem::take(&mut self.messages).into_iter();
        let (wakes, mail) = messages.partition(|message| matches!(message, Message::Wake(_)));
        self.messages = mail;
        let wakes: VecDeque<_> = wakes;
        for wake in wakes {
            let Message::Wake(name) = wake else { continue };
            self.entries[name].claimed = false;
            if self.make_ready(name) {
                self.counts.woken_remote += 1;
            }
        }
        let is_mail = |message: &Message| !matches!(message, Message::Wake(_));
        while let Some(at) = self.messages.iter().position(is_mail) {
            match self.messages.remove(at).expect("it is there") {
                Message::Wake(_) => {}
                Message::Abort(name) => self.end_task(name, "aborted"),
                Message::Spawn(name) if self.entries[name].abort_asked => {
                    self.entries[name].outcome = Some("aborted");
                    self.answer(name);
                }
                Message::Spawn(name) => self.insert(name, None, false),
            }
        }
    }

    // --- Tasks.

    pub(super) fn insert(&mut self, name: usize, group: Option<usize>, defer: bool) {
        self.entries[name].id = self.next_id;
        self.entries[name].group = group;
        self.next_id += 1;
        self.counts.spawned += 1;
        if let Some(group) = group {
            self.groups[group].members.push(name);
        }
        let phase = self.frames.last_mut().filter(|_| defer);
        let deferred = phase.is_some();
        match phase {
            Some(frame) => {
                frame.deferred.push(name);
                self.entries[name].stage = Stage::Deferred;
            }
            None => self.queue(name),
        }
        self.say(format!("hook: spawned #{}", self.entries[name].id));
        if !deferred {
            self.tell_host();
        }
    }

    pub(super) fn take_out(&mut self, name: usize) {
        self.ready.retain(|(ready, _)| *ready != name);
        if let Some(group) = self.entries[name].group {
            self.groups[group].members.retain(|member| *member != name);
        }
        self.entries[name].stage = Stage::Out;
    }

    pub(super) fn end_task(&mut self, name: usize, why: &'static str) {
        match &mut self.entries[name].stage {
            Stage::Out => {}
            Stage::Polling { doom, .. } => {
                doom.get_or_insert(why);
            }
            _ => self.finish(name, why),
        }
    }

    pub(super) fn finish(&mut self, name: usize, why: &'static str) {
        self.take_out(name);
        let outcome = self.drop_future(name).map_or_else(|_| "panicked", |()| why);
        self.entries[name].outcome = Some(outcome);
        self.counts.completed += 1;
        self.answer(name);
    }

    pub(super) fn answer(&mut self, name: usize) {
        if self.entries[name].outcome == Some("panicked") {
            self.counts.panicked += 1;
        }
        if let Some(waiter) = self.entries[name].waiter.take() {
            // A task of another thread is awaited by a waker, and those are inert at the end.
            if !(self.entries[name].remote && self.closed) {
                self.wake(waiter);
            }
        }
    }

    pub(super) fn drop_future(&mut self, name: usize) -> Flow {
        self.entries[name].over = true;
        self.say(format!("drop {name}"));
        let task = Arc::clone(&self.entries[name].task);
        let joining = self.entries[name].joining.take();
        if !self.quiet {
            for op in &task.on_drop {
                let _ = self.op(op);
            }
        }
        if let Some((joined, armed)) = joining {
            if armed && !self.quiet && !self.entries[joined].remote {
                self.end_task(joined, "aborted");
            }
            self.entries[joined].waiter = None;
        }
        if task.drop_panics {
            Err(Unwind)
        } else {
            Ok(())
        }
    }

    // --- Polls.

    pub(super) fn poll_task(&mut self, name: usize) {
        self.ready.retain(|(ready, _)| *ready != name);
        self.entries[name].stage = Stage::Polling {
            woken: false,
            doom: None,
        };
        let id = self.entries[name].id;
        self.say(format!("hook: polls #{id}"));
        let polled = self.poll(name);
        let error = match polled {
            Ok(false) => {
                self.say(format!("hook: polled #{id} Pending"));
                match self.entries[name].stage {
                    Stage::Polling {
                        doom: Some(doom), ..
                    } => self.finish(name, doom),
                    Stage::Polling { woken: true, .. } => self.queue(name),
                    _ => self.entries[name].stage = Stage::Idle,
                }
                return;
            }
            Ok(true) => {
                // The future is dropped first, its end known second.
                let dropped = self.drop_future(name);
                self.entries[name].outcome = Some("value");
                let outcome = match dropped {
                    Ok(()) => "Completed",
                    Err(_) => "Panicked",
                };
                self.say(format!("hook: polled #{id} {outcome}"));
                dropped.is_err()
            }
            Err(Unwind) => {
                let _ = self.drop_future(name);
                self.say(format!("hook: polled #{id} Panicked"));
                true
            }
        };
        self.take_out(name);
        if error {
            self.entries[name].outcome = Some("panicked");
        }
        self.counts.completed += 1;
        self.answer(name);
    }

    /// Polls a task or a main future; what it left in force ends with it.
    pub(super) fn poll(&mut self, name: usize) -> Flow<bool> {
        self.counts.polls += 1;
        self.running.push(name);
        let entered = self.serials;
        let polled = self.run_script(name);
        self.running.pop();
        self.end_phases_since(entered);
        polled
    }

    /// Says whether it is done.
    pub(super) fn run_script(&mut self, name: usize) -> Flow<bool> {
        self.say(format!("poll {name}"));
        let task = Arc::clone(&self.entries[name].task);
        while let Some(step) = task.steps.get(self.entries[name].at) {
            let half = std::mem::take(&mut self.entries[name].half);
            match step {
                Step::Do(op) => {
                    self.entries[name].at += 1;
                    self.op(op)?;
                    continue;
                }
                Step::Yield | Step::Wait if !half => {
                    self.entries[name].half = true;
                    if matches!(step, Step::Wait) {
                        self.entries[name].waker = true;
                    } else if !self.closed {
                        self.wake(name);
                    }
                    return Ok(false);
                }
                Step::Yield | Step::Wait => {}
                Step::Panic => return Err(Unwind),
                Step::Join { task, armed } => {
                    if self.entries[name].joining.is_none() {
                        let taken = self.take_handle(*task);
                        self.entries[name].joining = taken.map(|joined| (joined, *armed));
                    }
                    if let Some((joined, _)) = self.entries[name].joining {
                        let Some(outcome) = self.entries[joined].outcome else {
                            self.entries[joined].waiter = Some(name);
                            return Ok(false);
                        };
                        self.entries[name].joining = None;
                        self.say(format!("{name} joined {joined}: {outcome}"));
                    }
                }
            }
            self.entries[name].at += 1;
        }
        Ok(true)
    }

    pub(super) fn take_handle(&mut self, number: u8) -> Option<usize> {
        let name = pick(number, self.entries.len())?;
        std::mem::take(&mut self.entries[name].handle).then_some(name)
    }
}
