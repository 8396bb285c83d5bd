//! Says what a component's imports are bound to.

mod imports;

use imports::LinkedImports;
pub(crate) use imports::stub_func;

use crate::component::Component;
use crate::engine::CoreModule;
use crate::error::{Error, Result};
use crate::func::{Accessor, Caller, HostFuture};
use crate::instance::Instance;
use crate::instantiate::{self, Imports};
use crate::runtime::{Item, RtType};
use crate::start_safety::StartSafety;
use crate::store::{Store, StoreInner};
use crate::suspending::Suspending;
use crate::transit::Transit;
use crate::typed::{ComponentNamedList, LiftList, LowerList, check_func};
use crate::types::{FuncType, ResourceType};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Holds definitions by name, and instantiates components whose imports they satisfy.
///
/// An import of an interface of a package, such as `a:b/c@1.2.3`, is served by the definition of
/// that name, or else by that of the highest version compatible with it, such as `a:b/c@1.4.0`.
///
/// A clone shares the functions, not the names: what is defined later is defined in one of the
/// two.
pub struct Linker<T: 'static> {
    root: BTreeMap<String, Definition<T>>,
    unknown_imports_trap: bool,
    pub(crate) start_safety: StartSafety,
    pub(crate) suspending: Suspending,
}

/// What a name in a linker stands for.
pub(crate) enum Definition<T: 'static> {
    Func(FuncDefinition<T>),
    Instance(BTreeMap<String, Definition<T>>),
    Resource(ResourceDefinition<T>),
    Item(Item),
    /// What an instance exports; functions only serve components in the same store.
    Export(Item, Weak<StoreInner>),
}

/// A resource type that the embedder implements.
pub(crate) struct ResourceDefinition<T: 'static> {
    ty: ResourceType,
    dtor: FuncDefinition<T>,
}

pub(crate) struct FuncDefinition<T: 'static> {
    kind: FuncKind<T>,
    check: fn(&FuncType) -> Result<(), String>,
    as_vals: bool,
    type_name: &'static str,
    defined_at: &'static Location<'static>,
}

type PlainFn<T> = dyn Fn(Caller<'_, T>, &FuncType, Transit) -> Result<Transit>;
type AsyncFn<T> = dyn Fn(Accessor<T>, &Arc<FuncType>, Transit) -> HostFuture;

enum FuncKind<T: 'static> {
    Plain(Rc<PlainFn<T>>),
    Async(Rc<AsyncFn<T>>),
}

impl<T: 'static> Linker<T> {
    /// Makes an empty linker.
    pub fn new() -> Linker<T> {
        Linker {
            root: BTreeMap::new(),
            unknown_imports_trap: false,
            start_safety: StartSafety::default(),
            suspending: Suspending::default(),
        }
    }

    /// The names at the top.
    pub fn root(&mut self) -> LinkerInstance<'_, T> {
        LinkerInstance {
            names: &mut self.root,
            path: String::new(),
        }
    }

    /// The instance of the given name, such as `wasi:clocks/wall-clock@0.2.0`; made when it is
    /// not there yet.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined as something else.
    pub fn instance(&mut self, name: &str) -> Result<LinkerInstance<'_, T>> {
        self.root().into_instance(name)
    }

    /// Binds every import that nothing was defined for to a stub that traps with its name when it
    /// is called. Imported resource types become types of their own.
    pub fn define_unknown_imports_as_traps(&mut self) {
        self.unknown_imports_trap = true;
    }

    /// Makes an instance of the component in the store.
    ///
    /// Its start functions run under the instantiation phase. Work that host functions
    /// [deferred](Caller::defer) meanwhile is released when the instantiation succeeds, to run in
    /// order on the executor's next turn, and discarded when it fails.
    ///
    /// # Errors
    ///
    /// `Link` when an import is missing or does not fit; the trap or the error that ended a start
    /// function; `Limit`; `Refused` with `StoreBusy` when guest code of this store is running.
    #[track_caller]
    pub fn instantiate(&self, store: &Store<T>, component: &Component) -> Result<Instance> {
        self.instantiate_at(store, component, Location::caller())
    }

    /// As [`instantiate`](Linker::instantiate), in the slices of fuel that
    /// [`Config::fuel_slice`](crate::Config::fuel_slice) sets: between two slices of a start
    /// function the executor runs everything but this store. Without slices it runs at once when
    /// it is first polled.
    ///
    /// What a host function defers by [`Caller::defer`](crate::Caller::defer) is held until the
    /// instantiation has succeeded; what it defers on the executor itself, until the end of a
    /// slice.
    ///
    /// # Errors
    ///
    /// Those of [`instantiate`](Linker::instantiate).
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives the instantiation up: the instances made so far are locked down,
    /// and what was deferred is dropped.
    #[track_caller]
    pub fn instantiate_async(
        &self,
        store: &Store<T>,
        component: &Component,
    ) -> impl Future<Output = Result<Instance>> {
        self.instantiate_async_at(store, component, Location::caller())
    }

    pub(crate) async fn instantiate_async_at(
        &self,
        store: &Store<T>,
        component: &Component,
        at: &'static Location<'static>,
    ) -> Result<Instance> {
        let imports = LinkedImports {
            linker: self,
            store: Some(store),
        };
        instantiate::instantiate_async(&store.inner, component, &imports, at).await
    }

    /// Gives `f` what this linker offers in the store.
    pub(crate) fn imports_for<R>(
        &self,
        store: &Store<T>,
        f: impl FnOnce(&dyn Imports) -> Result<R>,
    ) -> Result<R> {
        f(&LinkedImports {
            linker: self,
            store: Some(store),
        })
    }

    /// Fails when what this linker offers does not fit the component's imports.
    pub(crate) fn check(&self, component: &Component) -> Result<()> {
        let imports = LinkedImports {
            linker: self,
            store: None,
        };
        instantiate::check(component, &imports)
    }

    fn instantiate_at(
        &self,
        store: &Store<T>,
        component: &Component,
        at: &'static Location<'static>,
    ) -> Result<Instance> {
        let imports = LinkedImports {
            linker: self,
            store: Some(store),
        };
        instantiate::instantiate(&store.inner, component, &imports, at)
    }
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Linker<T> {
        Linker {
            root: self.root.clone(),
            unknown_imports_trap: self.unknown_imports_trap,
            start_safety: self.start_safety.clone(),
            suspending: self.suspending.clone(),
        }
    }
}

impl<T> Clone for Definition<T> {
    fn clone(&self) -> Definition<T> {
        match self {
            Definition::Func(func) => Definition::Func(func.clone()),
            Definition::Instance(names) => Definition::Instance(names.clone()),
            Definition::Resource(resource) => Definition::Resource(ResourceDefinition {
                ty: resource.ty,
                dtor: resource.dtor.clone(),
            }),
            Definition::Item(item) => Definition::Item(item.clone()),
            Definition::Export(item, store) => Definition::Export(item.clone(), store.clone()),
        }
    }
}

impl<T> Clone for FuncDefinition<T> {
    fn clone(&self) -> FuncDefinition<T> {
        FuncDefinition {
            kind: match &self.kind {
                FuncKind::Plain(function) => FuncKind::Plain(Rc::clone(function)),
                FuncKind::Async(function) => FuncKind::Async(Rc::clone(function)),
            },
            ..*self
        }
    }
}

impl<T: 'static> Default for Linker<T> {
    fn default() -> Linker<T> {
        Linker::new()
    }
}

impl<T> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linker")
            .field("names", &self.root.keys())
            .finish_non_exhaustive()
    }
}

/// One level of names in a [`Linker`].
pub struct LinkerInstance<'a, T: 'static> {
    names: &'a mut BTreeMap<String, Definition<T>>,
    path: String,
}

impl<'a, T: 'static> LinkerInstance<'a, T> {
    /// Defines a host function: a plain closure, called while the guest waits. It serves imports
    /// of synchronous and of async type.
    ///
    /// Parameters are a tuple of types that [`Lift`](crate::Lift), or `Vec<Val>` for a
    /// function of any type; likewise the result. The types are compared with the import's when a
    /// component is instantiated.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined already.
    #[track_caller]
    pub fn func<F, P, R>(&mut self, name: &str, function: F) -> Result<()>
    where
        F: Fn(Caller<'_, T>, P) -> Result<R> + 'static,
        P: LiftList + 'static,
        R: LowerList + 'static,
    {
        let plain = move |caller: Caller<'_, T>, ty: &FuncType, args: Transit| {
            let args = P::lift_all(ty.param_types().types(), &mut args.read())?;
            lower_result(function(caller, args)?, ty)
        };
        self.define(
            name,
            Definition::Func(FuncDefinition {
                kind: FuncKind::Plain(Rc::new(plain)),
                check: check::<P, R>,
                as_vals: P::AS_VALS,
                type_name: std::any::type_name::<F>(),
                defined_at: Location::caller(),
            }),
        )
    }

    /// Defines an async host function: the future it returns need not be `Send`. It serves
    /// imports of async type, and those of synchronous type at which the guest
    /// [may be suspended](Linker::allow_suspending).
    ///
    /// The future is polled once when the guest calls; while it is pending, only the outermost
    /// loop of the executor polls it. When the guest's call is given up, it is dropped.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined already.
    #[track_caller]
    pub fn func_async<F, Fut, P, R>(&mut self, name: &str, function: F) -> Result<()>
    where
        F: Fn(Accessor<T>, P) -> Fut + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        P: LiftList + 'static,
        R: LowerList + 'static,
    {
        let start =
            move |mut accessor: Accessor<T>, ty: &Arc<FuncType>, args: Transit| -> HostFuture {
                match P::lift_all(ty.param_types().types(), &mut args.read()) {
                    Ok(args) => {
                        let call = accessor.begin_call();
                        let (future, ty) = (function(accessor, args), Arc::clone(ty));
                        Box::pin(async move {
                            let result = future.await;
                            drop(call);
                            lower_result(result?, &ty)
                        })
                    }
                    Err(error) => Box::pin(async { Err(error) }),
                }
            };
        self.define(
            name,
            Definition::Func(FuncDefinition {
                kind: FuncKind::Async(Rc::new(start)),
                check: check::<P, R>,
                as_vals: P::AS_VALS,
                type_name: std::any::type_name::<F>(),
                defined_at: Location::caller(),
            }),
        )
    }

    /// Defines a resource type that the host implements, and its destructor: a closure that is
    /// called with the representation whenever a guest drops an `own` of it.
    ///
    /// Host functions make resources of the type with
    /// [`ResourceAny::own`](crate::ResourceAny::own), and find the representation of those that
    /// they are given in [`ResourceAny::rep`](crate::ResourceAny::rep). A type that is defined
    /// under several names, or in several linkers, is one type; in each store, the destructor it
    /// was first linked with stays.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined already.
    #[track_caller]
    pub fn resource<F>(&mut self, name: &str, ty: ResourceType, dtor: F) -> Result<()>
    where
        F: Fn(Caller<'_, T>, u32) -> Result<()> + 'static,
    {
        let plain = move |caller: Caller<'_, T>, _: &FuncType, args: Transit| {
            let rep = args.read().word()? as u32;
            dtor(caller, rep).map(|()| Transit::new())
        };
        let dtor = FuncDefinition {
            kind: FuncKind::Plain(Rc::new(plain)),
            check: |_| Ok(()),
            as_vals: false,
            type_name: std::any::type_name::<F>(),
            defined_at: Location::caller(),
        };
        self.define(name, Definition::Resource(ResourceDefinition { ty, dtor }))
    }

    /// Defines what an instance exports under the name `export`: a function, a core module, a
    /// resource type, or an instance with all that it exports. Functions serve components that
    /// are instantiated in the instance's own store.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined already, or when there is no such export.
    pub fn export(&mut self, name: &str, instance: &Instance, export: &str) -> Result<()> {
        let item = instance.item(export)?;
        self.define(name, Definition::Export(item, instance.store.clone()))
    }

    /// Defines a core module anew; a test script may name one instance after another alike.
    pub(crate) fn redefine_module(&mut self, name: &str, module: &Arc<CoreModule>) {
        let item = Item::CoreModule(Arc::clone(module));
        self.names.insert(name.to_owned(), Definition::Item(item));
    }

    pub(crate) fn redefine_resource(&mut self, name: &str, ty: ResourceType) {
        let item = Item::Type(RtType::Resource(ty));
        self.names.insert(name.to_owned(), Definition::Item(item));
    }

    /// The instance of the given name inside this one; made when it is not there yet.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined as something else.
    pub fn instance(&mut self, name: &str) -> Result<LinkerInstance<'_, T>> {
        LinkerInstance {
            names: self.names,
            path: self.path.clone(),
        }
        .into_instance(name)
    }

    fn into_instance(self, name: &str) -> Result<LinkerInstance<'a, T>> {
        let path = full_name(&self.path, name);
        let entry = self
            .names
            .entry(name.to_owned())
            .or_insert_with(|| Definition::Instance(BTreeMap::new()));
        match entry {
            Definition::Instance(names) => Ok(LinkerInstance { names, path }),
            other => Err(Error::link(format!(
                "`{path}` is defined as {}",
                other.kind()
            ))),
        }
    }

    fn define(&mut self, name: &str, definition: Definition<T>) -> Result<()> {
        if self.names.contains_key(name) {
            let name = full_name(&self.path, name);
            return Err(Error::link(format!("`{name}` is defined twice")));
        }
        self.names.insert(name.to_owned(), definition);
        Ok(())
    }
}

impl<T> fmt::Debug for LinkerInstance<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkerInstance")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The name of something inside an instance: `interface#name`.
pub(crate) fn full_name(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}#{name}")
    }
}

fn check<P: ComponentNamedList, R: ComponentNamedList>(ty: &FuncType) -> Result<(), String> {
    check_func::<P, R>(ty, "the host function")
}

fn lower_result<R: LowerList>(result: R, ty: &FuncType) -> Result<Transit> {
    let mut results = Transit::new();
    result.lower_all(ty.result_type().types(), &mut results)?;
    Ok(results)
}

impl<T> Definition<T> {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Definition::Func(_) => "a function",
            Definition::Instance(_) => "an instance",
            Definition::Resource(_) => "a resource type",
            Definition::Item(item) | Definition::Export(item, _) => item.kind(),
        }
    }
}
