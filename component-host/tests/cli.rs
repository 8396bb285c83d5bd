//! The command line as its users meet it: what it prints, and its exit codes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a command ended, and what it printed.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn vestibule(args: &[&str]) -> Ended {
    vestibule_with_stdin(args, b"")
}

fn vestibule_with_stdin(args: &[&str], stdin: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be run");
    // It may end without reading all of it.
    let _ = child.stdin.take().expect("stdin is piped").write_all(stdin);
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

impl Ended {
    /// It succeeded, and printed this.
    #[track_caller]
    fn printed(&self, expected: &str) {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert_eq!(self.stdout, expected, "{self:#?}");
        assert_eq!(self.stderr, "", "{self:#?}");
    }

    /// It failed with an error that says all of this, and printed nothing else.
    #[track_caller]
    fn failed(&self, texts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        self.said(texts);
        assert!(self.stderr.starts_with("error: "), "{self:#?}");
    }

    #[track_caller]
    fn said(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("cli")
            .join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder can be made");
        Folder(path)
    }

    /// Writes a file, and returns its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        let parent = path.parent().expect("a file is in a folder");
        fs::create_dir_all(parent).expect("the folder can be made");
        fs::write(&path, content).expect("the file can be written");
        path.to_str().expect("the path is text").to_owned()
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

const ADDER: &str = r#"(component
  (core module $m
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1)))
    (func (export "spin") (loop (br 0)))
    (func (export "trap") unreachable))
  (core instance $i (instantiate $m))
  (func $add (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $i "add")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (instance $math (export "sum" (func $add)))
  (export "demo:math/api@0.1.0" (instance $math)))"#;

const IMPORTER: &str = r#"(component
  (import "host-fn" (func $f (param "a" u32)))
  (core func $lowered (canon lower (func $f)))
  (core module $m
    (import "" "f" (func $f (param i32)))
    (func (export "go") (call $f (i32.const 1))))
  (core instance $i (instantiate $m
    (with "" (instance (export "f" (func $lowered))))))
  (func (export "go") (canon lift (core func $i "go"))))"#;

const ENDLESS_START: &str = r#"(component
  (core module $m (func $go (loop (br 0))) (start $go))
  (core instance (instantiate $m)))"#;

// What needs no component.

#[test]
fn help_shows_examples() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["wast", "--help"],
        &["inspect", "--help"],
    ] {
        let ended = vestibule(args);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert!(
            ended.stdout.contains("Examples:\n  vestibule "),
            "{ended:#?}"
        );
    }
}

#[test]
fn bad_usage_exits_with_2() {
    let folder = Folder::new("bad_usage");
    let adder = folder.file("adder.wat", ADDER);
    for args in [
        &[][..],
        &["nothing"],
        &["run"],
        &["run", "--nothing", &adder],
        &["run", "--fuel", "lots", &adder],
        &["run", "--fuel", "-1", &adder],
        &["run", "--max-memory", "much", &adder],
        &["run", "--timeout", "soon", &adder],
        &["run", "--invoke", "add(1", &adder],
        &["run", "--invoke", "(1)", &adder],
        &["wast"],
        &["wast", "--timeout", "later", &adder],
        &["inspect"],
    ] {
        let ended = vestibule(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:#?}");
        assert_eq!(ended.stdout, "", "{args:?}: {ended:#?}");
        ended.said(&[]);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["run", "inspect", "wast"] {
        vestibule(&[command, "not/there.wasm"]).failed(&["cannot read not/there.wasm"]);
    }
}

#[test]
fn a_syntax_error_shows_file_line_and_column() {
    let folder = Folder::new("syntax_error");
    let file = folder.file("bad.wat", "(component\n  (nothing))");
    for command in ["run", "inspect"] {
        vestibule(&[command, &file]).failed(&["bad.wat:2:4", "nothing"]);
    }
    let text = b";; from stdin\n(component (core))";
    vestibule_with_stdin(&["run", "-"], text).failed(&["<stdin>:2:"]);
}

#[test]
fn a_core_module_is_told_from_a_component() {
    let folder = Folder::new("core_module");
    let file = folder.file("core.wat", "(module (func (export \"f\")))");
    vestibule(&["run", &file]).failed(&["core.wat is a core module, not a component"]);
    vestibule(&["inspect", &file]).failed(&["core.wat is a core module, not a component"]);
}

#[test]
fn input_that_is_too_large_is_not_read() {
    let folder = Folder::new("oversized");
    let path = folder.file("large.wasm", "");
    let file = File::options()
        .write(true)
        .open(&path)
        .expect("the file can be opened");
    // A file of holes: nothing is on the disk.
    file.set_len(300 << 20).expect("the file can be large");
    let began = Instant::now();
    vestibule(&["run", &path]).failed(&["large.wasm is larger than 268435456 bytes"]);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = Folder::new("broken_pipe");
    let file = folder.file("adder.wat", ADDER);
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["inspect", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_component_is_inspected() {
    let folder = Folder::new("inspect");
    let file = folder.file("adder.wat", ADDER);
    let ended = vestibule(&["inspect", &file]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    for text in [
        "export add: func(a: u32, b: u32) -> u32;",
        "0 `m`: ",
        "start functions: none",
    ] {
        assert!(ended.stdout.contains(text), "{ended:#?}");
    }
    let file = folder.file("start.wat", ENDLESS_START);
    let ended = vestibule(&["inspect", &file]);
    let start = "start functions:\n  core module 0 `m`: function 0 `go`\n";
    assert!(ended.stdout.ends_with(start), "{ended:#?}");
}

// What needs to be decoded.

#[test]
fn input_that_is_no_component_is_an_error_with_its_offset() {
    let folder = Folder::new("no_component");
    let whole = wat::parse_str(ADDER).expect("well-formed");
    let half = &whole[..whole.len() / 2];
    for (name, content) in [
        ("empty", &b""[..]),
        ("half", half),
        ("short", &whole[..3]),
        ("noise", b"noise, long enough"),
    ] {
        let file = folder.file(name, content);
        for command in ["run", "inspect"] {
            vestibule(&[command, &file]).failed(&["offset 0x"]);
        }
    }
}

#[test]
fn an_instantiated_component_lists_its_functions() {
    let folder = Folder::new("instantiate");
    let file = folder.file("adder.wat", ADDER);
    let ended = vestibule(&["run", &file]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let mut lines = ended.stdout.lines();
    let first = format!("instantiated {file}: 4 exported functions");
    assert_eq!(lines.next(), Some(first.as_str()));
    let functions: Vec<&str> = lines.collect();
    assert!(
        functions
            .iter()
            .any(|line| line.starts_with("  add: func(a: u32, b: u32)"))
    );
    assert!(
        functions
            .iter()
            .any(|line| line.starts_with("  demo:math/api@0.1.0#sum: func("))
    );
}

#[test]
fn a_call_prints_its_result() {
    let folder = Folder::new("invoke");
    let file = folder.file("adder.wat", ADDER);
    vestibule(&["run", "--invoke", "add(1, 2)", &file]).printed("3\n");
    vestibule(&["run", "--invoke", "demo:math/api@0.1.0#sum(20, 22)", &file]).printed("42\n");
    vestibule_with_stdin(&["run", "--invoke", "add(3, 4)", "-"], ADDER.as_bytes()).printed("7\n");
    let binary = folder.file("adder.wasm", wat::parse_str(ADDER).expect("well-formed"));
    vestibule(&["run", "--invoke", "add(1, 2)", "--seed", "7", &binary]).printed("3\n");
}

#[test]
fn an_unknown_export_is_told_what_there_is() {
    let folder = Folder::new("unknown_export");
    let file = folder.file("adder.wat", ADDER);
    let there = ["`add`", "`demo:math/api@0.1.0#sum`"];
    vestibule(&["run", "--invoke", "sub(1, 2)", &file]).failed(&["`sub`", there[0], there[1]]);
    vestibule(&["run", "--invoke", "a:b/c#add", &file]).failed(&["`a:b/c#add`", there[0]]);
}

#[test]
fn wrong_arguments_are_told_the_functions_type() {
    let folder = Folder::new("wrong_arguments");
    let file = folder.file("adder.wat", ADDER);
    let ty = "func(a: u32, b: u32) -> u32";
    for (call, given) in [
        ("add", "0 were"),
        ("add(1)", "1 was"),
        ("add(1, 2, 3)", "3 were"),
    ] {
        let said = format!("takes 2 arguments, and {given} given");
        vestibule(&["run", "--invoke", call, &file]).failed(&[&said, ty]);
    }
    let bad = vestibule(&["run", "--invoke", "add(1, \"two\")", &file]);
    bad.failed(&["argument `b` of function `add`: expected u32", "two", ty]);
    vestibule(&["run", "--invoke", "add(1, -2)", &file]).failed(&["argument `b`", "u32"]);
}

#[test]
fn a_missing_import_is_named_with_its_type_and_a_way_out() {
    let folder = Folder::new("missing_import");
    let file = folder.file("importer.wat", IMPORTER);
    vestibule(&["run", &file]).failed(&["host-fn", "func(a: u32)", "--stub-imports"]);
    let ended = vestibule(&["run", "--stub-imports", &file]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let called = vestibule(&["run", "--stub-imports", "--invoke", "go", &file]);
    called.failed(&["host-fn"]);
    assert!(!called.stderr.contains("hint"), "{called:#?}");
}

#[test]
fn a_trap_exits_with_1() {
    let folder = Folder::new("trap");
    let file = folder.file("adder.wat", ADDER);
    vestibule(&["run", "--invoke", "trap", &file]).failed(&["wasm trap: ", "unreachable"]);
}

#[test]
fn fuel_ends_an_endless_loop() {
    let folder = Folder::new("fuel");
    let file = folder.file("adder.wat", ADDER);
    let ended = vestibule(&["run", "--fuel", "100000", "--invoke", "spin", &file]);
    ended.failed(&["limit reached: fuel is 100000", "--fuel"]);
    let file = folder.file("start.wat", ENDLESS_START);
    vestibule(&["run", "--fuel", "100000", &file]).failed(&["limit reached: fuel is 100000"]);
}

#[test]
fn a_timeout_ends_an_endless_loop() {
    let folder = Folder::new("timeout");
    let adder = folder.file("adder.wat", ADDER);
    let start = folder.file("start.wat", ENDLESS_START);
    let began = Instant::now();
    let ended = vestibule(&["run", "--timeout", "300ms", "--invoke", "spin", &adder]);
    ended.failed(&["limit reached: timeout is 300", "--timeout"]);
    vestibule(&["run", "--timeout", "300ms", &start]).failed(&["limit reached: timeout is 300"]);
    assert!(began.elapsed() > Duration::from_millis(600));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn memory_beyond_the_limit_is_refused() {
    let folder = Folder::new("memory");
    let text = "(component (core module $m (memory 100)) (core instance (instantiate $m)))";
    let file = folder.file("memory.wat", text);
    vestibule(&["run", "--max-memory", "1MiB", &file]).failed(&["limit reached: max_memory"]);
    assert_eq!(
        vestibule(&["run", "--max-memory", "64MiB", &file]).code,
        Some(0)
    );
}

// Scripts.

const GOOD: &str = r#"
(component definition $D
  (core module $m
    (global $n (mut i32) (i32.const 0))
    (func (export "next") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (global.get $n))
    (func (export "spin") (loop (br 0))))
  (core instance $i (instantiate $m))
  (func (export "next") (result u32) (canon lift (core func $i "next")))
  (func (export "spin") (canon lift (core func $i "spin"))))
(component instance $a $D)
(component instance $b $D)
(assert_return (invoke $a "next") (u32.const 1))
(assert_return (invoke "next") (u32.const 1))
(assert_return (invoke $b "next") (u32.const 2))
(assert_invalid (component (export "x" (func 0))) "unknown function")
"#;

#[test]
fn a_script_that_passes_is_one_line() {
    let folder = Folder::new("wast_pass");
    let file = folder.file("good.wast", GOOD);
    vestibule(&["wast", &file]).printed(&format!("PASS {file} (7)\n7 passed, 0 failed\n"));
}

#[test]
fn failing_directives_stand_under_their_file() {
    let folder = Folder::new("wast_fail");
    let script = format!(
        "{GOOD}(assert_return (invoke \"next\") (u32.const 7))\n\
         (assert_return (invoke \"next\") (s32.const 4))\n\
         (assert_trap (invoke \"next\") \"some trap\")\n\
         (assert_invalid (component) \"bad\")\n\
         (assert_invalid (component (export \"x\" (func 0))) \"bad\")\n\
         (module)\n\
         (component (import \"f\" (func)))\n\
         (assert_return (invoke \"next\") (u32.const 6))\n\
         (assert_return (invoke $a \"next\") (u32.const 2))\n"
    );
    let file = folder.file("bad.wast", script);
    let ended = vestibule(&["wast", &file]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    // Without what goes on from the line before.
    let lines = ended
        .stdout
        .lines()
        .filter(|line| !line.starts_with("    "));
    let lines: Vec<&str> = lines.collect();
    for (line, expected) in [
        (0, format!("FAIL {file} (8 of 16)")),
        (1, "  line 18: expected u32 7, got u32 3".to_owned()),
        (2, "  line 19: expected s32 4, got u32 4".to_owned()),
        (
            3,
            "  line 20: expected trap \"some trap\", got 5".to_owned(),
        ),
        (
            4,
            "  line 21: expected it to be rejected with \"bad\", got accepted".to_owned(),
        ),
        (
            5,
            "  line 22: rejected, with another text: expected \"bad\", got ".to_owned(),
        ),
        (6, "  line 23: not supported: a core module".to_owned()),
        (
            7,
            "  line 24: expected success, got \"missing import named `f`".to_owned(),
        ),
        (8, "  line 25: there is no current instance".to_owned()),
        (9, "8 passed, 8 failed".to_owned()),
    ] {
        assert!(
            lines[line].starts_with(&expected),
            "line {line}: {ended:#?}"
        );
    }
    assert_eq!(lines.len(), 10, "{ended:#?}");
}

#[test]
fn a_folder_is_searched_and_sorted() {
    let folder = Folder::new("wast_folder");
    for name in ["b.wast", "a/z.wast", "a/not.wat", "c/d/e.wast"] {
        folder.file(name, "(component)");
    }
    let path = folder.path();
    vestibule(&["wast", path]).printed(&format!(
        "PASS {path}/a/z.wast (1)\nPASS {path}/b.wast (1)\nPASS {path}/c/d/e.wast (1)\n\
         3 passed, 0 failed\n"
    ));
    let empty = Folder::new("wast_empty_folder");
    vestibule(&["wast", empty.path()]).failed(&["there are no .wast files in "]);
}

#[test]
fn a_script_that_cannot_be_parsed_is_one_failure() {
    let folder = Folder::new("wast_unparsed");
    let good = folder.file("good.wast", "(component)");
    let bad = folder.file("bad.wast", "(component)\n  (nothing)");
    let ended = vestibule(&["wast", &bad, &good]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let start = format!("FAIL {bad} (0 of 1)\n  line 2: syntax error at 2:4: ");
    assert!(ended.stdout.starts_with(&start), "{ended:#?}");
    let end = format!("PASS {good} (1)\n1 passed, 1 failed\n");
    assert!(ended.stdout.ends_with(&end), "{ended:#?}");
}

#[test]
fn a_directive_that_outlives_the_timeout_fails_with_the_rest_of_its_file() {
    let folder = Folder::new("wast_timeout");
    let slow =
        format!("{GOOD}(invoke \"spin\")\n(component)\n(assert_return (invoke $a \"next\"))");
    let slow = folder.file("a.wast", slow);
    let good = folder.file("b.wast", "(component)");
    let ended = vestibule(&["wast", "--timeout", "300ms", &slow, &good]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let expected = format!(
        "FAIL {slow} (7 of 10)\n  line 18: expected it to be done within 300ms, got a timeout\n  \
         line 19: not run: the directive of line 18 did not end\n  \
         line 20: not run: the directive of line 18 did not end\n\
         PASS {good} (1)\n8 passed, 3 failed\n"
    );
    assert_eq!(ended.stdout, expected);
}

/// `run` begins two calls of `f`, which yields three times and then spins: which of the two is polled
/// first is a choice.
const SPINS_LATER: &str = r#"(component
  (component $B
    (core module $M
      (global $turns (mut i32) (i32.const 0))
      (func (export "f") (result i32) (i32.const 1))
      (func (export "cb") (param i32 i32 i32) (result i32)
        (global.set $turns (i32.add (global.get $turns) (i32.const 1)))
        (if (i32.gt_u (global.get $turns) (i32.const 6)) (then (loop $l (br $l))))
        (i32.const 1)))
    (core instance $m (instantiate $M))
    (func (export "f") async (canon lift (core func $m "f") async (callback (core func $m "cb")))))
  (component $A
    (import "f" (func $f async))
    (core func $f' (canon lower (func $f) async))
    (core func $return (canon task.return))
    (core module $M
      (import "" "f" (func $f (result i32)))
      (import "" "return" (func $return))
      (func (export "run") (result i32) (drop (call $f)) (drop (call $f)) (i32.const 1))
      (func (export "cb") (param i32 i32 i32) (result i32) (i32.const 1)))
    (core instance $m (instantiate $M (with "" (instance
      (export "f" (func $f')) (export "return" (func $return))))))
    (func (export "run") async
      (canon lift (core func $m "run") async (callback (core func $m "cb")))))
  (instance $b (instantiate $B))
  (instance $a (instantiate $A (with "f" (func $b "f"))))
  (export "run" (func $a "run")))"#;

/// What follows `--replay` in a text.
fn choices(text: &str) -> &str {
    let (_, rest) = text
        .split_once("--replay '")
        .unwrap_or_else(|| panic!("no choices in {text}"));
    rest.split_once('\'').map_or(rest, |(choices, _)| choices)
}

#[test]
fn a_script_that_hangs_prints_what_was_chosen_and_hangs_again_in_its_replay() {
    let folder = Folder::new("wast_hangs");
    let script = folder.file("a.wast", format!("{SPINS_LATER}\n(invoke \"run\")\n"));
    let run = |order: &[&str]| {
        let args = ["wast", "--timeout", "1s", &script];
        let ended = vestibule(&[&args, order].concat());
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert!(ended.stdout.contains("got a timeout"), "{ended:#?}");
        ended.stdout
    };
    let first = run(&["--seed", "5"]);
    assert!(
        first.contains("with --seed 5, which chose: --replay '"),
        "{first}"
    );
    assert!(choices(&first).split(' ').count() > 5, "{first}");
    assert_eq!(first, run(&["--seed", "5"]), "one seed, one trace");
    let again = run(&["--replay", choices(&first)]);
    assert_eq!(choices(&again), choices(&first), "the same choices");
    assert!(!run(&[]).contains("--replay"), "nothing was left to choose");
}

#[test]
fn a_run_that_times_out_prints_what_was_chosen_and_does_so_again_in_its_replay() {
    let folder = Folder::new("run_hangs");
    let file = folder.file("a.wat", SPINS_LATER);
    let run = |order: &[&str]| {
        let args = ["run", "--timeout", "400ms", "--invoke", "run()", &file];
        let ended = vestibule(&[&args, order].concat());
        ended.failed(&["limit reached: timeout is 400"]);
        ended.stderr
    };
    let first = run(&["--seed", "5"]);
    assert!(
        first.contains("with --seed 5, which chose: --replay '"),
        "{first}"
    );
    let again = run(&["--replay", choices(&first)]);
    assert!(again.contains("with --replay '"), "{again}");
}

#[test]
fn json_reports_each_directive_and_the_totals() {
    let folder = Folder::new("wast_json");
    let script = "(component)\n(assert_return (invoke \"f\"))";
    let file = folder.file("a.wast", script);
    let ended = vestibule(&["wast", "--json", &file]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let lines: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{ended:#?}");
    assert_eq!(lines[0]["path"], file.as_str());
    let directives = &lines[0]["directives"];
    let first = serde_json::json!({ "line": 1, "kind": "component", "outcome": "pass" });
    assert_eq!(directives[0], first);
    assert_eq!(directives[1]["kind"], "assert_return");
    assert_eq!(directives[1]["outcome"], "fail");
    assert!(
        directives[1]["message"]
            .as_str()
            .is_some_and(|text| text.contains("`f`"))
    );
    assert_eq!(
        (&lines[1]["passed"], &lines[1]["failed"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn inspect_says_what_a_start_function_can_reach() {
    let file = format!(
        "{}/examples/components/blocks-in-start.wat",
        env!("CARGO_MANIFEST_DIR")
    );
    vestibule(&["inspect", "--start", &file]).printed(
        "start function `read-config` (function 1) of core module `Main`, instance `main`, in \
         component `config-reader`\n  may block in start: `$read-config` → `fetch-config` (async \
         import)\n",
    );
}

#[test]
fn a_run_that_is_stuck_shows_who_waits_for_whom() {
    let wat = br#"(component
      (core module $Memory (memory (export "mem") 1))
      (core instance $memory (instantiate $Memory))
      (core func $new (canon waitable-set.new))
      (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
      (core module $M
        (import "" "new" (func $new (result i32)))
        (import "" "wait" (func $wait (param i32 i32) (result i32)))
        (func (export "stuck") (drop (call $wait (call $new) (i32.const 0))))
        (func (export "spin") (loop (br 0))))
      (core instance $m (instantiate $M (with "" (instance
        (export "new" (func $new)) (export "wait" (func $wait))))))
      (func (export "stuck") async (canon lift (core func $m "stuck") async))
      (func (export "spin") (canon lift (core func $m "spin"))))"#;
    vestibule_with_stdin(&["run", "--invoke", "stuck()", "-"], wat).failed(&[
        "deadlock detected",
        "1 guest thread after",
        "in `stuck` of component `root`, called by the host: waits on waitable set",
        "which is empty",
    ]);
    vestibule_with_stdin(
        &["run", "--timeout", "50ms", "--invoke", "spin()", "-"],
        wat,
    )
    .failed(&[
        "timeout is 50 milliseconds",
        "1 guest thread after",
        "in `spin` of component `root`, called by the host: running",
    ]);
}

#[test]
fn a_run_that_ends_in_a_circle_prints_the_circle() {
    // Two components wait for each other's halves of a stream and a future; a third spins beside.
    let circle = [
        "each of these threads waits for the next, the last for the first:\n",
        "of component `circle` → `reader`: waits for a future to be written by component `circle` → `asker`",
        "of component `circle` → `asker`: waits for a stream to be written by component `circle` → `reader`",
    ];
    let wat = include_bytes!("circle.wat");
    let deadlock = [&["deadlock detected"][..], &circle].concat();
    vestibule_with_stdin(&["run", "--invoke", "run()", "-"], wat).failed(&deadlock);
    let timeout = [&["timeout is 50 milliseconds"][..], &circle].concat();
    vestibule_with_stdin(
        &["run", "--timeout", "50ms", "--invoke", "spin()", "-"],
        wat,
    )
    .failed(&timeout);
}
