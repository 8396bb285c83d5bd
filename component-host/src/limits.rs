//! The limits that are not configurable, each with its source.

/// `Table.MAX_LENGTH` of the Canonical ABI.
pub(crate) const MAX_TABLE_LENGTH: usize = (1 << 28) - 1;

/// How deep calls between components may nest natively: each level takes some kilobytes of the
/// native stack in a release build and several times that in a debug build, and a test thread
/// has 2 MiB.
pub(crate) const MAX_NESTING: usize = 48;

/// `backpressure.inc` traps at this count (CanonicalABI.md, `canon backpressure.{inc,dec}`).
pub(crate) const MAX_BACKPRESSURE: u32 = 1 << 16;

/// How many definitions one instantiation may evaluate: a component of 4 KB can ask for 10^90
/// instances. CPython's component has some ten thousand definitions.
pub(crate) const MAX_DEFINITIONS: u64 = 10_000_000;
