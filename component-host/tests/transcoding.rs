//! Strings from guest to guest: every pair of encodings, and every way in which the one that gives
//! a string, or the `realloc` of the one that gets it, can be wrong.

mod common;

use common::{Host, PLAIN, call_u32};
use std::fmt::Write as _;
use vestibule_component_host::{Component, Error, Instance, Linker, Store, Val};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16,
    Latin1Utf16,
}

use Encoding::{Latin1Utf16, Utf8, Utf16};

const ENCODINGS: [Encoding; 3] = [Utf8, Utf16, Latin1Utf16];
const TAG: u32 = 1 << 31;

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Utf8 => "utf8",
            Utf16 => "utf16",
            Latin1Utf16 => "latin1+utf16",
        }
    }

    /// The bytes and the tagged number of code units.
    fn encode(self, text: &str) -> (Vec<u8>, u32) {
        let utf16 = || -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        match self {
            Utf8 => (text.into(), text.len() as u32),
            Utf16 => (utf16(), utf16().len() as u32 / 2),
            Latin1Utf16 => match text
                .chars()
                .map(u8::try_from)
                .collect::<Result<Vec<_>, _>>()
            {
                Ok(latin1) => (latin1.clone(), latin1.len() as u32),
                Err(_) => (utf16(), (utf16().len() as u32 / 2) | TAG),
            },
        }
    }

    fn byte_length(self, length: u32) -> u32 {
        match self {
            Utf8 => length,
            Utf16 => 2 * length,
            Latin1Utf16 if length & TAG != 0 => 2 * (length ^ TAG),
            Latin1Utf16 => length,
        }
    }
}

/// Shrinks in place, and else moves up.
const GOOD: &str = "(if (i32.and (i32.ne (local.get $old) (i32.const 0))
    (i32.le_u (local.get $size) (local.get $old-size))) (then (return (local.get $old))))
  (call $move (call $bump (local.get $align) (local.get $size)))";

/// Never gives back the same block.
const MOVES: &str = "(call $move (call $bump (local.get $align) (local.get $size)))";

/// Each block is in a page of its own, which was not there before.
const GROWS: &str = "(call $move (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))";

/// Returns `value` when it is called for the time `call`, counted from 0.
fn nonsense(call: u32, value: u32) -> String {
    format!(
        "(if (i32.eq (global.get $calls) (i32.const {}))
           (then
             (if (i32.lt_u (i32.const {value}) (i32.const 65536))
               (then (drop (call $move (i32.const {value})))))
             (return (i32.const {value}))))
         {GOOD}",
        call + 1
    )
}

/// A memory with what both guests need of it. The calls of `realloc` are written down at 256.
fn libc(realloc: &str) -> String {
    format!(
        r#"(core module $Libc
          (memory (export "mem") 4)
          (global $next (mut i32) (i32.const 131072))
          (global $calls (mut i32) (i32.const 0))
          (global $old (mut i32) (i32.const 0))
          (global $length (mut i32) (i32.const 0))
          (func $bump (param $align i32) (param $size i32) (result i32) (local $new i32)
            (local.set $new (i32.and
              (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
              (i32.sub (i32.const 0) (local.get $align))))
            (global.set $next (i32.add (local.get $new) (local.get $size)))
            (local.get $new))
          (func $move (param $new i32) (result i32)
            (memory.copy (local.get $new) (global.get $old) (global.get $length))
            (local.get $new))
          (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32)
            (param $size i32) (result i32) (local $log i32)
            (local.set $log (i32.add (i32.const 256)
              (i32.mul (global.get $calls) (i32.const 8))))
            (i32.store (local.get $log) (local.get $align))
            (i32.store offset=4 (local.get $log) (local.get $size))
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (global.set $old (local.get $old))
            (global.set $length (select (local.get $size) (local.get $old-size)
              (i32.lt_u (local.get $size) (local.get $old-size))))
            {realloc})
          (func (export "log") (result i32)
            (i32.store (i32.const 128) (i32.const 256))
            (i32.store (i32.const 132) (i32.mul (global.get $calls) (i32.const 2)))
            (i32.const 128)))
        (core module $Callee
          (import "" "mem" (memory 1))
          (global $ptr (mut i32) (i32.const 0))
          (global $length (mut i32) (i32.const 0))
          (func (export "f") (param i32 i32)
            (global.set $ptr (local.get 0))
            (global.set $length (local.get 1)))
          (func (export "length") (result i32) (global.get $length))
          (func (export "got") (param i32) (result i32)
            (i32.store (i32.const 136) (global.get $ptr))
            (i32.store (i32.const 140) (local.get 0))
            (i32.const 136)))"#
    )
}

/// What the getter of the string defines: `f`, and functions that say what it got.
fn callee(to: Encoding) -> String {
    format!(
        r#"(core instance $libc (instantiate $Libc))
        (alias core export $libc "mem" (core memory $mem))
        (alias core export $libc "realloc" (core func $realloc))
        (core instance $m (instantiate $Callee
          (with "" (instance (export "mem" (memory $mem))))))
        (func $f (export "f") (param "s" string) (canon lift (core func $m "f")
          (memory $mem) (realloc $realloc) string-encoding={}))
        (func $length (export "length") (result u32) (canon lift (core func $m "length")))
        (func $got (export "got") (param "bytes" u32) (result (list u8))
          (canon lift (core func $m "got") (memory $mem)))
        (func $log (export "log") (result (list u32))
          (canon lift (core func $libc "log") (memory $mem)))"#,
        to.name()
    )
}

/// What the giver of the string runs: `f` with these core values.
fn caller(source: &Source) -> String {
    let bytes = source.bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    format!(
        r#"(core module $Caller
          (import "" "mem" (memory 4))
          (import "" "f" (func $f (param i32 i32)))
          (data (i32.const {at}) "{bytes}")
          (func (export "run") (call $f (i32.const {at}) (i32.const {length}))))"#,
        at = source.at,
        length = source.length,
    )
}

/// A string in the giver's memory, good or not.
#[derive(Debug, Clone)]
struct Source {
    encoding: Encoding,
    at: u32,
    bytes: Vec<u8>,
    length: u32,
}

impl Source {
    fn new(encoding: Encoding, text: &str) -> Source {
        let (bytes, length) = encoding.encode(text);
        Source {
            encoding,
            at: 8192,
            bytes,
            length,
        }
    }

    /// Two components, each with its own memory.
    fn to_another(&self, to: Encoding, realloc: &str) -> String {
        format!(
            r#"(component $root {libc} {caller}
              (component $To
                (alias outer $root $Libc (core module $Libc))
                (alias outer $root $Callee (core module $Callee))
                {callee})
              (instance $to (instantiate $To))
              (component $From
                (import "f" (func $f (param "s" string)))
                (alias outer $root $Libc (core module $Libc))
                (alias outer $root $Caller (core module $Caller))
                (core instance $libc (instantiate $Libc))
                (alias core export $libc "mem" (core memory $mem))
                (core func $f' (canon lower (func $f) (memory $mem) string-encoding={encoding}))
                (core instance $m (instantiate $Caller (with "" (instance
                  (export "mem" (memory $mem)) (export "f" (func $f'))))))
                (func (export "run") (canon lift (core func $m "run"))))
              (instance $from (instantiate $From (with "f" (func $to "f"))))
              (export "run" (func $from "run"))
              (export "length" (func $to "length"))
              (export "got" (func $to "got"))
              (export "log" (func $to "log")))"#,
            libc = libc(realloc),
            caller = caller(self),
            callee = callee(to),
            encoding = self.encoding.name(),
        )
    }

    /// One component that calls itself: both sides are in one memory.
    fn to_itself(&self, to: Encoding, realloc: &str) -> String {
        format!(
            r#"(component {libc} {caller} {callee}
              (core func $f' (canon lower (func $f) (memory $mem) string-encoding={encoding}))
              (core instance $n (instantiate $Caller (with "" (instance
                (export "mem" (memory $mem)) (export "f" (func $f'))))))
              (func (export "run") (canon lift (core func $n "run"))))"#,
            libc = libc(realloc),
            caller = caller(self),
            callee = callee(to),
            encoding = self.encoding.name(),
        )
    }
}

/// What the getter got: the bytes, the tagged number of code units, and the calls of `realloc`, as
/// pairs of alignment and size.
type Got = (Vec<u8>, u32, Vec<(u32, u32)>);

struct Bench {
    host: Host,
    store: Store<()>,
    bystander: Instance,
}

impl Bench {
    fn new() -> Bench {
        let host = Host::new();
        let store = host.store(());
        let bystander = Linker::new()
            .instantiate(&store, &host.component(PLAIN))
            .unwrap();
        Bench {
            host,
            store,
            bystander,
        }
    }

    fn call(&self, instance: &Instance, name: &str, args: &[Val]) -> Result<Option<Val>, Error> {
        let func = instance.get_func(&self.store, name)?;
        self.store.block_on(func.call(&self.store, args))
    }

    fn run(&self, text: &str, to: Encoding) -> Result<Got, Error> {
        let component = Component::new(&self.host.engine, text.as_bytes()).expect("it is valid");
        let instance = Linker::new().instantiate(&self.store, &component)?;
        let ran = self.call(&instance, "run", &[]);
        assert_eq!(call_u32(&self.store, &self.bystander, "value"), 7);
        ran?;
        let length = call_u32(&self.store, &instance, "length");
        let bytes = self.call(&instance, "got", &[Val::U32(to.byte_length(length))])?;
        let log = numbers(self.call(&instance, "log", &[])?);
        let calls = log.chunks(2).map(|call| (call[0], call[1]));
        let bytes = numbers(bytes).into_iter().map(|byte| byte as u8);
        Ok((bytes.collect(), length, calls.collect()))
    }
}

fn numbers(list: Option<Val>) -> Vec<u32> {
    let Some(Val::List(list)) = list else {
        panic!("{list:?} is not a list");
    };
    let numbers = list.iter().map(|number| match number {
        Val::U8(number) => u32::from(*number),
        Val::U32(number) => *number,
        other => panic!("{other}"),
    });
    numbers.collect()
}

/// Empty, one character of each width, mixed, and long.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = ["", "a", "é", "☃", "🍰", "abc", "aé", "éa☃", "a☃é🍰b"]
        .map(str::to_owned)
        .into();
    // The first that is not like the others comes late.
    texts.push("x".repeat(3_000));
    texts.push("é".repeat(3_000));
    texts.push("☃".repeat(3_000));
    texts.push("x".repeat(3_000) + "é");
    texts.push("x".repeat(3_000) + "🍰");
    texts.push("é".repeat(3_000) + "☃");
    texts
}

#[test]
fn every_pair_of_encodings_passes_every_text_whatever_realloc_does_within_reason() {
    let bench = Bench::new();
    for text in texts() {
        for (from, to) in pairs() {
            let source = Source::new(from, &text);
            let (bytes, length) = to.encode(&text);
            for (way, realloc) in [("good", GOOD), ("moves", MOVES), ("grows", GROWS)] {
                for component in [
                    source.to_another(to, realloc),
                    source.to_itself(to, realloc),
                ] {
                    let got = bench.run(&component, to).unwrap();
                    let shown: String = text.chars().take(8).collect();
                    assert_eq!(got.0, bytes, "{shown}: {from:?} to {to:?}, {way}");
                    assert_eq!(got.1, length, "{shown}: {from:?} to {to:?}, {way}");
                }
            }
        }
    }
}

fn pairs() -> impl Iterator<Item = (Encoding, Encoding)> {
    ENCODINGS
        .into_iter()
        .flat_map(|from| ENCODINGS.map(|to| (from, to)))
}

/// A tag on a string that Latin-1 would do for, and none on one of which each byte is a character.
#[test]
fn the_tag_decides_what_a_string_is_and_not_its_content() {
    let bench = Bench::new();
    for (bytes, length, text) in [
        ([b'a', 0, 0xe9, 0], 2 | TAG, "aé"),
        ([b'a', 0, 0xe9, 0], 4, "a\0é\0"),
        ([0x03, 0x26, b'a', 0], 2 | TAG, "☃a"),
    ] {
        for to in ENCODINGS {
            let source = Source {
                bytes: bytes.to_vec(),
                length,
                ..Source::new(Latin1Utf16, "")
            };
            let got = bench.run(&source.to_another(to, GOOD), to).unwrap();
            assert_eq!((got.0, got.1), to.encode(text), "{text:?} to {to:?}");
        }
    }
}

#[track_caller]
fn assert_trap(bench: &Bench, component: &str, to: Encoding, text: &str, what: &str) {
    match bench.run(component, to) {
        Ok(got) => panic!("{what}: expected `{text}`, got {got:?}"),
        Err(error) => {
            let found = error.to_string();
            assert!(
                found.contains(text),
                "{what}: expected `{text}`, got {found}"
            );
        }
    }
}

#[test]
fn a_source_that_is_no_string_traps_whatever_it_becomes() {
    let bench = Bench::new();
    let (utf8, utf16) = ("invalid utf-8", "invalid utf-16");
    let (outside, unaligned) = ("string content out-of-bounds", "unaligned pointer");
    // From, where, the bytes, the length.
    let rows: [(Encoding, u32, &[u8], u32, &str); 19] = [
        (Utf8, 8192, b"\xff", 1, utf8),
        (Utf8, 8192, b"a\xc0\x80", 3, utf8),
        (Utf8, 8192, b"a\xed\xa0\x80", 4, utf8),
        (Utf8, 8192, b"\xf4\x90\x80\x80", 4, utf8),
        (Utf8, 8192, b"ab\xe2\x82", 4, utf8),
        (Utf8, 8192, b"\x80", 1, utf8),
        (Utf16, 8192, b"\x00\xd8", 1, utf16),
        (Utf16, 8192, b"a\x00\x00\xdc", 2, utf16),
        (Utf16, 8192, b"\x00\xd8a\x00", 2, utf16),
        (Utf16, 8192, b"\x00\xdc\x00\xd8", 2, utf16),
        (Latin1Utf16, 8192, b"\x00\xd8", 1 | TAG, utf16),
        (Latin1Utf16, 8192, b"a\x00\x00\xdc", 2 | TAG, utf16),
        (Utf16, 8193, b"a\x00", 1, unaligned),
        (Utf16, 8193, b"", 0, unaligned),
        (Latin1Utf16, 8193, b"a", 1, unaligned),
        (Latin1Utf16, 8193, b"a\x00", 1 | TAG, unaligned),
        (Utf8, 8192, b"", 300_000, outside),
        // As many code units as there are bytes: the bound is in bytes.
        (Utf16, 8192, b"", 253_952, outside),
        (Latin1Utf16, 8192, b"", 253_952 | TAG, outside),
    ];
    for (encoding, at, bytes, length, text) in rows {
        let source = Source {
            encoding,
            at,
            bytes: bytes.to_vec(),
            length,
        };
        for to in ENCODINGS {
            let what = format!("{source:?} to {to:?}");
            assert_trap(&bench, &source.to_another(to, GOOD), to, text, &what);
            assert_trap(&bench, &source.to_itself(to, GOOD), to, text, &what);
        }
    }
    // An odd place will do for UTF-8.
    let source = Source {
        at: 8193,
        ..Source::new(Utf8, "aé☃")
    };
    for to in ENCODINGS {
        let got = bench.run(&source.to_another(to, GOOD), to).unwrap();
        assert_eq!((got.0, got.1), to.encode("aé☃"));
    }
}

/// Each call of `realloc` that a string takes, in turn, returns what it must not.
#[test]
fn each_call_of_realloc_that_returns_nonsense_traps() {
    const MEMORY: u32 = 4 * 65536;
    let bench = Bench::new();
    let (mut trapped, mut passed) = (0, 0);
    for text in ["", "ab", "aé", "é☃", "a☃🍰"] {
        for (from, to) in pairs() {
            let source = Source::new(from, text);
            let (_, _, calls) = bench.run(&source.to_another(to, GOOD), to).unwrap();
            for (call, (align, size)) in (0..).zip(&calls) {
                let end = MEMORY - size + 1;
                for value in [0, 1, 2048, 2049, end, end | 1, MEMORY, 1 << 31, u32::MAX] {
                    let component = source.to_another(to, &nonsense(call, value));
                    let what = format!(
                        "{text}: {from:?} to {to:?}, call {call} of {calls:?} returns {value}"
                    );
                    let beyond = value.checked_add(*size).is_none_or(|end| end > MEMORY);
                    if value % align != 0 {
                        assert_trap(&bench, &component, to, "unaligned pointer", &what);
                        trapped += 1;
                    } else if beyond {
                        let text = "string content out-of-bounds";
                        assert_trap(&bench, &component, to, text, &what);
                        trapped += 1;
                    } else {
                        let (bytes, length, _) = bench.run(&component, to).expect(&what);
                        assert_eq!((bytes, length), to.encode(text), "{what}");
                        passed += 1;
                    }
                }
            }
        }
    }
    assert!(trapped > 300 && passed > 100, "{trapped}, {passed}");
}
