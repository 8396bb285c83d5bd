//! Workloads for component hosts: ours, and wasmtime's beside it on the same components.
//!
//! Each [`Work`] is one operation and checks its result. Criterion runs them
//! (`benches/component_host.rs`), and so does the command `host-figures`, which measures both hosts
//! in turn and prints the table of `docs/PERFORMANCE.md`.

mod async_ours;
#[cfg(feature = "peers-host")]
mod async_wasmtime;
mod engine;
mod ours;
#[cfg(feature = "peers-host")]
mod wasmtime;

use std::fmt::Write as _;

/// The component whose functions are called.
pub const VALUES: &str = include_str!("host/values.wat");

/// Calls that a guest makes in one operation, where one alone would be too short to be seen.
pub const CALLS: u32 = 1_000;

/// The component of the asynchronous workloads.
pub const ASYNC: &str = include_str!("host/async.wat");

/// What passes through a stream in one operation.
pub const BYTES: u32 = 4 << 20;

/// The sizes of the chunks it passes in.
const CHUNKS: [u32; 4] = [1 << 10, 16 << 10, 64 << 10, 1 << 20];

/// Calls that are suspended at a time, and members of a waitable set.
pub const SUSPENDED: u32 = 10_000;

/// What `repeat` does so often, in the order of its functions.
const ROUND_TRIPS: [&str; 5] = [
    "async/guest-host-guest/ready-loop",
    "async/guest-host-guest/pending-loop",
    "async/guest-guest/at-once-loop",
    "async/guest-guest/yields-once-loop",
    "async/suspend-resume-loop",
];

/// One operation, which checks its result.
pub type Work = Box<dyn FnMut()>;

/// A workload on the hosts there are.
pub struct Case {
    /// What it is called, which stays.
    pub name: &'static str,
    /// How many operations are one [`Work`].
    pub per_work: u32,
    /// At most how many times as long as the other's ours may take.
    pub aim: Option<f64>,
    /// On our host.
    pub ours: Work,
    /// On the other, and which that is.
    pub other: Option<(&'static str, Work)>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The workloads.
///
/// # Panics
///
/// When a component does not compile, which is a mistake in it or in the host.
pub fn cases() -> Vec<Case> {
    let mut others = others();
    let aims = aims();
    let mut cases: Vec<Case> = ours::works()
        .into_iter()
        .chain(async_ours::works())
        .chain(engine::works())
        .map(|(name, ours)| Case {
            name,
            per_work: match name {
                name if name.ends_with("loop") => CALLS,
                name if name.ends_with("=10k") && name.contains("-calls/") => SUSPENDED,
                name if name.starts_with("waitable-set/") => SUSPENDED,
                _ => 1,
            },
            aim: aims
                .iter()
                .find(|(aimed, _)| *aimed == name)
                .map(|(_, aim)| *aim),
            ours,
            other: others
                .iter()
                .position(|(other, ..)| *other == name)
                .map(|at| others.swap_remove(at))
                .map(|(_, who, work)| (who, work)),
        })
        .collect();
    cases.sort_by_key(|case| NAMES.iter().position(|name| *name == case.name));
    cases
}

/// Compiling a component that is given as a binary, beside validating it.
///
/// # Panics
///
/// When it does not compile.
pub fn compile_file(binary: Vec<u8>) -> Case {
    Case {
        name: "compile/file",
        per_work: 1,
        aim: Some(1.2),
        ours: ours::compile(binary.clone()),
        other: Some(("wasmparser", validation(binary))),
    }
}

/// The names of the workloads, in the order of the table.
const NAMES: &[&str] = &[
    "compile/validation-beside",
    "compile",
    "instantiate",
    "host-to-guest/scalar",
    "host-to-guest/string=10",
    "host-to-guest/string=1k",
    "host-to-guest/string=64k",
    "host-to-guest/string=1m",
    "host-to-guest/list-u8=64k",
    "host-to-guest/list-u8=1m",
    "host-to-guest/list-record=10k",
    "host-to-guest/echo-string=1m",
    "host-to-guest/echo-list-u8=1m",
    "host-to-guest/echo-list-record=10k",
    "guest-to-host/scalar-loop",
    "guest-to-host/string=64k",
    "guest-to-host/string=1m",
    "guest-to-host/list-u8=64k",
    "guest-to-host/list-u8=1m",
    "guest-to-guest/scalar-loop",
    "guest-to-guest/string=10",
    "guest-to-guest/string=1k",
    "guest-to-guest/string=64k",
    "guest-to-guest/string=1m",
    "guest-to-guest/list-u8=64k",
    "guest-to-guest/list-u8=1m",
    "guest-to-guest/list-record=10k",
    "resource-create-drop-loop",
    "async/guest-host-guest/ready-loop",
    "async/guest-host-guest/pending-loop",
    "async/guest-guest/at-once-loop",
    "async/guest-guest/yields-once-loop",
    "async/suspend-resume-loop",
    "waitable-set/members=10k",
    "suspended-calls/calls=10k",
    "stream-u8/guest-guest/chunk=1k",
    "stream-u8/guest-guest/chunk=16k",
    "stream-u8/guest-guest/chunk=64k",
    "stream-u8/guest-guest/chunk=1m",
    "stream-u8/guest-host/chunk=1k",
    "stream-u8/guest-host/chunk=16k",
    "stream-u8/guest-host/chunk=64k",
    "stream-u8/guest-host/chunk=1m",
    // What is ours here is the engine alone.
    "engine/compile",
    "engine/memories",
    "engine/call",
    "engine/host-call-loop",
    "engine/nested-call-loop",
    "engine/suspend-resume-loop",
];

/// The name of a workload that passes 4 MiB through a stream.
fn chunk_name(between: &str, chunk: u32) -> &'static str {
    let size = match chunk >> 10 {
        1024 => "1m".to_owned(),
        kib => format!("{kib}k"),
    };
    let name = format!("stream-u8/{between}/chunk={size}");
    let known = NAMES.iter().find(|known| **known == name);
    known.unwrap_or_else(|| panic!("{name} is not in the table"))
}

fn aims() -> Vec<(&'static str, f64)> {
    let mut aims = vec![
        ("compile/validation-beside", 1.2),
        ("compile", 0.02),
        ("instantiate", 2.0),
        ("host-to-guest/scalar", 3.0),
        ("guest-to-host/scalar-loop", 3.0),
        ("guest-to-guest/scalar-loop", 3.0),
        ("async/suspend-resume-loop", 1.0),
        ("stream-u8/guest-guest/chunk=64k", 1.5),
        ("stream-u8/guest-host/chunk=64k", 1.5),
    ];
    let bulk = ["string=64k", "string=1m", "list-u8=64k", "list-u8=1m"];
    let is_bulk = |name: &&&str| bulk.iter().any(|bulk| name.ends_with(bulk));
    aims.extend(NAMES.iter().filter(is_bulk).map(|name| (*name, 1.5)));
    aims
}

type Other = (&'static str, &'static str, Work);

#[cfg(not(feature = "peers-host"))]
fn others() -> Vec<Other> {
    vec![(
        "compile/validation-beside",
        "wasmparser",
        validation(sample()),
    )]
}

#[cfg(feature = "peers-host")]
fn others() -> Vec<Other> {
    let works = wasmtime::works().into_iter().chain(async_wasmtime::works());
    let mut others: Vec<Other> = works.map(|(name, work)| (name, "wasmtime", work)).collect();
    others.push((
        "compile/validation-beside",
        "wasmparser",
        validation(sample()),
    ));
    others
}

/// Suspends so many calls of a host, by its name, and lets `look` see the process: before, with one
/// call that has ended, and while all are suspended. False when there is no such host.
pub fn suspend(host: &str, calls: u32, look: &mut dyn FnMut()) -> bool {
    match host {
        "ours" => async_ours::suspend(calls, look),
        #[cfg(feature = "peers-host")]
        "wasmtime" => async_wasmtime::suspend(calls, look),
        _ => return false,
    }
    true
}

/// Validation alone, which every host has to do.
fn validation(binary: Vec<u8>) -> Work {
    Box::new(move || {
        let mut validator =
            wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
        validator
            .validate_all(&binary)
            .expect("the sample is valid");
    })
}

/// [`large`] as a binary.
fn sample() -> Vec<u8> {
    wat::parse_str(large()).expect("the sample is valid")
}

/// A component of two thousand core functions, some 350 KB.
pub(crate) fn large() -> String {
    let mut text = String::from("(component (core module $M (memory 1)\n");
    for i in 0..2_000 {
        write!(
            text,
            "(func $f{i} (export \"f{i}\") (param $x i32) (param $y i64) (result i32)
               (local $i i32) (local $sum i64)
               (local.set $i (local.get $x))
               (block $out (loop $next
                 (br_if $out (i32.eqz (local.get $i)))
                 (local.set $sum (i64.add (local.get $sum)
                   (i64.mul (local.get $y) (i64.extend_i32_u (local.get $i)))))
                 (i32.store8 (i32.and (local.get $i) (i32.const 0xffff))
                   (i32.wrap_i64 (local.get $sum)))
                 (if (i32.gt_u (local.get $i) (i32.const {i}))
                   (then (local.set $sum (i64.xor (local.get $sum) (i64.const {i}))))
                   (else (local.set $sum (i64.rotl (local.get $sum) (i64.const 7)))))
                 (local.set $i (i32.sub (local.get $i) (i32.const 1)))
                 (br $next)))
               (select (i32.wrap_i64 (local.get $sum))
                 (i32.load (i32.const {offset})) (i64.eqz (local.get $sum))))\n",
            offset = i * 4,
        )
        .expect("a string takes all");
    }
    text.push_str(
        ") (core instance $m (instantiate $M))
         (func (export \"f\") (param \"x\" u32) (param \"y\" u64) (result u32)
           (canon lift (core func $m \"f7\"))))",
    );
    text
}

/// What is sent in the workloads of the given length.
pub(crate) fn text(length: usize) -> String {
    "a".repeat(length)
}
