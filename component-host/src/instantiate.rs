//! Instantiates a component: walks its definitions in order, in the scope of the enclosing ones.
//!
//! The walk keeps its own stack of scopes instead of recursing, so that components nested a
//! thousand deep need no more native stack than one. Between two definitions the store is not
//! taken; a start function is run by the base driver (`store/drive.rs`), under its own phase,
//! inside the phase of the whole instantiation.

mod canon;
mod check;
mod core;
mod cost;
mod imports;

pub(crate) use check::check;
pub(crate) use imports::Imports;
use imports::Resolver;

use crate::abi::canon_lower::FuncInst;
use crate::abi::component_instances::InstanceId;
use crate::chain::{ComponentPath, Frame};
use crate::component::Component;
use crate::component::decode::name_of;
use crate::component::definitions::{
    Alias, ComponentDef, Definition, ExternTypeDef, InstanceDef, Name, Sort, TypeDef,
};
use crate::engine::{Context, CoreFunc, CoreGlobal, CoreMemory, CoreTable};
use crate::error::{Error, Result, bug};
use crate::instance::Instance;
use crate::limits::MAX_INSTANTIATION_BYTES;
use crate::linker::full_name;
use crate::origin::{CoreInstanceName, CoreOrigin};
use crate::runtime::{Env, Item, RtComponent, RtInstance, ScopeRef, at};
use crate::store::{Event, StoreInner, drive, tell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use vestibule_executor::Phase;

/// Instantiates the component with the given imports, at once.
pub(crate) fn instantiate(
    store: &Rc<StoreInner>,
    component: &Component,
    imports: &dyn Imports,
    at: &'static Location<'static>,
) -> Result<Instance> {
    if store.is_taken() {
        return Err(store.busy("instantiate a component", at));
    }
    let root = root_name(component);
    let phase = phase(store, &root, at);
    store.executor.with_phase(phase, || {
        let mut walk = Walk::new(store, imports, at, false);
        let walked = pin!(walk.instantiate(component, &root));
        match walked.poll(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(bug!("an instantiation that does not yield has yielded")),
        }
    })
}

/// Instantiates the component in slices of fuel, between which the executor runs everything but
/// this store. Each poll is a phase of its own.
pub(crate) async fn instantiate_async(
    store: &Rc<StoreInner>,
    component: &Component,
    imports: &dyn Imports,
    at: &'static Location<'static>,
) -> Result<Instance> {
    poll_fn(|cx| store.until_no_slice_is_left("instantiate a component", at, cx)).await?;
    if store.is_taken() {
        return Err(store.busy("instantiate a component", at));
    }
    let root = root_name(component);
    let mut walk = Walk::new(store, imports, at, true);
    let deferred = Deferred::begin(store);
    let mut walked = pin!(walk.instantiate(component, &root));
    let instance = poll_fn(|cx| {
        let polled =
            store
                .executor
                .with_phase(phase(store, &root, at), || match walked.as_mut().poll(cx) {
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Ready(Ok(instance)) => Ok(Some(instance)),
                    Poll::Pending => Ok(None),
                });
        match polled {
            Ok(None) => Poll::Pending,
            Ok(Some(instance)) => Poll::Ready(Ok(instance)),
            Err(error) => Poll::Ready(Err(error)),
        }
    })
    .await?;
    deferred.release();
    Ok(instance)
}

/// A core module that was linked, and not run.
pub(crate) struct LinkedModule {
    pub(crate) instance: CoreInstanceName,
    /// The component instance it is in.
    pub(crate) component: ComponentPath,
    /// Where the functions come from that it imports, in its order.
    pub(crate) func_imports: Vec<CoreOrigin>,
}

/// As [`instantiate`], without running start functions: gives what was linked.
pub(crate) fn link_only(
    store: &Rc<StoreInner>,
    component: &Component,
    imports: &dyn Imports,
) -> Result<Vec<LinkedModule>> {
    let root = root_name(component);
    let mut walk = Walk::new(store, imports, Location::caller(), false);
    walk.linked = Some(Vec::new());
    {
        let walked = pin!(walk.instantiate(component, &root));
        match walked.poll(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(linked) => linked?,
            Poll::Pending => return Err(bug!("linking has yielded")),
        };
    }
    Ok(walk.linked.take().unwrap_or_default())
}

/// What an asynchronous instantiation deferred; discarded unless it is released.
struct Deferred<'a>(&'a StoreInner);

impl<'a> Deferred<'a> {
    fn begin(store: &'a StoreInner) -> Deferred<'a> {
        store.deferral.begin(store.group.subgroup("deferred"));
        Deferred(store)
    }

    fn release(self) {
        self.0.deferral.release();
    }
}

impl Drop for Deferred<'_> {
    fn drop(&mut self) {
        self.0.deferral.discard();
    }
}

fn root_name(component: &Component) -> Name {
    let name = component.decoded.root.name.clone();
    name.unwrap_or_else(|| "root".into())
}

fn phase(store: &StoreInner, root: &Name, at: &'static Location<'static>) -> Phase {
    Phase::instantiating(&store.group)
        .label(format!("component `{root}`"))
        .entered_at(at)
}

struct Walk<'a> {
    store: &'a Rc<StoreInner>,
    imports: Resolver<'a>,
    at: &'static Location<'static>,
    scopes: Vec<Scope>,
    /// All instances made so far.
    made: Vec<InstanceId>,
    /// All scopes made so far.
    envs: Vec<Weak<Env>>,
    /// What the rest of the instantiation may cost.
    bytes_left: u64,
    /// Whether start functions yield to the executor between slices of fuel.
    yields: bool,
    /// How many core instances were made.
    core_instances_made: u32,
    /// When nothing is to be run: the core instances so far.
    linked: Option<Vec<LinkedModule>>,
    /// Whether only names and types are followed.
    types_only: bool,
    done: bool,
}

/// One component that is being instantiated: its index spaces, as far as they are filled.
struct Scope {
    def: Arc<ComponentDef>,
    inst: InstanceId,
    name: Name,
    /// Of its name and those around it, in bytes.
    path_length: usize,
    next: usize,
    /// The arguments it was instantiated with; the root takes its imports from the embedder.
    args: Option<BTreeMap<Name, Item>>,
    env: Rc<Env>,
    core_instances: Vec<core::CoreInst>,
    core_funcs: Vec<CoreFunc>,
    core_func_origins: Vec<CoreOrigin>,
    core_memories: Vec<CoreMemory>,
    core_tables: Vec<CoreTable>,
    core_globals: Vec<CoreGlobal>,
    funcs: Vec<FuncInst>,
    /// Under which name each function was imported, if it was.
    func_imports: Vec<Option<Name>>,
    instances: Vec<Rc<RtInstance>>,
    instance_imports: BTreeMap<u32, Name>,
    exports: RtInstance,
    /// The names under which functions are exported, for errors.
    export_names: BTreeMap<u32, Name>,
}

impl<'a> Walk<'a> {
    fn new(
        store: &'a Rc<StoreInner>,
        imports: &'a dyn Imports,
        at: &'static Location<'static>,
        yields: bool,
    ) -> Walk<'a> {
        Walk {
            store,
            imports: Resolver::new(imports),
            at,
            scopes: Vec::new(),
            made: Vec::new(),
            envs: Vec::new(),
            bytes_left: MAX_INSTANTIATION_BYTES,
            yields,
            core_instances_made: 0,
            linked: None,
            types_only: false,
            done: false,
        }
    }

    async fn instantiate(&mut self, component: &Component, root: &Name) -> Result<Instance> {
        self.tell(|| Event::Instantiating { component: root });
        let made = self.walk(component, root).await;
        self.tell(|| Event::Instantiated {
            component: root,
            error: made.as_ref().err(),
        });
        made
    }

    /// Tells the observer of the store, if there is one.
    fn tell<'e>(&self, event: impl FnOnce() -> Event<'e>) {
        let observer = self
            .store
            .enter("tell an observer", self.at, |cx| cx.data().observer.clone());
        if let Ok(Some(observer)) = observer {
            tell(&*observer, &event());
        }
    }

    async fn walk(&mut self, component: &Component, root: &Name) -> Result<Instance> {
        match self.run(component, root).await {
            Ok(exports) => {
                self.done = true;
                Ok(Instance {
                    store: Rc::downgrade(self.store),
                    exports: Rc::new(exports),
                })
            }
            Err(error) => {
                self.lock_down();
                Err(error.with_frame(Frame::Phase {
                    what: format!("instantiating component `{root}`"),
                    entered_at: self.at,
                }))
            }
        }
    }

    async fn run(&mut self, component: &Component, root: &Name) -> Result<RtInstance> {
        let root_component = RtComponent {
            def: Arc::clone(&component.decoded.root),
            env: None,
        };
        self.enter_scope(root_component, root.clone(), None)?;
        loop {
            let Some(scope) = self.scopes.last_mut() else {
                return Err(bug!("an instantiation lost its root"));
            };
            let def = Arc::clone(&scope.def);
            if let Some(definition) = def.definitions.get(scope.next) {
                scope.next += 1;
                self.charge_definition(definition)?;
                self.define(definition).await?;
                continue;
            }
            self.imports.finish()?;
            let Some(done) = self.scopes.pop() else {
                return Err(bug!("an instantiation lost its root"));
            };
            match self.scopes.last_mut() {
                Some(parent) => parent.instances.push(Rc::new(done.exports)),
                None => return Ok(done.exports),
            }
        }
    }

    async fn define(&mut self, definition: &Definition) -> Result<()> {
        if self.types_only {
            return self.define_type(definition);
        }
        let at = self.at;
        if uses_imports(definition) {
            self.imports.finish()?;
        }
        match definition {
            Definition::Instance(InstanceDef::Instantiate { component, args }) => {
                return self.instantiate_inner(*component, args);
            }
            Definition::CoreInstance(def) => return self.core_instance(def).await,
            Definition::Canon(canon) => {
                let store = Rc::clone(self.store);
                let scope = self.scope()?;
                return store.enter("define a canonical function", at, |cx| {
                    canon::define(cx, scope, canon)
                })?;
            }
            Definition::Type(TypeDef::Resource { dtor, .. }) => {
                let store = Rc::clone(self.store);
                let scope = self.scope()?;
                return store.enter("define a resource type", at, |cx| {
                    canon::define_resource(cx, scope, *dtor)
                })?;
            }
            Definition::Alias(Alias::CoreInstanceExport {
                sort,
                instance,
                name,
            }) => {
                let store = Rc::clone(self.store);
                let scope = self.scope()?;
                return store.enter("alias a core export", at, |cx| {
                    scope.alias_core_export(cx, *sort, *instance, name)
                })?;
            }
            Definition::Import { name, ty } => return self.import(name, ty),
            _ => {}
        }
        self.scope()?.define_plain(definition)
    }

    fn scope(&mut self) -> Result<&mut Scope> {
        self.scopes
            .last_mut()
            .ok_or_else(|| bug!("an instantiation lost its root"))
    }

    fn import(&mut self, name: &Name, ty: &ExternTypeDef) -> Result<()> {
        match self.scopes.last_mut() {
            Some(scope) => scope.import(&mut self.imports, name, ty),
            None => Err(bug!("an instantiation lost its root")),
        }
    }

    fn enter_scope(
        &mut self,
        component: RtComponent,
        name: Name,
        args: Option<BTreeMap<Name, Item>>,
    ) -> Result<()> {
        let path_length = self.path_length(&name)?;
        let parent = self.scopes.last().map(|scope| scope.inst);
        let inst = self.store.enter(
            "instantiate a component",
            self.at,
            |cx: &mut Context<'_>| cx.data_mut().new_instance(name.clone(), parent),
        )??;
        self.made.push(inst);
        let scope = Scope::new(component, inst, name, path_length, args)?;
        self.envs.push(Rc::downgrade(&scope.env));
        self.scopes.push(scope);
        Ok(())
    }

    fn instantiate_inner(&mut self, component: u32, args: &[(Name, Sort, u32)]) -> Result<()> {
        let scope = self.scope()?;
        let inner = scope.env.component(component)?;
        let index = scope.instances.len() as u32;
        let name = name_of(&scope.def.instance_names, index)
            .or_else(|| inner.def.name.clone())
            .unwrap_or_else(|| index.to_string().into());
        let args = args
            .iter()
            .map(|(name, sort, index)| Ok((name.clone(), scope.item(*sort, *index)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        self.enter_scope(inner, name, Some(args))
    }

    /// The instantiation failed: nothing may enter what it made.
    fn lock_down(&mut self) {
        self.done = true;
        let made = std::mem::take(&mut self.made);
        let _ = self.store.enter("give up an instantiation", self.at, |cx| {
            cx.data_mut().lock_down(&made);
        });
    }
}

impl Drop for Walk<'_> {
    /// An outer scope holds what an inner one exports, and the inner one its outer: such cycles
    /// would never be freed. Nothing looks anything up in a scope once the walk is over.
    fn drop(&mut self) {
        if !self.done {
            // The instantiation is given up, between two slices of fuel.
            drive::give_up(self.store);
            self.lock_down();
        }
        for env in self.envs.iter().filter_map(Weak::upgrade) {
            env.clear();
        }
    }
}

/// Whether a definition does more than to name things. Imports that could not be bound are
/// reported before the first that does.
fn uses_imports(definition: &Definition) -> bool {
    match definition {
        Definition::CoreInstance(_)
        | Definition::Instance(_)
        | Definition::Canon(_)
        | Definition::Alias(Alias::CoreInstanceExport { .. }) => true,
        Definition::CoreModule(_)
        | Definition::CoreType(_)
        | Definition::Component(_)
        | Definition::Alias(Alias::InstanceExport { .. } | Alias::Outer { .. })
        | Definition::Type(_)
        | Definition::Import { .. }
        | Definition::Export { .. } => false,
    }
}

impl Scope {
    fn new(
        component: RtComponent,
        inst: InstanceId,
        name: Name,
        path_length: usize,
        args: Option<BTreeMap<Name, Item>>,
    ) -> Result<Scope> {
        let outer = component.env.map(ScopeRef::scope).transpose()?;
        let export_names = component
            .def
            .definitions
            .iter()
            .filter_map(|definition| match definition {
                Definition::Export {
                    name,
                    sort: Sort::Func,
                    index,
                    ..
                } => Some((*index, name.clone())),
                _ => None,
            })
            .collect();
        Ok(Scope {
            def: component.def,
            inst,
            name,
            path_length,
            next: 0,
            args,
            env: Env::new(outer),
            core_instances: Vec::new(),
            core_funcs: Vec::new(),
            core_func_origins: Vec::new(),
            core_memories: Vec::new(),
            core_tables: Vec::new(),
            core_globals: Vec::new(),
            funcs: Vec::new(),
            func_imports: Vec::new(),
            instances: Vec::new(),
            instance_imports: BTreeMap::new(),
            exports: RtInstance::default(),
            export_names,
        })
    }

    /// A definition that needs neither the store nor the imports.
    fn define_plain(&mut self, definition: &Definition) -> Result<()> {
        match definition {
            Definition::CoreModule(module) => {
                self.env.core_modules.borrow_mut().push(Arc::clone(module));
            }
            Definition::CoreType(ty) => self.env.core_types.borrow_mut().push(ty.clone()),
            Definition::Component(def) => {
                let env = Some(ScopeRef::Holder);
                self.env.add_component(RtComponent {
                    def: Arc::clone(def),
                    env,
                });
            }
            Definition::Instance(InstanceDef::FromExports(exports)) => {
                let exports = exports
                    .iter()
                    .map(|(name, sort, index)| Ok((name.clone(), self.item(*sort, *index)?)))
                    .collect::<Result<BTreeMap<_, _>>>()?;
                self.instances.push(Rc::new(RtInstance { exports }));
            }
            Definition::Alias(Alias::InstanceExport { instance, name, .. }) => {
                let exported = at(&self.instances, *instance, "instance")?;
                match exported.exports.get(name) {
                    Some(item) => {
                        let import = self.instance_imports.get(instance);
                        let import = import.map(|import| full_name(import, name).into());
                        self.add(item.clone(), import);
                    }
                    None => return Err(bug!("instance {instance} has no export `{name}`")),
                }
            }
            Definition::Alias(Alias::Outer { sort, count, index }) => {
                self.env.add_outer(*sort, *count, *index)?;
            }
            Definition::Type(def) => {
                let ty = self.env.eval(def)?;
                self.env.add_type(ty);
            }
            Definition::Export {
                name, sort, index, ..
            } => {
                let item = self.item(*sort, *index)?;
                self.add(item.clone(), None);
                self.exports.exports.insert(name.clone(), item);
            }
            other => return Err(bug!("{other:?} is not a plain definition")),
        }
        Ok(())
    }

    /// Adds an item to the index space of its sort, with the name it was imported under.
    fn add(&mut self, item: Item, import: Option<Name>) {
        match item {
            Item::CoreModule(module) => self.env.core_modules.borrow_mut().push(module),
            Item::Func(func) => {
                self.funcs.push(func);
                self.func_imports.resize(self.funcs.len(), None);
                if let Some(last) = self.func_imports.last_mut() {
                    *last = import;
                }
            }
            Item::Type(ty) => self.env.add_type(ty),
            Item::Component(component) => self.env.add_component(component),
            Item::Instance(instance) => {
                if let Some(import) = import {
                    let index = self.instances.len() as u32;
                    self.instance_imports.insert(index, import);
                }
                self.instances.push(instance);
            }
        }
    }

    /// The item of the given sort and index.
    fn item(&self, sort: Sort, index: u32) -> Result<Item> {
        Ok(match sort {
            Sort::CoreModule => Item::CoreModule(self.env.core_module(index)?),
            Sort::Func => Item::Func(at(&self.funcs, index, "function")?),
            Sort::Type => Item::Type(self.env.ty(index)?),
            Sort::Component => Item::Component(self.env.component(index)?),
            Sort::Instance => Item::Instance(at(&self.instances, index, "instance")?),
            Sort::Value => {
                return Err(Error::link("component-level values are not supported"));
            }
        })
    }

    fn import(
        &mut self,
        imports: &mut Resolver<'_>,
        name: &Name,
        ty: &ExternTypeDef,
    ) -> Result<()> {
        let item = match &self.args {
            Some(args) => args.get(name).cloned().ok_or_else(|| {
                bug!(
                    "component `{}` was instantiated without `{name}`",
                    self.name
                )
            })?,
            None => imports.resolve(&self.env, name, ty)?,
        };
        self.add(item, Some(name.clone()));
        Ok(())
    }
}
