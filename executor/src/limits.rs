//! Bounds what a program can grow, with the source of every number.

/// How many destructors of aborted futures may nest on the native stack.
///
/// A future that owns an [`AbortOnDrop`](crate::AbortOnDrop) of a task which owns another
/// one, and so on, would otherwise recurse as deep as the chain is long. At 64 levels the
/// frames of a debug build take some tens of KiB.
pub(crate) const NESTED_DROPS: u32 = 64;

/// How many polls may nest on the native stack before `block_in_phase` is refused.
///
/// Every level costs the frames of a poll, of whatever the task runs (a guest, say) and of
/// the nested drive: at 128 levels 16 KiB each fit into the 2 MiB of a spawned thread.
pub(crate) const POLL_DEPTH: u32 = 128;

/// How many polls [`Budget::default`](crate::Budget::default) grants.
///
/// Large enough that a program which makes progress seldom meets it (tens of milliseconds
/// of empty polls), finite so that a task which wakes itself can't make a call endless.
pub(crate) const DEFAULT_POLLS: u64 = 1 << 20;

/// How long a poll may take before sleep in it is reported, if the host does not say.
///
/// A frame of a game takes 16 times as long; what is done within it is hard to notice.
#[cfg(feature = "blocking-detector")]
pub(crate) const BLOCKING: std::time::Duration = std::time::Duration::from_millis(1);

/// How many spawns and aborts of other threads are taken in at one go, so that a flood of them
/// can't keep the owner from polling.
pub(crate) const DRAIN: usize = 4096;

/// How many wakers of one task may exist before the process is aborted, as `Arc` does on its
/// own count: what follows would be a use after free. It takes a program that forgets wakers
/// in a loop.
///
/// The shared count has 29 bits with its sign. It is off by [`OWN_WAKERS`] at most, so neither it
/// nor a race can pass 2^28.
pub(crate) const WAKERS: i32 = if cfg!(test) { 1 << 10 } else { 1 << 27 };

/// How far the owner's count of a task's wakers goes from 0 before it is moved into the shared one:
/// as far as its 16 bits do, which is seldom enough that the atomic costs nothing.
pub(crate) const OWN_WAKERS: i16 = if cfg!(test) { 1 << 9 } else { i16::MAX };

/// How many slots the first chunk of a size has; the next ones have as many as there are.
pub(crate) const FIRST_SLOTS: usize = 4;

/// Bytes of a chunk, at most, unless one slot alone is larger: large enough that an allocation
/// is rare and small beside what it holds.
pub(crate) const CHUNK: usize = 64 * 1024;

/// How many chunks have slots that fit into the word of signals (src/remote.rs): 4 GiB of them. A
/// wake of any other slot is a message in the queue.
pub(crate) const LISTED_CHUNKS: u32 = if cfg!(test) { 2 } else { 1 << 16 };
