//! Binds a linker's definitions to the imports of a component.

use super::{Definition, FuncDefinition, FuncKind, Linker, ResourceDefinition};
use crate::abi::canon_lower::FuncInst;
use crate::abi::resource_state::ResourceImpl;
use crate::component::definitions::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::func::{Accessor, Caller, HostFunc, HostKind};
use crate::instantiate::Imports;
use crate::runtime::{Item, RtType};
use crate::store::{Store, StoreInner};
use crate::trap::Trap;
use crate::types::{FuncType, ResourceType, Type};
use crate::versions;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// What a path in a linker leads to: a definition, or an export of an instance that is one.
enum Found<'a, T: 'static> {
    Definition(&'a Definition<T>),
    Export(&'a Item, &'a Weak<StoreInner>),
}

impl<T> Found<'_, T> {
    fn kind(&self) -> &'static str {
        match self {
            Found::Definition(definition) => definition.kind(),
            Found::Export(item, _) => item.kind(),
        }
    }
}

/// A linker's definitions, bound to one store; or to none, to see whether they fit.
pub(super) struct LinkedImports<'a, T: 'static> {
    pub(super) linker: &'a Linker<T>,
    pub(super) store: Option<&'a Store<T>>,
}

impl<T: 'static> LinkedImports<'_, T> {
    fn find(&self, path: &[&str]) -> Option<Found<'_, T>> {
        let (first, rest) = path.split_first()?;
        let mut found = found(versions::find(&self.linker.root, first)?);
        for name in rest {
            found = match found {
                Found::Definition(Definition::Instance(names)) => self::found(names.get(*name)?),
                Found::Export(Item::Instance(instance), store) => {
                    Found::Export(instance.exports.get(*name)?, store)
                }
                _ => return None,
            };
        }
        Some(found)
    }

    /// Links a resource type of the embedder's: from now on the store knows its destructor.
    fn bind_resource(&self, name: &str, resource: &ResourceDefinition<T>) -> Result<Item> {
        let dtor_ty = FuncType::new(false, [("rep".into(), Type::U32)], None);
        let dtor = self.bind(name, &resource.dtor, &Arc::new(dtor_ty))?;
        if let Some(store) = self.store {
            let at = resource.dtor.defined_at;
            store.inner.enter("link a resource type", at, |cx| {
                let resources = &mut cx.data_mut().resources;
                resources
                    .entry(resource.ty)
                    .or_insert_with(|| ResourceImpl::Host(Rc::new(dtor)));
            })?;
        }
        Ok(Item::Type(RtType::Resource(resource.ty)))
    }

    /// A function of another instance, offered as it is.
    fn bind_export(
        &self,
        name: &str,
        func: &FuncInst,
        store: &Weak<StoreInner>,
        ty: &FuncType,
    ) -> Result<FuncInst> {
        let elsewhere = |of: &Store<T>| !std::ptr::eq(store.as_ptr(), Rc::as_ptr(&of.inner));
        if self.store.is_some_and(elsewhere) {
            return Err(Error::link(format!(
                "import `{name}`: the function that the linker has there belongs to an instance \
                 in another store"
            )));
        }
        if **func.ty() != *ty {
            return Err(Error::link(format!(
                "import `{name}`, which is {ty}, does not fit: the instance exports {}",
                func.ty()
            )));
        }
        Ok(func.clone())
    }

    fn start_safe(&self, name: &str) -> bool {
        let instance = name.split_once('#').map_or("", |(instance, _)| instance);
        self.linker.start_safety.allows(instance, name)
    }

    fn bind(&self, name: &str, func: &FuncDefinition<T>, ty: &Arc<FuncType>) -> Result<HostFunc> {
        (func.check)(ty).map_err(|problem| {
            Error::link(format!(
                "import `{name}`, which is {ty}, does not fit: {problem}"
            ))
        })?;
        let is_async = matches!(func.kind, FuncKind::Async(_));
        if is_async && !ty.is_async() && !self.linker.suspending.allows(name) {
            return Err(Error::link(format!(
                "import `{name}`, which is {ty}, is of synchronous type, and the host function \
                 defined at {} is async: define it with `func`, let the component import an \
                 `async func`, or let the whole store wait for it with \
                 `Linker::allow_suspending(\"{name}\")`",
                func.defined_at
            )));
        }
        let Some(store) = self.store else {
            return Ok(stub(name.into(), ty));
        };
        let data = Rc::clone(&store.data);
        let executor = store.inner.executor.clone();
        let store = Rc::downgrade(&store.inner);
        let (func_ty, import) = (Arc::clone(ty), Rc::from(name));
        let kind = match &func.kind {
            FuncKind::Plain(function) => {
                let function = Rc::clone(function);
                HostKind::Plain(Box::new(move |args| {
                    function(Caller::new(&data, &executor, &store)?, &func_ty, args)
                }))
            }
            FuncKind::Async(function) => {
                let function = Rc::clone(function);
                HostKind::Async(Box::new(move |args| {
                    function(
                        Accessor::new(&data, &executor, &store, &import),
                        &func_ty,
                        args,
                    )
                }))
            }
        };
        Ok(HostFunc {
            name: name.into(),
            ty: Arc::clone(ty),
            kind,
            as_vals: func.as_vals,
            start_safe: self.start_safe(name),
            type_name: func.type_name,
            defined_at: func.defined_at,
        })
    }
}

impl<T: 'static> Imports for LinkedImports<'_, T> {
    fn has(&self, path: &[&str]) -> bool {
        self.find(path).is_some()
    }

    fn func(&self, path: &[&str], ty: &Arc<FuncType>) -> Result<FuncInst> {
        let name = path.join("#");
        match self.find(path) {
            Some(Found::Definition(Definition::Func(func))) => {
                let func = self.bind(&name, func, ty)?;
                Ok(FuncInst::Host(Rc::new(func)))
            }
            Some(Found::Export(Item::Func(func), store)) => {
                self.bind_export(&name, func, store, ty)
            }
            None if self.linker.unknown_imports_trap => Ok(stub_func(name.into(), ty)),
            other => Err(self.missing(path, &ty.to_string(), other)),
        }
    }

    fn item(&self, path: &[&str], wanted: &str) -> Result<Item> {
        match self.find(path) {
            Some(Found::Definition(Definition::Resource(resource))) => {
                self.bind_resource(&path.join("#"), resource)
            }
            Some(Found::Definition(Definition::Item(item)) | Found::Export(item, _)) => {
                Ok(item.clone())
            }
            None if self.linker.unknown_imports_trap && wanted == "a resource type" => {
                Ok(Item::Type(RtType::Resource(ResourceType::fresh())))
            }
            other => Err(self.missing(path, wanted, other)),
        }
    }
}

fn found<T>(definition: &Definition<T>) -> Found<'_, T> {
    match definition {
        Definition::Export(item, store) => Found::Export(item, store),
        other => Found::Definition(other),
    }
}

impl<T: 'static> LinkedImports<'_, T> {
    /// The error of an import that is missing, or of another kind than it should be.
    fn missing(&self, path: &[&str], wanted: &str, found: Option<Found<'_, T>>) -> Error {
        let name = path.join("#");
        if let Some(found) = found {
            return Error::link(format!(
                "import `{name}`: {wanted} is wanted, but the linker has {} there",
                found.kind()
            ));
        }
        let siblings: Option<Vec<&str>> = match path.split_last() {
            Some((_, [])) | None => Some(self.linker.root.keys().map(String::as_str).collect()),
            Some((_, parent)) => match self.find(parent) {
                Some(Found::Definition(Definition::Instance(names))) => {
                    Some(names.keys().map(String::as_str).collect())
                }
                Some(Found::Export(Item::Instance(instance), _)) => {
                    Some(instance.exports.keys().map(|name| &**name).collect())
                }
                _ => None,
            },
        };
        let offered = match siblings {
            Some(names) if !names.is_empty() => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                format!("the linker offers {} there", names.join(", "))
            }
            Some(_) => "the linker is empty".to_owned(),
            None => match path.first() {
                Some(first) => {
                    let names = self.linker.root.keys();
                    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
                    match names.is_empty() {
                        true => format!("the linker has no instance `{first}`"),
                        false => format!(
                            "the linker has no instance `{first}`, but {}",
                            names.join(", ")
                        ),
                    }
                }
                None => "the linker is empty".to_owned(),
            },
        };
        Error::new(ErrorKind::Link(format!(
            "missing import named `{name}`: {wanted} is wanted, and {offered}"
        )))
    }
}

/// A function that traps with its name.
#[track_caller]
pub(crate) fn stub_func(name: Name, ty: &Arc<FuncType>) -> FuncInst {
    FuncInst::Host(Rc::new(stub(name, ty)))
}

#[track_caller]
fn stub(name: Name, ty: &Arc<FuncType>) -> HostFunc {
    let trap = Trap::StubbedImport(name.to_string());
    HostFunc {
        name,
        ty: Arc::clone(ty),
        kind: HostKind::Plain(Box::new(move |_| Err(Error::from(trap.clone())))),
        as_vals: false,
        start_safe: true,
        type_name: "a stub",
        defined_at: Location::caller(),
    }
}
