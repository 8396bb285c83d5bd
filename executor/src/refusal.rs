//! Says what is refused when, and why: one table, and the value that reports it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::core::{BARE, Core, count};
use crate::ids::TaskId;
use crate::phase::{OnBlock, PhaseKind};

/// What somebody attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`try_block_on`](crate::Handle::try_block_on) or [`block_on`](crate::Handle::block_on).
    BlockOn,
    /// [`tick`](crate::Handle::tick) or [`tick_with`](crate::Handle::tick_with).
    Tick,
    /// [`run_until_stalled`](crate::Handle::run_until_stalled) or
    /// [`tick_until`](crate::Handle::tick_until).
    RunUntilStalled,
    /// Polling the future of [`run_until`](crate::Handle::run_until).
    RunUntil,
    /// [`Group::step`](crate::Group::step).
    Step,
    /// [`block_in_phase`](crate::Handle::block_in_phase).
    BlockInPhase,
    /// Spawning a task.
    Spawn,
    /// [`defer`](crate::Handle::defer).
    Defer,
    /// [`with_phase`](crate::Handle::with_phase) or [`enter_phase`](crate::Handle::enter_phase).
    EnterPhase,
    /// An operation of the host's, described in a few words such as "use the store".
    Other(&'static str),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlockOn => "block on a future",
            Self::Tick => "tick",
            Self::RunUntilStalled => "run until stalled",
            Self::RunUntil => "run until a future is done",
            Self::Step => "step a group",
            Self::BlockInPhase => "block in the phase",
            Self::Spawn => "spawn a task",
            Self::Defer => "defer a task",
            Self::EnterPhase => "enter a phase",
            Self::Other(text) => text,
        })
    }
}

/// Why it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Blocking inside a poll of the same executor.
    Nested,
    /// Driving the executor from inside a drive of it.
    Reentrant,
    /// The phase in force does not permit it.
    PhaseForbids,
    /// It makes sense only inside a phase, and none is in force.
    NoPhase,
    /// Drives are nested as deeply as the phase or the executor permits.
    TooDeep,
    /// The store is running guest code.
    StoreBusy,
    /// The executor has shut down or is gone.
    Closed,
    /// The group belongs to another executor.
    ForeignGroup,
    /// A reason of the host's, in a few words.
    Other(&'static str),
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Nested => "this executor is polling a task already",
            Self::Reentrant => "this executor is being driven already",
            Self::PhaseForbids => "the phase in force forbids it",
            Self::NoPhase => "no phase is in force",
            Self::TooDeep => "drives are nested as deeply as permitted",
            Self::StoreBusy => "the store is running guest code",
            Self::Closed => "the executor has shut down",
            Self::ForeignGroup => "the group belongs to another executor",
            Self::Other(text) => text,
        }
    }

    /// What to do instead.
    fn hint(self, op: Op) -> &'static str {
        match (self, op) {
            (Self::Nested, _) => "await the future, or spawn it and await its handle",
            (Self::Reentrant, _) => "return to the outer drive: it polls everything that is ready",
            (Self::PhaseForbids, Op::BlockInPhase) => {
                "enter the phase with `OnBlock::DriveGroup`, or make the guest not block here"
            }
            (Self::PhaseForbids, _) => {
                "use `block_in_phase`, defer the work until the phase ends, or enter the phase \
                 with `OnBlock::DriveAll`"
            }
            (Self::NoPhase, _) => "await instead, or declare the phase with `with_phase`",
            (Self::TooDeep, _) => "await instead of nesting, or raise the limit",
            (Self::StoreBusy, _) => "use the handle that was passed to the host function",
            (Self::Closed, _) => "make a new executor",
            (Self::ForeignGroup, _) => "make the group with the executor that uses it",
            (Self::Other(_), _) => "see the host's documentation",
        }
    }
}

/// Where the executor stands, as far as [`rule`] is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Situation {
    /// Shut down or shutting down.
    Closed,
    Idle,
    /// Inside a [`Park`](crate::Park), which would not notice what a drive takes in. Wins over
    /// a phase.
    Parked,
    /// Inside a drive, and so inside a poll, a hook or a destructor that it runs.
    Polling,
    /// Inside a phase, wherever else but in a park. Wins over `Polling`.
    Phase {
        on_block: OnBlock,
        /// How many drives are on the stack inside this phase.
        drives: u32,
        /// Whether one more poll would be one too many for the native stack.
        full: bool,
    },
}

/// The refusal matrix.
///
/// ```text
///                     idle      inside a poll   inside a phase                   in a park
///   block on          runs      Nested          PhaseForbids, but for DriveAll   Nested
///   tick, step, run   runs      Reentrant       PhaseForbids, but for DriveAll   Reentrant
///   block in phase    NoPhase   NoPhase         as `on_block` says               Reentrant
///   the rest          runs      runs            runs                             runs
/// ```
pub(crate) fn rule(op: Op, situation: Situation) -> Result<(), Reason> {
    let drives_all = |max_depth: u32, drives: u32, full: bool| {
        if drives < max_depth && !full {
            Ok(())
        } else {
            Err(Reason::TooDeep)
        }
    };
    match (op, situation) {
        (_, Situation::Closed) => Err(Reason::Closed),
        (
            Op::BlockOn | Op::Tick | Op::Step | Op::RunUntilStalled | Op::RunUntil,
            Situation::Idle,
        ) => Ok(()),
        (Op::BlockOn, Situation::Polling | Situation::Parked) => Err(Reason::Nested),
        (
            Op::Tick | Op::Step | Op::RunUntilStalled | Op::RunUntil,
            Situation::Polling | Situation::Parked,
        )
        | (Op::BlockInPhase, Situation::Parked) => Err(Reason::Reentrant),
        (
            Op::BlockOn | Op::Tick | Op::Step | Op::RunUntilStalled | Op::RunUntil,
            Situation::Phase {
                on_block,
                drives,
                full,
            },
        ) => match on_block {
            OnBlock::DriveAll { max_depth } => drives_all(max_depth, drives, full),
            OnBlock::Refuse | OnBlock::DriveGroup => Err(Reason::PhaseForbids),
        },
        (Op::BlockInPhase, Situation::Idle | Situation::Polling) => Err(Reason::NoPhase),
        (
            Op::BlockInPhase,
            Situation::Phase {
                on_block,
                drives,
                full,
            },
        ) => match on_block {
            OnBlock::Refuse => Err(Reason::PhaseForbids),
            OnBlock::DriveGroup if full => Err(Reason::TooDeep),
            OnBlock::DriveGroup => Ok(()),
            OnBlock::DriveAll { max_depth } => drives_all(max_depth, drives, full),
        },
        (Op::Spawn | Op::Defer | Op::EnterPhase | Op::Other(_), _) => Ok(()),
    }
}

impl Core {
    fn situation(&self) -> Situation {
        if !self.is_open() {
            return Situation::Closed;
        }
        if self.is_parked() {
            return Situation::Parked;
        }
        match self.phases.borrow().in_force() {
            Some(phase) => Situation::Phase {
                on_block: phase.on_block,
                drives: self.drives() - phase.drives_at_entry.min(self.drives()),
                full: self.polls.get() >= self.max_poll_depth,
            },
            None if self.drives() > 0 => Situation::Polling,
            None => Situation::Idle,
        }
    }

    /// Asks the rule, and reports a refusal.
    #[inline(always)]
    pub(crate) fn check(
        &self,
        op: Op,
        location: &'static Location<'static>,
    ) -> Result<(), Refused> {
        // What the rule says where nothing is under way, without asking for the situation.
        let plain = match op {
            Op::Spawn | Op::Defer | Op::EnterPhase | Op::Other(_) => true,
            Op::BlockInPhase => false,
            _ => self.is_at_rest(),
        };
        if plain && self.is_open() {
            debug_assert_eq!(rule(op, self.situation()), Ok(()));
            return Ok(());
        }
        self.ask(op, location)
    }

    /// Nothing is under way, and nothing is refused but to wait in a phase.
    #[inline(always)]
    pub(crate) fn is_at_rest(&self) -> bool {
        BARE || (self.drives() == 0
            && self.phase_depth.get() == 0
            && !self.is_parked()
            && self.is_open())
    }

    fn ask(&self, op: Op, location: &'static Location<'static>) -> Result<(), Refused> {
        rule(op, self.situation()).map_err(|reason| self.refuse(op, reason, location))
    }

    pub(crate) fn refuse(
        &self,
        op: Op,
        reason: Reason,
        location: &'static Location<'static>,
    ) -> Refused {
        let task = self
            .current()
            .map(|slot| (TaskId::of(slot), self.table.name(slot)));
        let entered_at = self.phases.borrow().entered_at().or(self.driven.get().1);
        let refused = Refused::new(Facts {
            op,
            reason,
            phase: self.phase_facts(),
            depth: self.polls.get(),
            task,
            entered_at,
            attempted_at: location,
        });
        count(&self.counters.refused);
        self.hook(|hooks| hooks.on_refused(&refused));
        refused
    }
}

/// Reports an operation that was refused, without any effect.
///
/// Its text names the operation, the reason, the phase and its label, the running task,
/// where the outer entry was made, where the refused attempt was made, and what to do
/// instead.
#[derive(Clone)]
pub struct Refused(Box<Facts>);

/// Everything a refusal knows.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) op: Op,
    pub(crate) reason: Reason,
    pub(crate) phase: PhaseFacts,
    pub(crate) depth: u32,
    pub(crate) task: Option<(TaskId, Option<Cow<'static, str>>)>,
    pub(crate) entered_at: Option<&'static Location<'static>>,
    pub(crate) attempted_at: &'static Location<'static>,
}

/// The innermost phase, in a form that can be sent to another thread.
#[derive(Clone, Default)]
pub(crate) struct PhaseFacts {
    pub(crate) kind: PhaseKind,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) label: Option<Box<str>>,
    pub(crate) group: Option<Cow<'static, str>>,
    pub(crate) depth: usize,
}

impl Refused {
    pub(crate) fn new(facts: Facts) -> Self {
        Self(Box::new(facts))
    }

    /// The refusal of an executor that no longer exists.
    #[cold]
    #[inline(never)]
    pub(crate) fn gone(op: Op, attempted_at: &'static Location<'static>) -> Self {
        Self::new(Facts {
            op,
            reason: Reason::Closed,
            phase: PhaseFacts::default(),
            depth: 0,
            task: None,
            entered_at: None,
            attempted_at,
        })
    }

    /// What was attempted.
    pub fn op(&self) -> Op {
        self.0.op
    }

    /// Why it was refused.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The kind of the innermost phase.
    pub fn phase_kind(&self) -> PhaseKind {
        self.0.phase.kind
    }

    /// The name of the innermost phase, if it is a custom one.
    pub fn phase_name(&self) -> Option<&str> {
        self.0.phase.name.as_deref()
    }

    /// The label of the innermost phase.
    pub fn phase_label(&self) -> Option<&str> {
        self.0.phase.label.as_deref()
    }

    /// The name of the innermost phase's group.
    pub fn group(&self) -> Option<&str> {
        self.0.phase.group.as_deref()
    }

    /// How many phases were in force.
    pub fn phase_depth(&self) -> usize {
        self.0.phase.depth
    }

    /// How many polls were on the native stack.
    pub fn depth(&self) -> u32 {
        self.0.depth
    }

    /// The task being polled, innermost, if there was one in the table (the main future of
    /// a `try_block_on` is not).
    pub fn task(&self) -> Option<TaskId> {
        self.0.task.as_ref().map(|(id, _)| *id)
    }

    /// That task's name.
    pub fn task_name(&self) -> Option<&str> {
        self.0.task.as_ref()?.1.as_deref()
    }

    /// Where the phase was entered, or else where the outer drive was started.
    pub fn entered_at(&self) -> Option<&'static Location<'static>> {
        self.0.entered_at
    }

    /// Where the refused attempt was made.
    pub fn attempted_at(&self) -> &'static Location<'static> {
        self.0.attempted_at
    }

    /// Sets where the refused attempt was made, for a host that knows better than its callee.
    #[must_use]
    pub fn at(mut self, attempted_at: &'static Location<'static>) -> Self {
        self.0.attempted_at = attempted_at;
        self
    }

    /// What to do instead.
    pub fn hint(&self) -> &'static str {
        self.0.reason.hint(self.0.op)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.0;
        write!(f, "cannot {}: {}", facts.op, facts.reason.text())?;
        let phase = &facts.phase;
        match (phase.kind, &phase.name) {
            (PhaseKind::Running, _) => write!(f, "; no phase")?,
            (kind, None) => write!(f, "; phase {kind}")?,
            (_, Some(name)) => write!(f, "; phase `{name}`")?,
        }
        if let Some(label) = &phase.label {
            write!(f, " ({label})")?;
        }
        if let Some(group) = &phase.group {
            write!(f, " of group `{group}`")?;
        }
        if phase.depth > 1 {
            write!(f, ", {} phases deep", phase.depth)?;
        }
        match &facts.task {
            Some((id, Some(name))) => write!(f, "; running task {id} `{name}`")?,
            Some((id, None)) => write!(f, "; running task {id}")?,
            None => {}
        }
        if facts.depth > 0 {
            write!(f, ", poll depth {}", facts.depth)?;
        }
        if let Some(entered_at) = facts.entered_at {
            write!(f, "; entered at {entered_at}")?;
        }
        write!(f, "; attempted at {}", facts.attempted_at)?;
        write!(f, "; instead: {}", self.hint())
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("op", &self.0.op)
            .field("reason", &self.0.reason)
            .field("phase", &self.0.phase.kind)
            .field("label", &self.0.phase.label)
            .field("depth", &self.0.depth)
            .field("task", &self.0.task)
            .field("entered_at", &self.0.entered_at.map(ToString::to_string))
            .field("attempted_at", &self.0.attempted_at.to_string())
            .finish()
    }
}

impl Error for Refused {}
