//! Says at which imports of synchronous type the guest may be suspended.

use crate::linker::Linker;
use crate::versions;
use std::collections::{BTreeMap, BTreeSet};

/// What was allowed, by the names of imports or of the instances they are in.
#[derive(Debug, Default, Clone)]
pub(crate) struct Suspending {
    allowed: BTreeMap<String, Allowed>,
}

#[derive(Debug, Default, Clone)]
struct Allowed {
    /// The name itself: a function, or an interface with all its functions.
    whole: bool,
    /// Functions of the interface.
    funcs: BTreeSet<String>,
}

impl Suspending {
    fn allow(&mut self, name: &str) {
        match name.split_once('#') {
            None => self.allowed.entry(name.to_owned()).or_default().whole = true,
            Some((interface, func)) => {
                let allowed = self.allowed.entry(interface.to_owned()).or_default();
                allowed.funcs.insert(func.to_owned());
            }
        }
    }

    /// Whether a guest may be suspended at the import of the given name.
    pub(crate) fn allows(&self, name: &str) -> bool {
        let (outer, func) = match name.split_once('#') {
            Some((interface, func)) => (interface, Some(func)),
            None => (name, None),
        };
        versions::find(&self.allowed, outer).is_some_and(|allowed| {
            allowed.whole || func.is_some_and(|func| allowed.funcs.contains(func))
        })
    }
}

impl<T: 'static> Linker<T> {
    /// Lets an async host function serve an import of synchronous type: a guest that calls it is
    /// suspended there until the future is ready, and *the whole store waits* with it. Nothing
    /// else of the store runs meanwhile; other stores and tasks of the executor do.
    ///
    /// `name` is that of an import, `interface#name` for one of an interface, or that of a whole
    /// interface, also of [a compatible version](Linker). It concerns what is instantiated
    /// afterwards.
    ///
    /// It is for interfaces that were made before components had async functions, such as those
    /// of WASI 0.2. Without it, [`func_async`](crate::LinkerInstance::func_async) on an import of
    /// synchronous type is an error when the component is linked. Where the import can be of
    /// async type, prefer that: there only the calling task waits.
    ///
    /// Whoever enters the guest must be able to wait: a call, an
    /// [asynchronous instantiation](Linker::instantiate_async). In the synchronous
    /// [`instantiate`](Linker::instantiate), and in a guest's destructor when the host
    /// [drops](crate::ResourceAny::resource_drop) a resource, a call of the import is refused by
    /// name, before the host function runs, whether or not its future would be ready at once.
    ///
    /// # Cancellation
    ///
    /// A future that has begun is awaited, also when the call that led to it is given up: a
    /// synchronous function cannot be cancelled. Giving up an asynchronous instantiation drops
    /// it. Neither fuel nor a [timeout](crate::Config::timeout) ends it, since no guest code runs:
    /// give a future that may never be ready an end of its own.
    ///
    /// # Re-entrancy
    ///
    /// The future may use the store's data through its [`Accessor`](crate::Accessor). A call into
    /// the store that it awaits could never begin: it is refused with `StoreBusy`.
    ///
    /// # Examples
    ///
    /// ```
    /// use vestibule_component_host::{Component, Engine, Linker, Result, Store};
    /// use vestibule_executor::{Executor, yield_now};
    ///
    /// # fn main() -> Result<()> {
    /// let (engine, executor) = (Engine::default(), Executor::new());
    /// let component = Component::new(
    ///     &engine,
    ///     br#"(component
    ///       (import "now" (func $now (result u32)))
    ///       (core func $now' (canon lower (func $now)))
    ///       (core module $M
    ///         (import "host" "now" (func $now (result i32)))
    ///         (func (export "run") (result i32) (call $now)))
    ///       (core instance $m (instantiate $M
    ///         (with "host" (instance (export "now" (func $now'))))))
    ///       (func (export "run") (result u32) (canon lift (core func $m "run"))))"#,
    /// )?;
    /// let mut linker = Linker::new();
    /// linker.root().func_async("now", async |_, (): ()| {
    ///     yield_now().await;
    ///     Ok((42u32,))
    /// })?;
    /// linker.allow_suspending("now");
    ///
    /// let store = Store::new(&engine, &executor, ());
    /// let instance = linker.instantiate(&store, &component)?;
    /// let run = instance.get_typed_func::<(), (u32,)>(&store, "run")?;
    /// assert_eq!(store.block_on(run.call(&store, ()))?, (42,));
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_suspending(&mut self, name: &str) -> &mut Linker<T> {
        self.suspending.allow(name);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_an_interface_or_a_function_of_one() {
        let mut suspending = Suspending::default();
        suspending.allow("now");
        suspending.allow("wasi:io/poll@0.2.0");
        suspending.allow("a:b/c@1.2.0#wait");
        for (name, allowed) in [
            ("now", true),
            ("later", false),
            ("wasi:io/poll@0.2.0#poll", true),
            ("wasi:io/poll@0.2.3#poll", true),
            ("wasi:io/poll@0.3.0#poll", false),
            ("wasi:io/streams@0.2.0#read", false),
            ("a:b/c@1.2.0#wait", true),
            ("a:b/c@1.4.0#wait", true),
            ("a:b/c@1.2.0#other", false),
            ("a:b/c@1.2.0", false),
        ] {
            assert_eq!(suspending.allows(name), allowed, "{name}");
        }
    }
}
