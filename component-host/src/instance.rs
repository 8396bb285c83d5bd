//! An instance of a component, as embedders see it.

use crate::error::{Error, Result};
use crate::func::Func;
use crate::runtime::{Item, RtInstance, RtType};
use crate::store::{Store, StoreInner};
use crate::types::ResourceType;
use crate::versions;
use std::fmt;
use std::rc::{Rc, Weak};

/// A component that was instantiated in a store.
#[derive(Clone)]
pub struct Instance {
    pub(crate) store: Weak<StoreInner>,
    pub(crate) exports: Rc<RtInstance>,
}

impl Instance {
    /// The exported function of the given name: `name`, or `interface#name` for a function of an
    /// exported interface, such as `demo:init/api@0.1.0#value`; a compatible version will do.
    ///
    /// # Errors
    ///
    /// `Link` when there is no such function; it says what there is.
    pub fn get_func<T: 'static>(&self, store: &Store<T>, name: &str) -> Result<Func> {
        if !std::ptr::eq(self.store.as_ptr(), Rc::as_ptr(&store.inner)) {
            return Err(Error::link("the instance belongs to another store"));
        }
        let (path, field) = match name.split_once('#') {
            Some((path, field)) => (Some(path), field),
            None => (None, name),
        };
        let exports = match path {
            None => Some(&self.exports),
            Some(path) => match versions::find(&self.exports.exports, path) {
                Some(Item::Instance(instance)) => Some(instance),
                _ => None,
            },
        };
        match exports.and_then(|instance| instance.exports.get(field)) {
            Some(Item::Func(func)) => Ok(Func {
                store: self.store.clone(),
                inner: func.clone(),
            }),
            Some(other) => Err(Error::link(format!(
                "export `{name}` is {}, not a function",
                other.kind()
            ))),
            None => Err(Error::link(format!(
                "no exported function `{name}`; {}",
                self.offered()
            ))),
        }
    }

    /// The export of the given name, at the top or inside an exported instance.
    pub(crate) fn item(&self, name: &str) -> Result<Item> {
        let found = match name.split_once('#') {
            None => self.exports.exports.get(name),
            Some((path, field)) => match versions::find(&self.exports.exports, path) {
                Some(Item::Instance(instance)) => instance.exports.get(field),
                _ => None,
            },
        };
        found.cloned().ok_or_else(|| {
            let names = self.exports.exports.keys();
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            let names = match names.is_empty() {
                true => "nothing".to_owned(),
                false => names.join(", "),
            };
            Error::link(format!("no export `{name}`; the component exports {names}"))
        })
    }

    /// The type of an exported resource.
    ///
    /// # Errors
    ///
    /// `Link` when there is no such resource type; it says what there is.
    pub fn get_resource(&self, name: &str) -> Result<ResourceType> {
        match self.item(name)? {
            Item::Type(RtType::Resource(ty)) => Ok(ty),
            other => Err(Error::link(format!(
                "export `{name}` is {}, not a resource type",
                other.kind()
            ))),
        }
    }

    /// The exported functions, as `name` or `interface#name`, in the order of their names.
    pub fn func_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, item) in &self.exports.exports {
            match item {
                Item::Func(_) => names.push(name.to_string()),
                Item::Instance(instance) => {
                    for (field, item) in &instance.exports {
                        if matches!(item, Item::Func(_)) {
                            names.push(format!("{name}#{field}"));
                        }
                    }
                }
                _ => {}
            }
        }
        names
    }

    fn offered(&self) -> String {
        let names = self.func_names();
        if names.is_empty() {
            return "the component exports no functions".to_owned();
        }
        let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        format!("the component exports {}", names.join(", "))
    }

    /// Offers this instance's core modules and resource types to other components, as an
    /// instance of the given name.
    ///
    /// # Errors
    ///
    /// `Link` when the name is defined already as something else.
    pub fn define_in<T: 'static>(&self, linker: &mut crate::Linker<T>, name: &str) -> Result<()> {
        let mut target = linker.instance(name)?;
        for (name, item) in &self.exports.exports {
            match item {
                Item::CoreModule(module) => target.redefine_module(name, module),
                Item::Type(RtType::Resource(ty)) => target.redefine_resource(name, *ty),
                _ => {}
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("funcs", &self.func_names())
            .finish_non_exhaustive()
    }
}
