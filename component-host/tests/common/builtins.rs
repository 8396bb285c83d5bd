//! A component whose start function can call every built-in that may wait, and a sibling that it can
//! call.

/// The sibling: functions that never return, return at once, heed a cancellation, trap; two kinds of
/// resource, whose destructors wait for ever and yield.
const SIBLING: &str = r#"(component $Sibling
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $set-new (canon waitable-set.new))
    (core func $set-wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core func $yield (canon thread.yield))
    (core func $return (canon task.return (result u32)))
    (core func $cancel (canon task.cancel))
    (core func $close (canon backpressure.inc))
    (core module $D
      (import "" "set-new" (func $set-new (result i32)))
      (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
      (import "" "yield" (func $yield (result i32)))
      (func (export "stuck") (param i32) (drop (call $set-wait (call $set-new) (i32.const 0))))
      (func (export "slow") (param i32) (drop (call $yield)) (drop (call $yield)))
      (func (export "traps") (param i32) unreachable))
    (core instance $d (instantiate $D (with "" (instance (export "set-new" (func $set-new))
      (export "set-wait" (func $set-wait)) (export "yield" (func $yield))))))
    (type $stuck (resource (rep i32) (dtor (core func $d "stuck"))))
    (type $slow (resource (rep i32) (dtor (core func $d "slow"))))
    (type $breaks (resource (rep i32) (dtor (core func $d "traps"))))
    (core func $new-stuck (canon resource.new $stuck))
    (core func $new-slow (canon resource.new $slow))
    (core func $new-breaks (canon resource.new $breaks))
    (core module $S
      (import "" "set-new" (func $set-new (result i32)))
      (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
      (import "" "yield" (func $yield (result i32)))
      (import "" "return" (func $return (param i32)))
      (import "" "cancel" (func $cancel))
      (import "" "close" (func $close))
      (import "" "new-stuck" (func $new-stuck (param i32) (result i32)))
      (import "" "new-slow" (func $new-slow (param i32) (result i32)))
      (import "" "new-breaks" (func $new-breaks (param i32) (result i32)))
      (func (export "never") (drop (call $set-wait (call $set-new) (i32.const 0))))
      (func (export "ready") (call $return (i32.const 7)))
      (func (export "yields") (drop (call $yield)) (call $return (i32.const 8)))
      (func (export "pump") (drop (call $yield)) (drop (call $yield)))
      (func (export "traps") unreachable)
      ;; Waits in its callback, and ends when it is cancelled.
      (func (export "heeds") (result i32)
        (i32.or (i32.const 2) (i32.shl (call $set-new) (i32.const 4))))
      (func (export "callback") (param $event i32) (param i32 i32) (result i32)
        (if (i32.ne (local.get $event) (i32.const 6)) (then unreachable))
        (call $cancel)
        (i32.const 0))
      (func (export "close") (call $close))
      (func (export "make-stuck") (result i32) (call $new-stuck (i32.const 1)))
      (func (export "make-slow") (result i32) (call $new-slow (i32.const 1)))
      (func (export "make-breaks") (result i32) (call $new-breaks (i32.const 1))))
    (core instance $s (instantiate $S (with "" (instance (export "set-new" (func $set-new))
      (export "set-wait" (func $set-wait)) (export "yield" (func $yield))
      (export "return" (func $return)) (export "cancel" (func $cancel))
      (export "close" (func $close)) (export "new-stuck" (func $new-stuck))
      (export "new-slow" (func $new-slow)) (export "new-breaks" (func $new-breaks))))))
    (export $stuck' "stuck" (type $stuck))
    (export $slow' "slow" (type $slow))
    (export $breaks' "breaks" (type $breaks))
    (func (export "make-stuck") (result (own $stuck')) (canon lift (core func $s "make-stuck")))
    (func (export "make-slow") (result (own $slow')) (canon lift (core func $s "make-slow")))
    (func (export "make-breaks") (result (own $breaks')) (canon lift (core func $s "make-breaks")))
    (func (export "never") async (result u32) (canon lift (core func $s "never") async))
    (func (export "ready") async (result u32) (canon lift (core func $s "ready") async))
    (func (export "yields") async (result u32) (canon lift (core func $s "yields") async))
    (func (export "traps") async (result u32) (canon lift (core func $s "traps") async))
    (func (export "heeds") async (result u32) (canon lift (core func $s "heeds") async
      (callback (core func $s "callback"))))
    (func (export "pump") (canon lift (core func $s "pump")))
    (func (export "close") (canon lift (core func $s "close"))))"#;

/// The lowered functions and built-ins of [`start`], each with the type that its module imports it
/// by.
pub(crate) const FUNCS: &[(&str, &str, &str)] = &[
    ("never", "lower (func $sibling \"never\")", "(result i32)"),
    ("ready", "lower (func $sibling \"ready\")", "(result i32)"),
    ("yields", "lower (func $sibling \"yields\")", "(result i32)"),
    ("traps", "lower (func $sibling \"traps\")", "(result i32)"),
    (
        "never-async",
        "lower (func $sibling \"never\") async MEM",
        "(param i32) (result i32)",
    ),
    (
        "ready-async",
        "lower (func $sibling \"ready\") async MEM",
        "(param i32) (result i32)",
    ),
    (
        "yields-async",
        "lower (func $sibling \"yields\") async MEM",
        "(param i32) (result i32)",
    ),
    (
        "heeds-async",
        "lower (func $sibling \"heeds\") async MEM",
        "(param i32) (result i32)",
    ),
    ("pump", "lower (func $sibling \"pump\")", ""),
    ("close", "lower (func $sibling \"close\")", ""),
    (
        "make-stuck",
        "lower (func $sibling \"make-stuck\")",
        "(result i32)",
    ),
    (
        "make-slow",
        "lower (func $sibling \"make-slow\")",
        "(result i32)",
    ),
    (
        "make-breaks",
        "lower (func $sibling \"make-breaks\")",
        "(result i32)",
    ),
    ("drop-stuck", "resource.drop $stuck", "(param i32)"),
    ("drop-slow", "resource.drop $slow", "(param i32)"),
    ("drop-breaks", "resource.drop $breaks", "(param i32)"),
    ("cancel", "subtask.cancel", "(param i32) (result i32)"),
    (
        "cancel-async",
        "subtask.cancel async",
        "(param i32) (result i32)",
    ),
    ("subtask-drop", "subtask.drop", "(param i32)"),
    ("task-return", "task.return", ""),
    ("task-cancel", "task.cancel", ""),
    ("stream-new", "stream.new $bytes", "(result i64)"),
    (
        "stream-read",
        "stream.read $bytes MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-write",
        "stream.write $bytes MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-read-async",
        "stream.read $bytes async MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-write-async",
        "stream.write $bytes async MEM",
        "(param i32 i32 i32) (result i32)",
    ),
    (
        "stream-cancel-read",
        "stream.cancel-read $bytes",
        "(param i32) (result i32)",
    ),
    (
        "stream-cancel-write",
        "stream.cancel-write $bytes",
        "(param i32) (result i32)",
    ),
    ("future-new", "future.new $number", "(result i64)"),
    (
        "future-read",
        "future.read $number MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-write",
        "future.write $number MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-read-async",
        "future.read $number async MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-write-async",
        "future.write $number async MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "future-cancel-read",
        "future.cancel-read $number",
        "(param i32) (result i32)",
    ),
    (
        "future-cancel-write",
        "future.cancel-write $number",
        "(param i32) (result i32)",
    ),
    (
        "thread-new",
        "thread.new-indirect $thread (core table $memory \"table\")",
        "(param i32 i32) (result i32)",
    ),
    ("resume-later", "thread.resume-later", "(param i32)"),
    ("index", "thread.index", "(result i32)"),
    ("suspend", "thread.suspend", "(result i32)"),
    (
        "suspend-then-resume",
        "thread.suspend-then-resume",
        "(param i32) (result i32)",
    ),
    ("set-new", "waitable-set.new", "(result i32)"),
    (
        "set-wait",
        "waitable-set.wait MEM",
        "(param i32 i32) (result i32)",
    ),
    (
        "set-poll",
        "waitable-set.poll MEM",
        "(param i32 i32) (result i32)",
    ),
    ("join", "waitable.join", "(param i32 i32)"),
    ("own-seven", "lower (func $own-seven)", "(result i32)"),
];

/// A component whose start function runs `body`, which leaves in `$v` what `value` returns. `helper`
/// is what a thread does that is made of element 0; both may use `$x`, `$y` and `$ends`.
pub(crate) fn start(helper: &str, body: &str) -> String {
    let memory = "(memory (core memory $memory \"mem\"))";
    let (mut canons, mut imports, mut exports) = (String::new(), String::new(), String::new());
    for (name, canon, ty) in FUNCS {
        let canon = canon.replace("MEM", memory);
        canons += &format!("(core func ${name} (canon {canon}))\n");
        imports += &format!("(import \"\" \"{name}\" (func ${name} {ty}))\n");
        exports += &format!("(export \"{name}\" (func ${name}))\n");
    }
    format!(
        r#"(component $root
  {SIBLING}
  (instance $sibling (instantiate $Sibling))
  (alias export $sibling "stuck" (type $stuck))
  (alias export $sibling "slow" (type $slow))
  (alias export $sibling "breaks" (type $breaks))
  (core module $Memory
    (memory (export "mem") 1)
    (table (export "table") 1 funcref)
    (func (export "seven") (result i32) (i32.const 7)))
  (core instance $memory (instantiate $Memory))
  (func $own-seven (result u32) (canon lift (core func $memory "seven")))
  (type $bytes (stream u8))
  (type $number (future u32))
  (core type $thread (func (param i32)))
  {canons}
  (core module $M
    {imports}
    (import "m" "mem" (memory 1))
    (import "m" "table" (table $table 1 funcref))
    (global $v (mut i32) (i32.const 0))
    (global $x (mut i32) (i32.const 0))
    (global $ends (mut i64) (i64.const 0))
    (func $readable (result i32) (i32.wrap_i64 (global.get $ends)))
    (func $writable (result i32) (i32.wrap_i64 (i64.shr_u (global.get $ends) (i64.const 32))))
    ;; The handle in what an async call returned.
    (func $subtask (param $packed i32) (result i32) (i32.shr_u (local.get $packed) (i32.const 4)))
    (func $helper (param $arg i32) {helper})
    (elem (table $table) (i32.const 0) func $helper)
    (func $start {body})
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "m" (instance $memory))
    (with "" (instance {exports}))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#
    )
}
