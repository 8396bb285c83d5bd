//! The specification's executable definitions in a child process, and the language it is asked in.
//!
//! The definitions travel inside the package `wasm-tools`, where `cargo metadata` finds them. A
//! copy with one line more at its top runs in a child process, outside the repository.

use crate::abi::options::PtrType;
use crate::component::definitions::StringEncoding::{self, Latin1Utf16, Utf8, Utf16};
use crate::types::Type;
use crate::val::{SourceEncoding, Val};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What came of lowering a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lowered {
    /// The core values as bits, and the heap.
    Done(Vec<u64>, String),
    /// What was to be lowered could not be lifted.
    Trap,
    /// It did not fit into the guest's memory.
    Full,
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn ptr_name(ptr_type: PtrType) -> &'static str {
    match ptr_type {
        PtrType::I32 => "i32",
        PtrType::I64 => "i64",
    }
}

pub(super) fn encoding_name(encoding: StringEncoding) -> &'static str {
    match encoding {
        Utf8 => "utf8",
        Utf16 => "utf16",
        Latin1Utf16 => "latin1+utf16",
    }
}

/// A type, as `oracle.py` reads it.
pub(super) fn type_json(t: &Type) -> Value {
    let maybe = |t: Option<&Type>| t.map_or(Value::Null, type_json);
    match t {
        Type::Bool => json!("Bool"),
        Type::S8 => json!("S8"),
        Type::U8 => json!("U8"),
        Type::S16 => json!("S16"),
        Type::U16 => json!("U16"),
        Type::S32 => json!("S32"),
        Type::U32 => json!("U32"),
        Type::S64 => json!("S64"),
        Type::U64 => json!("U64"),
        Type::Float32 => json!("F32"),
        Type::Float64 => json!("F64"),
        Type::Char => json!("Char"),
        Type::String => json!("String"),
        Type::List(list) => json!(["List", type_json(list.ty())]),
        Type::FixedLengthList(list) => {
            json!(["FixedLengthList", type_json(list.ty()), list.size()])
        }
        Type::Map(map) => json!(["Map", type_json(map.key()), type_json(map.value())]),
        Type::Record(record) => {
            let fields = record.fields().map(|(name, t)| json!([name, type_json(t)]));
            json!(["Record", fields.collect::<Vec<_>>()])
        }
        Type::Tuple(tuple) => {
            json!([
                "Tuple",
                tuple.types().iter().map(type_json).collect::<Vec<_>>()
            ])
        }
        Type::Variant(variant) => {
            let cases = variant.cases().map(|(name, t)| json!([name, maybe(t)]));
            json!(["Variant", cases.collect::<Vec<_>>()])
        }
        Type::Enum(enum_) => json!(["Enum", enum_.names().collect::<Vec<_>>()]),
        Type::Option(option) => json!(["Option", type_json(option.ty())]),
        Type::Result(result) => json!(["Result", maybe(result.ok()), maybe(result.err())]),
        Type::Flags(flags) => json!(["Flags", flags.names().collect::<Vec<_>>()]),
        other => panic!("{other} is not asked about"),
    }
}

/// A value, as `oracle.py` reads it.
pub(super) fn value_json(v: &Val, t: &Type) -> Value {
    let all = |values: &[Val], t: &Type| -> Value {
        values
            .iter()
            .map(|v| value_json(v, t))
            .collect::<Vec<_>>()
            .into()
    };
    let maybe = |v: &Option<Box<Val>>, t: Option<&Type>| match (v, t) {
        (Some(v), Some(t)) => value_json(v, t),
        _ => Value::Null,
    };
    match (v, t) {
        (Val::Bool(v), _) => json!(v),
        (Val::S8(v), _) => json!(v),
        (Val::U8(v), _) => json!(v),
        (Val::S16(v), _) => json!(v),
        (Val::U16(v), _) => json!(v),
        (Val::S32(v), _) => json!(v),
        (Val::U32(v), _) => json!(v),
        (Val::S64(v), _) => json!(v),
        (Val::U64(v), _) => json!(v),
        (Val::Float32(v), _) => json!(v.to_bits()),
        (Val::Float64(v), _) => json!(v.to_bits()),
        (Val::Char(v), _) => json!(u32::from(*v)),
        (Val::String(text), _) => {
            let source = match text.source() {
                SourceEncoding::Utf8 => "utf8",
                SourceEncoding::Utf16 => "utf16",
                SourceEncoding::Latin1 => "latin1",
                SourceEncoding::TaggedUtf16 => "tagged",
            };
            json!([text.as_str(), source])
        }
        (Val::List(values), Type::List(list)) => all(values, list.ty()),
        (Val::List(values), Type::FixedLengthList(list)) => all(values, list.ty()),
        (Val::Map(entries), Type::Map(map)) => {
            let entry =
                |(k, v): &(Val, Val)| json!([value_json(k, map.key()), value_json(v, map.value())]);
            entries.iter().map(entry).collect::<Vec<_>>().into()
        }
        (Val::Record(fields), Type::Record(record)) => {
            let fields = fields.iter().zip(record.fields());
            let fields = fields.map(|((name, v), (_, t))| (name.to_string(), value_json(v, t)));
            Value::Object(fields.collect())
        }
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            let values = values.iter().zip(tuple.types());
            values
                .map(|(v, t)| value_json(v, t))
                .collect::<Vec<_>>()
                .into()
        }
        (Val::Variant(name, payload), Type::Variant(variant)) => {
            let (_, t) = variant
                .cases()
                .find(|(case, _)| *case == &**name)
                .expect("a case");
            json!({ &**name: maybe(payload, t) })
        }
        (Val::Enum(name), _) => json!({ &**name: null }),
        (Val::Option(None), _) => json!({ "none": null }),
        (Val::Option(some), Type::Option(option)) => {
            json!({ "some": maybe(some, Some(option.ty())) })
        }
        (Val::Result(Ok(v)), Type::Result(result)) => json!({ "ok": maybe(v, result.ok()) }),
        (Val::Result(Err(v)), Type::Result(result)) => json!({ "error": maybe(v, result.err()) }),
        (Val::Flags(names), _) => json!(names.iter().map(|name| &**name).collect::<Vec<_>>()),
        _ => panic!("{v} is not asked about"),
    }
}

/// The specification's definitions in a child process.
pub(super) struct Oracle {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Oracle {
    /// None, with a line that says so, where there is no python3.
    pub(super) fn start() -> Option<Oracle> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vestibule-oracle-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let definitions = std::fs::read_to_string(definitions()).expect("the definitions");
        let definitions = format!("from __future__ import annotations\n{definitions}");
        std::fs::write(folder.join("definitions.py"), definitions).expect("it is written");
        std::fs::write(folder.join("oracle.py"), include_str!("oracle.py")).expect("it is written");
        let child = Command::new("python3")
            .arg("oracle.py")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                // Written past the test harness, which would keep it to itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "left out: the comparison with the specification's definitions, since \
                     python3 cannot be run: {error}"
                );
                return None;
            }
        };
        Some(Oracle {
            to: child.stdin.take(),
            from: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            folder,
        })
    }

    pub(super) fn ask(&mut self, question: &Value) -> Lowered {
        let to = self.to.as_mut().expect("it is open until the end");
        writeln!(to, "{question}").expect("the child reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the child answers");
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: `{line}` to {question}"));
        if answer["trap"] == true {
            return Lowered::Trap;
        }
        if answer["full"] == true {
            return Lowered::Full;
        }
        let flat = answer["flat"].as_array().into_iter().flatten();
        let flat = flat.map(|bits| bits.as_u64().expect("bits"));
        let memory = answer["memory"].as_str().expect("a heap").to_owned();
        Lowered::Done(flat.collect(), memory)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where the executable definitions are.
fn definitions() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .expect("cargo can be run");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "wasm-tools")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("wasm-tools is among the packages");
    Path::new(package)
        .with_file_name("tests/component-model/design/mvp/canonical-abi/definitions.py")
}
