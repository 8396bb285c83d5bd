//! Passes what a store does on to the `tracing` crate, under the feature `tracing`.

use crate::store::{Event, Observer};
use std::cell::RefCell;
use tracing::span::EnteredSpan;
use tracing::{debug, debug_span, warn};

/// An [`Observer`] that makes spans of calls, and events of everything else.
///
/// Calls into components and of host functions are spans of the level `DEBUG`, inside one another as
/// the calls are; failures, refusals and lock-downs are events of the level `WARN`.
#[derive(Debug, Default)]
pub struct TracingObserver {
    spans: RefCell<Vec<EnteredSpan>>,
}

impl TracingObserver {
    /// Makes one, for one store.
    pub fn new() -> TracingObserver {
        TracingObserver::default()
    }

    fn enter(&self, span: tracing::Span) {
        // Entered before it is kept: a subscriber is foreign code.
        let entered = span.entered();
        self.spans.borrow_mut().push(entered);
    }

    fn leave(&self) {
        let span = self.spans.borrow_mut().pop();
        drop(span);
    }
}

impl Observer for TracingObserver {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Instantiating { component } => debug!(component, "instantiating"),
            Event::Instantiated {
                component,
                error: None,
            } => debug!(component, "instantiated"),
            Event::Instantiated {
                component,
                error: Some(error),
            } => warn!(component, %error, "not instantiated"),
            Event::Entered {
                component,
                function,
            } => self.enter(debug_span!("guest", %component, function)),
            Event::HostCall {
                component,
                import,
                first_call,
            } => self.enter(debug_span!("host", %component, import, first_call)),
            Event::Left | Event::HostReturned => self.leave(),
            Event::Refused(refused) => warn!(%refused, "refused"),
            Event::Failed(error) => warn!(%error, "failed"),
            Event::LockedDown { component } => warn!(%component, "locked down"),
        }
    }
}
