//! Core instances, and the start functions of core modules.

use super::{Scope, Walk};
use crate::abi::canon_lift::{CanonicalOptions, Lifted, canon_lift};
use crate::abi::tasks::Caller;
use crate::abi::threads::Entry;
use crate::component::definitions::{CoreInstanceDef, CoreSort, Name};
use crate::engine::{Context, CoreFunc, CoreInstance, CoreModule, Extern};
use crate::error::{Error, Result, bug};
use crate::runtime::at;
use crate::store::drive::{self, Base};
use crate::types::FuncType;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A core instance: of a module, or a bundle of exports.
#[derive(Debug, Clone)]
pub(super) enum CoreInst {
    Module(CoreInstance),
    Exports(Rc<HashMap<Name, Extern>>),
}

impl CoreInst {
    fn export(&self, cx: &Context<'_>, name: &str) -> Result<Extern> {
        let export = match self {
            CoreInst::Module(instance) => instance.get_export(cx, name),
            CoreInst::Exports(exports) => exports.get(name).copied(),
        };
        export.ok_or_else(|| bug!("a core instance has no export `{name}`"))
    }
}

impl Walk<'_> {
    pub(super) fn core_instance(&mut self, def: &CoreInstanceDef) -> Result<()> {
        match def {
            CoreInstanceDef::FromExports(exports) => {
                let scope = self.scope()?;
                let exports = exports
                    .iter()
                    .map(|(name, sort, index)| Ok((name.clone(), scope.core_item(*sort, *index)?)))
                    .collect::<Result<HashMap<_, _>>>()?;
                scope
                    .core_instances
                    .push(CoreInst::Exports(Rc::new(exports)));
                Ok(())
            }
            CoreInstanceDef::Instantiate { module, args } => self.instantiate_core(*module, args),
        }
    }

    fn instantiate_core(&mut self, module: u32, args: &[(Name, u32)]) -> Result<()> {
        let (store, at) = (Rc::clone(self.store), self.at);
        let scope = self.scope()?;
        let module_index = module;
        let module = scope.env.core_module(module)?;
        let start = store.enter("instantiate a core module", at, |cx| {
            let imports = scope.core_imports(cx, &module, args)?;
            cx.data_mut().check_enter(scope.inst)?;
            let instance = module.instantiate(cx, &imports)?;
            scope.core_instances.push(CoreInst::Module(instance));
            module.start_func(cx, instance)
        })??;
        match start {
            Some((func, name)) => {
                let module_name = module
                    .info()
                    .name
                    .clone()
                    .unwrap_or_else(|| module_index.to_string().into());
                self.run_start(func, name, &module_name)
            }
            None => Ok(()),
        }
    }

    /// Runs a start function as what it is: a synchronous call of type `func()`.
    fn run_start(&mut self, func: CoreFunc, name: Name, module: &Name) -> Result<()> {
        let (store, at) = (Rc::clone(self.store), self.at);
        let scope = self.scope()?;
        let label = format!(
            "component `{}`, core module `{module}`, start function `{name}`",
            scope.path
        );
        let lifted = Rc::new(Lifted {
            core: func,
            ty: Arc::new(FuncType::new(false, Vec::new(), None)),
            opts: Rc::new(CanonicalOptions::default()),
            inst: scope.inst,
            entry: Entry {
                role: "start function",
                name,
                module: Some(format!("core module `{module}`").into()),
            },
        });
        let inst = scope.inst;
        let group = store.enter("run a start function", at, |cx| {
            cx.data_mut().instance(inst).group.clone()
        })?;
        let base = Base::start(label.into(), at);
        store.executor.with_phase(base.phase(&group), || {
            drive::run(&store, &base, "run a start function", |cx| {
                let caller = Caller::Internal(Rc::new([]));
                canon_lift(cx, &lifted, caller).map(|(_, flow)| flow)
            })
        })
    }
}

impl Scope {
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
        name: &str,
    ) -> Result<()> {
        if sort == CoreSort::Tag {
            return Err(no_tags());
        }
        let instance = at(&self.core_instances, instance, "core instance")?;
        match instance.export(cx, name)? {
            Extern::Func(func) => self.core_funcs.push(func),
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
