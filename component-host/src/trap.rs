//! The ways a guest can trap, each with the text that the official suite expects.

use std::fmt;

/// Why a guest trapped.
///
/// `Display` gives the text of the official test suite, which is wasmtime's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trap {
    // Core WebAssembly.
    /// `unreachable` was executed.
    Unreachable,
    /// A memory access out of bounds.
    MemoryOutOfBounds,
    /// A table access out of bounds.
    TableOutOfBounds,
    /// An indirect call of a null element.
    IndirectCallToNull,
    /// An indirect call of a function of another type.
    BadSignature,
    /// Integer overflow.
    IntegerOverflow,
    /// Integer division by zero.
    IntegerDivisionByZero,
    /// A float that does not fit the integer it was converted to.
    BadConversionToInteger,
    /// The guest's call stack is exhausted.
    StackOverflow,
    /// A core trap of another kind.
    Core(String),

    // Entering, leaving, blocking.
    /// The instance was locked down by an earlier trap.
    CannotEnterComponent,
    /// A built-in or an import was called where the instance may not leave.
    CannotLeaveComponent,
    /// A synchronous call could not go on, and nothing it could wait for is ready.
    CannotBlockSyncTask,
    /// What the host waits for can never happen: nothing is left that could wake it. The guest's
    /// threads wait on; no instance is locked down.
    Deadlock {
        /// The tasks that wait in the executor.
        pending: usize,
    },
    /// An async task ended without a call of `task.return` or `task.cancel`.
    NoAsyncResult,
    /// `task.return` was called twice, or after `task.cancel`.
    TaskReturnTwice,
    /// `task.return` was called by a task of another type.
    TaskReturnInvalid,
    /// `task.return` or `task.cancel` was called by a synchronous task.
    NotAnAsyncTask,
    /// `task.cancel` was called by a task that was not cancelled.
    TaskCancelNotCancelled,
    /// A callback returned an unknown code.
    UnsupportedCallbackCode(u32),
    /// `backpressure.inc` overflowed, or `backpressure.dec` underflowed.
    BackpressureOverflow,

    // Handles.
    /// There is no such handle.
    UnknownHandleIndex(u32),
    /// The handle is of another kind or type.
    HandleWrongType {
        /// The handle.
        index: u32,
        /// What was expected and what was found; empty when there is nothing to add.
        detail: &'static str,
    },
    /// The table is full.
    HandleTableFull,
    /// An owned resource was passed on or dropped while it is lent.
    CannotRemoveLent,
    /// A call ended while borrow handles given to it were still held.
    BorrowsRemain,
    /// The waitable is used by a synchronous operation.
    WaitableInSyncUse,
    /// A waitable that is in a waitable set was used synchronously.
    WaitableSyncInSet,
    /// A waitable set with waiters was dropped.
    WaitableSetHasWaiters,
    /// A waitable set that is not empty was dropped.
    WaitableSetNotEmpty,
    /// A subtask that has not resolved was dropped.
    SubtaskNotResolved,
    /// A subtask was cancelled twice, or after its resolution was delivered.
    SubtaskAlreadyCancelled,
    /// A thread that is not suspended was resumed.
    ThreadNotSuspended,

    // Values.
    /// A pointer was not aligned as its type asks.
    UnalignedPointer,
    /// A pointer or length reaches beyond the memory.
    PointerOutOfBounds,
    /// A string reaches beyond the memory.
    StringOutOfBounds,
    /// A string's bytes, as flat parameters, reach beyond the memory.
    StringContentOutOfBounds,
    /// A list reaches beyond the memory.
    ListOutOfBounds,
    /// A string is longer than the specification allows.
    StringTooLong,
    /// A list is longer than the specification allows.
    ListTooLong,
    /// `realloc` returned a pointer beyond the memory.
    ReallocOutOfBounds,
    /// `realloc` returned a pointer that is not aligned.
    ReallocNotAligned,
    /// Not a Unicode scalar value.
    InvalidChar(u32),
    /// A variant's discriminant names no case.
    InvalidDiscriminant(u32),
    /// Bytes that are not UTF-8.
    InvalidUtf8(String),
    /// Code units that are not UTF-16.
    InvalidUtf16,

    /// An end of a stream or a future was used as its state does not allow.
    EndMisused(&'static str),

    /// A canonical built-in that this host does not have.
    NotYetSupported(&'static str),
    /// An import that was replaced by a trapping stub.
    StubbedImport(String),
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Trap::Unreachable => "wasm `unreachable` instruction executed",
            Trap::MemoryOutOfBounds => "out of bounds memory access",
            Trap::TableOutOfBounds => "undefined element: out of bounds table access",
            Trap::IndirectCallToNull => "uninitialized element",
            Trap::BadSignature => "indirect call type mismatch",
            Trap::IntegerOverflow => "integer overflow",
            Trap::IntegerDivisionByZero => "integer divide by zero",
            Trap::BadConversionToInteger => "invalid conversion to integer",
            Trap::StackOverflow => "call stack exhausted",
            Trap::Core(text) => text,
            Trap::CannotEnterComponent => "cannot enter component instance",
            Trap::CannotLeaveComponent => "cannot leave component instance",
            Trap::CannotBlockSyncTask => "cannot block a synchronous task before returning",
            Trap::Deadlock { pending } => {
                return write!(
                    f,
                    "deadlock detected: event loop cannot make further progress \
                     ({pending} tasks wait, and nothing is left to wake them)"
                );
            }
            Trap::NoAsyncResult => {
                "async-lifted export failed to produce a result by calling `task.return` before \
                 returning `STATUS_RETURNED` and/or after all host tasks completed"
            }
            Trap::TaskReturnTwice => {
                "`task.return` or `task.cancel` called more than once for current task"
            }
            Trap::TaskReturnInvalid => {
                "invalid `task.return` signature and/or options for current task"
            }
            Trap::NotAnAsyncTask => {
                "`task.return` or `task.cancel` called by a task that was not lifted with `async`"
            }
            Trap::TaskCancelNotCancelled => {
                "`task.cancel` called by task which has not been cancelled"
            }
            Trap::UnsupportedCallbackCode(code) => {
                return write!(f, "unsupported callback code: {code}");
            }
            Trap::BackpressureOverflow => "backpressure counter overflow",
            Trap::UnknownHandleIndex(index) => {
                return write!(f, "unknown handle index {index}");
            }
            Trap::HandleWrongType { index, detail: "" } => {
                return write!(f, "handle index {index} used with the wrong type");
            }
            Trap::HandleWrongType { index, detail } => {
                return write!(f, "handle index {index} used with the wrong type, {detail}");
            }
            Trap::HandleTableFull => "handle table is full: an instance holds at most 2^28-1",
            Trap::CannotRemoveLent => "cannot remove owned resource while borrowed",
            Trap::BorrowsRemain => "borrow handles still remain at the end of the call",
            Trap::WaitableInSyncUse => "waitable is in use by a synchronous operation",
            Trap::WaitableSyncInSet => {
                "waitable cannot be used synchronously while added to a waitable set"
            }
            Trap::WaitableSetHasWaiters => "cannot drop waitable set with waiters",
            Trap::WaitableSetNotEmpty => "cannot drop waitable set which is not empty",
            Trap::SubtaskNotResolved => "cannot drop a subtask which has not yet resolved",
            Trap::SubtaskAlreadyCancelled => {
                "`subtask.cancel` called after terminal status delivered"
            }
            Trap::ThreadNotSuspended => "cannot resume thread which is not suspended",
            Trap::UnalignedPointer => "unaligned pointer",
            Trap::PointerOutOfBounds => "pointer out of bounds of memory",
            Trap::StringOutOfBounds => "string pointer/length out of bounds of memory",
            Trap::StringContentOutOfBounds => "string content out-of-bounds",
            Trap::ListOutOfBounds => "list content out-of-bounds",
            Trap::StringTooLong => "string pointer/length out of bounds of memory: too long",
            Trap::ListTooLong => "list content out-of-bounds: too long",
            Trap::ReallocOutOfBounds => "realloc return: beyond end of memory",
            Trap::ReallocNotAligned => "realloc return: result not aligned",
            Trap::InvalidChar(bits) => {
                return write!(f, "invalid `char` bit pattern: {bits:#x}");
            }
            Trap::InvalidDiscriminant(value) => {
                return write!(f, "invalid variant discriminant: {value}");
            }
            Trap::InvalidUtf8(detail) => return write!(f, "invalid utf-8 string: {detail}"),
            Trap::InvalidUtf16 => "invalid utf-16 string",
            Trap::EndMisused(text) => text,
            Trap::NotYetSupported(name) => {
                return write!(f, "built-in `{name}` is not supported");
            }
            Trap::StubbedImport(name) => {
                return write!(f, "import `{name}` is a stub: nothing was linked to it");
            }
        };
        f.write_str(text)
    }
}

impl std::error::Error for Trap {}
