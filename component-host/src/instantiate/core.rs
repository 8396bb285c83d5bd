//! Core instances, and the start functions of core modules.

use super::{LinkedModule, Scope, Walk};
use crate::abi::canon_lift::{CanonicalOptions, Lifted, canon_lift};
use crate::abi::host_call::poll_held;
use crate::abi::tasks::Caller;
use crate::abi::threads::{Entry, Role};
use crate::component::decode::name_of;
use crate::component::definitions::{CoreInstanceDef, CoreSort, Name};
use crate::engine::{Context, CoreFunc, CoreInstance, CoreModule, Extern};
use crate::error::{Error, Result, bug};
use crate::origin::{CoreInstanceName, CoreOrigin};
use crate::runtime::at;
use crate::store::drive::{self, Base, Driven};
use crate::types::FuncType;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use vestibule_executor::yield_now;

/// A core instance: of a module, or a bundle of exports.
#[derive(Debug, Clone)]
pub(super) enum CoreInst {
    Module(CoreInstance, CoreInstanceName),
    Exports(Rc<HashMap<Name, (Extern, CoreOrigin)>>),
}

impl CoreInst {
    fn export(&self, cx: &Context<'_>, name: &str) -> Result<Extern> {
        let export = match self {
            CoreInst::Module(instance, _) => instance.get_export(cx, name),
            CoreInst::Exports(exports) => exports.get(name).map(|(export, _)| *export),
        };
        export.ok_or_else(|| bug!("a core instance has no export `{name}`"))
    }

    /// Where the exported function of the given name comes from.
    fn origin(&self, name: &Name) -> CoreOrigin {
        match self {
            CoreInst::Module(_, instance) => CoreOrigin::Export(instance.clone(), name.clone()),
            CoreInst::Exports(exports) => match exports.get(name) {
                Some((_, origin)) => origin.clone(),
                None => CoreOrigin::Unknown,
            },
        }
    }
}

impl Walk<'_> {
    pub(super) async fn core_instance(&mut self, def: &CoreInstanceDef) -> Result<()> {
        match def {
            CoreInstanceDef::FromExports(exports) => {
                let scope = self.scope()?;
                let exports = exports
                    .iter()
                    .map(|(name, sort, index)| {
                        let item = scope.core_item(*sort, *index)?;
                        Ok((name.clone(), (item, scope.core_origin(*sort, *index))))
                    })
                    .collect::<Result<HashMap<_, _>>>()?;
                scope
                    .core_instances
                    .push(CoreInst::Exports(Rc::new(exports)));
                Ok(())
            }
            CoreInstanceDef::Instantiate { module, args } => {
                self.instantiate_core(*module, args).await
            }
        }
    }

    async fn instantiate_core(&mut self, module: u32, args: &[(Name, u32)]) -> Result<()> {
        let (store, at) = (Rc::clone(self.store), self.at);
        let id = self.core_instances_made;
        self.core_instances_made += 1;
        let scope = self.scope()?;
        let name = CoreInstanceName {
            id,
            module: scope.env.core_module(module)?,
            module_index: module,
            instance: scope.core_instance_name(),
        };
        let cost = name.module.info().instance_cost;
        self.charge(cost)?;
        let linking = self.linked.is_some();
        let scope = self.scope()?;
        let module = &name.module;
        let mut func_imports = Vec::new();
        let inst = scope.inst;
        let start = store.enter("instantiate a core module", at, |cx| {
            let imports = scope.core_imports(cx, module, args)?;
            if linking {
                func_imports = scope.func_imports(module, args, &imports);
            }
            cx.data_mut().check_enter(scope.inst)?;
            let instance = module.instantiate(cx, &imports)?;
            let made = CoreInst::Module(instance, name.clone());
            scope.core_instances.push(made);
            module.start_func(cx, instance)
        })??;
        if let Some(linked) = &mut self.linked {
            let component = store.enter("link", at, |cx| cx.data().path(inst))?;
            linked.push(LinkedModule {
                instance: name,
                component,
                func_imports,
            });
            return Ok(());
        }
        match start {
            Some(func) => self.run_start(func, name).await,
            None => Ok(()),
        }
    }

    /// Runs a start function as what it is: a synchronous call of type `func()`.
    async fn run_start(&mut self, func: CoreFunc, instance: CoreInstanceName) -> Result<()> {
        let (store, at) = (Rc::clone(self.store), self.at);
        let scope = self.scope()?;
        let inst = scope.inst;
        let (group, path) = store.enter("run a start function", at, |cx| {
            let state = cx.data_mut();
            (state.instance(inst).group.clone(), state.path(inst))
        })?;
        let module = instance.module_name();
        let core = CoreOrigin::Start(instance);
        let described = core.describe();
        let name: Name = match (described.name, described.index) {
            (Some(name), _) => name.into(),
            (None, Some(index)) => format!("function {index}").into(),
            (None, None) => "(unnamed)".into(),
        };
        let label = format!("{path}, core module `{module}`, start function `{name}`");
        let lifted = Rc::new(Lifted {
            core: func,
            ty: Arc::new(FuncType::new(false, Vec::new(), None)),
            opts: Rc::new(CanonicalOptions::default()),
            inst,
            direct: false,
            entry: Rc::new(Entry {
                role: Role::Start,
                name,
                core,
            }),
        });
        let base = Base::start(label.into(), at, self.yields);
        let phase = || base.phase(&group);
        let mut driven = store.executor.with_phase(phase(), || {
            drive::run(&store, &base, "run a start function", |cx| {
                let caller = Caller::Internal(Rc::new([]));
                canon_lift(cx, &lifted, caller).map(|(_, flow)| flow)
            })
        })?;
        while driven == Driven::SliceOver {
            yield_now().await;
            poll_fn(|cx| poll_held(&store, cx)).await;
            driven = store
                .executor
                .with_phase(phase(), || drive::go_on(&store, &base))?;
        }
        Ok(())
    }
}

impl Scope {
    /// The name of the core instance that is made next.
    fn core_instance_name(&self) -> Name {
        let index = self.core_instances.len() as u32;
        name_of(&self.def.core_instance_names, index).unwrap_or_else(|| index.to_string().into())
    }

    /// Where the functions that a module imports come from, in its order.
    fn func_imports(
        &self,
        module: &CoreModule,
        args: &[(Name, u32)],
        imports: &[Extern],
    ) -> Vec<CoreOrigin> {
        let args: HashMap<&str, u32> = args.iter().map(|(name, i)| (&**name, *i)).collect();
        let imports = module.imports().iter().zip(imports);
        let funcs = imports.filter(|(_, import)| matches!(import, Extern::Func(_)));
        funcs
            .map(|((module, field), _)| {
                let index = args.get(&**module).copied().unwrap_or(u32::MAX);
                let instance = self.core_instances.get(index as usize);
                instance.map_or(CoreOrigin::Unknown, |instance| {
                    instance.origin(&Name::from(&**field))
                })
            })
            .collect()
    }

    fn core_origin(&self, sort: CoreSort, index: u32) -> CoreOrigin {
        match sort {
            CoreSort::Func => self.func_origin(index),
            _ => CoreOrigin::Unknown,
        }
    }

    /// Where a core function comes from.
    pub(super) fn func_origin(&self, index: u32) -> CoreOrigin {
        let origin = self.core_func_origins.get(index as usize);
        origin.cloned().unwrap_or_default()
    }

    /// The externs that a module imports, in its order, from the instances it is given.
    fn core_imports(
        &self,
        cx: &Context<'_>,
        module: &CoreModule,
        args: &[(Name, u32)],
    ) -> Result<Vec<Extern>> {
        let args: HashMap<&str, u32> = args.iter().map(|(name, i)| (&**name, *i)).collect();
        module
            .imports()
            .iter()
            .map(|(module, field)| {
                let Some(&index) = args.get(&**module) else {
                    return Err(bug!("a core module was not given its import `{module}`"));
                };
                let instance = self.core_instances.get(index as usize);
                let instance = instance.ok_or_else(|| bug!("there is no core instance {index}"))?;
                instance.export(cx, field)
            })
            .collect()
    }

    fn core_item(&self, sort: CoreSort, index: u32) -> Result<Extern> {
        Ok(match sort {
            CoreSort::Func => Extern::Func(at(&self.core_funcs, index, "core function")?),
            CoreSort::Table => Extern::Table(at(&self.core_tables, index, "core table")?),
            CoreSort::Memory => Extern::Memory(at(&self.core_memories, index, "core memory")?),
            CoreSort::Global => Extern::Global(at(&self.core_globals, index, "core global")?),
            CoreSort::Tag => return Err(no_tags()),
        })
    }

    pub(super) fn alias_core_export(
        &mut self,
        cx: &Context<'_>,
        sort: CoreSort,
        instance: u32,
        name: &Name,
    ) -> Result<()> {
        if sort == CoreSort::Tag {
            return Err(no_tags());
        }
        let instance = at(&self.core_instances, instance, "core instance")?;
        match instance.export(cx, name)? {
            Extern::Func(func) => {
                self.core_funcs.push(func);
                self.core_func_origins.push(instance.origin(name));
            }
            Extern::Table(table) => self.core_tables.push(table),
            Extern::Memory(memory) => self.core_memories.push(memory),
            Extern::Global(global) => self.core_globals.push(global),
        }
        Ok(())
    }
}

fn no_tags() -> Error {
    Error::invalid(
        "the core engine does not support exceptions: tags cannot be used",
        None,
    )
}
