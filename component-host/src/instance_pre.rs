//! A component with the definitions for its imports, ready for any number of stores.

use crate::component::Component;
use crate::error::Result;
use crate::instance::Instance;
use crate::linker::Linker;
use crate::store::Store;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

/// A component, and what its imports are bound to: a linker as it was when this was made.
///
/// Cheap to clone. What it needs was found to be there, and of the right type, when it was made.
pub struct InstancePre<T: 'static> {
    linker: Rc<Linker<T>>,
    component: Component,
}

impl<T: 'static> Linker<T> {
    /// Keeps the component together with the definitions that the linker has now, when they fit
    /// its imports. No instantiation of the result fails for a name or a type, with one exception:
    /// an [export](crate::LinkerInstance::export) of an instance serves the store of that instance,
    /// which is known only then.
    ///
    /// # Errors
    ///
    /// `Link` when an import is missing or does not fit; all of them are named. `Limit` when an
    /// instance would be larger than it may be.
    pub fn instantiate_pre(&self, component: &Component) -> Result<InstancePre<T>> {
        self.check(component)?;
        Ok(InstancePre {
            linker: Rc::new(self.clone()),
            component: component.clone(),
        })
    }
}

impl<T: 'static> InstancePre<T> {
    /// As [`Linker::instantiate`].
    ///
    /// # Errors
    ///
    /// Those of [`Linker::instantiate`], but for names and types.
    #[track_caller]
    pub fn instantiate(&self, store: &Store<T>) -> Result<Instance> {
        self.linker.instantiate(store, &self.component)
    }

    /// As [`Linker::instantiate_async`].
    ///
    /// # Errors
    ///
    /// Those of [`Linker::instantiate`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives the instantiation up.
    #[track_caller]
    pub fn instantiate_async(&self, store: &Store<T>) -> impl Future<Output = Result<Instance>> {
        self.linker.instantiate_async(store, &self.component)
    }

    /// The component.
    pub fn component(&self) -> &Component {
        &self.component
    }
}

impl<T: 'static> Clone for InstancePre<T> {
    fn clone(&self) -> InstancePre<T> {
        InstancePre {
            linker: Rc::clone(&self.linker),
            component: self.component.clone(),
        }
    }
}

impl<T: 'static> fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancePre")
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}
