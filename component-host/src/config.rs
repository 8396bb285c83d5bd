//! What an engine allows, and the source of every number.

use std::time::Duration;

/// How an [`Engine`](crate::Engine) compiles, and the limits of the stores made with it.
///
/// The defaults are safe for guests nobody vouches for; each limit's error names the limit.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) fuel: u64,
    pub(crate) fuel_slice: Option<u64>,
    pub(crate) unsuspended_fuel: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_memory: usize,
    pub(crate) max_table_elements: usize,
    pub(crate) max_instances: usize,
    pub(crate) max_handles: usize,
    pub(crate) max_tasks: usize,
    pub(crate) max_threads: usize,
    pub(crate) max_waitables: usize,
    pub(crate) max_stream_bytes: u64,
    pub(crate) max_nesting: usize,
    pub(crate) max_call_bytes: u64,
    pub(crate) max_component_size: usize,
    pub(crate) seed: Option<u64>,
}

/// About four seconds of interpreted code: 10 million units take some 40 ms.
pub(crate) const DEFAULT_FUEL: u64 = 1_000_000_000;

/// What a call of a built-in or an import costs beside the guest's own instructions, in fuel.
pub(crate) const FUEL_PER_CROSSING: u64 = 50;

/// What a suspension costs: about the time that so many interpreted instructions take. It bounds
/// a guest that only yields: two million suspensions with the default fuel.
pub(crate) const FUEL_PER_SUSPENSION: u64 = 500;

impl Config {
    /// The defaults.
    pub fn new() -> Config {
        Config {
            fuel: DEFAULT_FUEL,
            fuel_slice: None,
            // About 40 ms.
            unsuspended_fuel: 10_000_000,
            timeout: None,
            // What a careful host gives a plug-in; CPython's components ask for some 50 MiB.
            max_memory: 1 << 30,
            // 16 bytes each: 160 MB.
            max_table_elements: 10_000_000,
            // wasmtime's limit for instances, tables and memories each.
            max_instances: 10_000,
            // wasmtime's limit for live handles in one store.
            max_handles: 100_000,
            max_tasks: 100_000,
            max_threads: 100_000,
            max_waitables: 100_000,
            // As for the values of a call.
            max_stream_bytes: 128 << 20,
            max_nesting: crate::limits::MAX_NESTING,
            // wasmtime's `hostcall_fuel`.
            max_call_bytes: 128 << 20,
            // A CPython component has 40 MB.
            max_component_size: 256 << 20,
            seed: None,
        }
    }

    /// The fuel for one call from the host, with all that it calls and all turns of its threads,
    /// or for one start function. A unit is about one instruction; a crossing of a component
    /// boundary costs 50 more, a suspension 500. The default is 1,000,000,000, about four seconds.
    pub fn fuel(mut self, units: u64) -> Config {
        self.fuel = units;
        self
    }

    /// Runs guests in slices of so much fuel, at least 1,000. Between two slices a
    /// [timeout](Config::timeout) and an [interrupt](crate::InterruptHandle) are heeded, and, in
    /// calls and in [`Linker::instantiate_async`](crate::Linker::instantiate_async), the executor
    /// runs its other tasks: everything but what belongs to the same store. Functions are then
    /// translated when a component is compiled, not when they are first called.
    pub fn fuel_slice(mut self, units: u64) -> Config {
        self.fuel_slice = Some(units.max(1_000));
        self
    }

    /// With [slices](Config::fuel_slice), the fuel for one call of a `realloc` or a `post-return`,
    /// which cannot be suspended: so long other tasks may have to wait. The default is 10,000,000,
    /// about 40 ms.
    pub fn unsuspended_fuel(mut self, units: u64) -> Config {
        self.unsuspended_fuel = units;
        self
    }

    /// The longest time a call from the host may take, while guest code runs, or one start
    /// function. A guest that waits is not ended by it: whoever awaits the call can do that, by
    /// dropping the call's future. Implies slices of fuel: of 1,000,000
    /// units, about 4 ms, unless [set otherwise](Config::fuel_slice).
    pub fn timeout(mut self, timeout: Duration) -> Config {
        self.timeout = Some(timeout);
        self.fuel_slice.get_or_insert(1_000_000);
        self
    }

    /// The bytes that all linear memories of a store may have together. The default is 1 GiB.
    pub fn max_memory(mut self, bytes: usize) -> Config {
        self.max_memory = bytes;
        self
    }

    /// The elements that all tables of a store may have together. The default is 10,000,000.
    pub fn max_table_elements(mut self, elements: usize) -> Config {
        self.max_table_elements = elements;
        self
    }

    /// The component instances, and the core instances, that a store may ever have; the tables and
    /// the memories as well. The default is 10,000 of each.
    pub fn max_instances(mut self, instances: usize) -> Config {
        self.max_instances = instances;
        self
    }

    /// The handles (resources, subtasks, waitable sets) that a store may have at a time. The
    /// default is 100,000.
    pub fn max_handles(mut self, handles: usize) -> Config {
        self.max_handles = handles;
        self
    }

    /// The tasks that a store may have at a time, running or waiting. The default is 100,000.
    pub fn max_tasks(mut self, tasks: usize) -> Config {
        self.max_tasks = tasks;
        self
    }

    /// The guest threads that a store may have at a time: one for each task, and those that guests
    /// make. The default is 100,000.
    pub fn max_threads(mut self, threads: usize) -> Config {
        self.max_threads = threads;
        self
    }

    /// The waitable sets, the subtasks, and the ends of streams and futures that a store may have
    /// at a time, together. The default is 100,000.
    pub fn max_waitables(mut self, waitables: usize) -> Config {
        self.max_waitables = waitables;
        self
    }

    /// The bytes that one copy between the two ends of a stream or a future may move. The default
    /// is 128 MiB.
    pub fn max_stream_bytes(mut self, bytes: u64) -> Config {
        self.max_stream_bytes = bytes;
        self
    }

    /// How deep calls between components, and between host and guest, may nest.
    pub fn max_nesting(mut self, depth: usize) -> Config {
        self.max_nesting = depth;
        self
    }

    /// The bytes that a guest may make the host allocate for the values of one call: for all
    /// arguments that it gives, or for its result. The default is 128 MiB.
    ///
    /// What counts is what the host takes for them, not what the guest does. With Rust types, and
    /// from one guest to another, a list of numbers counts its bytes: a `Vec<u8>` may have 134
    /// million elements. When the embedder gets [`Val`](crate::Val)s, every number counts the size
    /// of a `Val` as well: then a list of `u8` may have some 3.2 million elements, and a
    /// [`TypedFunc`](crate::TypedFunc) is the way to longer ones.
    pub fn max_call_bytes(mut self, bytes: u64) -> Config {
        self.max_call_bytes = bytes;
        self
    }

    /// The size of a component's binary. The default is 256 MiB.
    pub fn max_component_size(mut self, bytes: usize) -> Config {
        self.max_component_size = bytes;
        self
    }

    /// Draws every scheduling choice of the [executor](crate::Engine::executor) from this number.
    /// Without it, what is ready first runs first.
    pub fn seed(mut self, seed: u64) -> Config {
        self.seed = Some(seed);
        self
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
