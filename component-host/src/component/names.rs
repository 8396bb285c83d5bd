//! Reads the debug names of components and core modules.
//!
//! The specification says that a broken name section must not make a binary invalid, so nothing
//! here fails: what cannot be read has no name.

use super::definitions::Name;
use std::ops::Range;
use std::sync::OnceLock;
use wasmparser::{BinaryReader, ComponentName, ComponentNameSectionReader, NameMap};

/// The debug names of one component's definitions, by index.
#[derive(Debug, Default)]
pub(crate) struct ComponentNames {
    pub(crate) component: Option<Name>,
    pub(crate) components: Vec<(u32, Name)>,
    pub(crate) core_modules: Vec<(u32, Name)>,
    pub(crate) core_instances: Vec<(u32, Name)>,
    pub(crate) instances: Vec<(u32, Name)>,
    pub(crate) funcs: Vec<(u32, Name)>,
}

impl ComponentNames {
    /// Reads a `component-name` section, up to the first thing in it that is broken.
    pub(crate) fn read(&mut self, section: BinaryReader<'_>) {
        for subsection in ComponentNameSectionReader::new(section) {
            let Ok(subsection) = subsection else { return };
            let (into, names) = match subsection {
                ComponentName::Component { name, .. } => {
                    self.component = Some(name.into());
                    continue;
                }
                ComponentName::Components(names) => (&mut self.components, names),
                ComponentName::CoreModules(names) => (&mut self.core_modules, names),
                ComponentName::CoreInstances(names) => (&mut self.core_instances, names),
                ComponentName::Instances(names) => (&mut self.instances, names),
                ComponentName::Funcs(names) => (&mut self.funcs, names),
                _ => continue,
            };
            *into = name_map(names);
        }
    }
}

fn name_map(names: NameMap<'_>) -> Vec<(u32, Name)> {
    names
        .map_while(Result::ok)
        .map(|naming| (naming.index, naming.name.into()))
        .collect()
}

/// The names of a core module: its own, and those of its functions, which are parsed when the first
/// one is asked for.
///
/// The bytes of the function names are copied, so that the names outlive the input of the decoder;
/// the other name subsections (locals are the largest) are left behind.
#[derive(Debug, Default)]
pub(crate) struct CoreNames {
    module: Option<Box<str>>,
    func_bytes: Box<[u8]>,
    /// Where each function's name is in `func_bytes`, by ascending index.
    funcs: OnceLock<Vec<(u32, Range<usize>)>>,
}

impl CoreNames {
    /// Takes the names out of the contents of a `name` section.
    pub(crate) fn new(section: &[u8]) -> CoreNames {
        let module = subsection(section, 0)
            .and_then(|mut name| name.read_unlimited_string().ok().map(Into::into));
        CoreNames {
            module,
            func_bytes: subsection(section, 1).map_or_else(Box::default, rest),
            funcs: OnceLock::new(),
        }
    }

    /// The name the module gives itself.
    pub(crate) fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// The name of a function, by its index in the module's function index space.
    pub(crate) fn func(&self, index: u32) -> Option<&str> {
        let funcs = self.funcs.get_or_init(|| {
            let funcs = func_names(BinaryReader::new(&self.func_bytes, 0));
            funcs.map(|(index, _, range)| (index, range)).collect()
        });
        let at = funcs.binary_search_by_key(&index, |(func, _)| *func).ok()?;
        let (_, range) = funcs.get(at)?;
        std::str::from_utf8(self.func_bytes.get(range.clone())?).ok()
    }
}

/// The name of one function in the contents of a `name` section.
pub(crate) fn func_name(section: &[u8], index: u32) -> Option<&str> {
    func_names(subsection(section, 1)?)
        .take_while(|(func, ..)| *func <= index)
        .find(|(func, ..)| *func == index)
        .map(|(_, name, _)| name)
}

fn subsection(section: &[u8], wanted: u8) -> Option<BinaryReader<'_>> {
    let mut reader = BinaryReader::new(section, 0);
    loop {
        let (id, contents) = (reader.read_u8().ok()?, reader.read_reader().ok()?);
        if id == wanted {
            return Some(contents);
        }
    }
}

fn rest(mut reader: BinaryReader<'_>) -> Box<[u8]> {
    let size = reader.bytes_remaining();
    reader.read_bytes(size).unwrap_or_default().into()
}

/// The entries of a name map, each with the place of its name, up to the first that is broken or
/// out of order.
fn func_names(mut reader: BinaryReader<'_>) -> impl Iterator<Item = (u32, &str, Range<usize>)> {
    let count = reader.read_var_u32().unwrap_or(0);
    let mut least = 0u64;
    (0..count).map_while(move |_| {
        let index = reader.read_var_u32().ok()?;
        let name = reader.read_unlimited_string().ok()?;
        if u64::from(index) < least {
            return None;
        }
        least = u64::from(index) + 1;
        let end = reader.current_position();
        Some((index, name, end.saturating_sub(name.len())..end))
    })
}
