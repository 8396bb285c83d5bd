//! What is refused, and how a refusal reads.

use super::{Kind, Model};
use crate::script::Blocks;

impl Model {
    /// The refusal matrix.
    pub(super) fn reason(&self, kind: Kind) -> Option<&'static str> {
        if self.closed {
            return Some("Closed");
        }
        let inside = match kind {
            Kind::Spawn | Kind::Defer | Kind::EnterPhase => return None,
            Kind::BlockOn => "Nested",
            _ => "Reentrant",
        };
        if self.parked {
            return Some(inside);
        }
        let full = self.running.len() >= self.max_poll_depth;
        match self.frames.last() {
            None if kind == Kind::BlockInPhase => Some("NoPhase"),
            None => (self.drives > 0).then_some(inside),
            Some(frame) => match frame.blocks {
                Blocks::All(depth) => {
                    let nested = self.drives.saturating_sub(frame.drives);
                    (full || nested >= depth as usize).then_some("TooDeep")
                }
                Blocks::Group if kind == Kind::BlockInPhase => full.then_some("TooDeep"),
                _ => Some("PhaseForbids"),
            },
        }
    }

    /// Says whether it is permitted.
    pub(super) fn check(&mut self, kind: Kind) -> bool {
        let reason = self.reason(kind);
        if let Some(reason) = reason {
            self.refuse(kind, reason);
        }
        reason.is_none()
    }

    pub(super) fn refuse(&mut self, kind: Kind, reason: &str) {
        self.counts.refused += 1;
        self.say("hook: refused");
        let task = self.running.last().copied();
        // Only tasks of this thread were given a name.
        let task = task.filter(|&name| self.entries[name].id > 0 && !self.entries[name].remote);
        let name = task.map(|name| format!("t{name}"));
        self.say(format!(
            "refused {} {reason} at depth {}, phases {}, in {:?}",
            kind.name(),
            self.running.len(),
            self.frames.len(),
            name.as_deref(),
        ));
    }
}
