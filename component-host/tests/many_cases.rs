//! Variants, enums and flags with as many cases as the validator allows, between the host and a
//! guest and between two guests, both ways.
//!
//! A guest here computes nothing: it takes a list of such values and returns the same memory as
//! bytes, or the other way about. So what is compared is the bytes, whose form follows from the
//! specification: one byte of discriminant for up to 256 cases, two beyond them. (Four would take
//! 65,537 cases, and the validator ends at 10,000: `src/abi/tests/traps.rs` has those.)

mod common;

use common::Host;
use vestibule_component_host::{
    Caller, Error, ErrorKind, Instance, Linker, Result, Store, Trap, Val,
};

/// A type by its kind and the number of its cases.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Enum(u32),
    /// The last case, and every second before it, has a `u8`.
    Variant(u32),
    Flags(u32),
}

use Shape::{Enum, Flags, Variant};

const WITH_CASES: [Shape; 8] = [
    Enum(256),
    Enum(257),
    Enum(1_001),
    Enum(10_000),
    Variant(256),
    Variant(257),
    Variant(1_001),
    Variant(10_000),
];

impl Shape {
    fn count(self) -> u32 {
        match self {
            Enum(count) | Variant(count) | Flags(count) => count,
        }
    }

    fn has_payload(self, case: u32) -> bool {
        matches!(self, Variant(count) if (count - 1 - case).is_multiple_of(2))
    }

    fn definition(self) -> String {
        let cases: String = (0..self.count())
            .map(|case| match self {
                Enum(_) | Flags(_) => format!(r#" "c{case}""#),
                Variant(_) if self.has_payload(case) => format!(r#" (case "c{case}" u8)"#),
                Variant(_) => format!(r#" (case "c{case}")"#),
            })
            .collect();
        match self {
            Enum(_) => format!("(enum{cases})"),
            Variant(_) => format!("(variant{cases})"),
            Flags(_) => format!("(flags{cases})"),
        }
    }

    /// The bytes of a discriminant, or of flags.
    fn width(self) -> u32 {
        match self {
            Enum(count) | Variant(count) if count <= 256 => 1,
            Enum(_) | Variant(_) => 2,
            Flags(0..=8) => 1,
            Flags(9..=16) => 2,
            Flags(_) => 4,
        }
    }

    /// The bytes from one element of a list to the next.
    fn stride(self) -> u32 {
        match self {
            Variant(_) => 2 * self.width(),
            Enum(_) | Flags(_) => self.width(),
        }
    }

    /// A case, or a set of flags, as the elements of a list are in memory.
    fn bytes(self, number: u32) -> Vec<u8> {
        let mut bytes = number.to_le_bytes()[..self.width() as usize].to_vec();
        if matches!(self, Variant(_)) {
            let has_payload = number < self.count() && self.has_payload(number);
            bytes.push(if has_payload { payload(number) } else { 0 });
            bytes.resize(self.stride() as usize, 0);
        }
        bytes
    }

    fn val(self, number: u32) -> Val {
        let name = |case: u32| format!("c{case}").into();
        match self {
            Enum(_) => Val::Enum(name(number)),
            Variant(_) => {
                let has_payload = self.has_payload(number);
                let payload = has_payload.then(|| Box::new(Val::U8(payload(number))));
                Val::Variant(name(number), payload)
            }
            Flags(count) => {
                let set = (0..count).filter(|flag| number >> flag & 1 == 1);
                Val::Flags(set.map(name).collect())
            }
        }
    }
}

/// The payload of a case; never 0, which is what memory is filled with.
fn payload(case: u32) -> u8 {
    (case % 255) as u8 + 1
}

fn list_of(shape: Shape, numbers: &[u32]) -> Val {
    Val::List(numbers.iter().map(|number| shape.val(*number)).collect())
}

fn bytes_of(shape: Shape, numbers: &[u32]) -> Val {
    let bytes = numbers.iter().flat_map(|number| shape.bytes(*number));
    Val::List(bytes.map(Val::U8).collect())
}

/// A module's memory, and a `realloc` that uses no byte twice.
const MEMORY: &str = r#"
    (memory (export "mem") 2)
    (global $next (mut i32) (i32.const 16))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (local.get 3))))
    (func $pair (param $ptr i32) (param $length i32) (result i32)
      (i32.store (i32.const 0) (local.get $ptr))
      (i32.store (i32.const 4) (local.get $length))
      (i32.const 0))"#;

const OPTIONS: &str = r#"(memory (core memory $m "mem")) (realloc (core func $m "realloc"))"#;

/// Exports `write`, which returns the bytes of a list of `t`; `read`, which returns them as that
/// list again; and `number`, which returns a `t` as the core value that it is.
fn callee(shape: Shape) -> String {
    let (definition, stride) = (shape.definition(), shape.stride());
    let payload = if matches!(shape, Variant(_)) {
        "i32"
    } else {
        ""
    };
    format!(
        r#"(component $callee
  (type $t' {definition})
  (export $t "t" (type $t'))
  (core module $M {MEMORY}
    (func (export "write") (param $ptr i32) (param $length i32) (result i32)
      (call $pair (local.get $ptr) (i32.mul (local.get $length) (i32.const {stride}))))
    (func (export "read") (param $ptr i32) (param $length i32) (result i32)
      (call $pair (local.get $ptr) (i32.div_u (local.get $length) (i32.const {stride}))))
    (func (export "number") (param i32 {payload}) (result i32) (local.get 0)))
  (core instance $m (instantiate $M))
  (func (export "write") (param "x" (list $t)) (result (list u8))
    (canon lift (core func $m "write") {OPTIONS}))
  (func (export "read") (param "x" (list u8)) (result (list $t))
    (canon lift (core func $m "read") {OPTIONS}))
  (func (export "number") (param "x" $t) (result u32)
    (canon lift (core func $m "number"))))"#
    )
}

/// Imports such functions. It exports `send`, which takes the bytes of a list, calls `write` with
/// that list, and returns what it got; `receive`, which calls `read` with bytes, and returns the
/// bytes of the list it got; and `number`, which calls `number` with a core value.
fn caller(shape: Shape) -> String {
    let (definition, stride) = (shape.definition(), shape.stride());
    let (payload, argument) = match shape {
        Variant(_) => ("i32", "(i32.const 1)"),
        Enum(_) | Flags(_) => ("", ""),
    };
    format!(
        r#"(component $caller
  (import "peer" (instance $peer
    (type $t' {definition})
    (export "t" (type $t (eq $t')))
    (export "write" (func (param "x" (list $t)) (result (list u8))))
    (export "read" (func (param "x" (list u8)) (result (list $t))))
    (export "number" (func (param "x" $t) (result u32)))))
  (core module $Memory {MEMORY})
  (core instance $m (instantiate $Memory))
  (core func $write (canon lower (func $peer "write") {OPTIONS}))
  (core func $read (canon lower (func $peer "read") {OPTIONS}))
  (core func $number (canon lower (func $peer "number")))
  (core module $M
    (import "m" "mem" (memory 1))
    (import "peer" "write" (func $write (param i32 i32 i32)))
    (import "peer" "read" (func $read (param i32 i32 i32)))
    (import "peer" "number" (func $number (param i32 {payload}) (result i32)))
    (func (export "send") (param $ptr i32) (param $length i32) (result i32)
      (call $write (local.get $ptr) (i32.div_u (local.get $length) (i32.const {stride}))
        (i32.const 8))
      (i32.const 8))
    (func (export "receive") (param $ptr i32) (param $length i32) (result i32)
      (call $read (local.get $ptr) (local.get $length) (i32.const 8))
      (i32.store (i32.const 12) (i32.mul (i32.load (i32.const 12)) (i32.const {stride})))
      (i32.const 8))
    (func (export "number") (param i32) (result i32) (call $number (local.get 0) {argument})))
  (core instance $i (instantiate $M (with "m" (instance $m)) (with "peer" (instance
    (export "write" (func $write)) (export "read" (func $read))
    (export "number" (func $number))))))
  (func (export "send") (param "x" (list u8)) (result (list u8))
    (canon lift (core func $i "send") {OPTIONS}))
  (func (export "receive") (param "x" (list u8)) (result (list u8))
    (canon lift (core func $i "receive") {OPTIONS}))
  (func (export "number") (param "x" u32) (result u32)
    (canon lift (core func $i "number"))))"#
    )
}

/// One guest that calls another.
fn two_guests(shape: Shape) -> String {
    let (callee, caller) = (callee(shape), caller(shape));
    let callee = callee.replacen("$callee", "$Callee", 1);
    let caller = caller.replacen("$caller", "$Caller", 1);
    format!(
        r#"(component {callee} {caller}
  (instance $callee (instantiate $Callee))
  (instance $caller (instantiate $Caller (with "peer" (instance $callee))))
  (export "send" (func $caller "send"))
  (export "receive" (func $caller "receive"))
  (export "number" (func $caller "number")))"#
    )
}

/// The host in the callee's place.
fn host_as_callee(shape: Shape, numbers: &[u32]) -> Linker<()> {
    let mut linker = Linker::new();
    let mut peer = linker.instance("peer").unwrap();
    let (list, bytes) = (list_of(shape, numbers), bytes_of(shape, numbers));
    let (read_list, read_bytes) = (list.clone(), bytes.clone());
    peer.func("write", move |_: Caller<'_, ()>, args: Vec<Val>| {
        assert_eq!(args, std::slice::from_ref(&list));
        Ok(vec![bytes.clone()])
    })
    .unwrap();
    peer.func("read", move |_: Caller<'_, ()>, args: Vec<Val>| {
        assert_eq!(args, std::slice::from_ref(&read_bytes));
        Ok(vec![read_list.clone()])
    })
    .unwrap();
    peer.func("number", move |_: Caller<'_, ()>, args: Vec<Val>| {
        let mut numbers = 0..shape.count();
        let number = numbers.find(|number| match (&args[0], shape.val(*number)) {
            (Val::Variant(found, _), Val::Variant(name, _)) => *found == name,
            (found, val) => *found == val,
        });
        Ok(vec![Val::U32(number.expect("a case of the type"))])
    })
    .unwrap();
    linker
}

fn call(store: &Store<()>, instance: &Instance, name: &str, arg: &Val) -> Result<Val> {
    let func = instance.get_func(store, name)?;
    let result = store.block_on(func.call(store, std::slice::from_ref(arg)))?;
    Ok(result.expect("the function has a result"))
}

/// Makes a fresh instance each time, since a trap locks it down.
type Make<'a> = &'a dyn Fn() -> Instance;

#[track_caller]
fn assert_traps(result: Result<Val, Error>, discriminant: u32) {
    let error = result.expect_err("there is no such case");
    let trap = error.trap();
    assert_eq!(
        trap,
        Some(&Trap::InvalidDiscriminant(discriminant)),
        "{error}"
    );
}

/// Every case passes through the function of each name, and those that are none trap.
fn assert_cases(shape: Shape, store: &Store<()>, make: Make<'_>, functions: &[&str]) {
    let last = shape.count() - 1;
    let all: Vec<u32> = (0..=last).collect();
    let bytes = bytes_of(shape, &all);
    for name in functions {
        let result = call(store, &make(), name, &bytes).unwrap();
        assert!(result == bytes, "{shape:?}: `{name}`");
        // With one byte and 256 cases there is no number that is out of range.
        let beyond = [last + 1, if shape.width() == 1 { 0xff } else { 0xffff }];
        for wrong in beyond.into_iter().filter(|_| last != 0xff) {
            let bytes = bytes_of(shape, &[0, wrong]);
            assert_traps(call(store, &make(), name, &bytes), wrong);
        }
    }
    for case in [0, 1, last - 1, last] {
        let number = call(store, &make(), "number", &Val::U32(case)).unwrap();
        assert_eq!(number, Val::U32(case), "{shape:?}");
    }
    // A flat discriminant has 32 bits, whatever its size in memory.
    for wrong in [last + 1, 0x1_0000, 0x1_0001, u32::MAX] {
        assert_traps(call(store, &make(), "number", &Val::U32(wrong)), wrong);
    }
}

#[test]
fn every_case_of_thousands_passes_from_the_host_to_a_guest_and_back() {
    let host = Host::new();
    let store = host.store(());
    for shape in WITH_CASES {
        let component = host.component(&callee(shape));
        let make = || Linker::new().instantiate(&store, &component).unwrap();
        let last = shape.count() - 1;
        let all: Vec<u32> = (0..=last).collect();
        let (list, bytes) = (list_of(shape, &all), bytes_of(shape, &all));
        assert!(
            call(&store, &make(), "write", &list).unwrap() == bytes,
            "{shape:?}"
        );
        assert!(
            call(&store, &make(), "read", &bytes).unwrap() == list,
            "{shape:?}"
        );
        for case in [0, 1, last - 1, last] {
            let number = call(&store, &make(), "number", &shape.val(case)).unwrap();
            assert_eq!(number, Val::U32(case), "{shape:?}");
        }
        if last != 0xff {
            let bytes = bytes_of(shape, &[last, last + 1]);
            assert_traps(call(&store, &make(), "read", &bytes), last + 1);
        }
        // The embedder's mistake, and no trap.
        let beyond = match shape.val(last) {
            Val::Variant(_, payload) => Val::Variant(format!("c{}", last + 1).into(), payload),
            _ => Val::Enum(format!("c{}", last + 1).into()),
        };
        let error = call(&store, &make(), "number", &beyond).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    }
}

#[test]
fn every_case_of_thousands_passes_from_a_guest_to_the_host_and_back() {
    let host = Host::new();
    let store = host.store(());
    for shape in WITH_CASES {
        let component = host.component(&caller(shape));
        let all: Vec<u32> = (0..shape.count()).collect();
        let linker = host_as_callee(shape, &all);
        let make = || linker.instantiate(&store, &component).unwrap();
        assert_cases(shape, &store, &make, &["send"]);
        let bytes = bytes_of(shape, &all);
        assert!(
            call(&store, &make(), "receive", &bytes).unwrap() == bytes,
            "{shape:?}"
        );
    }
}

#[test]
fn every_case_of_thousands_passes_between_two_guests_both_ways() {
    let host = Host::new();
    let store = host.store(());
    for shape in WITH_CASES {
        let component = host.component(&two_guests(shape));
        let make = || Linker::new().instantiate(&store, &component).unwrap();
        assert_cases(shape, &store, &make, &["send", "receive"]);
    }
}

#[test]
fn flags_up_to_32_pass_and_what_lies_beyond_the_last_is_cleared() {
    let host = Host::new();
    let store = host.store(());
    for count in [8, 9, 16, 17, 31, 32] {
        let shape = Flags(count);
        let all = u32::MAX >> (32 - count);
        let sets = [0, 1, 1 << (count - 1), all];
        let (list, bytes) = (list_of(shape, &sets), bytes_of(shape, &sets));
        let more = bytes_of(shape, &[u32::MAX]);
        let cleared = bytes_of(shape, &[all]);

        let component = host.component(&callee(shape));
        let instance = Linker::new().instantiate(&store, &component).unwrap();
        assert_eq!(call(&store, &instance, "write", &list).unwrap(), bytes);
        assert_eq!(call(&store, &instance, "read", &bytes).unwrap(), list);
        let read = call(&store, &instance, "read", &more).unwrap();
        assert_eq!(read, list_of(shape, &[all]));

        let component = host.component(&caller(shape));
        let linker = host_as_callee(shape, &sets);
        let instance = linker.instantiate(&store, &component).unwrap();
        assert_eq!(call(&store, &instance, "send", &bytes).unwrap(), bytes);
        assert_eq!(call(&store, &instance, "receive", &bytes).unwrap(), bytes);

        let component = host.component(&two_guests(shape));
        let instance = Linker::new().instantiate(&store, &component).unwrap();
        for name in ["send", "receive"] {
            assert_eq!(call(&store, &instance, name, &bytes).unwrap(), bytes);
            assert_eq!(call(&store, &instance, name, &more).unwrap(), cleared);
        }
        for (set, expected) in [
            (all, all),
            (u32::MAX, all),
            (1 << (count - 1), 1 << (count - 1)),
        ] {
            let number = call(&store, &instance, "number", &Val::U32(set)).unwrap();
            assert_eq!(number, Val::U32(expected), "{shape:?}");
        }
    }
}

#[test]
fn more_cases_and_flags_than_the_validator_allows_are_invalid() {
    let host = Host::new();
    for shape in [Enum(10_001), Variant(10_001), Flags(33)] {
        let text = callee(shape);
        let error = vestibule_component_host::Component::new(&host.engine, text.as_bytes());
        let error = error.expect_err("there are too many");
        assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
    }
}
