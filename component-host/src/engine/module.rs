//! Core modules and their instances.

use super::rewrite::rewrite;
use super::run::core_error;
use super::{Context, CoreFunc, Engine};
use crate::component::module_info::CoreModuleInfo;
use crate::error::{Error, bug};
use std::fmt;
use std::sync::Arc;

pub(crate) use wasmi::Extern;
pub(crate) use wasmi::Instance as CoreInstance;

/// A core module, compiled, with its start section taken out: we run the start function
/// ourselves, resumably, with the limits already in force.
pub(crate) struct CoreModule {
    /// None when the module uses what the engine cannot run: it may be linked, not instantiated.
    inner: Option<wasmi::Module>,
    imports: Box<[(Box<str>, Box<str>)]>,
    start: Option<StartFunction>,
    info: Arc<CoreModuleInfo>,
}

/// A module's start function.
#[derive(Debug, Clone)]
pub(crate) struct StartFunction {
    /// The private name under which the rewritten module exports it.
    export: Box<str>,
}

impl CoreModule {
    /// Compiles a module that has been validated.
    pub(crate) fn new(
        engine: &Engine,
        bytes: &[u8],
        info: Arc<CoreModuleInfo>,
    ) -> Result<Self, Error> {
        if info.unsupported.is_some() {
            return Ok(CoreModule {
                inner: None,
                imports: Box::default(),
                start: None,
                info,
            });
        }
        let rewritten = rewrite(bytes)?;
        let inner = wasmi::Module::new(&engine.inner, &rewritten.bytes[..]).map_err(|error| {
            Error::invalid(
                format!(
                    "core module {} cannot be run by the core engine: {error}",
                    info.name.as_deref().unwrap_or("(unnamed)")
                ),
                None,
            )
        })?;
        let imports = inner
            .imports()
            .map(|import| (import.module().into(), import.name().into()))
            .collect();
        let start = rewritten.start.map(|start| StartFunction {
            export: start.export.into(),
        });
        Ok(CoreModule {
            inner: Some(inner),
            imports,
            start,
            info,
        })
    }

    /// Its imports, as pairs of module and field, in order.
    pub(crate) fn imports(&self) -> &[(Box<str>, Box<str>)] {
        &self.imports
    }

    /// What is known of it without running it.
    pub(crate) fn info(&self) -> &CoreModuleInfo {
        &self.info
    }

    /// Makes an instance. Active segments are written; the start function has not run.
    pub(crate) fn instantiate(
        &self,
        cx: &mut Context<'_>,
        imports: &[Extern],
    ) -> Result<CoreInstance, Error> {
        let Some(inner) = &self.inner else {
            return Err(self.unsupported());
        };
        // Type indices and code belong to an engine: another one would take them for its own.
        if !wasmi::Engine::same(inner.engine(), cx.engine()) {
            return Err(self.foreign());
        }
        cx.data_mut().limiter.refused = None;
        CoreInstance::new(&mut *cx, inner, imports)
            .map_err(|error| core_error(cx.data_mut(), &error))
    }

    fn foreign(&self) -> Error {
        Error::link(format!(
            "core module `{}` was compiled by another engine than the store's; compile the \
             component with `Store::engine`",
            self.info.name.as_deref().unwrap_or("(unnamed)")
        ))
    }

    fn unsupported(&self) -> Error {
        let name = self.info.name.as_deref().unwrap_or("(unnamed)");
        match &self.info.unsupported {
            Some(unsupported) => Error::invalid(
                format!(
                    "core module `{name}` cannot be run by the core engine: {}",
                    unsupported.what
                ),
                Some(unsupported.offset),
            ),
            None => bug!("core module `{name}` was not compiled"),
        }
    }

    /// The start function of an instance of this module.
    pub(crate) fn start_func(
        &self,
        cx: &Context<'_>,
        instance: CoreInstance,
    ) -> Result<Option<CoreFunc>, Error> {
        let Some(start) = &self.start else {
            return Ok(None);
        };
        match instance.get_func(cx, &start.export) {
            Some(func) => Ok(Some(func)),
            None => Err(bug!("the rewritten module lost its start function")),
        }
    }
}

impl fmt::Debug for CoreModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreModule")
            .field("info", &self.info)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
