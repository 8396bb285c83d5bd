//! Makes the seed corpora, out of our own scripts and examples.
//!
//! For `instantiate`: every component of the `.wast` and `.wat` files in the given folders, as a
//! binary. For `lift_lower`: the same bytes, and strings of pseudo-random ones, which decide a type
//! and what is in memory.
//!
//! ```sh
//! cargo +nightly run --release --bin seeds -- ../tests/wast ../examples/components
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, Wat};

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let (instantiate, lift_lower) = (corpus.join("instantiate"), corpus.join("lift_lower"));
    fs::create_dir_all(&instantiate)?;
    fs::create_dir_all(&lift_lower)?;
    let mut written = 0;
    for folder in std::env::args().skip(1) {
        for file in files(Path::new(&folder))? {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(&file)?;
            let binaries =
                components(&text).map_err(|error| format!("{}: {error}", file.display()))?;
            for (i, binary) in binaries.iter().enumerate() {
                fs::write(instantiate.join(format!("{stem}-{i}")), binary)?;
                fs::write(lift_lower.join(format!("{stem}-{i}")), binary)?;
                written += 1;
            }
        }
    }
    let mut state = 1_u64;
    for i in 0..64 {
        let bytes: Vec<u8> = (0..16 * i + 16)
            .map(|_| pseudo_random(&mut state))
            .collect();
        fs::write(lift_lower.join(format!("random-{i}")), bytes)?;
    }
    println!("{written} components in {}", corpus.display());
    if written == 0 {
        return Err("no components: which folders?".into());
    }
    Ok(())
}

/// The scripts and components in a folder, at any depth.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wast" || extension == "wat")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The binaries of a script's components, also of those that must be rejected or that trap.
fn components(text: &str) -> Result<Vec<Vec<u8>>, wast::Error> {
    let buffer = ParseBuffer::new(text)?;
    let script = parser::parse::<Wast<'_>>(&buffer)?;
    let components = script.directives.into_iter().filter_map(component);
    Ok(components
        .filter_map(|mut component| component.encode().ok())
        .collect())
}

fn component(directive: WastDirective<'_>) -> Option<QuoteWat<'_>> {
    match directive {
        WastDirective::Module(component)
        | WastDirective::ModuleDefinition(component)
        | WastDirective::AssertMalformed {
            module: component, ..
        }
        | WastDirective::AssertInvalid {
            module: component, ..
        } => Some(component),
        WastDirective::AssertTrap {
            exec: wast::WastExecute::Wat(Wat::Component(component)),
            ..
        } => Some(QuoteWat::Wat(Wat::Component(component))),
        _ => None,
    }
}

/// The top byte of a linear congruential generator (Knuth's MMIX constants).
fn pseudo_random(state: &mut u64) -> u8 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 56) as u8
}
