//! Instantiates a component and then awaits the function that finishes its initialisation: the
//! convention for guests that have to wait before they are ready.

use crate::component::Component;
use crate::error::{Error, Result};
use crate::instance::Instance;
use crate::linker::Linker;
use crate::store::Store;
use crate::val::Val;
use std::future::Future;
use std::panic::Location;

impl<T: 'static> Linker<T> {
    /// Makes an instance of the component, in [slices of fuel](Linker::instantiate_async) where
    /// they are set, and awaits its export `init`: where a component does
    /// what its start functions cannot, which is to wait.
    ///
    /// `init` takes no parameters; an async function may wait for async imports. What start
    /// functions [deferred](crate::Caller::defer) is released before it is called. Name a function
    /// of an exported interface as `interface#name`.
    ///
    /// # Errors
    ///
    /// Those of [`instantiate`](Linker::instantiate); `Link` when there is no such export; those
    /// of [`Func::call`](crate::Func::call); `Host` when `init` returns the error case of a
    /// `result`.
    ///
    /// # Cancellation
    ///
    /// Nothing happens before the first poll. Dropping the future gives the instantiation up, or
    /// cancels the call of `init`, as [`Func::call`](crate::Func::call) says.
    #[track_caller]
    pub fn instantiate_then(
        &self,
        store: &Store<T>,
        component: &Component,
        init: &str,
    ) -> impl Future<Output = Result<Instance>> {
        let at = Location::caller();
        async move {
            let instance = self.instantiate_async_at(store, component, at).await?;
            let func = instance.get_func(store, init)?;
            match func.call_at(store, &[], at).await? {
                Some(Val::Result(Err(error))) => Err(Error::host(match error {
                    Some(error) => format!("`{init}` failed: {error:?}"),
                    None => format!("`{init}` failed"),
                })),
                _ => Ok(instance),
            }
        }
    }
}
