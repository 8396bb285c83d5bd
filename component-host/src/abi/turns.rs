//! Decides whom to wake when an instance has a turn to give, or a waitable set an event: one
//! thread at a time, so that no wake costs more for those who go on waiting.
//!
//! Rules:
//!
//! 1. A thread that waits stands in the queues of what it waits for, under its ticket: the older
//!    ticket comes first.
//! 2. While there is something to be had, at least one thread that could have it has been woken.
//!    Whoever makes it available offers it ([`State::offer_turn`], [`State::offer_event`]); so does
//!    whoever was woken, takes it and leaves something, or cannot take it any more.
//! 3. A thread in [`Turns::turns`] lacks nothing but its turn. One of a waitable set is put there
//!    by the set's event, and taken out when another has taken that.

use super::component_instances::InstanceId;
use super::threads::{ThreadId, ThreadState, Until};
use super::waitable_state::SetId;
use crate::error::Error;
use crate::store::State;
use std::collections::BTreeMap;

/// Threads that wait, under their tickets.
pub(crate) type Queue = BTreeMap<u64, ThreadId>;

/// The threads that wait for their turn in an instance.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// At the gate, and need the exclusive thread.
    entering: Queue,
    /// At the gate, for backpressure alone.
    entering_freely: Queue,
    /// Inside: yielded, or waited for an event that is there.
    turns: Queue,
}

impl State {
    /// A new ticket.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn gate(&mut self, id: ThreadId, inst: InstanceId) -> &mut Queue {
        let task = self.threads.get(id).and_then(|thread| thread.task);
        let task = task.and_then(|task| self.tasks.get(task));
        let exclusive = task.is_some_and(|task| task.callee.needs_exclusive());
        let turns = &mut self.instance_mut(inst).turns;
        match exclusive {
            true => &mut turns.entering,
            false => &mut turns.entering_freely,
        }
    }

    /// Puts a thread into the queues of what it waits for.
    pub(crate) fn join_queues(&mut self, id: ThreadId, until: Until) -> Result<(), Error> {
        if let Until::Always | Until::Resolved(_) | Until::Pending(_) = until {
            return Ok(());
        }
        let ticket = self.ticket();
        let thread = self.thread_mut(id)?;
        thread.ticket = ticket;
        let (inst, task) = (thread.inst, thread.task);
        match until {
            Until::Gate => drop(self.gate(id, inst).insert(ticket, id)),
            Until::Turn => drop(self.instance_mut(inst).turns.turns.insert(ticket, id)),
            Until::Event(set) => {
                if let Some(set) = self.sets.get_mut(set) {
                    set.waiters.insert(ticket, id);
                }
            }
            Until::TurnAndEvent(set) => {
                if let Some(set) = self.sets.get_mut(set) {
                    set.turn_waiters.insert(ticket, id);
                }
                if self.set_has_pending_event(set) || self.has_pending_cancel(task) {
                    self.instance_mut(inst).turns.turns.insert(ticket, id);
                }
            }
            Until::Always | Until::Resolved(_) | Until::Pending(_) => {}
        }
        Ok(())
    }

    /// Takes a thread out of the queues of what it waited for.
    pub(crate) fn leave_queues(&mut self, id: ThreadId, until: Until) -> Result<(), Error> {
        if let Until::Always | Until::Resolved(_) | Until::Pending(_) = until {
            return Ok(());
        }
        let thread = self.thread(id)?;
        let (inst, ticket) = (thread.inst, thread.ticket);
        match until {
            Until::Gate => drop(self.gate(id, inst).remove(&ticket)),
            Until::Turn => drop(self.instance_mut(inst).turns.turns.remove(&ticket)),
            Until::Event(set) => {
                if let Some(set) = self.sets.get_mut(set) {
                    set.waiters.remove(&ticket);
                }
            }
            Until::TurnAndEvent(set) => {
                if let Some(set) = self.sets.get_mut(set) {
                    set.turn_waiters.remove(&ticket);
                }
                self.instance_mut(inst).turns.turns.remove(&ticket);
            }
            Until::Always | Until::Resolved(_) | Until::Pending(_) => {}
        }
        Ok(())
    }

    /// Nobody has the exclusive thread of an instance any more, or backpressure has ended: wakes
    /// whoever may go on.
    pub(crate) fn offer_turn(&mut self, inst: InstanceId) {
        let instance = self.instance(inst);
        let (open, free) = (
            instance.backpressure == 0,
            instance.exclusive_thread.is_none(),
        );
        if open && let Some((_, &thread)) = instance.turns.entering_freely.first_key_value() {
            self.wake_thread(thread);
        }
        if !free {
            return;
        }
        let inside = self.first_turn(inst);
        let turns = &self.instance(inst).turns;
        let entering = match open {
            true => turns.entering.first_key_value().map(|(k, v)| (*k, *v)),
            false => None,
        };
        // Both are woken, the older ticket first: which of them is polled first is the schedule's
        // choice, and the other one is offered the next turn.
        let mut woken = [entering, inside];
        woken.sort_by_key(|woken| woken.map(|(ticket, _)| ticket));
        for (_, thread) in woken.into_iter().flatten() {
            self.wake_thread(thread);
        }
    }

    /// The first thread inside the instance that could have the turn, now that it is free.
    fn first_turn(&mut self, inst: InstanceId) -> Option<(u64, ThreadId)> {
        loop {
            let turns = &self.instance(inst).turns.turns;
            let (ticket, thread) = turns.first_key_value().map(|(k, v)| (*k, *v))?;
            if self.is_ready(thread) {
                return Some((ticket, thread));
            }
            // Rule 3: somebody else took its event. The next event puts it back.
            self.instance_mut(inst).turns.turns.remove(&ticket);
        }
    }

    /// A waitable set has an event: wakes the first of those who wait for it.
    pub(crate) fn offer_event(&mut self, set: SetId) {
        let Some(wset) = self.sets.get(set).filter(|set| set.has_pending_event()) else {
            return;
        };
        let first = |queue: &Queue| queue.first_key_value().map(|(_, thread)| *thread);
        let (waiter, turn_waiter) = (first(&wset.waiters), first(&wset.turn_waiters));
        if let Some(thread) = waiter {
            self.wake_thread(thread);
        }
        if let Some(thread) = turn_waiter {
            self.ask_for_turn(thread);
        }
    }

    /// A thread that waits for a set, and for its turn, lacks nothing but its turn now.
    pub(crate) fn ask_for_turn(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get(id)
            && let ThreadState::Waiting {
                until: Until::TurnAndEvent(_),
                ..
            } = thread.state
        {
            let (inst, ticket) = (thread.inst, thread.ticket);
            self.instance_mut(inst).turns.turns.insert(ticket, id);
            self.offer_turn(inst);
        }
    }

    /// A thread was polled and is not ready: if it was offered something, another may have it.
    pub(crate) fn pass_on(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get(id)
            && let ThreadState::Waiting {
                until: Until::Gate | Until::Turn | Until::TurnAndEvent(_),
                ..
            } = thread.state
        {
            self.offer_turn(thread.inst);
        }
    }
}

#[cfg(test)]
mod tests;
