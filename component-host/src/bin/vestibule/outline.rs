//! Reads what a component is made of, straight from its binary.

use std::collections::HashMap;
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentName,
    ComponentOuterAliasKind, CustomSectionReader, Encoding, KnownCustom, Name, NameMap, Parser,
    Payload, TypeRef,
};

/// One component: what it imports, exports and contains.
#[derive(Debug, Default)]
pub(crate) struct ComponentOutline {
    /// Its index among the components of the one around it; 0 for the outermost.
    pub(crate) index: u32,
    pub(crate) name: Option<String>,
    /// Names and kinds.
    pub(crate) imports: Vec<(String, &'static str)>,
    pub(crate) exports: Vec<(String, &'static str)>,
    pub(crate) modules: Vec<ModuleOutline>,
    pub(crate) components: Vec<ComponentOutline>,
    /// The next free indices of the two index spaces. Imports, aliases and exports take indices
    /// as definitions do.
    next_module: u32,
    next_component: u32,
    module_names: HashMap<u32, String>,
    component_names: HashMap<u32, String>,
}

/// One core module that is defined in a component.
#[derive(Debug, Default)]
pub(crate) struct ModuleOutline {
    /// Its index among the core modules of its component.
    pub(crate) index: u32,
    pub(crate) name: Option<String>,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) imports: u32,
    pub(crate) exports: u32,
    start: Option<u32>,
    imported_funcs: Vec<(String, String)>,
    start_name: Option<String>,
}

/// A start function.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// Its function index.
    pub(crate) func: u32,
    /// Its name in the name section.
    pub(crate) name: Option<&'a str>,
    /// When it is imported: module and name.
    pub(crate) import: Option<(&'a str, &'a str)>,
}

impl ModuleOutline {
    pub(crate) fn start(&self) -> Option<Start<'_>> {
        let func = self.start?;
        let index = usize::try_from(func).ok()?;
        let import = self.imported_funcs.get(index);
        Some(Start {
            func,
            name: self.start_name.as_deref(),
            import: import.map(|(module, name)| (module.as_str(), name.as_str())),
        })
    }
}

/// How deep components may nest: the text format allows fewer, and what walks them is recursive.
const MAX_DEPTH: usize = 100;

/// Reads a component that was validated.
pub(crate) fn read(bytes: &[u8]) -> Result<ComponentOutline, String> {
    let mut reader = Reader::default();
    for payload in Parser::new(0).parse_all(bytes) {
        payload
            .and_then(|payload| reader.payload(payload))
            .map_err(|error| error.to_string())?;
        if reader.open.len() > MAX_DEPTH {
            return Err(format!("components nest more than {MAX_DEPTH} deep"));
        }
    }
    Ok(reader.outermost)
}

/// What is being read: components, from the outside in, and at most one module in the innermost.
#[derive(Default)]
struct Reader {
    open: Vec<ComponentOutline>,
    module: Option<ModuleOutline>,
    /// The size of the module or component that begins next.
    next_size: u64,
    outermost: ComponentOutline,
}

impl Reader {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(encoding),
            Payload::ModuleSection {
                unchecked_range, ..
            } => {
                self.next_size = unchecked_range.end.saturating_sub(unchecked_range.start);
            }
            Payload::End(_) => self.end(),
            other => match (&mut self.module, self.open.last_mut()) {
                (Some(module), _) => module.section(other)?,
                (None, Some(component)) => component.section(other)?,
                (None, None) => {}
            },
        }
        Ok(())
    }

    fn begin(&mut self, encoding: Encoding) {
        let parent = self.open.last_mut();
        match encoding {
            Encoding::Module => {
                let index = parent.map_or(0, |parent| take(&mut parent.next_module));
                let size = self.next_size;
                self.module = Some(ModuleOutline {
                    index,
                    size,
                    ..ModuleOutline::default()
                });
            }
            Encoding::Component => {
                let index = parent.map_or(0, |parent| take(&mut parent.next_component));
                self.open.push(ComponentOutline {
                    index,
                    ..ComponentOutline::default()
                });
            }
        }
    }

    fn end(&mut self) {
        if let Some(module) = self.module.take() {
            if let Some(component) = self.open.last_mut() {
                component.modules.push(module);
            }
        } else if let Some(mut component) = self.open.pop() {
            component.take_names();
            match self.open.last_mut() {
                Some(parent) => parent.components.push(component),
                None => self.outermost = component,
            }
        }
    }
}

/// The next index of an index space.
fn take(next: &mut u32) -> u32 {
    let index = *next;
    *next = next.saturating_add(1);
    index
}

impl ComponentOutline {
    fn section(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    self.imports
                        .push((import.name.name.to_owned(), kind(import.ty.kind())));
                    self.add(import.ty.kind());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.exports
                        .push((export.name.name.to_owned(), kind(export.kind)));
                    self.add(export.kind);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias? {
                        ComponentAlias::InstanceExport { kind, .. } => self.add(kind),
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::CoreModule,
                            ..
                        } => {
                            self.add(ComponentExternalKind::Module);
                        }
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::Component,
                            ..
                        } => {
                            self.add(ComponentExternalKind::Component);
                        }
                        _ => {}
                    }
                }
            }
            Payload::CustomSection(section) => self.names(&section),
            _ => {}
        }
        Ok(())
    }

    /// Counts a new entry of an index space.
    fn add(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Module => take(&mut self.next_module),
            ComponentExternalKind::Component => take(&mut self.next_component),
            _ => return,
        };
    }

    /// Reads names; custom sections may hold anything, so what is wrong with them is passed over.
    fn names(&mut self, section: &CustomSectionReader<'_>) {
        let KnownCustom::ComponentName(names) = section.as_known() else {
            return;
        };
        for subsection in names.into_iter().flatten() {
            match subsection {
                ComponentName::Component { name, .. } => self.name = Some(name.to_owned()),
                ComponentName::CoreModules(map) => self.module_names.extend(entries(map)),
                ComponentName::Components(map) => self.component_names.extend(entries(map)),
                _ => {}
            }
        }
    }

    /// Gives what it contains the names it has for it; they stand at its end.
    fn take_names(&mut self) {
        for module in &mut self.modules {
            if let Some(name) = self.module_names.remove(&module.index) {
                module.name = Some(name);
            }
        }
        for component in &mut self.components {
            if let Some(name) = self.component_names.remove(&component.index) {
                component.name = Some(name);
            }
        }
    }
}

fn entries(map: NameMap<'_>) -> impl Iterator<Item = (u32, String)> {
    map.into_iter()
        .flatten()
        .map(|naming| (naming.index, naming.name.to_owned()))
}

impl ModuleOutline {
    fn section(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.imports = self.imports.saturating_add(1);
                    if matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                        let name = (import.module.to_owned(), import.name.to_owned());
                        self.imported_funcs.push(name);
                    }
                }
            }
            Payload::ExportSection(section) => self.exports = section.count(),
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::CustomSection(section) => self.names(&section),
            _ => {}
        }
        Ok(())
    }

    fn names(&mut self, section: &CustomSectionReader<'_>) {
        let KnownCustom::Name(names) = section.as_known() else {
            return;
        };
        for subsection in names.into_iter().flatten() {
            match subsection {
                Name::Module { name, .. } => self.name = Some(name.to_owned()),
                Name::Function(map) => {
                    let start = self.start;
                    self.start_name = entries(map)
                        .find(|(func, _)| Some(*func) == start)
                        .map(|(_, name)| name);
                }
                _ => {}
            }
        }
    }
}

fn kind(kind: ComponentExternalKind) -> &'static str {
    match kind {
        ComponentExternalKind::Module => "core module",
        ComponentExternalKind::Func => "func",
        ComponentExternalKind::Value => "value",
        ComponentExternalKind::Type => "type",
        ComponentExternalKind::Instance => "instance",
        ComponentExternalKind::Component => "component",
    }
}
