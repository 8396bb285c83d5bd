//! An executor, as the workloads see it.

use std::future::Future;

/// A single-threaded executor whose tasks can be joined.
///
/// Everything is dispatched statically, so an adapter costs nothing.
pub trait Peer: Sized + 'static {
    /// The name in tables.
    const NAME: &'static str;

    /// Whether a task can be cancelled through its handle.
    const CANCELS: bool = true;

    /// Whether it has a `block_on` of its own, and not one that was written for this comparison.
    const BLOCKS: bool = true;

    /// What tasks spawn through.
    type Spawner: Clone + 'static;

    /// What a task is joined through.
    type Join<T: 'static>: Future + 'static;

    /// An executor in the configuration that its authors give it by default.
    ///
    /// # Errors
    ///
    /// Why it can't run on this machine.
    fn start() -> Result<Self, String>;

    /// What tasks spawn through.
    fn spawner(&self) -> Self::Spawner;

    /// Runs a future, and the tasks it spawns, until it is ready.
    fn block_on<F: Future>(&self, main: F) -> F::Output;

    /// Spawns a task. Called inside [`block_on`](Self::block_on) alone.
    fn spawn<F>(spawner: &Self::Spawner, future: F) -> Self::Join<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static;

    /// What a task returned, out of what its handle said.
    fn value<T: 'static>(joined: <Self::Join<T> as Future>::Output) -> T;

    /// Lets a task run without its handle.
    fn detach<T: 'static>(join: Self::Join<T>);

    /// Cancels a task. Its future may be dropped now or at the executor's next turn.
    fn cancel<T: 'static>(join: Self::Join<T>);
}
