;; `run: async func() -> u32` makes three calls that take turns, and returns who had which turn: two
;; bits for each, the first turn highest.
(component
  (component $B
    (core func $get (canon context.get i32 0))
    (core func $set (canon context.set i32 0))
    (core func $return (canon task.return))
    (core module $M
      (import "" "get" (func $get (result i32)))
      (import "" "set" (func $set (param i32)))
      (import "" "return" (func $return))
      (global $log (mut i32) (i32.const 0))
      (func (export "f") (param $id i32) (result i32)
        (call $set (local.get $id))
        (i32.const 1))
      ;; Who it is in the lowest two bits, how many turns it had above them.
      (func (export "cb") (param i32 i32 i32) (result i32) (local $me i32)
        (local.set $me (call $get))
        (global.set $log (i32.or
          (i32.shl (global.get $log) (i32.const 2))
          (i32.and (local.get $me) (i32.const 3))))
        (call $set (i32.add (local.get $me) (i32.const 4)))
        (if (i32.lt_u (local.get $me) (i32.const 12)) (then (return (i32.const 1))))
        (call $return)
        (i32.const 0))
      (func (export "log") (result i32) (global.get $log)))
    (core instance $m (instantiate $M (with "" (instance
      (export "get" (func $get)) (export "set" (func $set)) (export "return" (func $return))))))
    (func (export "f") async (param "id" u32)
      (canon lift (core func $m "f") async (callback (core func $m "cb"))))
    (func (export "log") (result u32) (canon lift (core func $m "log"))))
  (instance $b (instantiate $B))
  (component $A
    (import "f" (func $f async (param "id" u32)))
    (import "log" (func $log (result u32)))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $f' (canon lower (func $f) async))
    (core func $log' (canon lower (func $log)))
    (core func $new (canon waitable-set.new))
    (core func $join (canon waitable.join))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core func $drop (canon subtask.drop))
    (core func $return (canon task.return (result u32)))
    (core module $M
      (import "" "f" (func $f (param i32) (result i32)))
      (import "" "log" (func $log (result i32)))
      (import "" "mem" (memory 1))
      (import "" "new" (func $new (result i32)))
      (import "" "join" (func $join (param i32 i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (import "" "drop" (func $drop (param i32)))
      (import "" "return" (func $return (param i32)))
      (func (export "run") (local $set i32) (local $id i32) (local $done i32)
        (local.set $set (call $new))
        (loop $next
          (call $join (i32.shr_u (call $f (local.get $id)) (i32.const 4)) (local.get $set))
          (local.set $id (i32.add (local.get $id) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $id) (i32.const 3))))
        (loop $more
          (drop (call $wait (local.get $set) (i32.const 0)))
          (if (i32.eq (i32.load (i32.const 4)) (i32.const 2)) (then
            (call $drop (i32.load (i32.const 0)))
            (local.set $done (i32.add (local.get $done) (i32.const 1)))))
          (br_if $more (i32.lt_u (local.get $done) (i32.const 3))))
        (call $return (call $log))))
    (core instance $m (instantiate $M (with "" (instance
      (export "f" (func $f')) (export "log" (func $log')) (export "new" (func $new))
      (export "mem" (memory $memory "mem"))
      (export "join" (func $join)) (export "wait" (func $wait)) (export "drop" (func $drop))
      (export "return" (func $return))))))
    (func (export "run") async (result u32) (canon lift (core func $m "run") async)))
  (instance $a (instantiate $A (with "f" (func $b "f")) (with "log" (func $b "log"))))
  (export "run" (func $a "run")))
