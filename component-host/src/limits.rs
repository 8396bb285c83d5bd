//! The limits that are not configurable, each with its source.

/// `Table.MAX_LENGTH` of the Canonical ABI.
pub(crate) const MAX_TABLE_LENGTH: usize = (1 << 28) - 1;

/// How deep calls between components may nest natively: each level takes some kilobytes of the
/// native stack in a release build and several times that in a debug build, and a test thread
/// has 2 MiB.
pub(crate) const MAX_NESTING: usize = 48;

/// How many runs of guest code, each of another store, may be inside one another on one thread: a
/// level takes more of the native stack than a call between components does, since a host function
/// and an instantiation are in it.
pub(crate) const MAX_NESTED_STORES: usize = 16;

/// `backpressure.inc` traps at this count (CanonicalABI.md, `canon backpressure.{inc,dec}`).
pub(crate) const MAX_BACKPRESSURE: u32 = 1 << 16;

/// What one instantiation may keep for the definitions it evaluates, in bytes as
/// `instantiate/cost.rs` counts them: a component of 4 KB can ask for 10^90 instances. CPython's
/// component has some ten thousand definitions and thirty thousand core functions, which is 5 MB.
pub(crate) const MAX_INSTANTIATION_BYTES: u64 = 256 << 20;

/// How long the names of an instance and of those around it may be together. They are put
/// together for every frame of an error's chain. The validator allows 100,000 bytes for one name.
pub(crate) const MAX_PATH_BYTES: usize = 128 << 10;
