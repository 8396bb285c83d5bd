//! Where a core function comes from, kept so that an error can name it; names are looked up only
//! when one does.

use crate::chain::CoreFunction;
use crate::component::definitions::Name;
use crate::engine::CoreModule;
use std::sync::Arc;

/// Where a core function comes from.
#[derive(Debug, Clone, Default)]
pub(crate) enum CoreOrigin {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A core instance exports it.
    Export(CoreInstanceName, Name),
    /// It is the start function of a core instance's module.
    Start(CoreInstanceName),
    /// The canonical definition of that index among the built-ins of the store.
    Builtin(usize),
    /// An element of a table.
    Element(u64),
}

/// A core instance of a module, by name.
#[derive(Debug, Clone)]
pub(crate) struct CoreInstanceName {
    /// Its number among the core instances of one instantiation.
    pub(crate) id: u32,
    pub(crate) module: Arc<CoreModule>,
    /// What it is called when it has no name: its index in the component.
    pub(crate) module_index: u32,
    pub(crate) instance: Name,
}

impl CoreInstanceName {
    pub(crate) fn module_name(&self) -> String {
        match &self.module.info().name {
            Some(name) => name.to_string(),
            None => self.module_index.to_string(),
        }
    }
}

impl CoreOrigin {
    /// Everything that is known of the function.
    pub(crate) fn describe(&self) -> CoreFunction {
        let (instance, index, export) = match self {
            CoreOrigin::Unknown | CoreOrigin::Builtin(_) => return CoreFunction::default(),
            CoreOrigin::Element(index) => {
                return CoreFunction {
                    name: Some(format!("table element {index}")),
                    ..CoreFunction::default()
                };
            }
            CoreOrigin::Export(instance, name) => {
                let index = instance.module.info().exported_func(name);
                (instance, index, Some(name.to_string()))
            }
            CoreOrigin::Start(instance) => (instance, instance.module.info().start, None),
        };
        let info = instance.module.info();
        CoreFunction {
            name: index.and_then(|index| info.func_name(index).map(str::to_owned)),
            index,
            export,
            module: Some(instance.module_name()),
            instance: Some(instance.instance.to_string()),
        }
    }
}
