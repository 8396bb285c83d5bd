//! Compares the engine with wasmtime, the oracle, on generated modules: what decides whether the
//! engine may move to another version.
//!
//! Every module goes through the decoder and the module rewriter, and is run in several ways: called
//! directly, suspended at each import, suspended in two instances whose runs alternate, with its
//! fuel in slices under eager translation, and with its constants taken out. Compared are the
//! results, the kinds of the traps, the arguments of the imports that were called, and at the end
//! the exported globals, memories and tables.
//!
//! `VESTIBULE_MODULES` has the number of modules, 500 unless it is set, and `VESTIBULE_SEED` the
//! seed of the first one. A difference names the seed, and prints how to run that module alone.

mod oracle;
mod ours;

use super::generated;
use std::collections::BTreeMap;
use std::fmt;

/// A number, a vector, or whether a reference is null. There is one NaN: the modules canonicalise.
type Bits = u128;

/// What happened to a module, in order.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// The start function, active segments included.
    Instantiated(Result<(), Ended>),
    /// An import was called.
    Import(usize, Vec<Bits>),
    /// An export was called.
    Export(String, Result<Vec<Bits>, Ended>),
    Global(String, Bits),
    /// A digest of its bytes, and how many there are.
    Memory(String, u64, usize),
    /// Which of its elements are null.
    Table(String, Vec<bool>),
}

/// How a call ended that did not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Unreachable,
    MemoryOutOfBounds,
    TableOutOfBounds,
    IndirectCallToNull,
    IntegerDivisionByZero,
    IntegerOverflow,
    BadConversionToInteger,
    BadSignature,
    /// The engines' stacks are of different depths: what follows is not compared.
    StackOverflow,
    Other,
}

/// What a module exports, in the order of the binary.
fn exports(wasm: &[u8]) -> Vec<(String, wasmparser::ExternalKind)> {
    let mut exports = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let Ok(wasmparser::Payload::ExportSection(section)) = payload {
            let section = section
                .into_iter()
                .map(|export| export.expect("it is valid"));
            exports.extend(section.map(|export| (export.name.to_owned(), export.kind)));
        }
    }
    exports
}

/// What the `call`th call of an import returns, before it is narrowed to the type.
fn imported(call: u64) -> u64 {
    call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

/// What wasmtime says of a module with an `externref` when it is built without its garbage collector,
/// as it is here: those modules are counted, and left out.
const NO_EXTERNREF: &str = "gc types are disallowed";

/// How often each export is called, with arguments of its own each time.
const ROUNDS: usize = 2;

/// The argument at a place of a parameter list.
fn argument(round: usize, place: usize) -> u64 {
    const INTERESTING: [u64; 7] = [0, 1, 0x8000_0000, 7, u64::MAX, 0x4048_f5c3, 1 << 63];
    INTERESTING[(place + 3 * round) % INTERESTING.len()]
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How much of two runs was compared.
#[derive(Debug, PartialEq, Eq)]
enum Same {
    Everything,
    /// Up to where the stack of one of them was exhausted.
    UntilStackOverflow,
}

fn compare(oracle: &[Event], ours: &[Event]) -> Result<Same, String> {
    let exhausted = |event: &Event| {
        matches!(
            event,
            Event::Instantiated(Err(Ended::StackOverflow))
                | Event::Export(_, Err(Ended::StackOverflow))
        )
    };
    for (i, (theirs, ours)) in oracle.iter().zip(ours).enumerate() {
        if exhausted(theirs) || exhausted(ours) {
            return Ok(Same::UntilStackOverflow);
        }
        if theirs != ours {
            return Err(format!("event {i}: wasmtime {theirs:?}, ours {ours:?}"));
        }
    }
    match oracle.len() == ours.len() {
        true => Ok(Same::Everything),
        false => Err(format!(
            "wasmtime has {} events, ours {}",
            oracle.len(),
            ours.len()
        )),
    }
}

/// What was compared, to be printed: so that one sees that it was something.
#[derive(Default)]
struct Tally {
    modules: u64,
    /// Those with an `externref`.
    beyond_the_oracle: u64,
    /// How many of them have a start function, and how many could not be instantiated.
    started: u64,
    failed: u64,
    calls: u64,
    imports: u64,
    traps: BTreeMap<Ended, u64>,
    /// By the way of running.
    ways: BTreeMap<&'static str, WayTally>,
}

#[derive(Default)]
struct WayTally {
    suspensions: u64,
    slices: u64,
    globals_made: u64,
    cut_short: u64,
}

impl Tally {
    fn oracle(&mut self, wasm: &[u8], events: &[Event]) {
        self.modules += 1;
        let start = wasmparser::Parser::new(0)
            .parse_all(wasm)
            .any(|payload| matches!(payload, Ok(wasmparser::Payload::StartSection { .. })));
        self.started += u64::from(start);
        for event in events {
            match event {
                Event::Import(..) => self.imports += 1,
                Event::Instantiated(Ok(())) => {}
                Event::Instantiated(Err(_)) => self.failed += 1,
                Event::Export(_, outcome) => {
                    self.calls += 1;
                    if let Err(ended) = outcome {
                        *self.traps.entry(*ended).or_default() += 1;
                    }
                }
                Event::Global(..) | Event::Memory(..) | Event::Table(..) => {}
            }
        }
    }

    fn way(&mut self, name: &'static str, ran: &ours::Ran) {
        let tally = self.ways.entry(name).or_default();
        tally.suspensions += ran.suspensions;
        tally.slices += ran.slices;
        tally.globals_made += ran.globals_made;
    }

    fn compared(&mut self, name: &'static str, same: &Same) {
        let tally = self.ways.entry(name).or_default();
        tally.cut_short += u64::from(*same == Same::UntilStackOverflow);
    }

    /// Fails when something that the test is about did not happen.
    fn check(&self) {
        let total = |of: fn(&WayTally) -> u64| self.ways.values().map(of).sum::<u64>();
        for (what, count) in [
            ("calls of exports", self.calls),
            ("calls of imports", self.imports),
            ("start functions", self.started),
            ("suspensions", total(|way| way.suspensions)),
            ("ends of slices", total(|way| way.slices)),
            ("constants taken out", total(|way| way.globals_made)),
        ] {
            assert!(count > 0, "the modules have no {what}");
        }
        assert!(self.traps.len() > 1, "the modules trap in one way only");
        // Once in a while is the engines' affair; often would hide what is to be compared.
        let cut_short = total(|way| way.cut_short);
        assert!(cut_short <= self.modules / 20 + 5, "{cut_short} cut short");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} modules ({} more have an `externref`, which the oracle does not), {} of them with a \
             start function, {} not instantiated: {} calls of exports, {} of imports",
            self.modules,
            self.beyond_the_oracle,
            self.started,
            self.failed,
            self.calls,
            self.imports
        )?;
        writeln!(f, "traps: {:?}", self.traps)?;
        for (name, way) in &self.ways {
            writeln!(
                f,
                "{name}: {} suspensions, {} ends of slices, {} constants taken out, {} modules \
                 compared until a stack was exhausted",
                way.suspensions, way.slices, way.globals_made, way.cut_short
            )?;
        }
        Ok(())
    }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().expect("a number"),
        Err(_) => default,
    }
}

#[test]
fn generated_modules_do_what_the_oracle_says() {
    let wanted = setting("VESTIBULE_MODULES", 500);
    let first = setting("VESTIBULE_SEED", 1);
    let (oracle, ways) = (oracle::Oracle::new(), ours::Way::all());
    let mut tally = Tally::default();
    let mut seed = first;
    while tally.modules < wanted {
        if let Some(wasm) = generated::module(seed) {
            let expected = match oracle.run(&wasm) {
                Ok(expected) => expected,
                Err(error) if format!("{error:?}").contains(NO_EXTERNREF) => {
                    tally.beyond_the_oracle += 1;
                    seed += 1;
                    continue;
                }
                Err(error) => panic!("seed {seed}: wasmtime does not compile it: {error:?}"),
            };
            tally.oracle(&wasm, &expected);
            for way in &ways {
                let ran = way.run(&wasm);
                tally.way(way.name, &ran);
                for events in &ran.events {
                    match compare(&expected, events) {
                        Ok(same) => tally.compared(way.name, &same),
                        Err(difference) => panic!(
                            "seed {seed}, {}: {difference}\nVESTIBULE_MODULES=1 \
                             VESTIBULE_SEED={seed} runs it alone",
                            way.name
                        ),
                    }
                }
            }
            if tally.modules.is_multiple_of(1_000) {
                eprintln!("{} modules without a difference", tally.modules);
            }
        }
        seed += 1;
    }
    eprintln!("seeds {first} to {}: {tally}", seed - 1);
    if wanted >= 100 {
        tally.check();
    }
}

/// The comparison must be able to fail: a wrong result of an import is found, in each way.
#[test]
fn a_difference_is_found() {
    let wasm = wat::parse_str(
        r#"(module
          (import "h" "1" (func $f (param i32) (result i32)))
          (memory (export "m") 1)
          (global (export "g") (mut i32) (i32.const 0))
          (func (export "run") (param i32) (result i32)
            (global.set 0 (call $f (local.get 0)))
            (i32.store (i32.const 8) (global.get 0))
            (i32.add (global.get 0) (i32.const 1))))"#,
    )
    .expect("the sample is valid");
    let expected = oracle::Oracle::new()
        .run(&wasm)
        .expect("it is instantiated");
    for way in ours::Way::all() {
        for events in way.run(&wasm).events {
            assert_eq!(
                compare(&expected, &events),
                Ok(Same::Everything),
                "{}",
                way.name
            );
        }
        for events in way.planted().run(&wasm).events {
            assert!(compare(&expected, &events).is_err(), "{}", way.name);
        }
    }
}

/// Each thing that is compared is looked at.
#[test]
fn each_kind_of_difference_is_a_difference() {
    let global = |bits| Event::Global("g".into(), bits);
    let export = |result| Event::Export("f".into(), result);
    for (one, other) in [
        (global(1), global(2)),
        (export(Ok(vec![1])), export(Ok(vec![2]))),
        (export(Ok(vec![1])), export(Err(Ended::Unreachable))),
        (
            export(Err(Ended::BadSignature)),
            export(Err(Ended::Unreachable)),
        ),
        (Event::Import(1, vec![1]), Event::Import(1, vec![2])),
        (
            Event::Memory("m".into(), 1, 65_536),
            Event::Memory("m".into(), 2, 65_536),
        ),
        (
            Event::Table("t".into(), vec![true]),
            Event::Table("t".into(), vec![false]),
        ),
    ] {
        assert!(compare(&[one], &[other]).is_err());
    }
    assert!(compare(&[global(1)], &[]).is_err());
}
