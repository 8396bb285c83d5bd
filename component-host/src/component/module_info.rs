//! What is known about a core module without compiling it: for link errors, call chains and
//! `vestibule inspect`.

use super::definitions::{CoreExternType, CoreModuleTypeDef, Name};
use super::names::CoreNames;
use std::ops::Range;

/// A core module of a component, as the decoder saw it.
#[derive(Debug)]
pub(crate) struct CoreModuleInfo {
    /// Its name: the one its component gives it, else the one it gives itself.
    pub(crate) name: Option<Name>,
    /// The name of the component it is defined in.
    pub(crate) component: Option<Name>,
    /// Where it is, in bytes from the start of the component.
    pub(crate) range: Range<usize>,
    /// Its imports and exports, in the order of the binary.
    pub(crate) ty: CoreModuleTypeDef,
    /// What an instance of it takes beside its memories and tables, in bytes: an estimate.
    pub(crate) instance_cost: u64,
    /// The function of its start section, by its index in the function index space.
    pub(crate) start: Option<u32>,
    /// Its exported functions, by name.
    pub(crate) func_exports: Box<[(Box<str>, u32)]>,
    /// What it uses that the engine cannot run; the reason to refuse compiling it.
    pub(crate) unsupported: Option<Unsupported>,
    pub(crate) names: CoreNames,
}

/// Something in a core module that is valid WebAssembly, and beyond the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsupported {
    /// What it is, as the validator says it: `exceptions proposal not enabled`.
    pub(crate) what: String,
    /// Where it is first used, in bytes from the start of the component.
    pub(crate) offset: usize,
}

impl CoreModuleInfo {
    /// The name of a function: the name section's, else that of the import.
    pub(crate) fn func_name(&self, index: u32) -> Option<&str> {
        self.names
            .func(index)
            .or_else(|| self.imported_func(index).map(|(_, field)| field))
    }

    /// The index of an exported function.
    pub(crate) fn exported_func(&self, name: &str) -> Option<u32> {
        let mut exports = self.func_exports.iter();
        exports
            .find(|(export, _)| **export == *name)
            .map(|(_, index)| *index)
    }

    fn imported_func(&self, index: u32) -> Option<(&str, &str)> {
        self.ty
            .imports
            .iter()
            .filter(|(_, _, ty)| matches!(ty, CoreExternType::Func(_)))
            .nth(index as usize)
            .map(|(module, field, _)| (module.as_str(), field.as_str()))
    }
}
