//! Golden texts of the call chains of a trap, in every place in which a component runs code, across
//! two and three components, entered by a call from the host and by a start function.

mod common;

use common::Host;
use std::error::Error as _;
use vestibule_component_host::{EnteredAs, Error, Frame, Linker, Trap};

/// Where the innermost component traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Plain,
    Realloc,
    PostReturn,
    Destructor,
    Callback,
}

const PLACES: [Place; 5] = [
    Place::Plain,
    Place::Realloc,
    Place::PostReturn,
    Place::Destructor,
    Place::Callback,
];

/// The innermost component, `$c`, which traps in `$inner` when its `f` is called as it should be.
fn innermost(place: Place) -> &'static str {
    match place {
        Place::Plain => {
            r#"(component $C
    (core module $Mc (func $inner (export "f") unreachable))
    (core instance $mc (instantiate $Mc))
    (func (export "f") (canon lift (core func $mc "f"))))"#
        }
        Place::Realloc => {
            r#"(component $C
    (core module $Mc
      (memory (export "mem") 1)
      (func $inner (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
      (func $f (export "f") (param i32 i32)))
    (core instance $mc (instantiate $Mc))
    (func (export "f") (param "s" string) (canon lift (core func $mc "f")
      (memory (core memory $mc "mem")) (realloc (core func $mc "realloc")))))"#
        }
        Place::PostReturn => {
            r#"(component $C
    (core module $Mc
      (func $inner (export "post") (param i32) unreachable)
      (func $f (export "f") (result i32) (i32.const 1)))
    (core instance $mc (instantiate $Mc))
    (func (export "f") (result u32) (canon lift (core func $mc "f")
      (post-return (core func $mc "post")))))"#
        }
        Place::Destructor => {
            r#"(component $C
    (core module $Mc (func $inner (export "dtor") (param i32) unreachable))
    (core instance $mc (instantiate $Mc))
    (type $r (resource (rep i32) (dtor (core func $mc "dtor"))))
    (core func $new (canon resource.new $r))
    (core module $Make
      (import "" "new" (func $new (param i32) (result i32)))
      (func (export "f") (result i32) (call $new (i32.const 1))))
    (core instance $make (instantiate $Make (with "" (instance (export "new" (func $new))))))
    (export $r' "r" (type $r))
    (func (export "f") (result (own $r')) (canon lift (core func $make "f"))))"#
        }
        Place::Callback => {
            r#"(component $C
    (core func $new (canon waitable-set.new))
    (core module $Mc
      (import "" "new" (func $new (result i32)))
      (func $inner (export "callback") (param i32 i32 i32) (result i32) unreachable)
      (func $f (export "f") (result i32)
        (i32.or (i32.const 2) (i32.shl (call $new) (i32.const 4)))))
    (core instance $mc (instantiate $Mc (with "" (instance (export "new" (func $new))))))
    (func (export "f") async (canon lift (core func $mc "f") async
      (callback (core func $mc "callback")))))"#
        }
    }
}

/// What calls `$c` as it should be: imports and canonical definitions, core imports, core code.
fn caller(place: Place) -> [&'static str; 4] {
    match place {
        Place::Plain => [
            r#"(import "f" (func $f)) (core func $f' (canon lower (func $f)))"#,
            r#"(import "" "f" (func $f))"#,
            r#"(export "f" (func $f'))"#,
            "(call $f)",
        ],
        Place::Realloc => [
            r#"(import "f" (func $f (param "s" string)))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $f' (canon lower (func $f) (memory (core memory $memory "mem"))))"#,
            r#"(import "" "f" (func $f (param i32 i32)))"#,
            r#"(export "f" (func $f'))"#,
            "(call $f (i32.const 0) (i32.const 5))",
        ],
        Place::PostReturn => [
            r#"(import "f" (func $f (result u32))) (core func $f' (canon lower (func $f)))"#,
            r#"(import "" "f" (func $f (result i32)))"#,
            r#"(export "f" (func $f'))"#,
            "(drop (call $f))",
        ],
        Place::Destructor => [
            r#"(import "r" (type $r (sub resource))) (import "f" (func $f (result (own $r))))
    (core func $f' (canon lower (func $f))) (core func $drop (canon resource.drop $r))"#,
            r#"(import "" "f" (func $f (result i32))) (import "" "drop" (func $drop (param i32)))"#,
            r#"(export "f" (func $f')) (export "drop" (func $drop))"#,
            "(call $drop (call $f))",
        ],
        // A cancelled function gets its callback called at once.
        Place::Callback => [
            r#"(import "f" (func $f async)) (core func $f' (canon lower (func $f) async))
    (core func $cancel (canon subtask.cancel))"#,
            r#"(import "" "f" (func $f (result i32)))
      (import "" "cancel" (func $cancel (param i32) (result i32)))"#,
            r#"(export "f" (func $f')) (export "cancel" (func $cancel))"#,
            "(drop (call $cancel (i32.shr_u (call $f) (i32.const 4))))",
        ],
    }
}

/// `$b` calls `$c`; in a chain of three, `$a` calls `$b`. The outermost does so in its start function
/// when `start` is given, and else in its export, which the component exports too.
fn chain(place: Place, components: usize, start: bool) -> String {
    let outermost = |is: bool| if is && start { "(start $go)" } else { "" };
    let [definitions, imports, exports, code] = caller(place);
    let b = format!(
        r#"(component $B
    {definitions}
    (core module $Mb
      {imports}
      (func $go (export "f") {code})
      {start})
    (core instance $mb (instantiate $Mb (with "" (instance {exports}))))
    (func (export "f") (canon lift (core func $mb "f"))))"#,
        start = outermost(components == 2)
    );
    let a = format!(
        r#"(component $A
    (import "g" (func $g))
    (core func $g' (canon lower (func $g)))
    (core module $Ma
      (import "" "g" (func $g))
      (func $go (export "f") (call $g))
      {start})
    (core instance $ma (instantiate $Ma (with "" (instance (export "g" (func $g'))))))
    (func (export "f") (canon lift (core func $ma "f"))))"#,
        start = outermost(true)
    );
    let with_r = match place {
        Place::Destructor => r#"(with "r" (type $c "r"))"#,
        _ => "",
    };
    let (a, outer) = match components {
        2 => (String::new(), "b"),
        _ => (
            format!(r#"{a} (instance $a (instantiate $A (with "g" (func $b "f"))))"#),
            "a",
        ),
    };
    format!(
        r#"(component $app
  {c}
  (instance $c (instantiate $C))
  {b}
  (instance $b (instantiate $B (with "f" (func $c "f")) {with_r}))
  {a}
  (export "f" (func ${outer} "f")))"#,
        c = innermost(place)
    )
}

/// What goes wrong: by an instantiation, or by a call of `f`.
fn failure(wat: &str, start: bool) -> Error {
    let host = Host::new();
    let store = host.store(());
    let instantiated = Linker::new().instantiate(&store, &host.component(wat));
    if start {
        return instantiated.unwrap_err();
    }
    let run = instantiated.unwrap().get_func(&store, "f").unwrap();
    store.block_on(run.call(&store, &[])).unwrap_err()
}

/// The lines of `$c`, and of the call that led to it.
fn lines_of_the_place(place: Place) -> Vec<&'static str> {
    let called = |what| {
        vec![
            what,
            "from export `f`: `f` (function 1) of core module `Mc`, instance `mc`, in component \
             `app` → `c`",
        ]
    };
    let mut lines = match place {
        Place::Plain => vec![
            "from export `f`: `inner` (function 0) of core module `Mc`, instance `mc`, in \
             component `app` → `c`",
        ],
        Place::Realloc => called(
            "from realloc `inner` (function 0) of core module `Mc`, instance `mc`, in component \
             `app` → `c`",
        ),
        Place::PostReturn => vec![
            "from post-return of export `f`: `inner` (function 0) of core module `Mc`, instance \
             `mc`, in component `app` → `c`",
        ],
        Place::Destructor => vec![
            "from destructor `inner` (function 0) of core module `Mc`, instance `mc`, in \
             component `app` → `c`",
        ],
        Place::Callback => vec![
            "from callback of export `f`: `inner` (function 1) of core module `Mc`, instance \
             `mc`, in component `app` → `c`",
        ],
    };
    lines.extend(match place {
        Place::Plain => Some(
            "called through import `f` (func()) of component `app` → `b`, for the first time in \
             this store",
        ),
        Place::Realloc => Some(
            "called through import `f` (func(s: string)) of component `app` → `b`, for the \
             first time in this store",
        ),
        Place::PostReturn => Some(
            "called through import `f` (func() -> u32) of component `app` → `b`, for the first \
             time in this store",
        ),
        // A drop is no import.
        Place::Destructor => None,
        Place::Callback => Some(
            "called through import `f` (async func()) of component `app` → `b`, for the first \
             time in this store",
        ),
    });
    lines
}

/// How the innermost frame says that it was entered.
fn entered_as(place: Place) -> EnteredAs {
    match place {
        Place::Plain => EnteredAs::Export("f".to_owned()),
        Place::Realloc => EnteredAs::Realloc,
        Place::PostReturn => EnteredAs::PostReturn("f".to_owned()),
        Place::Destructor => EnteredAs::Destructor,
        Place::Callback => EnteredAs::Callback("f".to_owned()),
    }
}

/// The whole text that is expected, without the places in source files.
fn expected(place: Place, components: usize, start: bool) -> String {
    // How many functions `$b` imports stands before its own.
    let index = match place {
        Place::Destructor | Place::Callback => 2,
        _ => 1,
    };
    let entered = |outermost: bool| match outermost && start {
        true => "start function",
        false => "export `f`:",
    };
    let mut lines = vec![
        "wasm trap: wasm `unreachable` instruction executed".to_owned(),
        "in core code; which function it was is not known to the engine".to_owned(),
    ];
    lines.extend(lines_of_the_place(place).into_iter().map(str::to_owned));
    lines.push(format!(
        "from {} `go` (function {index}) of core module `Mb`, instance `mb`, in component `app` → `b`",
        entered(components == 2)
    ));
    if components == 3 {
        lines.push(
            "called through import `g` (func()) of component `app` → `a`, for the first time in \
             this store"
                .to_owned(),
        );
        lines.push(format!(
            "from {} `go` (function 1) of core module `Ma`, instance `ma`, in component `app` → `a`",
            entered(true)
        ));
    }
    lines.push(match start {
        true => "while instantiating component `app`".to_owned(),
        false => "while the host called `f`".to_owned(),
    });
    lines.join("\n")
}

/// The text of an error, without the place in this file that ends it, which is checked.
#[track_caller]
fn text(error: &Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let text = lines.join("\n");
    let (text, place) = text.rsplit_once(" (at ").expect("it ends with a place");
    assert!(place.contains("chain_matrix.rs:"), "{place}");
    text.to_owned()
}

/// The same as data: who was entered, from the inside.
#[track_caller]
fn check_fields(error: &Error, place: Place, components: usize, start: bool) {
    let entries: Vec<_> = error
        .chain()
        .iter()
        .filter_map(|frame| match frame {
            Frame::CoreFunction {
                component,
                entered_as,
                function,
            } => Some((component.names().to_vec(), entered_as.clone(), function)),
            _ => None,
        })
        .collect();
    let (names, first, function) = &entries[0];
    assert_eq!(
        (names.as_slice(), first),
        (&["app", "c"].map(str::to_owned)[..], &entered_as(place))
    );
    assert_eq!(function.name.as_deref(), Some("inner"));
    assert_eq!(function.module.as_deref(), Some("Mc"));
    let (names, last, function) = entries.last().unwrap();
    let outermost = if components == 2 { "b" } else { "a" };
    assert_eq!(names[1], outermost);
    assert_eq!(function.name.as_deref(), Some("go"));
    match start {
        true => assert_eq!(*last, EnteredAs::Start),
        false => assert_eq!(*last, EnteredAs::Export("f".to_owned())),
    }
    assert!(matches!(error.chain().last(), Some(Frame::Phase { .. })));
    let source = error.source().expect("a trap is the source");
    assert_eq!(source.downcast_ref(), Some(&Trap::Unreachable));
}

#[track_caller]
fn check(components: usize, start: bool) {
    for place in PLACES {
        let error = failure(&chain(place, components, start), start);
        assert_eq!(
            text(&error),
            expected(place, components, start),
            "{place:?} across {components}, start: {start}"
        );
        check_fields(&error, place, components, start);
    }
}

#[test]
fn across_two_components_called_by_the_host() {
    check(2, false);
}

#[test]
fn across_three_components_called_by_the_host() {
    check(3, false);
}

#[test]
fn across_two_components_from_a_start_function() {
    check(2, true);
}

#[test]
fn across_three_components_from_a_start_function() {
    check(3, true);
}

/// A start function inside components that are inside one another.
fn nested_start(components: usize) -> Error {
    let mut inner = "(core module $M (func $go unreachable) (start $go))
        (core instance $m (instantiate $M))"
        .to_owned();
    for level in ["inner", "middle"].iter().take(components - 1) {
        inner = format!("(component $Nested {inner}) (instance ${level} (instantiate $Nested))");
    }
    failure(&format!("(component $app {inner})"), true)
}

#[test]
fn a_start_function_of_a_component_in_one_and_two_others() {
    for (components, path) in [(2, "`app` → `inner`"), (3, "`app` → `middle` → `inner`")] {
        let error = nested_start(components);
        assert_eq!(
            text(&error),
            format!(
                "wasm trap: wasm `unreachable` instruction executed\n\
                 in core code; which function it was is not known to the engine\n\
                 from start function `go` (function 0) of core module `M`, instance `m`, in \
                 component {path}\n\
                 while instantiating component `app`"
            )
        );
        assert!(
            matches!(&error.chain()[0], Frame::CoreFunction { component, .. }
                if component.names().len() == components)
        );
    }
}
