//! `vestibule inspect`: prints a component's interface and what it is made of.

use crate::catch::catch;
use crate::failure::Failure;
use crate::input;
use crate::outline::{self, ComponentOutline, ModuleOutline};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use vestibule_component_host::{Component, Engine};
use wasmparser::{Validator, WasmFeatures};
use wit_component::WitPrinter;

/// Prints a component's interface as WIT, its core modules, and its start functions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vestibule inspect plugin.wasm
  vestibule inspect --start plugin.wasm
  cat plugin.wat | vestibule inspect -")]
pub(crate) struct InspectArgs {
    /// Says instead what each start function can reach: which imports and built-ins, by which path,
    /// and which of them may block. Nothing is run.
    #[arg(long)]
    start: bool,

    /// The component, as .wasm or .wat; `-` is stdin.
    file: PathBuf,
}

pub(crate) fn inspect(args: &InspectArgs, out: &mut impl Write) -> Result<(), Failure> {
    let bytes = input::read(&args.file)?;
    let name = input::name(&args.file);
    if args.start {
        return start_report(&bytes, out);
    }
    // All features: what can be read can be inspected, whether or not this host runs it.
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(&bytes)
        .map_err(|error| Failure::Error(format!("{name} is not a valid component: {error}")))?;
    let outline = outline::read(&bytes)
        .map_err(|error| Failure::Error(format!("{name} cannot be read: {error}")))?;
    let mut text = match wit(&bytes) {
        Ok(wit) => wit,
        Err(problem) => interface(&outline, &problem),
    };
    text.push('\n');
    describe(&outline, 0, &mut text);
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn start_report(bytes: &[u8], out: &mut impl Write) -> Result<(), Failure> {
    let component = Component::new(&Engine::default(), bytes)?;
    let report = component.start_report(bytes)?;
    out.write_all(report.to_string().as_bytes())?;
    Ok(())
}

/// The component's world, and the packages it refers to.
fn wit(bytes: &[u8]) -> Result<String, String> {
    // Not every valid component has an interface that WIT can express, and the decoder is written
    // for those that have.
    let printed = catch(|| {
        let decoded = wit_component::decode(bytes)?;
        let (resolve, main) = (decoded.resolve(), decoded.package());
        let others: Vec<_> = resolve
            .packages
            .iter()
            .map(|(id, _)| id)
            .filter(|id| *id != main)
            .collect();
        let mut printer = WitPrinter::default();
        printer.print(resolve, main, &others)?;
        Ok(printer.output.to_string())
    });
    let printed = printed
        .and_then(|result: Result<String, PrintError>| result.map_err(|error| error.to_string()));
    printed.map(|mut wit| {
        wit.truncate(wit.trim_end().len());
        wit.push('\n');
        wit
    })
}

type PrintError = Box<dyn std::error::Error + Send + Sync>;

/// What stands for the WIT when there is none: imports and exports by name and kind.
fn interface(outline: &ComponentOutline, problem: &str) -> String {
    let mut text = format!("// The interface cannot be written as WIT: {problem}\n");
    for (title, items) in [("imports", &outline.imports), ("exports", &outline.exports)] {
        if items.is_empty() {
            let _ = writeln!(text, "{title}: none");
            continue;
        }
        let _ = writeln!(text, "{title}:");
        for (name, kind) in items {
            let _ = writeln!(text, "  {name}: {kind}");
        }
    }
    text
}

fn describe(outline: &ComponentOutline, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    if outline.modules.is_empty() {
        let _ = writeln!(text, "{indent}core modules: none");
    } else {
        let _ = writeln!(text, "{indent}core modules:");
    }
    for module in &outline.modules {
        let _ = writeln!(
            text,
            "{indent}  {}: {} bytes, {}, {}",
            label(module.index, module.name.as_deref()),
            module.size,
            count(module.imports, "import"),
            count(module.exports, "export")
        );
    }
    describe_starts(outline, &indent, text);
    for component in &outline.components {
        let label = label(component.index, component.name.as_deref());
        let _ = writeln!(text, "{indent}component {label}:");
        describe(component, depth + 1, text);
    }
}

fn describe_starts(outline: &ComponentOutline, indent: &str, text: &mut String) {
    let mut starts = outline
        .modules
        .iter()
        .filter_map(|module| Some((module, module.start()?)))
        .peekable();
    if starts.peek().is_none() {
        let _ = writeln!(text, "{indent}start functions: none");
        return;
    }
    let _ = writeln!(text, "{indent}start functions:");
    for (module, start) in starts {
        let ModuleOutline { index, name, .. } = module;
        let module = label(*index, name.as_deref());
        let _ = write!(
            text,
            "{indent}  core module {module}: function {}",
            start.func
        );
        if let Some(name) = start.name {
            let _ = write!(text, " `{name}`");
        }
        if let Some((module, name)) = start.import {
            let _ = write!(text, ", imported as `{module}` `{name}`");
        }
        text.push('\n');
    }
}

fn label(index: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{index} `{name}`"),
        None => index.to_string(),
    }
}

fn count(number: u32, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline_of(text: &str) -> ComponentOutline {
        let bytes = wat::parse_str(text).expect("the text of a test is well-formed");
        outline::read(&bytes).expect("the component of a test can be read")
    }

    #[test]
    fn modules_start_functions_and_nested_components_are_listed() {
        let outline = outline_of(
            r#"(component
              (import "m" (core module $imported))
              (core module $Main (func (export "f")) (func $go) (start $go))
              (component $Inner
                (core module (import "" "init" (func $init)) (start $init))))"#,
        );
        let mut text = String::new();
        describe(&outline, 0, &mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("  1 `Main`: "), "{text}");
        assert!(lines[1].ends_with(" bytes, 0 imports, 1 export"), "{text}");
        assert_eq!(lines[3], "  core module 1 `Main`: function 1 `go`");
        assert_eq!(lines[4], "component 0 `Inner`:");
        assert!(lines[6].starts_with("    0: "), "{text}");
        let start = "    core module 0: function 0 `init`, imported as `` `init`";
        assert_eq!(lines[8], start);
    }

    #[test]
    fn the_interface_is_printed_as_wit() {
        let bytes = wat::parse_str(r#"(component (import "f" (func (param "a" u32))))"#);
        let wit = wit(&bytes.expect("well-formed"));
        assert!(
            wit.as_ref()
                .is_ok_and(|wit| wit.contains("import f: func(a: u32);")),
            "{wit:?}"
        );
    }

    #[test]
    fn without_wit_the_imports_and_exports_are_listed() {
        let outline = outline_of(
            r#"(component
              (import "m" (core module))
              (import "T" (type (sub resource)))
              (component $c) (instance $i (instantiate $c)) (export "i" (instance $i)))"#,
        );
        let text = interface(&outline, "reason");
        let expected = "// The interface cannot be written as WIT: reason\nimports:\n  \
                        m: core module\n  T: type\nexports:\n  i: instance\n";
        assert_eq!(text, expected);
    }
}
