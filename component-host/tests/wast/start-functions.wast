;; What a core start function may do while its component is being instantiated, and what traps.
;;
;; A start function is a synchronous call of type `func()`. It may yield, call into other
;; components, and wait for what has happened already; it traps when it is really blocked.

;; It yields, and goes on.
(component
  (core func $yield (canon thread.yield))
  (core module $M
    (import "" "yield" (func $yield (result i32)))
    (global $v (mut i32) (i32.const 0))
    (func $start
      (drop (call $yield))
      (drop (call $yield))
      (global.set $v (i32.const 5)))
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance (export "yield" (func $yield))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))
(assert_return (invoke "value") (u32.const 5))

;; It uses what needs no waiting: context, a waitable set that it polls, backpressure.
(component
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (core func $get (canon context.get i32 0))
  (core func $set (canon context.set i32 0))
  (core func $new (canon waitable-set.new))
  (core func $poll (canon waitable-set.poll (memory (core memory $memory "mem"))))
  (core func $drop (canon waitable-set.drop))
  (core func $inc (canon backpressure.inc))
  (core func $dec (canon backpressure.dec))
  (core module $M
    (import "" "get" (func $get (result i32)))
    (import "" "set" (func $set (param i32)))
    (import "" "new" (func $new (result i32)))
    (import "" "poll" (func $poll (param i32 i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "inc" (func $inc))
    (import "" "dec" (func $dec))
    (global $v (mut i32) (i32.const 0))
    (func $start
      (local $s i32)
      (call $set (i32.const 40))
      (call $inc)
      (call $dec)
      (local.set $s (call $new))
      (global.set $v
        (i32.add (call $get) (call $poll (local.get $s) (i32.const 0))))
      (call $drop (local.get $s)))
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance
    (export "get" (func $get)) (export "set" (func $set)) (export "new" (func $new))
    (export "poll" (func $poll)) (export "drop" (func $drop))
    (export "inc" (func $inc)) (export "dec" (func $dec))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))
(assert_return (invoke "value") (u32.const 40))

;; It waits for an event that cannot happen.
(assert_trap
  (component
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (func $start (drop (call $wait (call $new) (i32.const 0))))
      (start $start))
    (core instance $m (instantiate $M (with "" (instance
      (export "new" (func $new)) (export "wait" (func $wait)))))))
  "cannot block a synchronous task before returning")

;; The start function is imported, as in what wit-component makes of `_initialize`.
(assert_trap
  (component
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (func (export "_initialize") (drop (call $wait (call $new) (i32.const 0)))))
    (core instance $m (instantiate $M (with "" (instance
      (export "new" (func $new)) (export "wait" (func $wait))))))
    (core module $Shim
      (import "" "_initialize" (func $initialize))
      (start $initialize))
    (core instance (instantiate $Shim (with "" (instance $m)))))
  "cannot block a synchronous task before returning")

;; The start function is a built-in itself: nothing is left of the core stack when it suspends.
(component
  (core func $yield (canon thread.yield))
  (core module $Drop
    (import "" "yield" (func $yield (result i32)))
    (func (export "yield") (drop (call $yield))))
  (core instance $drop (instantiate $Drop (with "" (instance (export "yield" (func $yield))))))
  (core module $Shim (import "" "yield" (func $yield)) (start $yield))
  (core instance (instantiate $Shim (with "" (instance $drop)))))

;; The second of three modules fails; the first had started, the third never does.
(assert_trap
  (component
    (core module $Good (func $start) (start $start))
    (core module $Bad (func $start unreachable) (start $start))
    (core instance (instantiate $Good))
    (core instance (instantiate $Bad))
    (core instance (instantiate $Good)))
  "wasm trap: wasm `unreachable` instruction executed")

;; A synchronous call into another component blocks there: the same trap.
(assert_trap (component
  (component $C
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (func (export "block") (drop (call $wait (call $new) (i32.const 0)))))
    (core instance $m (instantiate $M (with "" (instance
      (export "new" (func $new)) (export "wait" (func $wait))))))
    (func (export "block") (canon lift (core func $m "block"))))
  (component $D
    (import "block" (func $block))
    (core func $block' (canon lower (func $block)))
    (core func $yield (canon thread.yield))
    (core module $M
      (import "" "block" (func $block))
      (import "" "yield" (func $yield (result i32)))
      (func $start
        (drop (call $yield))
        (call $block)
        unreachable)
      (start $start))
    (core instance $m (instantiate $M (with "" (instance
      (export "block" (func $block')) (export "yield" (func $yield)))))))
  (instance $c (instantiate $C))
  (instance $d (instantiate $D (with "block" (func $c "block")))))
  "cannot block a synchronous task before returning")

;; It calls an async function, which yields and is left in progress, and then yields itself: the
;; instantiation succeeds, and the function ends later.
(component
  (component $C
    (core func $yield (canon thread.yield))
    (core func $return (canon task.return))
    (core module $M
      (import "" "yield" (func $yield (result i32)))
      (import "" "return" (func $return))
      (global $done (mut i32) (i32.const 0))
      (func (export "f")
        (drop (call $yield))
        (global.set $done (i32.const 1))
        (call $return))
      (func (export "done") (result i32) (global.get $done)))
    (core instance $m (instantiate $M (with "" (instance
      (export "yield" (func $yield)) (export "return" (func $return))))))
    (func (export "f") async (canon lift (core func $m "f") async))
    (func (export "done") (result u32) (canon lift (core func $m "done"))))
  (component $D
    (import "f" (func $f async))
    (import "done" (func $done (result u32)))
    (core func $f' (canon lower (func $f) async))
    (core func $done' (canon lower (func $done)))
    (core func $yield (canon thread.yield))
    (core module $M
      (import "" "f" (func $f (result i32)))
      (import "" "done" (func $done (result i32)))
      (import "" "yield" (func $yield (result i32)))
      (global $status (mut i32) (i32.const 0))
      (global $done-in-start (mut i32) (i32.const 9))
      (func $start
        (global.set $status (i32.and (call $f) (i32.const 15)))
        (drop (call $yield))
        (global.set $done-in-start (call $done)))
      (start $start)
      (func (export "status") (result i32) (global.get $status))
      (func (export "done-in-start") (result i32) (global.get $done-in-start)))
    (core instance $m (instantiate $M (with "" (instance
      (export "f" (func $f')) (export "done" (func $done')) (export "yield" (func $yield))))))
    (func (export "status") (result u32) (canon lift (core func $m "status")))
    (func (export "done-in-start") (result u32) (canon lift (core func $m "done-in-start"))))
  (instance $c (instantiate $C))
  (instance $d (instantiate $D (with "f" (func $c "f")) (with "done" (func $c "done"))))
  (export "status" (func $d "status"))
  (export "done-in-start" (func $d "done-in-start")))
;; 1: started.
(assert_return (invoke "status") (u32.const 1))
;; No thread of another instance ran while the start function yielded.
(assert_return (invoke "done-in-start") (u32.const 0))

;; It waits on a set whose event is pending already: `g` runs `f` to its end while it is itself
;; blocked, since both are threads of the same instance.
(component
  (component $C
    (core func $yield (canon thread.yield))
    (core func $return (canon task.return))
    (core module $M
      (import "" "yield" (func $yield (result i32)))
      (import "" "return" (func $return))
      (global $done (mut i32) (i32.const 0))
      (func (export "f")
        (drop (call $yield))
        (global.set $done (i32.const 1))
        (call $return))
      (func (export "g")
        (loop $again
          (drop (call $yield))
          (br_if $again (i32.eqz (global.get $done))))))
    (core instance $m (instantiate $M (with "" (instance
      (export "yield" (func $yield)) (export "return" (func $return))))))
    (func (export "f") async (canon lift (core func $m "f") async))
    (func (export "g") (canon lift (core func $m "g"))))
  (component $D
    (import "f" (func $f async))
    (import "g" (func $g))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $f' (canon lower (func $f) async))
    (core func $g' (canon lower (func $g)))
    (core func $new (canon waitable-set.new))
    (core func $join (canon waitable.join))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "mem" (memory 1))
      (import "" "f" (func $f (result i32)))
      (import "" "g" (func $g))
      (import "" "new" (func $new (result i32)))
      (import "" "join" (func $join (param i32 i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (global $v (mut i32) (i32.const 0))
      (func $start
        (local $subtask i32) (local $set i32)
        (local.set $subtask (i32.shr_u (call $f) (i32.const 4)))
        (local.set $set (call $new))
        (call $join (local.get $subtask) (local.get $set))
        (call $g)
        ;; 1: a subtask event; then its state, 2: returned.
        (global.set $v (i32.mul (call $wait (local.get $set) (i32.const 0)) (i32.const 10)))
        (global.set $v (i32.add (global.get $v) (i32.load (i32.const 4)))))
      (start $start)
      (func (export "value") (result i32) (global.get $v)))
    (core instance $m (instantiate $M (with "" (instance
      (export "mem" (memory $memory "mem"))
      (export "f" (func $f')) (export "g" (func $g')) (export "new" (func $new))
      (export "join" (func $join)) (export "wait" (func $wait))))))
    (func (export "value") (result u32) (canon lift (core func $m "value"))))
  (instance $c (instantiate $C))
  (instance $d (instantiate $D (with "f" (func $c "f")) (with "g" (func $c "g"))))
  (export "value" (func $d "value")))
(assert_return (invoke "value") (u32.const 12))

;; It suspends itself, and a thread that it made resumes it.
(component
  (core module $Table (table (export "table") 1 funcref))
  (core instance $table (instantiate $Table))
  (core type $thread (func (param i32)))
  (alias core export $table "table" (core table $t))
  (core func $new (canon thread.new-indirect $thread (core table $t)))
  (core func $index (canon thread.index))
  (core func $suspend (canon thread.suspend))
  (core func $resume-later (canon thread.resume-later))
  (core module $M
    (import "" "table" (table 1 funcref))
    (import "" "new" (func $new (param i32 i32) (result i32)))
    (import "" "index" (func $index (result i32)))
    (import "" "suspend" (func $suspend (result i32)))
    (import "" "resume-later" (func $resume-later (param i32)))
    (global $v (mut i32) (i32.const 0))
    ;; The thread: given the index of the one to resume.
    (func $helper (param $who i32)
      (global.set $v (i32.const 5))
      (call $resume-later (local.get $who)))
    (elem (i32.const 0) $helper)
    (func $start
      (call $resume-later (call $new (i32.const 0) (call $index)))
      (drop (call $suspend))
      (global.set $v (i32.add (global.get $v) (i32.const 1))))
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance
    (export "table" (table $t))
    (export "new" (func $new)) (export "index" (func $index))
    (export "suspend" (func $suspend)) (export "resume-later" (func $resume-later))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))
(assert_return (invoke "value") (u32.const 6))

;; Its twin, which nobody resumes.
(assert_trap
  (component
    (core func $suspend (canon thread.suspend))
    (core module $M
      (import "" "suspend" (func $suspend (result i32)))
      (func $start (drop (call $suspend)))
      (start $start))
    (core instance $m (instantiate $M (with "" (instance
      (export "suspend" (func $suspend)))))))
  "cannot block a synchronous task before returning")

;; It writes to a stream that nobody reads: it goes on when it does not wait, and traps when it
;; does.
(component
  (type $s (stream u8))
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (core func $new (canon stream.new $s))
  (core func $write (canon stream.write $s async (memory (core memory $memory "mem"))))
  (core module $M
    (import "" "new" (func $new (result i64)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (global $v (mut i32) (i32.const 0))
    (func $start
      (global.set $v
        (call $write
          (i32.wrap_i64 (i64.shr_u (call $new) (i64.const 32))) (i32.const 0) (i32.const 4))))
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance
    (export "new" (func $new)) (export "write" (func $write))))))
  (func (export "value") (result s32) (canon lift (core func $m "value"))))
;; Blocked.
(assert_return (invoke "value") (s32.const -1))

(assert_trap
  (component
    (type $s (stream u8))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon stream.new $s))
    (core func $write (canon stream.write $s (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i64)))
      (import "" "write" (func $write (param i32 i32 i32) (result i32)))
      (func $start
        (drop (call $write
          (i32.wrap_i64 (i64.shr_u (call $new) (i64.const 32))) (i32.const 0) (i32.const 4))))
      (start $start))
    (core instance $m (instantiate $M (with "" (instance
      (export "new" (func $new)) (export "write" (func $write)))))))
  "cannot block a synchronous task before returning")
