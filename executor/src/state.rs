//! Says where a task is in its life, in one word that only the owner's thread touches.
//!
//! ```text
//!            defer
//!        ┌──────────► DEFERRED ───────────┐
//!        │                                │ 5 release
//!   born ┤ spawn                          ▼
//!        └─────────────────────────────► QUEUED ◄────────────┐
//!                                       2 │ ▲                │ 1 wake
//!                                         ▼ │ 3, if WOKEN    │
//!     ENDING ◄── 4 ── from anywhere ◄── POLLING ─────────► (none)
//!        │                                      3
//!        ▼ 6 answer
//!     not LIVE: the outcome waits for its HANDLE; free when that is gone
//! ```

use crate::core::BARE;
use crate::table::Doom;

/// A set of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u32);

impl State {
    /// Set until the task's outcome is known; implies that the slot is not free.
    pub(crate) const LIVE: Self = Self(1 << 0);
    /// Set while a `JoinHandle` exists: the outcome is left for it.
    pub(crate) const HANDLE: Self = Self(1 << 1);
    /// Set while it is in the ready list; never with POLLING, DEFERRED or ENDING.
    pub(crate) const QUEUED: Self = Self(1 << 2);
    /// Set while it is on the stack. Nobody polls it again, or takes it out.
    pub(crate) const POLLING: Self = Self(1 << 3);
    /// Set until the phase that it waits for has committed; a wake changes nothing.
    pub(crate) const DEFERRED: Self = Self(1 << 4);
    /// Set once somebody is bringing it to its end; it is in no list from then on.
    pub(crate) const ENDING: Self = Self(1 << 5);
    /// Set by a wake while it is POLLING; for a stand-in: the main future is to be polled.
    pub(crate) const WOKEN: Self = Self(1 << 6);
    /// Set for the stand-in of a main future: it is in no list, and no task.
    pub(crate) const MAIN: Self = Self(1 << 7);
    /// Set while it is in a group, whose list of ready tasks goes with the executor's.
    pub(crate) const GROUPED: Self = Self(1 << 8);

    /// The payload is its future.
    pub(crate) const FUTURE: Self = Self(1 << 9);
    /// The payload is its output; implies not LIVE, or POLLING.
    pub(crate) const VALUE: Self = Self(1 << 10);
    /// The payload is what it panicked with.
    pub(crate) const PANIC: Self = Self(1 << 11);
    /// All kinds of payload; one of them at most is set.
    pub(crate) const PAYLOAD: Self = Self(7 << 9);

    /// Set when the count of its wakers is in the shared word for good.
    pub(crate) const MERGED: Self = Self(1 << 12);
    /// Set while the count of its wakers is in the shared word and watched.
    pub(crate) const WATCHED: Self = Self(1 << 13);
    /// Set when the handle has returned the outcome.
    pub(crate) const TAKEN: Self = Self(1 << 14);
    /// Set while a `JoinSet` has it in place of a `JoinHandle`; implies HANDLE.
    pub(crate) const MEMBER: Self = Self(1 << 20);
    /// Set while its entry in the table of extras is that of all plain members of its set;
    /// implies MEMBER.
    pub(crate) const SHARED: Self = Self(1 << 21);

    /// Set while a slot whose task has ended is on the list of wakes from other threads: it is not
    /// used again before it is taken off.
    pub(crate) const LISTED: Self = Self(1 << 22);
    /// Set when nothing but that list refers to it; implies LISTED.
    pub(crate) const LEFT: Self = Self(1 << 23);

    /// No task.
    pub(crate) const FREE: Self = Self(0);

    const DOOM: u32 = 15;
    const SOURCE: u32 = 17;

    /// All of these flags.
    #[inline(always)]
    pub(crate) const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// At least one of these flags.
    #[inline(always)]
    pub(crate) const fn has_any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    #[inline(always)]
    pub(crate) const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    #[inline(always)]
    pub(crate) const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// The state after a poll that left an output.
    #[inline(always)]
    pub(crate) const fn ready(self) -> Self {
        const GONE: State = State::POLLING.with(State::WOKEN).with(State::FUTURE);
        self.without(GONE).with(Self::ENDING).with(Self::VALUE)
    }

    /// The state without anybody who would take the outcome.
    pub(crate) const fn without_handle(self) -> Self {
        self.without(Self::HANDLE.with(Self::MEMBER))
    }

    /// The state in the ready list, made the state on the stack.
    #[inline(always)]
    pub(crate) const fn polled(self) -> Self {
        Self(self.0 ^ Self::QUEUED.with(Self::POLLING).0)
    }

    /// Of a task that is polled: it was woken meanwhile, and needs nothing but to be queued.
    #[inline(always)]
    pub(crate) const fn is_merely_woken(self) -> bool {
        self.0 & (3 << Self::DOOM | Self::WOKEN.with(Self::GROUPED).0) == Self::WOKEN.0
    }

    /// The state on the stack and woken, made the state in the ready list.
    #[inline(always)]
    pub(crate) const fn queued_again(self) -> Self {
        Self(self.0 ^ Self::POLLING.with(Self::WOKEN).with(Self::QUEUED).0)
    }

    #[inline(always)]
    pub(crate) const fn is_grouped(self) -> bool {
        !BARE && self.has(Self::GROUPED)
    }

    /// What it is to end with, or ended with, unless there is a payload.
    pub(crate) const fn doom(self) -> Option<Doom> {
        match self.0 >> Self::DOOM & 3 {
            0 => None,
            1 => Some(Doom::Aborted),
            2 => Some(Doom::Discarded),
            _ => Some(Doom::ExecutorGone),
        }
    }

    /// Whether it is to end without a value.
    #[inline(always)]
    pub(crate) const fn is_doomed(self) -> bool {
        self.0 >> Self::DOOM & 3 != 0
    }

    /// Dooms it; the first one counts.
    pub(crate) const fn doomed(self, doom: Doom) -> Self {
        if self.doom().is_some() {
            return self;
        }
        let code = match doom {
            Doom::Aborted => 1,
            Doom::Discarded => 2,
            Doom::ExecutorGone => 3,
        };
        Self(self.0 | code << Self::DOOM)
    }

    /// What kind of code it is that this poll wakes by.
    #[inline(always)]
    pub(crate) const fn as_source(self) -> Source {
        match self.has(Self::MAIN) {
            true => Source::MainFuture,
            false => Source::Task,
        }
    }

    /// What kind of code woke it last.
    pub(crate) const fn source(self) -> Source {
        match self.0 >> Self::SOURCE & 7 {
            0 => Source::Spawn,
            1 => Source::Task,
            2 => Source::MainFuture,
            3 => Source::Owner,
            _ => Source::Thread,
        }
    }

    #[inline(always)]
    pub(crate) const fn woken_from(self, source: Source) -> Self {
        Self(self.0 & !(7 << Self::SOURCE) | (source as u32) << Self::SOURCE)
    }
}

/// What kind of code woke a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Spawn = 0,
    Task = 1,
    MainFuture = 2,
    Owner = 3,
    Thread = 4,
}

#[cfg(test)]
mod tests {
    use super::{Source, State};
    use crate::table::Doom;

    #[test]
    fn every_flag_is_a_bit_of_its_own() {
        let payloads = [State::FUTURE, State::VALUE, State::PANIC];
        let lives = [
            State::LIVE,
            State::HANDLE,
            State::QUEUED,
            State::POLLING,
            State::DEFERRED,
            State::ENDING,
            State::WOKEN,
            State::MAIN,
            State::GROUPED,
            State::MERGED,
            State::WATCHED,
            State::TAKEN,
            State::MEMBER,
            State::SHARED,
            State::LISTED,
            State::LEFT,
        ];
        let mut all = 3 << State::DOOM | 7 << State::SOURCE;
        for flag in payloads.into_iter().chain(lives) {
            assert_eq!((flag.0.count_ones(), all & flag.0), (1, 0), "{flag:?}");
            assert_eq!(flag.with(flag), flag);
            all |= flag.0;
        }
        let payload = payloads.into_iter().reduce(State::with);
        assert_eq!(payload, Some(State::PAYLOAD));
    }

    #[test]
    fn the_first_doom_counts_and_flags_keep_apart() {
        let state = State::LIVE.with(State::QUEUED).doomed(Doom::Discarded);
        let state = state.doomed(Doom::Aborted).woken_from(Source::Thread);
        let state = state.woken_from(Source::Task);
        assert_eq!(state.doom(), Some(Doom::Discarded));
        assert_eq!(state.source(), Source::Task);
        assert!(state.has(State::LIVE.with(State::QUEUED)));
        assert!(!state.has_any(State::PAYLOAD.with(State::MERGED).with(State::WATCHED)));
    }
}
