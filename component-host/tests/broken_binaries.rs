//! Binaries that were cut off or changed, and binaries that are large in one way or another.
//!
//! Whatever they are, they end in an error or in an instance, within limits; the process lives, and
//! another component is instantiated after them.

mod common;

use common::{Host, PLAIN, call_u32};
use std::time::{Duration, Instant};
use vestibule_component_host::{Component, Config, Engine, Error, ErrorKind, Linker, Store, Val};
use vestibule_executor::{Budget, Executor};
use wasm_encoder::Encode as _;

/// Everything, which takes minutes, or a part of it.
const HEAVY: bool = cfg!(feature = "heavy-tests");

/// How long anything here may take; generous, for a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(if HEAVY { 600 } else { 60 });

fn config() -> Config {
    Config::new()
        .fuel(100_000)
        .max_memory(4 << 20)
        .max_table_elements(10_000)
        .max_instances(100)
        .max_handles(1_000)
        .max_tasks(1_000)
        .max_call_bytes(1 << 20)
}

/// What became of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Rejected,
    NotInstantiated,
    /// So many calls returned, and so many failed.
    Called(u32, u32),
}

/// Decodes, instantiates with stubs, and calls every export, as far as it gets.
fn run(bytes: &[u8]) -> Outcome {
    let engine = Engine::new(config());
    let component = match Component::new(&engine, bytes) {
        Ok(component) => component,
        Err(error) => {
            let kind = error.kind();
            let rejected = matches!(kind, ErrorKind::Invalid { .. } | ErrorKind::Limit(_));
            assert!(rejected, "{error:?}");
            return Outcome::Rejected;
        }
    };
    let executor = Executor::new();
    let store = Store::new(&engine, &executor, ());
    let mut linker = Linker::new();
    linker.define_unknown_imports_as_traps();
    let instance = match linker.instantiate(&store, &component) {
        Ok(instance) => instance,
        Err(error) => {
            assert_known(&error);
            return Outcome::NotInstantiated;
        }
    };
    let (mut returned, mut failed) = (0, 0);
    for name in instance.func_names() {
        let func = instance.get_func(&store, &name).unwrap();
        let args: Vec<Val> = func.ty().params().map(|_| Val::from("x")).collect();
        match store.block_on(func.call(&store, &args)) {
            Ok(_) => returned += 1,
            Err(error) => {
                assert_known(&error);
                failed += 1;
            }
        }
    }
    let _ = executor.run_until_stalled(Budget::rounds(100));
    Outcome::Called(returned, failed)
}

/// No error says that we are at fault.
#[track_caller]
fn assert_known(error: &Error) {
    let text = error.to_string();
    assert!(!text.contains("bug"), "{text}");
}

/// The binaries of our own examples and scripts.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/components");
    for entry in std::fs::read_dir(folder).unwrap() {
        samples.push(wat::parse_file(entry.unwrap().path()).unwrap());
    }
    let script = include_str!("wast/composed.wast");
    let buffer = wast::parser::ParseBuffer::new(script).unwrap();
    let script = wast::parser::parse::<wast::Wast<'_>>(&buffer).unwrap();
    for directive in script.directives {
        if let wast::WastDirective::Module(mut component) = directive {
            samples.push(component.encode().unwrap());
        }
    }
    assert!(samples.len() >= 8, "{}", samples.len());
    samples
}

#[test]
fn a_component_that_is_cut_off_at_any_byte_is_an_error_or_a_shorter_component() {
    // The larger ones take their time in a debug build.
    let largest = if HEAVY { usize::MAX } else { 800 };
    let mut outcomes = [0, 0];
    for bytes in samples() {
        if bytes.len() > largest {
            continue;
        }
        assert_ne!(run(&bytes), Outcome::Rejected);
        for end in 0..bytes.len() {
            match run(&bytes[..end]) {
                Outcome::Rejected => outcomes[0] += 1,
                _ => outcomes[1] += 1,
            }
        }
    }
    // At the end of a section it is complete.
    assert!(outcomes[0] > 1_000 && outcomes[1] > 10, "{outcomes:?}");
}

#[test]
fn no_flipped_bits_do_harm() {
    let samples = samples();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let (mut rejected, mut not_instantiated, mut called) = (0, 0, 0);
    for round in 0..if HEAVY { 100_000 } else { 2_000 } {
        let mut bytes = samples[round % samples.len()].clone();
        for _ in 0..=random(3) {
            // Behind the header: what is no component is soon rejected.
            let bit = 64 + random(bytes.len() * 8 - 64);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        match run(&bytes) {
            Outcome::Rejected => rejected += 1,
            Outcome::NotInstantiated => not_instantiated += 1,
            Outcome::Called(..) => called += 1,
        }
    }
    println!("{rejected} rejected, {not_instantiated} not instantiated, {called} called");
    assert!(rejected > 1_000 && called > 100, "{rejected}, {called}");
    let host = Host::new();
    let (store, plain) = host.instantiate(PLAIN).unwrap();
    assert_eq!(call_u32(&store, &plain, "value"), 7);
}

/// Instantiates with the default limits: an instance, or an error of validation or of a limit.
fn bounded(component: impl AsRef<[u8]>) -> Result<(), ErrorKind> {
    let host = Host::new();
    let store = host.store(());
    let linker = Linker::new();
    let bystander = linker.instantiate(&store, &host.component(PLAIN)).unwrap();
    let started = Instant::now();
    let outcome = Component::new(&host.engine, component.as_ref())
        .and_then(|component| linker.instantiate(&store, &component));
    let took = started.elapsed();
    assert!(took < PATIENCE, "it took {took:?}");
    assert_eq!(call_u32(&store, &bystander, "value"), 7);
    match outcome.map_err(Error::into_kind) {
        Ok(_) => Ok(()),
        Err(kind @ (ErrorKind::Invalid { .. } | ErrorKind::Limit(_))) => Err(kind),
        Err(kind) => panic!("{kind}"),
    }
}

/// A component that instantiates the one inside it, and so on; the innermost has a start function.
fn nested(depth: usize) -> Vec<u8> {
    let start =
        "(component (core module $M (func $f) (start $f)) (core instance (instantiate $M)))";
    let mut component = wat::parse_str(start).unwrap();
    for _ in 1..depth {
        let mut outer = Vec::from(*b"\0asm\x0d\0\x01\0");
        // The component section, and an instance section that instantiates component 0.
        outer.push(4);
        component.encode(&mut outer);
        outer.extend([5, 4, 1, 0, 0, 0]);
        component = outer;
    }
    component
}

#[test]
fn components_nested_a_hundred_deep_are_instantiated_and_a_thousand_deep_bounded() {
    bounded(nested(100)).unwrap();
    // The validator allows 1,000 modules and components together.
    bounded(nested(900)).unwrap();
    assert!(bounded(nested(1_100)).is_err());
}

#[test]
fn a_module_of_very_many_functions_is_compiled_or_refused() {
    let functions = "(func)".repeat(1_000_000);
    let text = format!("(component (core module $M {functions}) (core instance (instantiate $M)))");
    let _ = bounded(&text);
}

#[test]
fn types_that_double_are_refused() {
    // 2^40 parts, in 40 types.
    let mut text = "(component (type $t0 (tuple u8 u8))".to_owned();
    for level in 1..=40 {
        let inner = level - 1;
        text += &format!("(type $t{level} (tuple $t{inner} $t{inner}))");
    }
    text += "(import \"f\" (func (param \"x\" $t40))))";
    assert!(matches!(bounded(&text), Err(ErrorKind::Invalid { .. })));
    // 2^32 bytes in place.
    let text = "(component (type $a (list u8 65536)) (type $b (list $a 65536))
        (import \"f\" (func (param \"x\" $b))))";
    assert!(matches!(bounded(text), Err(ErrorKind::Invalid { .. })));
}
