//! What an engine allows, and the source of every number.

use std::time::Duration;

/// How an [`Engine`](crate::Engine) compiles, and the limits of the stores made with it.
///
/// The defaults are safe for guests nobody vouches for; each limit's error names the limit.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) fuel: u64,
    pub(crate) fuel_slice: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_memory: usize,
    pub(crate) max_table_elements: usize,
    pub(crate) max_instances: usize,
    pub(crate) max_handles: usize,
    pub(crate) max_tasks: usize,
    pub(crate) max_nesting: usize,
    pub(crate) max_call_bytes: u64,
    pub(crate) max_component_size: usize,
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
            max_nesting: crate::limits::MAX_NESTING,
            // wasmtime's `hostcall_fuel`.
            max_call_bytes: 128 << 20,
            // A CPython component has 40 MB.
            max_component_size: 256 << 20,
        }
    }

    /// The fuel for one entry into the guest: one instantiation, one call from the host, or one
    /// turn of a suspended thread. A unit is about one instruction; a crossing of a component
    /// boundary costs 50 more, a suspension 500. The default is 1,000,000,000.
    pub fn fuel(mut self, units: u64) -> Config {
        self.fuel = units;
        self
    }

    /// Runs guests in slices of so much fuel, between which a [timeout](Config::timeout) is
    /// checked. Functions are then translated when a component is compiled, not when they are
    /// first called.
    pub fn fuel_slice(mut self, units: u64) -> Config {
        self.fuel_slice = Some(units.max(1_000));
        self
    }

    /// The longest time one entry into the guest may take. Implies slices of fuel: of 1,000,000
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

    /// The component instances, and the core instances, that a store may ever have. The default
    /// is 10,000 each.
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

    /// How deep calls between components, and between host and guest, may nest.
    pub fn max_nesting(mut self, depth: usize) -> Config {
        self.max_nesting = depth;
        self
    }

    /// The bytes that the host allocates for the values of one call. The default is 128 MiB.
    pub fn max_call_bytes(mut self, bytes: u64) -> Config {
        self.max_call_bytes = bytes;
        self
    }

    /// The size of a component's binary. The default is 256 MiB.
    pub fn max_component_size(mut self, bytes: usize) -> Config {
        self.max_component_size = bytes;
        self
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
