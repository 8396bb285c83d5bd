//! Declares what the host is doing, and ends that declaration on every way out.
//!
//! ```text
//!              enter                       1 commit ── hands its deferred work on
//!   no phase ────────► innermost phase ──┤
//!                        │       ▲         2 discard (error, unwind, drop) ── drops it
//!                  enter │       │ ended
//!                        ▼       │
//!                      inner phase
//!
//!   3 ending a phase discards the phases entered inside it and not ended yet;
//!   4 the end of a poll discards the phases entered in it and not ended yet.
//! ```
//!
//! A guard whose phase was ended by edge 3 or 4 is inert. So guards dropped out of order
//! and guards that were forgotten have an outcome, and it is never a panic. A guard
//! forgotten outside of any poll leaves its phase in force: the refusals that follow name
//! the place where it was entered.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};

use crate::blocking::Mark;
use crate::core::Core;
use crate::group::Group;
use crate::hooks::PhaseEvent;
use crate::ids::TaskId;
use crate::refusal::{PhaseFacts, Refused};
use crate::table::Doom;
use crate::task::Key;

/// What kind of phase is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PhaseKind {
    /// None: tasks run.
    #[default]
    Running,
    /// A component is being instantiated, and its start function may be running.
    Instantiating,
    /// A phase of the host's, with a name.
    Custom,
}

impl fmt::Display for PhaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What [`block_in_phase`](crate::Handle::block_in_phase) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnBlock {
    /// Refuses before anything is polled.
    Refuse,
    /// Polls ready tasks of the phase's group, one at a time.
    #[default]
    DriveGroup,
    /// Polls any ready task. It alone also permits `try_block_on` and `tick` inside the
    /// phase. For callbacks of foreign interfaces, which can't await.
    DriveAll {
        /// How many drives (`block_in_phase`, `tick`, `try_block_on`) may nest inside the
        /// phase.
        max_depth: u32,
    },
}

/// The description of a phase, to be entered.
///
/// ```
/// use vestibule_executor::{Executor, OnBlock, Phase, Refused};
///
/// let executor = Executor::new();
/// let store = executor.group("store");
/// let phase = Phase::instantiating(&store)
///     .on_block(OnBlock::DriveGroup)
///     .label("component `a`, core module `$M`, start function `$start`");
/// let refused = executor.with_phase(phase, || {
///     executor.tick()?; // not while an instantiation is under way
///     Ok::<(), Refused>(())
/// });
/// assert!(refused.unwrap_err().to_string().contains("core module `$M`"));
/// ```
#[must_use = "a phase does nothing until it is entered"]
#[derive(Clone, Debug)]
pub struct Phase {
    kind: PhaseKind,
    name: Option<Cow<'static, str>>,
    group: Group,
    on_block: OnBlock,
    label: Option<Rc<str>>,
    entered_at: Option<&'static Location<'static>>,
}

impl Phase {
    /// A component is being instantiated in the store that `group` stands for.
    pub fn instantiating(group: &Group) -> Self {
        Self::new(PhaseKind::Instantiating, None, group)
    }

    /// Something of the host's own; it is refused what an instantiation is.
    pub fn custom(name: impl Into<Cow<'static, str>>, group: &Group) -> Self {
        Self::new(PhaseKind::Custom, Some(name.into()), group)
    }

    fn new(kind: PhaseKind, name: Option<Cow<'static, str>>, group: &Group) -> Self {
        Self {
            kind,
            name,
            group: group.clone(),
            on_block: OnBlock::default(),
            label: None,
            entered_at: None,
        }
    }

    /// Sets what `block_in_phase` does; [`OnBlock::DriveGroup`] if not called.
    pub fn on_block(mut self, on_block: OnBlock) -> Self {
        self.on_block = on_block;
        self
    }

    /// Sets a text for people, which every refusal in the phase quotes.
    pub fn label(mut self, label: impl Into<Rc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets where the phase was entered, for a host that enters it on behalf of its caller;
    /// otherwise that is the line that calls `with_phase` or `enter_phase`.
    pub fn entered_at(mut self, location: &'static Location<'static>) -> Self {
        self.entered_at = Some(location);
        self
    }
}

/// What phase is in force, at the moment of asking.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PhaseInfo {
    /// Its kind; [`PhaseKind::Running`] when there is none.
    pub kind: PhaseKind,
    /// Its name, if it is a custom one.
    pub name: Option<Cow<'static, str>>,
    /// Its label.
    pub label: Option<Rc<str>>,
    /// Its group's name.
    pub group: Option<Cow<'static, str>>,
    /// How many phases are in force, this one included.
    pub depth: usize,
    /// Where it was entered.
    pub entered_at: Option<&'static Location<'static>>,
}

/// A phase in force.
pub(crate) struct Frame {
    serial: u64,
    phase: Phase,
    deferred: Vec<Key>,
    /// How many drives were on the stack when it was entered.
    drives: u32,
    mark: Mark,
}

/// How a phase ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Commit,
    Discard,
}

/// What the rules need to know about the innermost phase.
#[derive(Clone, Copy)]
pub(crate) struct InForce {
    pub(crate) on_block: OnBlock,
    pub(crate) drives_at_entry: u32,
    pub(crate) group: crate::ids::GroupId,
}

/// The phases in force, innermost last.
#[derive(Default)]
pub(crate) struct Phases {
    frames: Vec<Frame>,
}

impl Phases {
    /// The kind of the innermost phase.
    pub(crate) fn kind(&self) -> PhaseKind {
        self.frames
            .last()
            .map_or(PhaseKind::Running, |frame| frame.phase.kind)
    }

    pub(crate) fn in_force(&self) -> Option<InForce> {
        self.frames.last().map(|frame| InForce {
            on_block: frame.phase.on_block,
            drives_at_entry: frame.drives,
            group: frame.phase.group.id(),
        })
    }

    /// Hands a deferred task to the innermost phase; false if there is none.
    pub(crate) fn defer(&mut self, id: Key) -> bool {
        match self.frames.last_mut() {
            Some(frame) => {
                frame.deferred.push(id);
                true
            }
            None => false,
        }
    }

    pub(crate) fn entered_at(&self) -> Option<&'static Location<'static>> {
        self.frames.last()?.phase.entered_at
    }
}

impl Core {
    pub(crate) fn enter_phase(
        self: &Rc<Self>,
        mut phase: Phase,
        location: &'static Location<'static>,
    ) -> PhaseGuard {
        phase.entered_at.get_or_insert(location);
        let drives = self.drives();
        let mark = self.mark();
        let serial = {
            let mut phases = self.phases.borrow_mut();
            let serial = self.number_phase();
            phases.frames.push(Frame {
                serial,
                phase,
                deferred: Vec::new(),
                drives,
                mark,
            });
            self.phase_depth.set(phases.frames.len());
            serial
        };
        self.show();
        self.hook(|hooks| hooks.on_phase(PhaseEvent::Entered, &self.phase_info()));
        PhaseGuard {
            core: Rc::downgrade(self),
            serial,
        }
    }

    pub(crate) fn phase_info(&self) -> PhaseInfo {
        let phases = self.phases.borrow();
        match phases.frames.last() {
            Some(frame) => self.info_of(&frame.phase, phases.frames.len()),
            None => PhaseInfo::default(),
        }
    }

    pub(crate) fn info_of(&self, phase: &Phase, depth: usize) -> PhaseInfo {
        PhaseInfo {
            kind: phase.kind,
            name: phase.name.clone(),
            label: phase.label.clone(),
            group: self.table.extras.borrow().groups.name(phase.group.id()),
            depth,
            entered_at: phase.entered_at,
        }
    }

    pub(crate) fn phase_facts(&self) -> PhaseFacts {
        let info = self.phase_info();
        PhaseFacts {
            kind: info.kind,
            name: info.name,
            label: info.label.map(|label| Box::from(&*label)),
            group: info.group,
            depth: info.depth,
        }
    }

    /// Edge 4: ends those phases that a poll entered, from this number on, and left in force.
    pub(crate) fn end_phases_since(self: &Rc<Self>, serial: u64) {
        loop {
            let frame = {
                let mut phases = self.phases.borrow_mut();
                match phases.frames.last() {
                    Some(frame) if frame.serial >= serial => self.pop_frame(&mut phases),
                    _ => return,
                }
            };
            if let Some(frame) = frame {
                self.end_frame(frame, End::Discard);
            }
        }
    }

    /// Edge 3, and the end of everything: ends what is in force above `depth`.
    pub(crate) fn end_phases_above(self: &Rc<Self>, depth: usize) {
        loop {
            let frame = {
                let mut phases = self.phases.borrow_mut();
                if phases.frames.len() <= depth {
                    return;
                }
                self.pop_frame(&mut phases)
            };
            if let Some(frame) = frame {
                self.end_frame(frame, End::Discard);
            }
        }
    }

    /// Ends the phase with this number and, before it, those inside it (edge 3); false if
    /// it has ended.
    fn end_phase(self: &Rc<Self>, serial: u64, end: End) -> bool {
        let position = {
            let phases = self.phases.borrow();
            phases
                .frames
                .iter()
                .rposition(|frame| frame.serial == serial)
        };
        let Some(position) = position else {
            return false;
        };
        self.end_phases_above(position + 1);
        let frame = {
            let mut phases = self.phases.borrow_mut();
            // Ending the inner ones ran destructors, and those may have ended ours.
            match phases.frames.get(position) {
                Some(frame) if frame.serial == serial => self.pop_frame(&mut phases),
                _ => None,
            }
        };
        match frame {
            Some(frame) => self.end_frame(frame, end),
            None => return false,
        }
        true
    }

    /// Takes the innermost phase off the stack.
    fn pop_frame(&self, phases: &mut Phases) -> Option<Frame> {
        let frame = phases.frames.pop();
        self.phase_depth.set(phases.frames.len());
        frame
    }

    /// The state is restored: the frame is off the stack. Now its deferred work.
    fn end_frame(self: &Rc<Self>, frame: Frame, end: End) {
        let Frame {
            phase,
            deferred,
            mark,
            ..
        } = frame;
        self.show();
        self.look_at_phase(mark, &phase);
        let event = match end {
            End::Commit => PhaseEvent::Committed,
            End::Discard => PhaseEvent::Discarded,
        };
        self.hook(|hooks| {
            let depth = self.phases.borrow().frames.len() + 1;
            hooks.on_phase(event, &self.info_of(&phase, depth));
        });
        match end {
            End::Commit => self.hand_on(&phase, deferred),
            End::Discard => {
                for key in deferred {
                    self.discard(key);
                }
            }
        }
    }

    /// Edge 1: to the nearest enclosing phase of the same scope, or else to the ready queue.
    fn hand_on(self: &Rc<Self>, phase: &Phase, deferred: Vec<Key>) {
        if deferred.is_empty() {
            return;
        }
        {
            let mut phases = self.phases.borrow_mut();
            let extras = self.table.extras.borrow();
            let scope = extras.groups.root(phase.group.id());
            let enclosing = phases
                .frames
                .iter_mut()
                .rev()
                .find(|frame| extras.groups.root(frame.phase.group.id()) == scope);
            if let Some(frame) = enclosing {
                frame.deferred.extend(deferred);
                return;
            }
        }
        for key in deferred {
            if let Some(slot) = self.table.arena.resolve(key) {
                self.table.release(slot);
            }
        }
        self.became_ready();
    }

    /// Edge 2.
    fn discard(self: &Rc<Self>, key: Key) {
        let Some(slot) = self.table.arena.resolve(key) else {
            return;
        };
        if self.take_or_doom(slot, Doom::Discarded) {
            let name = self.table.name(slot);
            self.hook(|hooks| hooks.on_discarded(TaskId::of(slot), name.as_deref()));
            self.finish(slot, Doom::Discarded);
        }
    }
}

/// Keeps a phase in force until it is committed, discarded or dropped; dropping discards.
///
/// A guard covers one run of code on the native stack. It must not be held across an
/// `.await`: the end of the poll ends the phase. Guards end in the reverse order of their
/// making; ending one early discards the phases entered inside it, and their guards become
/// inert. Where the code can nest, [`with_phase`](crate::Handle::with_phase) is the better
/// form.
#[must_use = "dropping the guard discards the phase"]
pub struct PhaseGuard {
    core: Weak<Core>,
    serial: u64,
}

impl PhaseGuard {
    /// Ends the phase and hands its deferred work on; false if the phase had ended already.
    pub fn commit(self) -> bool {
        self.end(End::Commit)
        // The drop that follows finds the phase ended.
    }

    /// Ends the phase and discards its deferred work; false if the phase had ended already.
    pub fn discard(self) -> bool {
        self.end(End::Discard)
    }

    fn end(&self, end: End) -> bool {
        self.core
            .upgrade()
            .is_some_and(|core| core.end_phase(self.serial, end))
    }
}

impl Drop for PhaseGuard {
    fn drop(&mut self) {
        self.end(End::Discard);
    }
}

impl fmt::Debug for PhaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhaseGuard")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Phase {
    /// Whether the phase's group is one of this core's.
    pub(crate) fn belongs_to(&self, core: &Rc<Core>) -> bool {
        self.group.belongs_to(core)
    }
}

/// Runs `f` in a phase that is already entered.
pub(crate) fn run_in<R, E: From<Refused>>(
    guard: PhaseGuard,
    f: impl FnOnce() -> Result<R, E>,
) -> Result<R, E> {
    let result = f();
    match &result {
        Ok(_) => guard.commit(),
        Err(_) => guard.discard(),
    };
    result
}
