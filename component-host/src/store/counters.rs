//! Counts what a store holds and what it has done.

use super::{State, Store};
use crate::error::Result;
use std::panic::Location;

/// What a store holds and what it has done, from [`Store::counters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// What it holds now.
    pub live: Live,
    /// What it has done since it was made.
    pub total: Totals,
}

/// What a store holds at one moment. A failed instantiation, or a call that has ended, leaves all
/// of it as it was, but for [`instances`](Live::instances), [`memory_bytes`](Live::memory_bytes)
/// and [`table_elements`](Live::table_elements), which stay until the store is dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Live {
    /// Calls into component instances that have not ended.
    pub tasks: usize,
    /// Guest threads.
    pub threads: usize,
    /// Calls out of component instances that have not been taken note of.
    pub subtasks: usize,
    /// Waitable sets.
    pub waitable_sets: usize,
    /// Ends of streams and futures.
    pub ends: usize,
    /// Handles in the tables of all instances, and what guests gave or lent to the host.
    pub handles: usize,
    /// Component instances, those that are locked down included.
    pub instances: usize,
    /// Bytes of linear memory.
    pub memory_bytes: usize,
    /// Elements of tables.
    pub table_elements: usize,
}

/// What a store has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Entries from the host: calls, start functions, turns of threads.
    pub entries: u64,
    /// Calls of imports and built-ins.
    pub crossings: u64,
    /// Calls of host functions.
    pub host_calls: u64,
    /// Resumptions of a thread that was waiting or suspended.
    pub resumptions: u64,
    /// Runs that ended with a trap or an error.
    pub failures: u64,
}

impl Counters {
    /// What it holds now, without what only the end of the store frees.
    pub fn live(&self) -> Live {
        Live {
            instances: 0,
            memory_bytes: 0,
            table_elements: 0,
            ..self.live
        }
    }
}

impl<T: 'static> Store<T> {
    /// What this store holds and what it has done.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn counters(&self) -> Result<Counters> {
        self.inner
            .enter("count", Location::caller(), |cx| cx.data().counters())
    }
}

impl State {
    fn counters(&self) -> Counters {
        let (memory_bytes, table_elements) = self.limiter.allocated();
        Counters {
            live: Live {
                tasks: self.tasks.len(),
                threads: self.threads.len(),
                subtasks: self.subtasks.len(),
                waitable_sets: self.sets.len(),
                ends: self.ends.len(),
                handles: self.handle_count(),
                instances: self.instance_count(),
                memory_bytes,
                table_elements,
            },
            total: self.totals,
        }
    }
}
