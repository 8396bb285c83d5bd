//! Rewrites a core module into one that the engine can run the way we need.
//!
//! Two things are changed, and nothing else:
//!
//! 1. The engine runs a start section itself, where nothing can suspend it. So the section is
//!    dropped, and its function is exported under a private name, for us to call.
//! 2. The engine gives up on a function with too many constants. So those beyond the limit become
//!    reads of globals that are appended to the module ([`constants`]).
//!
//! A module that needs neither is returned as it came. Sections are spliced, not decoded: what is
//! not changed keeps its bytes, custom sections included.

mod constants;
#[cfg(test)]
mod tests;

use crate::component::names::func_name;
use crate::error::{Error, Result};
use constants::{Excess, MAX_CONSTANTS};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use wasm_encoder::{Encode, SectionId};
use wasmparser::{BinaryReader, ExportSectionReader, Import, ImportSectionReader, TypeRef};

/// A core module for the engine.
#[derive(Debug)]
pub(crate) struct Rewritten<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// The start function, which is to be called once the module is instantiated.
    pub(crate) start: Option<Start>,
}

/// A start function that was taken out of its section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// Its index in the function index space.
    pub(crate) func: u32,
    /// The private name it is exported under now.
    pub(crate) export: String,
    /// Its name in the name section.
    pub(crate) name: Option<String>,
    /// What it is imported as, module and field, when it is an import.
    pub(crate) imported: Option<(String, String)>,
}

/// The private name of a start function; a number follows when the module has that name already.
const START_EXPORT: &str = "\0vestibule:start";

/// Rewrites a core module. It should be valid; when it is not, the result is an error or another
/// invalid module.
///
/// # Errors
///
/// `Invalid`, when a section that is changed or looked at cannot be read.
pub(crate) fn rewrite(bytes: &[u8]) -> Result<Rewritten<'_>> {
    rewrite_within(bytes, MAX_CONSTANTS)
}

/// As [`rewrite`], with the limit of constants in a function as it is given.
pub(super) fn rewrite_within(bytes: &[u8], max_constants: usize) -> Result<Rewritten<'_>> {
    let module = Module::read(bytes)?;
    let start = module.start()?;
    let excess = match module.section(SectionId::Code) {
        Some(code) => Excess::find(code.contents, max_constants, || module.global_count())?,
        None => None,
    };
    if start.is_none() && excess.is_none() {
        return Ok(Rewritten {
            bytes: Cow::Borrowed(bytes),
            start: None,
        });
    }
    let bytes = module.splice(start.as_ref(), excess.as_ref())?;
    Ok(Rewritten {
        bytes: Cow::Owned(bytes),
        start,
    })
}

/// The preamble of a core module: magic number and version.
const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";

/// A core module as a list of sections.
struct Module<'a> {
    bytes: &'a [u8],
    sections: Vec<Section<'a>>,
}

struct Section<'a> {
    id: u8,
    /// The whole section, its id and size included.
    range: Range<usize>,
    contents: &'a [u8],
    /// Where the contents begin in the module.
    offset: usize,
}

impl<'a> Module<'a> {
    fn read(bytes: &'a [u8]) -> Result<Module<'a>> {
        let mut reader = BinaryReader::new(bytes, 0);
        if reader.read_bytes(PREAMBLE.len()).map_err(invalid)? != PREAMBLE {
            return Err(Error::invalid("this is not a core module", Some(0)));
        }
        let mut sections = Vec::new();
        while !reader.eof() {
            let begin = reader.current_position();
            let id = reader.read_u8().map_err(invalid)?;
            let mut contents = reader.read_reader().map_err(invalid)?;
            let size = contents.bytes_remaining();
            let end = reader.current_position();
            sections.push(Section {
                id,
                range: begin..end,
                contents: contents.read_bytes(size).map_err(invalid)?,
                offset: end.saturating_sub(size),
            });
        }
        Ok(Module { bytes, sections })
    }

    fn section(&self, id: SectionId) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.id == id as u8)
    }

    fn start(&self) -> Result<Option<Start>> {
        let Some(section) = self.section(SectionId::Start) else {
            return Ok(None);
        };
        let func = section.reader().read_var_u32().map_err(invalid)?;
        let imports = self.imports()?;
        let imported = imports
            .iter()
            .filter(|import| matches!(import.ty, TypeRef::Func(_)))
            .nth(func as usize);
        Ok(Some(Start {
            func,
            export: self.free_export_name()?,
            name: self
                .name_section()
                .and_then(|names| func_name(names, func))
                .map(Into::into),
            imported: imported.map(|import| (import.module.to_owned(), import.name.to_owned())),
        }))
    }

    fn imports(&self) -> Result<Vec<Import<'a>>> {
        let Some(section) = self.section(SectionId::Import) else {
            return Ok(Vec::new());
        };
        let imports = ImportSectionReader::new(section.reader()).map_err(invalid)?;
        imports
            .into_imports()
            .collect::<Result<_, _>>()
            .map_err(invalid)
    }

    fn free_export_name(&self) -> Result<String> {
        let mut taken = HashSet::new();
        if let Some(section) = self.section(SectionId::Export) {
            for export in ExportSectionReader::new(section.reader()).map_err(invalid)? {
                let name = export.map_err(invalid)?.name;
                if name.starts_with(START_EXPORT) {
                    taken.insert(name);
                }
            }
        }
        let mut name = START_EXPORT.to_owned();
        // One of these is free: there are more of them than names that are taken.
        for number in 0..=taken.len() {
            if !taken.contains(name.as_str()) {
                break;
            }
            name = format!("{START_EXPORT}{number}");
        }
        Ok(name)
    }

    fn name_section(&self) -> Option<&'a [u8]> {
        let custom = self
            .sections
            .iter()
            .filter(|section| section.id == SectionId::Custom as u8);
        custom.rev().find_map(|section| {
            let mut reader = section.reader();
            let is_name = reader.read_string().is_ok_and(|name| name == "name");
            is_name.then(|| section.contents.get(reader.current_position()..))?
        })
    }

    /// The number of globals, imported ones included.
    fn global_count(&self) -> Result<u32> {
        let imports = self.imports()?;
        let imported = imports
            .iter()
            .filter(|import| matches!(import.ty, TypeRef::Global(_)));
        let defined = match self.section(SectionId::Global) {
            Some(section) => section.reader().read_var_u32().map_err(invalid)?,
            None => 0,
        };
        Ok(defined.saturating_add(u32::try_from(imported.count()).unwrap_or(u32::MAX)))
    }

    /// Copies the module with its changes.
    fn splice(&self, start: Option<&Start>, excess: Option<&Excess>) -> Result<Vec<u8>> {
        let mut additions = Vec::new();
        if let Some(excess) = excess {
            additions.push(excess.globals());
        }
        if let Some(start) = start {
            additions.push(Addition::export(start));
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        out.extend_from_slice(PREAMBLE);
        for section in &self.sections {
            // What has no section to be added to gets one in its place.
            while let Some(addition) = additions.first()
                && rank(section.id) > rank(addition.id as u8)
            {
                additions.remove(0).append_to(None, &mut out)?;
            }
            if let Some(addition) = additions.first()
                && section.id == addition.id as u8
            {
                additions.remove(0).append_to(Some(section), &mut out)?;
            } else if section.id == SectionId::Code as u8
                && let Some(excess) = excess
            {
                write_section(SectionId::Code, &excess.splice(section.contents), &mut out);
            } else if section.id != SectionId::Start as u8 {
                out.extend_from_slice(self.bytes.get(section.range.clone()).unwrap_or_default());
            }
        }
        for addition in additions {
            addition.append_to(None, &mut out)?;
        }
        Ok(out)
    }
}

impl<'a> Section<'a> {
    fn reader(&self) -> BinaryReader<'a> {
        BinaryReader::new(self.contents, self.offset as u64)
    }
}

/// Entries that are appended to a section which is a vector.
struct Addition {
    id: SectionId,
    count: u32,
    entries: Vec<u8>,
}

impl Addition {
    fn export(start: &Start) -> Addition {
        let mut entries = Vec::new();
        start.export.encode(&mut entries);
        wasm_encoder::ExportKind::Func.encode(&mut entries);
        start.func.encode(&mut entries);
        Addition {
            id: SectionId::Export,
            count: 1,
            entries,
        }
    }

    /// Writes the section with these entries after those it has.
    fn append_to(self, section: Option<&Section<'_>>, out: &mut Vec<u8>) -> Result<()> {
        let mut count = 0;
        let mut present: &[u8] = &[];
        if let Some(section) = section {
            let mut reader = section.reader();
            count = reader.read_var_u32().map_err(invalid)?;
            present = section
                .contents
                .get(reader.current_position()..)
                .unwrap_or_default();
        }
        let mut contents = Vec::with_capacity(present.len() + self.entries.len() + 5);
        count.saturating_add(self.count).encode(&mut contents);
        contents.extend_from_slice(present);
        contents.extend_from_slice(&self.entries);
        write_section(self.id, &contents, out);
        Ok(())
    }
}

fn write_section(id: SectionId, contents: &[u8], out: &mut Vec<u8>) {
    out.push(id as u8);
    contents.encode(out);
}

/// The place of a section in the order that the binary format asks for; custom sections may be
/// anywhere, so they are before everything.
fn rank(id: u8) -> u8 {
    // Three sections came late and have numbers out of order.
    match id {
        13 => 6,           // tags, after memories (5)
        12 => 11,          // data count, after elements (9)
        6..=9 => id + 1,   // globals, exports, start, elements
        10 | 11 => id + 2, // code, data
        _ => id,
    }
}

fn invalid(error: wasmparser::Error) -> Error {
    Error::invalid(error.message(), usize::try_from(error.offset()).ok())
}
