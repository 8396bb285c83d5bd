//! Bad input at the component boundary: what a guest hands over may be anything.
//!
//! Each test gives a row of guests that do one thing wrong each. Every one of them must end in the
//! trap or error that the row names, within [`PATIENCE`]; after it the guest is locked down, and
//! another instance of the same store goes on.

mod common;

use common::{Host, PLAIN, call_u32};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, Instance, Linker, Store, Type, Val,
};
use vestibule_executor::Executor;

/// How long anything here may take; generous, for a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A component with one page of memory that exports one function, `f`.
struct Guest {
    /// The parameters and results of the core function, and its body.
    core: &'static str,
    /// Those of the component function.
    ty: &'static str,
    /// What stands in the module beside it, such as data.
    module: &'static str,
    /// The body of `realloc`; its parameters are `$old $old-size $align $size`.
    realloc: &'static str,
    /// Type definitions before the function.
    types: String,
    options: &'static str,
    memory: &'static str,
    args: Vec<Val>,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            core: "",
            ty: "",
            module: "",
            realloc: "(i32.const 1024)",
            types: String::new(),
            options: "",
            memory: "1",
            args: Vec::new(),
        }
    }
}

impl Guest {
    /// Returns a value whose core form is what `core` returns.
    fn returns(ty: &'static str, core: &'static str) -> Guest {
        Guest {
            core,
            ty,
            ..Guest::default()
        }
    }

    /// Takes a string.
    fn takes(text: &str, realloc: &'static str) -> Guest {
        Guest {
            core: "(param i32 i32)",
            ty: r#"(param "s" string)"#,
            realloc,
            args: vec![Val::from(text)],
            ..Guest::default()
        }
    }

    fn text(&self) -> String {
        let Guest {
            core,
            ty,
            module,
            realloc,
            types,
            options,
            memory,
            ..
        } = self;
        let ptr = if memory.starts_with("i64") {
            "i64"
        } else {
            "i32"
        };
        format!(
            r#"(component $hostile
              (type $r (resource (rep i32)))
              (type $q (resource (rep i32)))
              (core func $new (canon resource.new $r))
              (core func $new-q (canon resource.new $q))
              (core func $drop (canon resource.drop $r))
              (core func $rep (canon resource.rep $r))
              (core func $yield (canon thread.yield))
              (core func $set (canon waitable-set.new))
              (import "host" (func $host))
              (core func $host' (canon lower (func $host)))
              (core module $M
                (import "" "new" (func $new (param i32) (result i32)))
                (import "" "new-q" (func $new-q (param i32) (result i32)))
                (import "" "drop" (func $drop (param i32)))
                (import "" "rep" (func $rep (param i32) (result i32)))
                (import "" "yield" (func $yield (result i32)))
                (import "" "set" (func $set (result i32)))
                (import "" "host" (func $host))
                (memory (export "mem") {memory})
                {module}
                (func (export "realloc")
                  (param $old {ptr}) (param $old-size {ptr}) (param $align {ptr})
                  (param $size {ptr}) (result {ptr})
                  {realloc})
                (func (export "f") {core}))
              (core instance $m (instantiate $M (with "" (instance
                (export "new" (func $new)) (export "new-q" (func $new-q))
                (export "drop" (func $drop)) (export "rep" (func $rep))
                (export "yield" (func $yield)) (export "set" (func $set))
                (export "host" (func $host'))))))
              {types}
              (export $r' "r" (type $r))
              (func (export "f") {ty} (canon lift (core func $m "f")
                (memory (core memory $m "mem")) (realloc (core func $m "realloc")) {options})))"#
        )
    }
}

struct Bench {
    _host: Host,
    engine: Engine,
    store: Store<()>,
    bystander: Instance,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let engine = Engine::new(config);
        let host = Host {
            executor: Executor::new(),
            engine: engine.clone(),
        };
        let store = host.store(());
        let bystander = Linker::new()
            .instantiate(&store, &host.component(PLAIN))
            .unwrap();
        Bench {
            _host: host,
            engine,
            store,
            bystander,
        }
    }

    fn instantiate(&self, text: &str) -> Result<Instance, Error> {
        let mut linker = Linker::new();
        linker.root().func("host", |_: Caller<'_, ()>, ()| Ok(()))?;
        let component = Component::new(&self.engine, text.as_bytes())?;
        linker.instantiate(&self.store, &component)
    }

    fn call(&self, instance: &Instance, args: &[Val]) -> Result<Option<Val>, Error> {
        let func = instance.get_func(&self.store, "f")?;
        self.store.block_on(func.call(&self.store, args))
    }

    /// Runs the guest; whatever comes of it, the bystander goes on.
    fn run(&self, guest: &Guest) -> Result<Option<Val>, Error> {
        let started = Instant::now();
        let instance = self.instantiate(&guest.text()).expect("the guest is valid");
        let outcome = self.call(&instance, &guest.args);
        if outcome.is_err() {
            let again = self.call(&instance, &guest.args).unwrap_err().to_string();
            assert!(again.contains("cannot enter component instance"), "{again}");
        }
        assert_eq!(call_u32(&self.store, &self.bystander, "value"), 7);
        let took = started.elapsed();
        assert!(took < PATIENCE, "it took {took:?}");
        outcome
    }
}

/// Each guest must fail with its text, all in one store.
#[track_caller]
fn all_fail(rows: Vec<(&str, Guest)>) {
    let bench = Bench::new(Config::new());
    for (text, guest) in rows {
        match bench.run(&guest) {
            Ok(value) => panic!("expected `{text}`, got {value:?} from {}", guest.text()),
            Err(error) => {
                let found = error.to_string();
                assert!(found.contains(text), "expected `{text}`, got {found}");
            }
        }
    }
}

const STRING: &str = "(result string)";
const BYTES: &str = "(result (list u8))";
const WORDS: &str = "(result (list u32))";

/// Returns a string or list with this pointer and length.
fn pair(ty: &'static str, ptr: u32, length: u32) -> Guest {
    let core = format!(
        "(result i32) (i32.store (i32.const 16) (i32.const {ptr})) \
         (i32.store (i32.const 20) (i32.const {length})) (i32.const 16)"
    );
    Guest::returns(ty, core.leak())
}

fn utf16(guest: Guest) -> Guest {
    Guest {
        options: "string-encoding=utf16",
        ..guest
    }
}

fn latin1_utf16(guest: Guest) -> Guest {
    Guest {
        options: "string-encoding=latin1+utf16",
        ..guest
    }
}

#[test]
fn out_of_bounds_pointers_trap() {
    let at = |core| Guest::returns(STRING, core);
    all_fail(vec![
        (
            "pointer out of bounds",
            at("(result i32) (i32.const 65532)"),
        ),
        (
            "pointer out of bounds",
            at("(result i32) (i32.const 65536)"),
        ),
        (
            "pointer out of bounds",
            at("(result i32) (i32.const 0x8000_0000)"),
        ),
        (
            "pointer out of bounds",
            at("(result i32) (i32.const 0xffff_fffc)"),
        ),
        (
            "string pointer/length out of bounds",
            pair(STRING, 65536, 1),
        ),
        (
            "string pointer/length out of bounds",
            pair(STRING, 65535, 2),
        ),
        (
            "string pointer/length out of bounds",
            pair(STRING, 0xffff_ffff, 1),
        ),
        // An empty string has a place all the same.
        (
            "string pointer/length out of bounds",
            pair(STRING, 65537, 0),
        ),
        ("list content out-of-bounds", pair(BYTES, 65536, 1)),
        ("list content out-of-bounds", pair(BYTES, 0x8000_0000, 1)),
        ("list content out-of-bounds", pair(BYTES, 65537, 0)),
        ("list content out-of-bounds", pair(WORDS, 65532, 2)),
    ]);
}

#[test]
fn misaligned_pointers_trap() {
    all_fail(vec![
        (
            "unaligned pointer",
            Guest::returns(STRING, "(result i32) (i32.const 1)"),
        ),
        (
            "unaligned pointer",
            Guest::returns(STRING, "(result i32) (i32.const 2)"),
        ),
        ("unaligned pointer", pair(WORDS, 2, 0)),
        ("unaligned pointer", pair(WORDS, 2, 1)),
        ("unaligned pointer", pair("(result (list u64))", 4, 1)),
        ("unaligned pointer", utf16(pair(STRING, 1, 1))),
        ("unaligned pointer", latin1_utf16(pair(STRING, 1, 1))),
    ]);
}

#[test]
fn lengths_that_overflow_trap() {
    let wide = |core| Guest {
        memory: "i64 1",
        realloc: "(i64.const 1024)",
        ..Guest::returns(WORDS, core)
    };
    all_fail(vec![
        (
            "list content out-of-bounds",
            pair("(result (list u64))", 0, 0x2000_0000),
        ),
        (
            "list content out-of-bounds",
            pair("(result (list u64))", 0, 0x2000_0001),
        ),
        (
            "list content out-of-bounds",
            pair("(result (list u64))", 0, 0xffff_ffff),
        ),
        (
            "string pointer/length out of bounds",
            pair(STRING, 0, 0xffff_ffff),
        ),
        (
            "string pointer/length out of bounds",
            utf16(pair(STRING, 0, 0x8000_0000)),
        ),
        (
            "string pointer/length out of bounds",
            utf16(pair(STRING, 0, 0x8000_0001)),
        ),
        (
            "string pointer/length out of bounds",
            latin1_utf16(pair(STRING, 0, 0xffff_ffff)),
        ),
        (
            "list content out-of-bounds",
            wide(
                "(result i64) (i64.store (i64.const 8) (i64.const 0x4000_0000_0000_0000)) (i64.const 0)",
            ),
        ),
        (
            "list content out-of-bounds",
            wide("(result i64) (i64.store (i64.const 8) (i64.const -1)) (i64.const 0)"),
        ),
        (
            "list content out-of-bounds",
            wide(
                "(result i64) (i64.store (i64.const 0) (i64.const -4))
             (i64.store (i64.const 8) (i64.const 2)) (i64.const 0)",
            ),
        ),
        ("pointer out of bounds", wide("(result i64) (i64.const -8)")),
    ]);
}

#[test]
fn a_length_of_100_megabytes_with_one_page_of_memory_traps_at_once() {
    const LENGTH: u32 = 100_000_000;
    let started = Instant::now();
    all_fail(vec![
        (
            "string pointer/length out of bounds",
            pair(STRING, 0, LENGTH),
        ),
        (
            "string pointer/length out of bounds",
            utf16(pair(STRING, 0, LENGTH)),
        ),
        (
            "string pointer/length out of bounds",
            latin1_utf16(pair(STRING, 0, LENGTH)),
        ),
        ("list content out-of-bounds", pair(BYTES, 0, LENGTH)),
        ("list content out-of-bounds", pair(WORDS, 0, LENGTH / 4)),
    ]);
    // Not even that much is allocated: filling it would take longer.
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn invalid_discriminants_trap() {
    let typed = |types: &str, core| Guest {
        types: types.to_owned(),
        ..Guest::returns("(result $t)", core)
    };
    let cases: String = (0..300).map(|i| format!(r#" "c{i}""#)).collect();
    let many = format!("(type $t' (enum{cases})) (export $t \"t\" (type $t'))");
    let variant = r#"(type $t' (variant (case "a" u8) (case "b"))) (export $t "t" (type $t'))"#;
    all_fail(vec![
        (
            "invalid variant discriminant: 300",
            typed(&many, "(result i32) (i32.const 300)"),
        ),
        (
            "invalid variant discriminant: 4294967295",
            typed(&many, "(result i32) (i32.const -1)"),
        ),
        (
            "invalid variant discriminant: 2",
            Guest::returns("(result (result))", "(result i32) (i32.const 2)"),
        ),
        // In memory, with the discriminant's own size.
        (
            "invalid variant discriminant: 2",
            Guest {
                module: r#"(data (i32.const 8) "\02\01")"#,
                ..typed(variant, "(result i32) (i32.const 8)")
            },
        ),
        (
            "invalid variant discriminant: 255",
            Guest {
                module: r#"(data (i32.const 8) "\ff\ff")"#,
                ..Guest::returns("(result (option u8))", "(result i32) (i32.const 8)")
            },
        ),
        (
            "invalid variant discriminant: 300",
            Guest {
                module: r#"(data (i32.const 8) "\2c\01\00\00")"#,
                types: many.clone(),
                ..Guest::returns("(result (tuple $t u8))", "(result i32) (i32.const 8)")
            },
        ),
    ]);
}

#[test]
fn invalid_chars_trap() {
    let c = |core| Guest::returns("(result char)", core);
    all_fail(vec![
        (
            "invalid `char` bit pattern: 0xd800",
            c("(result i32) (i32.const 0xd800)"),
        ),
        (
            "invalid `char` bit pattern: 0xdfff",
            c("(result i32) (i32.const 0xdfff)"),
        ),
        (
            "invalid `char` bit pattern: 0x110000",
            c("(result i32) (i32.const 0x110000)"),
        ),
        (
            "invalid `char` bit pattern: 0xffffffff",
            c("(result i32) (i32.const -1)"),
        ),
    ]);
}

#[test]
fn invalid_utf_8_and_utf_16_trap() {
    let bytes = |data: &'static str, length| Guest {
        module: data,
        ..pair(STRING, 32, length)
    };
    all_fail(vec![
        ("invalid utf-8", bytes(r#"(data (i32.const 32) "\ff")"#, 1)),
        (
            "invalid utf-8",
            bytes(r#"(data (i32.const 32) "\c0\80")"#, 2),
        ),
        (
            "invalid utf-8",
            bytes(r#"(data (i32.const 32) "\ed\a0\80")"#, 3),
        ),
        (
            "invalid utf-8",
            bytes(r#"(data (i32.const 32) "\f4\90\80\80")"#, 4),
        ),
        // Cut in the middle of a character.
        (
            "invalid utf-8",
            bytes(r#"(data (i32.const 32) "ab\e2\82\ac")"#, 4),
        ),
        (
            "invalid utf-16",
            utf16(bytes(r#"(data (i32.const 32) "\00\d8")"#, 1)),
        ),
        (
            "invalid utf-16",
            utf16(bytes(r#"(data (i32.const 32) "\00\dc")"#, 1)),
        ),
        (
            "invalid utf-16",
            utf16(bytes(r#"(data (i32.const 32) "\00\d8\00\d8")"#, 2)),
        ),
        (
            "invalid utf-16",
            utf16(bytes(r#"(data (i32.const 32) "\00\dc\00\d8")"#, 2)),
        ),
        (
            "invalid utf-16",
            latin1_utf16(bytes(r#"(data (i32.const 32) "\00\d8")"#, 0x8000_0001)),
        ),
    ]);
}

#[test]
fn bits_that_mean_nothing_are_ignored() {
    let bench = Bench::new(Config::new());
    let flags = r#"(type $t' (flags "a" "b" "c")) (export $t "t" (type $t'))"#;
    for (guest, expected) in [
        (
            Guest::returns("(result bool)", "(result i32) (i32.const 2)"),
            Val::Bool(true),
        ),
        (
            Guest::returns("(result u8)", "(result i32) (i32.const 0x1ff)"),
            Val::U8(255),
        ),
        (
            Guest::returns("(result s16)", "(result i32) (i32.const 0x18000)"),
            Val::S16(-32768),
        ),
        (
            Guest {
                types: flags.to_owned(),
                ..Guest::returns("(result $t)", "(result i32) (i32.const 0xfffffffa)")
            },
            Val::Flags(vec!["b".into()]),
        ),
        (
            Guest::returns("(result f32)", "(result f32) (f32.const -nan:0x200001)"),
            Val::Float32(f32::from_bits(0x7fc0_0000)),
        ),
    ] {
        assert_eq!(bench.run(&guest).unwrap(), Some(expected));
    }
}

#[test]
fn a_realloc_that_returns_nonsense_traps() {
    let list = |realloc| Guest {
        core: "(param i32 i32)",
        ty: r#"(param "l" (list u32))"#,
        realloc,
        args: vec![Val::List(vec![Val::U32(1)])],
        ..Guest::default()
    };
    // Too many parameters to be flat: the host asks for memory to put them in.
    let spilled = |realloc| Guest {
        core: "(param i32)",
        ty: r#"(param "t" (tuple u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32 u32
            u32))"#,
        realloc,
        args: vec![Val::Tuple(vec![Val::U32(1); 17])],
        ..Guest::default()
    };
    const BEYOND: &str = "realloc return: beyond end of memory";
    all_fail(vec![
        ("realloc return: result not aligned", list("(i32.const 1)")),
        (
            "realloc return: result not aligned",
            utf16(Guest::takes("x", "(i32.const 3)")),
        ),
        (BEYOND, list("(i32.const 65536)")),
        (BEYOND, list("(i32.const 0x8000_0000)")),
        (BEYOND, list("(i32.const -4)")),
        (BEYOND, spilled("(i32.const 65532)")),
        (BEYOND, spilled("(i32.const 0x8000_0000)")),
        (BEYOND, spilled("(i32.const -4)")),
        (
            "realloc return: result not aligned",
            spilled("(i32.const 1026)"),
        ),
        (BEYOND, Guest::takes("ab", "(i32.const 65535)")),
        (BEYOND, Guest::takes("ab", "(i32.const -1)")),
        (BEYOND, Guest::takes("ab", "(i32.const 0x8000_0000)")),
        // The second call, which makes room for what the first guess did not.
        (
            BEYOND,
            latin1_utf16(Guest::takes(
                "a\u{20ac}",
                "(select (i32.const 65536) (i32.const 1024) (local.get $old-size))",
            )),
        ),
        (
            "realloc return: result not aligned",
            latin1_utf16(Guest::takes(
                "a\u{20ac}",
                "(select (i32.const 1025) (i32.const 1024) (local.get $old-size))",
            )),
        ),
        (
            BEYOND,
            Guest {
                memory: "i64 1",
                core: "(param i64 i64)",
                ..Guest::takes("ab", "(i64.const -1)")
            },
        ),
    ]);
}

/// Memory at 0 is as good as any, and one block may lie in another: the guest's own affair.
#[test]
fn a_realloc_that_returns_0_or_the_same_block_again_is_believed() {
    let bench = Bench::new(Config::new());
    for (place, realloc) in [(0, "(i32.const 0)"), (1024, "(i32.const 1024)")] {
        let core = format!(
            "(param i32 i32) (result i32)
             (if (i32.ne (local.get 0) (i32.const {place})) (then (unreachable)))
             (i32.load (i32.load (local.get 0)))"
        );
        // The list's one element, which is a list, is where its own element is.
        let guest = Guest {
            core: core.leak(),
            ty: r#"(param "l" (list (list u32))) (result u32)"#,
            realloc,
            args: vec![Val::List(vec![Val::List(vec![Val::U32(8)])])],
            ..Guest::default()
        };
        // The pointer of the inner list was written over the element.
        assert_eq!(bench.run(&guest).unwrap(), Some(Val::U32(place)));
    }
}

#[test]
fn a_realloc_that_traps_blocks_or_leaves_traps() {
    let leaves = |realloc| Guest::takes("ab", realloc);
    const LEAVES: &str = "cannot leave component instance";
    all_fail(vec![
        ("unreachable", leaves("unreachable")),
        (LEAVES, leaves("(drop (call $yield)) (i32.const 1024)")),
        (LEAVES, leaves("(drop (call $set)) (i32.const 1024)")),
        (
            LEAVES,
            leaves("(drop (call $new (i32.const 1))) (i32.const 1024)"),
        ),
        (
            LEAVES,
            leaves("(call $drop (i32.const 1)) (i32.const 1024)"),
        ),
        (LEAVES, leaves("(call $host) (i32.const 1024)")),
    ]);
}

#[test]
fn a_realloc_that_never_returns_ends_with_the_fuel() {
    let bench = Bench::new(Config::new().fuel(1_000_000));
    let error = bench
        .run(&Guest::takes("ab", "(loop $l (br $l)) (unreachable)"))
        .unwrap_err();
    let ErrorKind::Limit(limit) = error.kind() else {
        panic!("{error:?}")
    };
    assert_eq!(limit.limit, "fuel");
}

#[test]
fn a_realloc_that_grows_the_memory_is_followed_to_where_it_went() {
    let bench = Bench::new(Config::new());
    let guest = Guest {
        core: "(param i32 i32) (result i32) (i32.load8_u (local.get 0))",
        ty: r#"(param "s" string) (result u8)"#,
        ..Guest::takes(
            "yes",
            "(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))",
        )
    };
    assert_eq!(bench.run(&guest).unwrap(), Some(Val::U8(b'y')));
}

#[test]
fn unknown_and_wrong_typed_handles_trap() {
    let own = |core| Guest::returns("(result (own $r'))", core);
    const OTHER: &str =
        "used with the wrong type, expected guest-defined resource but found a different";
    all_fail(vec![
        ("unknown handle index 0", own("(result i32) (i32.const 0)")),
        (
            "unknown handle index 77",
            own("(result i32) (i32.const 77)"),
        ),
        (
            "unknown handle index 2147483648",
            own("(result i32) (i32.const 0x8000_0000)"),
        ),
        (
            "unknown handle index 4294967295",
            own("(result i32) (i32.const -1)"),
        ),
        // Freed.
        (
            "unknown handle index 1",
            own("(result i32) (call $drop (call $new (i32.const 5))) (i32.const 1)"),
        ),
        (
            "unknown handle index 1",
            own(
                "(result i32) (call $drop (call $new (i32.const 5))) (call $drop (i32.const 1))
             (i32.const 1)",
            ),
        ),
        // Freed, and taken by another type.
        (
            OTHER,
            own("(result i32) (call $drop (call $new (i32.const 5)))
             (call $new-q (i32.const 6))"),
        ),
        (
            OTHER,
            own("(result i32) (call $rep (call $new-q (i32.const 6)))"),
        ),
        (
            "used with the wrong type",
            own("(result i32) (call $rep (call $set))"),
        ),
        ("used with the wrong type", own("(result i32) (call $set)")),
        (
            "unknown handle index 9",
            own("(result i32) (call $rep (i32.const 9))"),
        ),
    ]);
}

/// A component whose inner component gets a borrow from the outer one, and does `body` with it.
fn borrows(body: &str) -> String {
    format!(
        r#"(component
          (import "host" (func $host))
          (component $Owner
            (type $r' (resource (rep i32)))
            (core func $new (canon resource.new $r'))
            (core module $M
              (import "" "new" (func $new (param i32) (result i32)))
              (func (export "new") (result i32) (call $new (i32.const 1))))
            (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
            (export $r "r" (type $r'))
            (func (export "new") (result (own $r)) (canon lift (core func $m "new"))))
          (instance $owner (instantiate $Owner))
          (component $User
            (import "r" (type $r (sub resource)))
            (core func $drop (canon resource.drop $r))
            (core module $M
              (import "" "drop" (func $drop (param i32)))
              (func (export "use") (param i32) (result i32) {body}))
            (core instance $m (instantiate $M (with "" (instance (export "drop" (func $drop))))))
            (func (export "use") (param "r" (borrow $r)) (result (own $r))
              (canon lift (core func $m "use"))))
          (alias export $owner "r" (type $r))
          (instance $user (instantiate $User (with "r" (type $r))))
          (component $Main
            (import "r" (type $r (sub resource)))
            (import "new" (func $new (result (own $r))))
            (import "use" (func $use (param "r" (borrow $r)) (result (own $r))))
            (core func $new' (canon lower (func $new)))
            (core func $use' (canon lower (func $use)))
            (core module $M
              (import "" "new" (func $new (result i32)))
              (import "" "use" (func $use (param i32) (result i32)))
              (func (export "f") (result i32) (call $use (call $new))))
            (core instance $m (instantiate $M (with "" (instance
              (export "new" (func $new')) (export "use" (func $use'))))))
            (func (export "f") (result u32) (canon lift (core func $m "f"))))
          (instance $main (instantiate $Main (with "r" (type $r))
            (with "new" (func $owner "new")) (with "use" (func $user "use"))))
          (alias export $main "f" (func $f))
          (export "f" (func $f)))"#
    )
}

#[test]
fn a_borrow_that_is_kept_or_given_away_traps() {
    let bench = Bench::new(Config::new());
    for (text, body) in [
        (
            "expected an owned handle but found a borrowed one",
            "(local.get 0)",
        ),
        (
            "unknown handle index 1",
            "(call $drop (local.get 0)) (local.get 0)",
        ),
    ] {
        let instance = bench.instantiate(&borrows(body)).unwrap();
        let error = bench.call(&instance, &[]).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(call_u32(&bench.store, &bench.bystander, "value"), 7);
    }
    let kept = borrows("(local.get 0)")
        .replace(
            "(result (own $r))\n              (canon lift",
            "(canon lift",
        )
        .replace(
            r#"(func (export "use") (param i32) (result i32) (local.get 0))"#,
            r#"(func (export "use") (param i32))"#,
        )
        .replace(
            r#"(import "use" (func $use (param "r" (borrow $r)) (result (own $r))))"#,
            r#"(import "use" (func $use (param "r" (borrow $r))))"#,
        )
        .replace(
            r#"(import "" "use" (func $use (param i32) (result i32)))"#,
            r#"(import "" "use" (func $use (param i32)))"#,
        )
        .replace(
            "(result i32) (call $use (call $new))",
            "(result i32) (call $use (call $new)) (i32.const 0)",
        );
    let instance = bench.instantiate(&kept).unwrap();
    let error = bench.call(&instance, &[]).unwrap_err();
    let text = "borrow handles still remain at the end of the call";
    assert!(error.to_string().contains(text), "{error}");
    assert_eq!(call_u32(&bench.store, &bench.bystander, "value"), 7);
}

#[test]
fn a_guest_that_makes_handles_for_ever_reaches_the_limit() {
    let bench = Bench::new(Config::new());
    let makes = |make: &str| {
        let core = format!("(result i32) (loop $l (drop {make}) (br $l)) (unreachable)");
        Guest::returns("(result u32)", core.leak())
    };
    for make in ["(call $new (i32.const 0))", "(call $set)"] {
        let error = bench.run(&makes(make)).unwrap_err();
        let ErrorKind::Limit(limit) = error.kind() else {
            panic!("{error:?}")
        };
        assert_eq!((limit.limit, limit.value), ("max_handles", 100_000));
    }
}

#[test]
fn lists_that_share_their_bytes_cannot_multiply_host_memory() {
    // 8,000 lists of 8,000 lists of the same bytes: 64 million values from one page.
    let bench = Bench::new(Config::new().fuel(100_000_000));
    let mut init = String::new();
    for (at, ptr, length) in [(0, 8, 8000), (64008, 64016, 1)] {
        let _ = write!(
            init,
            "(i32.store (i32.const {at}) (i32.const {ptr}))
             (i32.store (i32.const {}) (i32.const {length})) ",
            at + 4
        );
    }
    let core = format!(
        "(result i32) (local $i i32) {init}
         (loop $l
           (i32.store (i32.add (i32.const 8) (i32.mul (local.get $i) (i32.const 8)))
             (i32.const 8))
           (i32.store (i32.add (i32.const 12) (i32.mul (local.get $i) (i32.const 8)))
             (i32.const 7999))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $i) (i32.const 7999))))
         (i32.const 0)"
    );
    let guest = Guest::returns("(result (list (list (list (list u8)))))", core.leak());
    let error = bench.run(&guest).unwrap_err();
    let ErrorKind::Limit(limit) = error.kind() else {
        panic!("{error:?}")
    };
    assert_eq!(limit.limit, "max_call_bytes");
}

/// `list<list<..>>`, this many levels of it, as one type after another.
fn nested_lists(levels: usize) -> String {
    let mut types = "(type $t0 (list u8))".to_owned();
    for level in 1..levels {
        let _ = write!(types, "(type $t{level} (list $t{}))", level - 1);
    }
    let _ = write!(types, "(type $t (list $t{}))", levels - 1);
    types
}

#[test]
fn types_nested_as_deep_as_the_validator_allows_are_lifted_and_lowered() {
    let bench = Bench::new(Config::new());
    let mut value = Val::List(Vec::new());
    for _ in 0..95 {
        value = Val::List(vec![value]);
    }
    let guest = Guest {
        core: r#"(param i32 i32) (result i32)
            (i32.store (i32.const 16) (local.get 0))
            (i32.store (i32.const 20) (local.get 1)) (i32.const 16)"#,
        ty: r#"(param "l" $t) (result $t)"#,
        types: nested_lists(95),
        module: "(global $next (mut i32) (i32.const 1024))",
        realloc: "(global.get $next)
            (global.set $next (i32.add (global.get $next) (i32.const 64)))",
        args: vec![value.clone()],
        ..Guest::default()
    };
    assert_eq!(bench.run(&guest).unwrap(), Some(value));
}

#[test]
fn types_nested_ten_thousand_deep_are_rejected_at_once() {
    let bench = Bench::new(Config::new());
    let started = Instant::now();
    for levels in [101, 10_000] {
        let guest = Guest {
            types: nested_lists(levels),
            ..Guest::returns("(result $t)", "(result i32) (i32.const 0)")
        };
        let error = bench.instantiate(&guest.text()).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Invalid { .. }),
            "{error:?}"
        );
    }
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(call_u32(&bench.store, &bench.bystander, "value"), 7);
}

/// `levels` components, each of which instantiates the one before ten times.
fn bomb(levels: usize) -> String {
    let mut text = "(component (component $c0)".to_owned();
    for level in 1..=levels {
        let _ = write!(
            text,
            "(component $c{level} (alias outer 1 $c{} (component $c))",
            level - 1
        );
        for _ in 0..10 {
            text.push_str("(instance (instantiate $c))");
        }
        text.push(')');
    }
    let _ = write!(text, "(instance (instantiate $c{levels})))");
    text
}

#[test]
fn a_component_that_instantiates_itself_too_often_reaches_the_limit() {
    for levels in [6, 90] {
        let bench = Bench::new(Config::new());
        let started = Instant::now();
        let error = bench.instantiate(&bomb(levels)).unwrap_err();
        let ErrorKind::Limit(limit) = error.kind() else {
            panic!("{error:?}")
        };
        assert_eq!(limit.limit, "max_instances");
        assert!(started.elapsed() < PATIENCE);
        assert_eq!(call_u32(&bench.store, &bench.bystander, "value"), 7);
    }
}

#[test]
fn components_nested_deeply_are_instantiated_or_rejected() {
    let bench = Bench::new(Config::new());
    for depth in [500, 5_000] {
        let text = "(component ".repeat(depth) + &")".repeat(depth);
        // Deeper than the text format allows is an error too; neither may overflow the stack.
        match bench.instantiate(&text) {
            Ok(_) => {}
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Invalid { .. }),
                "{error:?}"
            ),
        }
        assert_eq!(call_u32(&bench.store, &bench.bystander, "value"), 7);
    }
}

#[test]
fn values_of_another_type_are_errors_of_the_embedders_and_no_traps() {
    let bench = Bench::new(Config::new());
    let guest = Guest::takes("ab", "(i32.const 1024)");
    let instance = bench.instantiate(&guest.text()).unwrap();
    let func = instance.get_func(&bench.store, "f").unwrap();
    assert!(matches!(
        func.ty().params().next(),
        Some(("s", Type::String))
    ));
    for args in [
        vec![],
        vec![Val::U8(1)],
        vec![Val::from("a"), Val::from("b")],
    ] {
        let error = bench.call(&instance, &args).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error:?}");
    }
    assert_eq!(bench.call(&instance, &guest.args).unwrap(), None);
}
