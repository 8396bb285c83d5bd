//! A minimal single-threaded async executor that knows its phase and refuses nested
//! blocking with a typed error.
//!
//! An executor is asked to do two things that contradict each other: to run other tasks
//! while one waits, and not to run them while something is under way that they must not
//! see. Most executors know only whether they are running, and answer the second wish with
//! a panic or a hang. This one is told what the host is doing (its [*phase*](Phase)), and
//! answers what must not happen then with a value, [`Refused`], which says what was
//! attempted, where, inside of what, and what to do instead.
//!
//! # Tasks
//!
//! An [`Executor`] owns its tasks; a [`Handle`] is a weak reference with the same
//! operations, for tasks and callbacks to hold. Futures need not be `Send`. Nothing runs
//! until the executor is driven, in one of three ways:
//!
//! - [`try_block_on`](Handle::try_block_on) owns the thread until a future is done, and
//!   [parks](Park) it while nothing is ready;
//! - a loop of somebody else's calls [`tick`](Handle::tick) when the
//!   [host waker](Builder::host_waker) tells it to (`examples/foreign_loop.rs`,
//!   `examples/epoll_loop.rs`; below);
//! - another executor polls [`run_until`](Handle::run_until).
//!
//! ```
//! use vestibule_executor::{Executor, yield_now};
//!
//! let executor = Executor::new();
//! let handle = executor.handle();
//! let sum = executor.try_block_on(async move {
//!     let tasks: Vec<_> = (1..=3)
//!         .map(|n| {
//!             handle.spawn(async move {
//!                 yield_now().await;
//!                 n
//!             })
//!         })
//!         .collect::<Result<_, _>>()?;
//!     let mut sum = 0;
//!     for task in tasks {
//!         sum += task.await?;
//!     }
//!     Ok::<_, Box<dyn std::error::Error>>(sum)
//! })??;
//! assert_eq!(sum, 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Many tasks are awaited with a [`JoinSet`], as they end or in the order of their spawning.
//!
//! # Refusals
//!
//! Blocking inside a poll would wait for a task that can't run. It is refused, and the
//! refusal has no side effect: nothing is polled and no wake is lost, so the caller can go
//! on.
//!
//! ```
//! use vestibule_executor::{BlockOnError, Executor, Reason};
//!
//! let executor = Executor::new();
//! let handle = executor.handle();
//! let task = executor.task().name("careless").spawn(async move {
//!     match handle.try_block_on(async {}) {
//!         Err(BlockOnError::Refused(refused)) => refused,
//!         _ => unreachable!(),
//!     }
//! })?;
//! let refused = executor.try_block_on(task)??;
//! assert_eq!(refused.reason(), Reason::Nested);
//! assert_eq!(refused.task_name(), Some("careless"));
//! assert!(refused.to_string().contains("instead: await the future"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Handle`] has the whole table of what is refused where. The scope is one executor:
//! driving another one from inside a task is nobody's business here.
//!
//! # Phases
//!
//! While a component is instantiated, its start function runs code of the guest's on the
//! native stack, and that code may wait. What may run meanwhile are the other threads of
//! the same instance, and nothing else; what must not happen is that the host's tasks see
//! the half-built instance. The host declares this with [`Phase::instantiating`] and a
//! [`Group`] of tasks, and waits with [`block_in_phase`](Handle::block_in_phase):
//!
//! ```
//! use std::{cell::Cell, rc::Rc};
//! use vestibule_executor::{BlockInPhaseError, Executor, Phase, Reason};
//!
//! let executor = Executor::new();
//! let instance = executor.group("instance");
//! let event = Rc::new(Cell::new(false));
//!
//! // A guest thread, and a task of the host's.
//! let signal = event.clone();
//! let thread = executor.task().group(&instance).spawn(async move { signal.set(true) })?;
//! let host = executor.spawn(async {})?;
//!
//! let phase = Phase::instantiating(&instance).label("component `a`, start function `$start`");
//! executor.with_phase(phase, || {
//!     // The start function waits for an event, and the thread brings it about.
//!     executor.block_in_phase(|| event.get())?;
//!     assert!(thread.is_finished() && !host.is_finished());
//!
//!     // A second event that nobody will bring about: an outcome, and no hang.
//!     let blocked = executor.block_in_phase(|| false).unwrap_err();
//!     assert!(matches!(blocked, BlockInPhaseError::NothingReady));
//!
//!     // What would run the host's tasks is refused, and the text names the phase.
//!     let refused = executor.tick().unwrap_err();
//!     assert_eq!(refused.reason(), Reason::PhaseForbids);
//!     assert!(refused.to_string().contains("start function `$start`"));
//!     Ok::<(), BlockInPhaseError>(())
//! })?;
//! assert_eq!(executor.tick()?.completed, 1);
//! assert!(host.is_finished());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A phase ends by committing or by being discarded: on an error, on an unwind, when its
//! guard is dropped. Work that makes sense only if it commits is [deferred](Handle::defer):
//!
//! ```
//! use vestibule_executor::{Executor, JoinError, Phase};
//!
//! let executor = Executor::new();
//! let store = executor.group("store");
//! let mut announcement = None;
//! let failed = executor.with_phase(Phase::instantiating(&store), || {
//!     announcement = Some(executor.defer(async { println!("it is there") })?);
//!     Err::<(), Box<dyn std::error::Error>>("the start function trapped".into())
//! });
//! assert!(failed.is_err());
//! let outcome = executor.try_block_on(announcement.unwrap())?;
//! assert!(matches!(outcome, Err(JoinError::Discarded)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A foreign loop
//!
//! A GUI, a game or an I/O library has a loop of its own and can't be blocked. It gets three
//! things: a [host waker](Builder::host_waker) that is woken once, from whatever thread, when
//! something becomes ready after nothing was; ticks that keep to a [`Budget`]; and a report
//! of where each tick left off.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use std::task::{Wake, Waker};
//! use vestibule_executor::{Budget, Executor, NoPark, TickEnd, yield_now};
//!
//! struct Post(mpsc::Sender<&'static str>);
//! impl Wake for Post {
//!     fn wake(self: Arc<Self>) {
//!         let _ = self.0.send("tasks are ready");
//!     }
//! }
//!
//! let (post, events) = mpsc::channel();
//! let executor = Executor::builder()
//!     .host_waker(Waker::from(Arc::new(Post(post))))
//!     // This thread sleeps in its loop and nowhere else.
//!     .park(NoPark)
//!     .build();
//! let task = executor.spawn(async {
//!     for _ in 0..5 {
//!         yield_now().await;
//!     }
//! })?;
//!
//! // The loop: it sleeps here, and was told once although the task is woken five times.
//! assert_eq!(events.recv()?, "tasks are ready");
//! let mut ticks = 0;
//! loop {
//!     ticks += 1;
//!     match executor.tick_with(Budget::polls(2).and_rounds(2))?.end {
//!         // More is ready: attend to the loop's own affairs, then tick again.
//!         TickEnd::Budget | TickEnd::Round => continue,
//!         // Nothing is: sleep until the next event.
//!         TickEnd::Stalled | TickEnd::Empty | _ => break,
//!     }
//! }
//! assert_eq!((ticks, events.try_recv().is_err()), (3, true));
//! assert!(task.is_finished());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Inside and outside of other executors
//!
//! The scope of every rule is one executor, never the thread: what others do on the same
//! thread is their business, and what is nested works unless it would have to come back to
//! an executor that is waiting for it. Each cell is a test (`tests/suite/nesting.rs`).
//!
//! | the other one | ours blocks inside it | ours as its future, [`run_until`](Handle::run_until) | it blocks inside a task of ours |
//! |---|---|---|---|
//! | `futures`: `block_on`, `LocalPool` | works | works | not detected; with the feature `futures-guard` refused by it: "cannot execute `LocalPool` executor from within another executor" |
//! | tokio, current-thread | works | works | not detected |
//! | tokio, multi-thread: `block_on`, a worker, the blocking pool | works | works | not detected |
//! | tokio, `LocalSet` | works | works | not detected |
//! | smol: `block_on`, `LocalExecutor` | works | works | not detected |
//! | async-std (its `async-global-executor`): `block_on`, a local task, a thread, the blocking pool | works | works | not detected |
//! | pollster | works | works | not detected |
//! | ours, another one | works | works | works |
//! | ours, the same one | refused: "this executor is polling a task already" | refused: "this executor is being driven already" | refused |
//! | two of ours, each inside the other | refused at the second turn: "this executor is polling a task already" | | |
//!
//! "Works" is said of blocking as such: while ours blocks inside a task of another one, that
//! one's other tasks wait, which is why `run_until` is the better form. "Not detected" means
//! that it works as long as what it waits for needs no task of ours, and hangs if it does;
//! nobody but the one who blocks could refuse it. The `blocking-detector` at least reports
//! that a poll slept.
//!
//! # Features
//!
//! Off by default, and none changes what the others or the default do:
//!
//! - `blocking-detector`: reports polls and phases that put the thread to sleep through
//!   `Hooks::on_blocked`. What it can't see is said at `Blocked`.
//! - `futures-guard`: holds `futures_executor::enter()` during every poll, so that a stray
//!   `block_on` of that crate inside a task panics into its handle in place of nesting.
//!
//! # When something is stuck
//!
//! [`snapshot`](Handle::snapshot) is a table of all live tasks that says who waits for whom;
//! a [`Watchdog`] shows another thread, without locks, what the executor is doing; a
//! [`Stalled`] says how many wakers are out.
//!
//! # What holds
//!
//! 1. A refused call has no side effect and loses no wake.
//! 2. A panic of a task goes to its [`JoinHandle`]; no hook, waker or destructor can make a
//!    drive panic.
//! 3. Whatever was changed for a poll, a drive or a phase is restored on return, error and
//!    unwind.
//! 4. Foreign code never runs while something of the executor is borrowed or locked.
//! 5. A task on the stack is never polled again.
//! 6. Every future is dropped exactly once, on the owner's thread; wakers that come too late
//!    are inert.
//! 7. A [deadlock](Stalled::deadlock) that can be proven is reported in place of sleeping
//!    for ever.
//!
//! # Deliberately absent
//!
//! Work stealing (futures that are not `Send` are the point), timers and I/O (a host brings
//! its own with [`Park`]: `examples/timer.rs`, `examples/epoll_loop.rs`), a slot for the
//! task that was woken last (it trades fairness for a benchmark). `docs/EXECUTOR.md` in the
//! repository compares with other executors.

#![deny(unsafe_op_in_unsafe_fn)]

mod executor;
mod handle;

mod group;
mod phase;
mod refusal;

mod join;
mod join_set;
mod local_waker;
mod spawn;
mod spawner;
mod yield_now;

mod chain;
mod choices;
mod core;
mod drive;
mod hooks;
mod panics;
mod park;
mod schedule;
mod snapshot;
mod tick;
mod visit;
mod watch;

mod blocking;
mod guard;

mod class;
mod extra;
mod ids;
mod limits;
mod list;
mod name;
mod remote;
mod state;
#[cfg(vestibule_tsan)]
mod strong;
mod sync;
mod table;
mod task;
mod wake;

#[cfg(feature = "blocking-detector")]
pub use blocking::Blocked;

pub use crate::core::Activity;
pub use choices::{Choice, ChoiceTrace, Choices, ParseChoiceError};
pub use drive::{BlockInPhaseError, BlockOnError, Stalled};
pub use executor::{Builder, Executor};
pub use group::Group;
pub use handle::Handle;
pub use hooks::{Hooks, PhaseEvent, PollOutcome};
pub use ids::TaskId;
pub use join::{AbortOnDrop, JoinError, JoinHandle};
pub use join_set::JoinSet;
pub use local_waker::LocalWaker;
pub use name::TaskName;
pub use panics::PanicPolicy;
pub use park::{CannotPark, NoPark, Park, ThreadPark};
pub use phase::{OnBlock, Phase, PhaseGuard, PhaseInfo, PhaseKind};
pub use refusal::{Op, Reason, Refused};
pub use schedule::Schedule;
pub use snapshot::{Snapshot, TaskInfo, TaskState, WakeSource};
pub use spawn::{LocalSpawner, SpawnError, TaskBuilder};
pub use spawner::{RemoteJoinHandle, Spawner};
pub use tick::{Budget, Metrics, Tick, TickEnd};
pub use visit::RunUntil;
pub use watch::{Sighting, Watchdog};
pub use yield_now::{YieldNow, yield_now};

/// Lets a loom model weaken the ordering of one site; only where loom-tests compiles this.
#[cfg(vestibule_loom)]
pub use sync::plant;
