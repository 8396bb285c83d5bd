//! Decides what the panic of a task does beyond ending it.

use std::any::Any;

/// What happens when a task panics.
///
/// Whatever the policy, the panic ends that task only, its future is dropped, and whoever
/// awaits it gets [`JoinError::Panicked`](crate::JoinError::Panicked) with the payload.
///
/// ```
/// use vestibule_executor::{Executor, JoinError, PanicPolicy, Reason};
///
/// let executor = Executor::builder().on_panic(PanicPolicy::ShutDown).build();
/// let bystander = executor.spawn(std::future::pending::<()>())?;
/// drop(executor.spawn(async { panic!("a bug in a task that nobody awaits") })?);
/// executor.tick()?;
/// assert!(bystander.is_finished());
/// assert_eq!(executor.tick().unwrap_err().reason(), Reason::Closed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// Nothing more. The panic of a task whose handle was dropped is seen by nobody but the
    /// hooks and the counter.
    #[default]
    Join,
    /// The panic of a task whose handle was dropped goes on through the drive that polled
    /// it, to the drive's caller. The state is restored first: drive again, and the other
    /// tasks go on.
    ///
    /// Inside [`block_in_phase`](crate::Handle::block_in_phase) that caller may be code which
    /// can't be unwound through; this is for hosts that drive at the top.
    ResumeDetached,
    /// The executor shuts down once the panic has been answered: all other tasks end with
    /// [`JoinError::ExecutorGone`](crate::JoinError::ExecutorGone).
    ShutDown,
}

/// What is left to do when a task's end has been answered.
#[must_use]
pub(crate) enum AfterEnd {
    Nothing,
    ShutDown,
    Resume(Box<dyn Any + Send>),
}
