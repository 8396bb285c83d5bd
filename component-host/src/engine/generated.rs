//! Core modules that `wasm-smith` generates from a seed: valid ones that end, with all they have
//! exported.

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{ExportKind, ExportSection};

/// The imports that a generated module may have, by number.
const IMPORTS: &str = r#"(module
  (import "h" "0" (func))
  (import "h" "1" (func (param i32) (result i32)))
  (import "h" "2" (func (param i64 f64) (result i64)))
  (import "h" "3" (func (param f32) (result f32)))
  (import "h" "4" (func (param i32 i32 i32) (result f64)))
  (import "h" "5" (func (param i64))))"#;

/// The name of the exported global that counts down with each call and each turn of a loop: at 0
/// the module traps. To be set before each call.
pub(super) const FUEL_EXPORT: &str = "\0fuel";

/// What that global is to be set to.
pub(super) const FUEL: i32 = 500;

/// The module of a seed; the same seed gives the same module. None when the generator gives up.
pub(super) fn module(seed: u64) -> Option<Vec<u8>> {
    let bytes = random_bytes(seed, 4_096);
    let mut random = arbitrary::Unstructured::new(&bytes);
    let mut module = wasm_smith::Module::new(config(seed), &mut random).ok()?;
    let fuel = module.ensure_termination(FUEL as u32).ok()?;
    Some(export_global(&module.to_bytes(), fuel))
}

/// What the engine runs, and little enough of it to be run quickly.
fn config(seed: u64) -> wasm_smith::Config {
    wasm_smith::Config {
        available_imports: Some(wat::parse_str(IMPORTS).expect("the imports are valid")),
        // The bits of a NaN that was computed are not specified, and differ.
        canonicalize_nans: true,
        export_everything: true,
        min_funcs: 1,
        max_funcs: 12,
        max_instructions: 400,
        max_globals: 12,
        max_imports: 6,
        max_memories: 2,
        max_memory32_bytes: 10 << 16,
        max_memory64_bytes: 10 << 16,
        memory_max_size_required: true,
        max_tables: 2,
        max_table_elements: 1_000,
        table_max_size_required: true,
        // Functions with several results are not called from outside.
        multi_value_enabled: seed.is_multiple_of(3),
        simd_enabled: seed.is_multiple_of(2),
        // Most modules with references to the host's are beyond an oracle without a garbage collector.
        reference_types_enabled: seed % 4 == 1,
        memory64_enabled: seed.is_multiple_of(4),
        wide_arithmetic_enabled: true,
        // What the engine does not run.
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        threads_enabled: false,
        // Its results are the engine's choice.
        relaxed_simd_enabled: false,
        ..wasm_smith::Config::default()
    }
}

/// Xorshift: what matters is that it is the same everywhere.
fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Adds an export to a module that has exports.
fn export_global(wasm: &[u8], index: u32) -> Vec<u8> {
    struct AddExport(u32);
    impl Reencode for AddExport {
        type Error = std::convert::Infallible;

        fn parse_export_section(
            &mut self,
            exports: &mut ExportSection,
            section: wasmparser::ExportSectionReader<'_>,
        ) -> Result<(), Error<Self::Error>> {
            utils::parse_export_section(self, exports, section)?;
            exports.export(FUEL_EXPORT, ExportKind::Global, self.0);
            Ok(())
        }
    }
    let mut module = wasm_encoder::Module::new();
    AddExport(index)
        .parse_core_module(&mut module, wasmparser::Parser::new(0), wasm)
        .expect("a generated module is valid");
    module.finish()
}
