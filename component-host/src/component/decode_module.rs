//! Follows one core module through validation: what the engine lacks for it, and its own types.
//!
//! What a module declares is validated twice: by the validator of the whole component, which accepts
//! what the official test suite has in it, and by a stricter one that knows only what the engine
//! runs. Function bodies are most of a module, and are validated once, with the stricter features.
//! Where that fails is what the engine lacks; it is no error yet, since a module that is never
//! compiled needs no engine.

use super::decode::{invalid, position};
use super::decode_types::core_func_type_def;
use super::definitions::{CoreExternType, CoreFuncTypeDef, CoreModuleTypeDef};
use super::module_info::Unsupported;
use super::names::CoreNames;
use crate::error::{Result, bug};
use std::collections::HashMap;
use std::sync::Arc;
use wasmparser::types::{CoreTypeId, EntityType, TypesRef};
use wasmparser::{
    CompositeInnerType, ExternalKind, FuncToValidate, FuncType, FuncValidatorAllocations,
    FunctionBody, Payload, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

/// What a component may use: of the component model, what the official test suite decides, 64-bit
/// memories, and names that mean nothing at run time; of the core language, what the engine runs, and a little more.
pub(super) fn features() -> WasmFeatures {
    // What the suite has in components that never run it, or (exceptions) in one file that does.
    // Accepting it here lets the engine say which module needs what, instead of "invalid".
    engine_features()
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::GC
        | WasmFeatures::THREADS
        | WasmFeatures::COMPONENT_MODEL
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_ASYNC_STACKFUL
        | WasmFeatures::CM_MORE_ASYNC_BUILTINS
        | WasmFeatures::CM_THREADING
        | WasmFeatures::CM_ERROR_CONTEXT
        | WasmFeatures::CM_FIXED_LENGTH_LISTS
        | WasmFeatures::CM_MAP
        | WasmFeatures::CM_IMPLEMENTS
        | WasmFeatures::CM_CANON_NAMES
        | WasmFeatures::CM_ACCESSORS
        | WasmFeatures::CM_FORWARD
        | WasmFeatures::CM64
}

/// What the engine runs of the core language.
pub(super) fn engine_features() -> WasmFeatures {
    WasmFeatures::MVP
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
        | WasmFeatures::SIMD
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::CUSTOM_PAGE_SIZES
}

/// A core module that is being read.
pub(super) struct OpenModule {
    pub(super) offset: usize,
    pub(super) start: Option<u32>,
    pub(super) instance_cost: u64,
    pub(super) func_exports: Vec<(Box<str>, u32)>,
    pub(super) names: CoreNames,
    support: Support,
}

/// What a section makes the engine allocate, or copy, for each instance: an estimate in bytes.
fn instance_cost(section: &Payload<'_>) -> u64 {
    /// An entity of the engine's store, and the reference to it in the instance.
    const ENTITY: u64 = 64;
    let bytes = |range: std::ops::Range<u64>| range.end.saturating_sub(range.start);
    let entities = match section {
        Payload::ImportSection(section) => section.count(),
        Payload::FunctionSection(section) => section.count(),
        Payload::TableSection(section) => section.count(),
        Payload::MemorySection(section) => section.count(),
        Payload::GlobalSection(section) => section.count(),
        Payload::ExportSection(section) => section.count(),
        // An element is a byte or more, and becomes a reference of eight, twice.
        Payload::ElementSection(section) => return 16 * bytes(section.range()),
        Payload::DataSection(section) => return bytes(section.range()),
        _ => 0,
    };
    ENTITY * u64::from(entities)
}

/// Whether the engine can run a module, as far as it has been read.
enum Support {
    /// This validator knows only what the engine runs, and has accepted everything.
    Full(Box<Validator>),
    Lacking(Unsupported),
}

impl OpenModule {
    pub(super) fn new(offset: usize, header: &Payload<'_>) -> OpenModule {
        let mut module = OpenModule {
            offset,
            start: None,
            instance_cost: 0,
            func_exports: Vec::new(),
            names: CoreNames::default(),
            support: Support::Full(Box::new(Validator::new_with_features(engine_features()))),
        };
        module.strictly(|validator| validator.payload(header).map(drop));
        module
    }

    /// Reads a payload for which the validator of the component gave `valid`.
    pub(super) fn payload(
        &mut self,
        payload: &Payload<'_>,
        valid: ValidPayload<'_>,
        allocations: &mut FuncValidatorAllocations,
    ) -> Result<()> {
        self.instance_cost += instance_cost(payload);
        match payload {
            Payload::StartSection { func, .. } => self.start = Some(*func),
            Payload::ExportSection(section) => {
                // Exports that cannot be read are not valid, and were reported.
                let exports = section.clone().into_iter().filter_map(Result::ok);
                let funcs = exports.filter(|export| export.kind == ExternalKind::Func);
                self.func_exports = funcs.map(|func| (func.name.into(), func.index)).collect();
            }
            Payload::CustomSection(section) if section.name() == "name" => {
                self.names = CoreNames::new(section.data());
            }
            _ => {}
        }
        if let ValidPayload::Func(function, body) = valid {
            return self.body(function, &body, allocations);
        }
        match payload {
            // What is exported was looked at where it is defined, and bodies are validated with
            // what the first validator knows of the module.
            Payload::ExportSection(_)
            | Payload::CodeSectionStart { .. }
            | Payload::CustomSection(_) => {}
            _ => {
                self.strictly(|validator| validator.payload(payload).map(drop));
            }
        }
        Ok(())
    }

    /// Validates a body once: for what the engine runs, as long as the module needs no more.
    fn body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        allocations: &mut FuncValidatorAllocations,
    ) -> Result<()> {
        let strict = FuncToValidate {
            resources: function.resources.clone(),
            features: engine_features(),
            ..function
        };
        match self.strictly(|_| validate_body(strict, body, allocations)) {
            true => Ok(()),
            false => validate_body(function, body, allocations).map_err(invalid),
        }
    }

    /// What the engine lacks to run it.
    pub(super) fn unsupported(&self) -> Option<Unsupported> {
        match &self.support {
            Support::Full(_) => None,
            Support::Lacking(what) => Some(what.clone()),
        }
    }

    /// Runs a step of the stricter validator; `false` when it fails or has failed before.
    fn strictly(
        &mut self,
        step: impl FnOnce(&mut Validator) -> Result<(), wasmparser::Error>,
    ) -> bool {
        let Support::Full(validator) = &mut self.support else {
            return false;
        };
        let Err(error) = step(validator) else {
            return true;
        };
        self.support = Support::Lacking(Unsupported {
            what: error.message().to_owned(),
            offset: position(error.offset()),
        });
        false
    }
}

/// The function types of core imports and exports, each once.
#[derive(Default)]
pub(super) struct FuncTypes(HashMap<CoreTypeId, Arc<CoreFuncTypeDef>>);

impl FuncTypes {
    /// The imports and exports of the core module that is open.
    pub(super) fn module_type(&mut self, validator: &Validator) -> Result<CoreModuleTypeDef> {
        self.imports_and_exports(validator)
            .ok_or_else(|| bug!("a core module has no types after validation"))
    }

    fn imports_and_exports(&mut self, validator: &Validator) -> Option<CoreModuleTypeDef> {
        let types = validator.types(0)?;
        let mut module = CoreModuleTypeDef::default();
        for (from, name, ty) in types.core_imports()? {
            let ty = self.extern_type(types, ty)?;
            module.imports.push((from.to_owned(), name.to_owned(), ty));
        }
        for (name, ty) in types.core_exports()? {
            let ty = self.extern_type(types, ty)?;
            module.exports.push((name.to_owned(), ty));
        }
        Some(module)
    }

    fn extern_type(&mut self, types: TypesRef<'_>, ty: EntityType) -> Option<CoreExternType> {
        Some(match ty {
            EntityType::Func(id) | EntityType::FuncExact(id) => {
                CoreExternType::Func(self.shared(types, id)?)
            }
            EntityType::Table(ty) => CoreExternType::Table(ty),
            EntityType::Memory(ty) => CoreExternType::Memory(ty),
            EntityType::Global(ty) => CoreExternType::Global(ty),
            EntityType::Tag(id) => CoreExternType::Tag(self.shared(types, id)?),
        })
    }

    fn shared(&mut self, types: TypesRef<'_>, id: CoreTypeId) -> Option<Arc<CoreFuncTypeDef>> {
        if let Some(ty) = self.0.get(&id) {
            return Some(ty.clone());
        }
        let ty = Arc::new(core_func_type_def(func_type(types, id)?));
        self.0.insert(id, ty.clone());
        Some(ty)
    }
}

fn validate_body(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: &mut FuncValidatorAllocations,
) -> Result<(), wasmparser::Error> {
    let mut validator = function.into_validator(std::mem::take(allocations));
    let valid = validator.validate(body);
    *allocations = validator.into_allocations();
    valid
}

pub(super) fn func_type(types: TypesRef<'_>, id: CoreTypeId) -> Option<&FuncType> {
    match &types.get(id)?.composite_type.inner {
        CompositeInnerType::Func(ty) => Some(ty),
        CompositeInnerType::Array(_)
        | CompositeInnerType::Struct(_)
        | CompositeInnerType::Cont(_) => None,
    }
}
