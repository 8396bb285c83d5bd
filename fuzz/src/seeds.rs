//! Makes the seed corpus of `instantiate`: every component of the scripts in the given folders,
//! as a binary.
//!
//! ```sh
//! cargo +nightly run --release --bin seeds -- ../component-host/tests/wast
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective};

fn main() -> Result<(), Box<dyn Error>> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/instantiate");
    fs::create_dir_all(&out)?;
    let mut written = 0;
    for folder in std::env::args().skip(1) {
        for script in scripts(Path::new(&folder))? {
            let stem = script.file_stem().unwrap_or_default().to_string_lossy();
            for (i, binary) in components(&fs::read_to_string(&script)?).iter().enumerate() {
                fs::write(out.join(format!("{stem}-{i}")), binary)?;
                written += 1;
            }
        }
    }
    println!("{written} components in {}", out.display());
    Ok(())
}

/// The scripts in a folder, at any depth.
fn scripts(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(scripts(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wast")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The binaries of a script's components, also of those that must be rejected.
fn components(text: &str) -> Vec<Vec<u8>> {
    let Ok(buffer) = ParseBuffer::new(text) else {
        return Vec::new();
    };
    let Ok(script) = parser::parse::<Wast<'_>>(&buffer) else {
        return Vec::new();
    };
    let quoted = script
        .directives
        .into_iter()
        .filter_map(|directive| match directive {
            WastDirective::Module(component)
            | WastDirective::ModuleDefinition(component)
            | WastDirective::AssertMalformed {
                module: component, ..
            }
            | WastDirective::AssertInvalid {
                module: component, ..
            } => Some(component),
            _ => None,
        });
    quoted.filter_map(encode).collect()
}

fn encode(mut component: QuoteWat<'_>) -> Option<Vec<u8>> {
    component.encode().ok()
}
