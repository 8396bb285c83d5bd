//! Matches the root component's imports with what the embedder offers.

use crate::abi::canon_lower::FuncInst;
use crate::component::definitions::{CoreModuleTypeDef, ExternTypeDef, Name, TypeDecl};
use crate::error::{Error, ErrorKind, Result, bug};
use crate::linker::stub_func;
use crate::runtime::{Declared, Env, Item, RtInstance, RtType, for_each_export};
use crate::types::{FuncType, ResourceType};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What the embedder offers, by path: the name of an import, or of an instance and then of what
/// it exports.
pub(crate) trait Imports {
    /// Whether there is anything of that name.
    fn has(&self, path: &[&str]) -> bool;

    /// A function of the given type.
    fn func(&self, path: &[&str], ty: &Arc<FuncType>) -> Result<FuncInst>;

    /// Anything else; `wanted` says what, for the error.
    fn item(&self, path: &[&str], wanted: &str) -> Result<Item>;
}

/// Binds root imports, and keeps the errors of those that cannot be bound, so that all of them are
/// reported at once. What is missing is replaced meanwhile: nothing runs before they are reported.
pub(super) struct Resolver<'a> {
    imports: &'a dyn Imports,
    errors: Vec<Error>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(imports: &'a dyn Imports) -> Resolver<'a> {
        Resolver {
            imports,
            errors: Vec::new(),
        }
    }

    /// Fails when an import could not be bound.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.errors.len() {
            0 => Ok(()),
            1 => self.errors.pop().map_or(Ok(()), Err),
            count => {
                let errors = std::mem::take(&mut self.errors);
                let errors: Vec<String> = errors.iter().map(Error::to_string).collect();
                Err(Error::link(format!(
                    "{count} imports cannot be satisfied:\n  {}",
                    errors.join("\n  ")
                )))
            }
        }
    }

    /// Finds what a root import is bound to.
    pub(super) fn resolve(
        &mut self,
        env: &Rc<Env>,
        name: &Name,
        ty: &ExternTypeDef,
    ) -> Result<Item> {
        let declared = Declared::eval(env, ty)?;
        match self.resolve_declared(&[name], declared)? {
            Some(item) => Ok(item),
            None => {
                self.finish()?;
                Err(bug!("import `{name}` was not bound, and there is no error"))
            }
        }
    }

    /// None when it cannot be bound, and nothing can stand for it.
    fn resolve_declared(&mut self, path: &[&str], declared: Declared) -> Result<Option<Item>> {
        let imports = self.imports;
        match declared {
            Declared::Func(ty) => {
                let bound = imports.func(path, &ty);
                self.keep(bound.map(Item::Func), || {
                    Some(Item::Func(stub_func(path.join("#").into(), &ty)))
                })
            }
            Declared::SubResource => {
                let bound = imports.item(path, "a resource type");
                let bound = bound.and_then(|item| {
                    expect(path, item, "a resource type", |item| {
                        matches!(item, Item::Type(RtType::Resource(_)))
                    })
                });
                self.keep(bound, || {
                    Some(Item::Type(RtType::Resource(ResourceType::fresh())))
                })
            }
            // The type is known from what it equals; only a resource type that the embedder names
            // too could contradict it.
            Declared::TypeEq(RtType::Resource(rt)) if imports.has(path) => {
                const WANTED: &str = "the resource type that was imported before";
                let bound = imports.item(path, "a resource type").and_then(|item| {
                    expect(path, item, WANTED, |item| {
                        matches!(item, Item::Type(RtType::Resource(offered)) if *offered == rt)
                    })
                });
                self.keep(bound, || Some(Item::Type(RtType::Resource(rt))))
            }
            Declared::TypeEq(ty) => Ok(Some(Item::Type(ty))),
            Declared::CoreModule(wanted) => {
                let bound = imports.item(path, "a core module");
                let bound = bound.and_then(|item| match &item {
                    Item::CoreModule(module) => {
                        check_module(path, &module.info().ty, &wanted).map(|()| item)
                    }
                    _ => expect(path, item, "a core module", |_| false),
                });
                self.keep(bound, || None)
            }
            Declared::Instance(decls, env) => self.resolve_instance(path, &decls, &env),
            Declared::Component => {
                let bound = imports.item(path, "a component").and_then(|_| {
                    Err(Error::link(format!(
                        "import `{}`: a component cannot be linked to the import of another; \
                         compose the two into one component instead",
                        path.join("#")
                    )))
                });
                self.keep(bound, || None)
            }
            Declared::Value => Err(Error::link("component-level values are not supported")),
        }
    }

    /// Keeps the error of an import that cannot be bound, and goes on with what stands for it.
    fn keep(
        &mut self,
        bound: Result<Item>,
        instead: impl FnOnce() -> Option<Item>,
    ) -> Result<Option<Item>> {
        match bound {
            Ok(item) => Ok(Some(item)),
            Err(error) if matches!(error.kind(), ErrorKind::Link(_)) => {
                self.errors.push(error);
                Ok(instead())
            }
            Err(error) => Err(error),
        }
    }

    fn resolve_instance(
        &mut self,
        path: &[&str],
        decls: &[TypeDecl],
        env: &Rc<Env>,
    ) -> Result<Option<Item>> {
        let mut exports = BTreeMap::new();
        let complete = for_each_export(decls, env, |name, declared| {
            let mut path = path.to_owned();
            path.push(name);
            let item = self.resolve_declared(&path, declared)?;
            if let Some(item) = &item {
                exports.insert(name.clone(), item.clone());
            }
            Ok(item)
        })?;
        let instance = Item::Instance(Rc::new(RtInstance { exports }));
        Ok(complete.then_some(instance))
    }
}

fn expect(
    path: &[&str],
    item: Item,
    wanted: &str,
    fits: impl FnOnce(&Item) -> bool,
) -> Result<Item> {
    if fits(&item) {
        return Ok(item);
    }
    Err(Error::link(format!(
        "import `{}`: {wanted} is wanted, but the linker has {} there",
        path.join("#"),
        item.kind()
    )))
}

/// Checks that the offered module is of the wanted type: it imports no more, and exports no less.
fn check_module(
    path: &[&str],
    offered: &CoreModuleTypeDef,
    wanted: &CoreModuleTypeDef,
) -> Result<()> {
    let misfit = |problem: String| {
        Error::link(format!(
            "import `{}`: the core module that the linker has there does not fit: {problem}",
            path.join("#")
        ))
    };
    for (module, field, needs) in &offered.imports {
        let mut gives = wanted.imports.iter();
        let gives = gives.find(|(m, f, _)| (m, f) == (module, field));
        let Some((_, _, gives)) = gives else {
            return Err(misfit(format!(
                "it imports `{module}` `{field}`, which the module type does not have"
            )));
        };
        if let Err(problem) = gives.check_subtype(needs) {
            return Err(misfit(format!(
                "its import `{module}` `{field}`: {problem}"
            )));
        }
    }
    for (name, wants) in &wanted.exports {
        let has = offered.exports.iter().find(|(export, _)| export == name);
        let Some((_, has)) = has else {
            return Err(misfit(format!("it has no export `{name}`")));
        };
        if let Err(problem) = has.check_subtype(wants) {
            return Err(misfit(format!("its export `{name}`: {problem}")));
        }
    }
    Ok(())
}
