//! Turns the bytes of a component into definitions, and validates them in the same pass.
//!
//! The pass is over the payloads of one parser: each section is validated first, then turned into
//! definitions of the component that is open. Nesting is a stack of builders, never recursion.
//! Nothing is compiled until the last byte has been validated: core modules and nested components
//! are kept in lists meanwhile, and `Decoder::finish` puts them in their places.

use super::decode_canon::{adds_core_func, canon};
use super::decode_module::{FuncTypes, OpenModule, features, func_type};
use super::decode_types::{
    CoreScopes, alias_def, component_instance, core_instance, extern_type, sort,
};
use super::definitions::{ComponentDef, CoreModuleTypeDef, Definition, Name, Sort};
use super::module_info::CoreModuleInfo;
use super::names::ComponentNames;
use crate::chain::Frame;
use crate::engine::CoreModule;
use crate::error::{Error, Result, bug};
use std::sync::Arc;
use wasmparser::types::TypesRef;
use wasmparser::{
    ComponentExternName, Encoding, FuncValidatorAllocations, Parser, Payload, Validator,
};

/// A decoded component.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) root: Arc<ComponentDef>,
    /// The imports of the root component, in the order of the binary.
    pub(crate) imports: Box<[Extern]>,
    /// The exports of the root component, in the order of the binary.
    pub(crate) exports: Box<[Extern]>,
    /// Every core module, those of nested components included, in the order of the binary.
    #[cfg_attr(not(test), expect(dead_code, reason = "each is in its definition too"))]
    pub(crate) core_modules: Box<[Arc<CoreModuleInfo>]>,
}

/// An import or an export of the root component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extern {
    /// Its name as the binary has it, version included.
    pub(crate) name: Name,
    pub(crate) sort: Sort,
    /// `(implements "..")`: the interface it is an instance of.
    pub(crate) implements: Option<Name>,
    /// `(versionsuffix "..")`: what the version in the name leaves out.
    pub(crate) version_suffix: Option<Name>,
    /// `(external-id "..")`
    pub(crate) external_id: Option<Name>,
}

/// A core module that is valid and waits to be compiled.
#[derive(Debug)]
pub(crate) struct RawModule<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) info: Arc<CoreModuleInfo>,
}

/// Compiles one core module; called for each of them, in the order of the binary, once the whole
/// component is known to be valid.
pub(crate) type Compile<'c> = &'c mut dyn FnMut(RawModule<'_>) -> Result<Arc<CoreModule>>;

/// How large the input of the decoder may be.
///
/// What a component may contain within that size is limited by the validator: 1,000 modules and
/// components together, 1,000,000 definitions of a kind, 100 levels of types.
#[derive(Debug, Clone)]
pub(crate) struct DecodeLimits {
    /// The size of a component in bytes.
    pub(crate) component_size: usize,
    /// The size of a core module in bytes.
    pub(crate) core_module_size: usize,
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        // More than ten times the largest guest that was measured (CPython: 18 MB).
        const SIZE: usize = 256 << 20;
        DecodeLimits {
            component_size: SIZE,
            core_module_size: SIZE,
        }
    }
}

/// Validates and decodes a component.
///
/// # Errors
///
/// `Invalid` with a byte offset when the bytes are truncated, invalid, or no component; `Limit` when
/// they are too many; and whatever `compile` returns.
pub(crate) fn decode(bytes: &[u8], limits: &DecodeLimits, compile: Compile<'_>) -> Result<Decoded> {
    check_size("max_component_size", bytes.len(), limits.component_size)?;
    let mut decoder = Decoder::new(bytes, limits);
    let mut parser = Parser::new(0);
    parser.set_features(features());
    for payload in parser.parse_all(bytes) {
        decoder.payload(payload.map_err(invalid)?)?;
    }
    decoder.finish(compile)
}

pub(super) fn invalid(error: wasmparser::Error) -> Error {
    let message = error.message();
    let message = match reserved_byte(message) {
        Some(words) => format!("{words}: {message}"),
        None => message.to_owned(),
    };
    Error::invalid(message, usize::try_from(error.offset()).ok())
}

/// The official suite's words for the byte of a built-in that was once its flag `cancellable`, and
/// must now be zero. The validator has two texts of its own for it, and uses them nowhere else.
fn reserved_byte(message: &str) -> Option<&'static str> {
    let (_, what) = message.split_once(" for zero byte")?;
    if what.is_empty() {
        // Two or more: it never was a flag.
        Some("invalid boolean value")
    } else if what.starts_with("; this was historically accepted") {
        Some("non-zero reserved byte")
    } else {
        None
    }
}

/// A position in the input, which is in memory, so it fits.
pub(super) fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn check_size(limit: &'static str, size: usize, max: usize) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    let hint = "raise `Config::max_component_size` if the input is trusted";
    Err(Error::limit(limit, max as u64, "bytes", hint))
}

/// What is decoded so far.
struct Decoder<'a> {
    bytes: &'a [u8],
    limits: &'a DecodeLimits,
    validator: Validator,
    allocations: FuncValidatorAllocations,
    /// The components that are open, and the core module, innermost last.
    open: Vec<Open>,
    core_scopes: CoreScopes,
    /// The components that are complete; a nested one comes before the one it is in.
    components: Vec<Draft>,
    modules: Vec<CoreModuleInfo>,
    func_types: FuncTypes,
    imports: Vec<Extern>,
    exports: Vec<Extern>,
}

enum Open {
    Component(Draft),
    Module(Box<OpenModule>),
}

/// A component whose parts are not all there yet.
#[derive(Default)]
struct Draft {
    definitions: Vec<DraftDefinition>,
    names: ComponentNames,
    /// Its core modules, as pairs of index and place in `Decoder::modules`.
    core_modules: Vec<(u32, usize)>,
    /// Its components, as pairs of index and place in `Decoder::components`.
    components: Vec<(u32, usize)>,
}

enum DraftDefinition {
    Complete(Definition),
    /// A place in `Decoder::modules`.
    CoreModule(usize),
    /// A place in `Decoder::components`.
    Component(usize),
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], limits: &'a DecodeLimits) -> Decoder<'a> {
        Decoder {
            bytes,
            limits,
            validator: Validator::new_with_features(features()),
            allocations: FuncValidatorAllocations::default(),
            open: Vec::new(),
            core_scopes: CoreScopes::default(),
            components: Vec::new(),
            modules: Vec::new(),
            func_types: FuncTypes::default(),
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<()> {
        if let Payload::ModuleSection {
            unchecked_range, ..
        } = &payload
        {
            let size = unchecked_range.end.saturating_sub(unchecked_range.start);
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            check_size("max_core_module_size", size, self.limits.core_module_size)?;
        }
        if let Payload::End(offset) = payload {
            return self.close(offset);
        }
        let core_funcs = self.types().map_or(0, |types| types.function_count());
        let valid = self.validator.payload(&payload).map_err(invalid)?;
        if let Some(Open::Module(module)) = self.open.last_mut() {
            return module.payload(&payload, valid, &mut self.allocations);
        }
        if let Payload::Version { .. } = payload {
            return self.open(&payload);
        }
        self.component_payload(payload, core_funcs)
    }

    /// The types of what is open innermost.
    fn types(&self) -> Option<TypesRef<'_>> {
        self.validator.types(0)
    }

    fn open(&mut self, header: &Payload<'_>) -> Result<()> {
        let Payload::Version {
            encoding, range, ..
        } = header
        else {
            return Ok(());
        };
        let offset = position(range.start);
        match encoding {
            Encoding::Component => {
                self.core_scopes.enter();
                self.open.push(Open::Component(Draft::default()));
            }
            Encoding::Module if self.open.is_empty() => {
                return Err(Error::invalid(
                    "this is a core WebAssembly module, not a component; make it one with \
                     `wasm-tools component new`, or put it into one as \
                     `(component (core module ..))`",
                    Some(offset),
                ));
            }
            Encoding::Module => {
                let module = OpenModule::new(offset, header);
                self.open.push(Open::Module(Box::new(module)));
            }
        }
        Ok(())
    }

    fn component_payload(&mut self, payload: Payload<'_>, core_funcs: u32) -> Result<()> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    let instance = core_instance(instance.map_err(invalid)?);
                    self.define(Definition::CoreInstance(instance))?;
                }
            }
            Payload::CoreTypeSection(section) => {
                for ty in section {
                    for ty in self.core_scopes.core_types(ty.map_err(invalid)?)? {
                        self.define(Definition::CoreType(ty))?;
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    let instance = component_instance(instance.map_err(invalid)?);
                    self.define(Definition::Instance(instance))?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    let alias = alias_def(&alias.map_err(invalid)?);
                    self.core_scopes.alias(&alias)?;
                    self.define(Definition::Alias(alias))?;
                }
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section {
                    let ty = self.core_scopes.type_def(ty.map_err(invalid)?)?;
                    self.define(Definition::Type(ty))?;
                }
            }
            Payload::ComponentCanonicalSection(section) => self.canonicals(section, core_funcs)?,
            Payload::ComponentImportSection(section) => self.import_section(section)?,
            Payload::ComponentExportSection(section) => self.export_section(section)?,
            Payload::CustomSection(section) if section.name() == "component-name" => {
                self.draft()?.names.read(section.data_reader());
            }
            // The headers of nested modules and components: what is in them comes next. Other
            // custom sections mean nothing to us, and the validator lets nothing else through.
            _ => {}
        }
        Ok(())
    }

    fn canonicals(
        &mut self,
        section: wasmparser::ComponentCanonicalSectionReader<'_>,
        mut core_func: u32,
    ) -> Result<()> {
        for function in section {
            let function = function.map_err(invalid)?;
            let adds = adds_core_func(&function);
            let types = self
                .types()
                .filter(|types| core_func < types.function_count());
            let core_type = types
                .filter(|_| adds)
                .and_then(|types| func_type(types, types.core_function_at(core_func)));
            let canon = canon(function, core_type);
            core_func += u32::from(adds);
            self.define(Definition::Canon(canon))?;
        }
        Ok(())
    }

    fn import_section(
        &mut self,
        section: wasmparser::ComponentImportSectionReader<'_>,
    ) -> Result<()> {
        for import in section {
            let import = import.map_err(invalid)?;
            if self.open.len() == 1 {
                self.imports
                    .push(extern_item(&import.name, sort(import.ty.kind())));
            }
            self.define(Definition::Import {
                name: import.name.name.into(),
                ty: extern_type(import.ty),
            })?;
        }
        Ok(())
    }

    fn export_section(
        &mut self,
        section: wasmparser::ComponentExportSectionReader<'_>,
    ) -> Result<()> {
        for export in section {
            let export = export.map_err(invalid)?;
            if self.open.len() == 1 {
                self.exports
                    .push(extern_item(&export.name, sort(export.kind)));
            }
            self.define(Definition::Export {
                name: export.name.name.into(),
                sort: sort(export.kind),
                index: export.index,
                ty: export.ty.map(extern_type),
            })?;
        }
        Ok(())
    }

    fn define(&mut self, definition: Definition) -> Result<()> {
        let definition = DraftDefinition::Complete(definition);
        self.draft()?.definitions.push(definition);
        Ok(())
    }

    /// The component that is open innermost.
    fn draft(&mut self) -> Result<&mut Draft> {
        match self.open.last_mut() {
            Some(Open::Component(draft)) => Ok(draft),
            Some(Open::Module(_)) | None => Err(bug!("a definition outside of a component")),
        }
    }

    /// Ends the module or the component that is open innermost.
    fn close(&mut self, end: u64) -> Result<()> {
        // A module's imports and exports are there only while it is open.
        let ty = match self.open.last() {
            Some(Open::Module(_)) => self.func_types.module_type(&self.validator)?,
            Some(Open::Component(_)) | None => CoreModuleTypeDef::default(),
        };
        self.validator.end(end).map_err(invalid)?;
        match self.open.pop() {
            Some(Open::Module(module)) => self.close_module(*module, end, ty),
            Some(Open::Component(draft)) => self.close_component(draft),
            None => Err(bug!("an end without a beginning, after validation")),
        }
    }

    fn close_module(&mut self, module: OpenModule, end: u64, ty: CoreModuleTypeDef) -> Result<()> {
        let place = self.modules.len();
        self.modules.push(CoreModuleInfo {
            name: module.names.module().map(Name::from),
            component: None,
            range: module.offset..position(end),
            ty,
            instance_cost: module.instance_cost,
            start: module.start,
            unsupported: module.unsupported(),
            func_exports: module.func_exports.into(),
            names: module.names,
        });
        let index = self.types().map_or(0, |types| types.module_count());
        let draft = self.draft()?;
        draft.core_modules.push((index.saturating_sub(1), place));
        draft.definitions.push(DraftDefinition::CoreModule(place));
        Ok(())
    }

    fn close_component(&mut self, mut draft: Draft) -> Result<()> {
        self.core_scopes.leave();
        self.name_the_parts(&mut draft);
        let place = self.components.len();
        self.components.push(draft);
        if self.open.is_empty() {
            return Ok(());
        }
        let index = self.types().map_or(0, |types| types.component_count());
        let parent = self.draft()?;
        parent.components.push((index.saturating_sub(1), place));
        parent.definitions.push(DraftDefinition::Component(place));
        Ok(())
    }

    /// Gives the modules and components in a component the names it has for them.
    fn name_the_parts(&mut self, draft: &mut Draft) {
        for (index, place) in draft.core_modules.drain(..) {
            if let Some(module) = self.modules.get_mut(place) {
                let given = name_of(&draft.names.core_modules, index);
                module.name = given.or(module.name.take());
                module.component = draft.names.component.clone();
            }
        }
        for (index, place) in draft.components.drain(..) {
            if let Some(component) = self.components.get_mut(place) {
                let own = &mut component.names.component;
                *own = own
                    .take()
                    .or_else(|| name_of(&draft.names.components, index));
            }
        }
    }

    /// Compiles the modules, then puts the components together, nested ones first.
    fn finish(self, compile: Compile<'_>) -> Result<Decoded> {
        let infos: Box<[_]> = self.modules.into_iter().map(Arc::new).collect();
        let mut modules = Vec::with_capacity(infos.len());
        for info in &infos {
            let raw = RawModule {
                bytes: self.bytes.get(info.range.clone()).unwrap_or_default(),
                info: info.clone(),
            };
            modules.push(compile(raw).map_err(|error| error.with_frame(module_frame(info)))?);
        }
        let mut components: Vec<Arc<ComponentDef>> = Vec::with_capacity(self.components.len());
        for draft in self.components {
            let component = draft.finish(&modules, &components)?;
            components.push(Arc::new(component));
        }
        Ok(Decoded {
            root: components
                .pop()
                .ok_or_else(|| bug!("no component after decoding"))?,
            imports: self.imports.into(),
            exports: self.exports.into(),
            core_modules: infos,
        })
    }
}

impl Draft {
    fn finish(
        self,
        modules: &[Arc<CoreModule>],
        components: &[Arc<ComponentDef>],
    ) -> Result<ComponentDef> {
        let definition = |draft| {
            Some(match draft {
                DraftDefinition::Complete(definition) => definition,
                DraftDefinition::CoreModule(place) => {
                    Definition::CoreModule(modules.get(place)?.clone())
                }
                DraftDefinition::Component(place) => {
                    Definition::Component(components.get(place)?.clone())
                }
            })
        };
        let definitions = self.definitions.into_iter().map(definition);
        Ok(ComponentDef {
            name: self.names.component,
            definitions: definitions
                .collect::<Option<_>>()
                .ok_or_else(|| bug!("a component is complete before its parts"))?,
            core_instance_names: self.names.core_instances.into(),
            instance_names: self.names.instances.into(),
            func_names: self.names.funcs.into(),
        })
    }
}

fn module_frame(info: &CoreModuleInfo) -> Frame {
    let name = info.name.as_deref().unwrap_or("without a name");
    Frame::Note(format!(
        "in core module `{name}` at offset {:#x}",
        info.range.start
    ))
}

/// A debug name, by the index of what it names; none when the names are out of order.
pub(crate) fn name_of(names: &[(u32, Name)], index: u32) -> Option<Name> {
    let at = names
        .binary_search_by_key(&index, |(named, _)| *named)
        .ok()?;
    names.get(at).map(|(_, name)| name.clone())
}

fn extern_item(name: &ComponentExternName<'_>, sort: Sort) -> Extern {
    Extern {
        name: name.name.into(),
        sort,
        implements: name.implements.map(Into::into),
        version_suffix: name.version_suffix.map(Into::into),
        external_id: name.external_id.map(Into::into),
    }
}

#[cfg(test)]
mod tests;
