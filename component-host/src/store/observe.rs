//! Tells the embedder what a store does, as it does it.

use super::{State, Store};
use crate::chain::ComponentPath;
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use vestibule_executor::Refused;

/// Is told what a store does.
///
/// With the feature `tracing`, `TracingObserver` passes it on to the
/// `tracing` crate.
///
/// # Re-entrancy
///
/// An observer runs while the store is taken: whatever uses the store from it is refused with
/// `StoreBusy`.
///
/// # Panics
///
/// A panic in an observer is caught, and has no effect.
pub trait Observer: 'static {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// What a store does.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The instantiation of a component begins.
    Instantiating {
        /// Its name.
        component: &'a str,
    },
    /// The instantiation of a component has ended.
    Instantiated {
        /// Its name.
        component: &'a str,
        /// What it failed with.
        error: Option<&'a Error>,
    },
    /// A component instance is entered: by a start function, an export, a destructor.
    Entered {
        /// The instance.
        component: &'a ComponentPath,
        /// What the component calls the function.
        function: &'a str,
    },
    /// The function entered last has returned, or waits; later turns of its threads are not told.
    Left,
    /// A guest calls a host function.
    HostCall {
        /// The calling instance.
        component: &'a ComponentPath,
        /// What it calls the import.
        import: &'a str,
        /// Whether the store had not called it before.
        first_call: bool,
    },
    /// The host function called last has returned; an async one perhaps without its result.
    HostReturned,
    /// Something was refused.
    Refused(&'a Refused),
    /// A run failed with this error.
    Failed(&'a Error),
    /// An instance is locked down.
    LockedDown {
        /// The instance.
        component: &'a ComponentPath,
    },
}

impl<T: 'static> Store<T> {
    /// Has an observer told what this store does, instead of the one before. Without one, which is
    /// the default, nothing is computed for it.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` while guest code of the store runs.
    #[track_caller]
    pub fn observe(&self, observer: impl Observer) -> Result<()> {
        self.inner
            .enter("set an observer", Location::caller(), |cx| {
                cx.data_mut().observer = Some(Rc::new(observer));
            })
    }
}

impl State {
    /// Tells the observer, if there is one.
    pub(crate) fn emit<'a>(&'a self, event: impl FnOnce(&'a State) -> Event<'a>) {
        if let Some(observer) = &self.observer {
            tell(&**observer, &event(self));
        }
    }
}

/// Tells an observer; its panics are its own.
pub(crate) fn tell(observer: &dyn Observer, event: &Event<'_>) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer.event(event)));
}
