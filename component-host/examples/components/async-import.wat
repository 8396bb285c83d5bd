;; Calls an async import without waiting for it, does something else, and then waits.
;;
;; `fetch` is lowered with `async`: the core function returns at once with a status in the low four
;; bits (2: returned) and, unless it has returned, a subtask handle in the others. The guest puts
;; the subtask into a waitable set and waits for its event; the result is then in memory.
(component $fetcher
  (import "fetch" (func $fetch async (param "key" u32) (result u32)))

  (core module $Memory (memory (export "memory") 1))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "memory" (core memory $mem))

  (core func $fetch' (canon lower (func $fetch) async (memory $mem)))
  (core func $set-new (canon waitable-set.new))
  (core func $set-wait (canon waitable-set.wait (memory $mem)))
  (core func $set-drop (canon waitable-set.drop))
  (core func $join (canon waitable.join))
  (core func $subtask-drop (canon subtask.drop))
  (core func $return (canon task.return (result u32)))

  (core module $Main
    (import "host" "memory" (memory 1))
    (import "host" "fetch" (func $fetch (param i32 i32) (result i32)))
    (import "host" "set-new" (func $set-new (result i32)))
    (import "host" "set-wait" (func $set-wait (param i32 i32) (result i32)))
    (import "host" "set-drop" (func $set-drop (param i32)))
    (import "host" "join" (func $join (param i32 i32)))
    (import "host" "subtask-drop" (func $subtask-drop (param i32)))
    (import "host" "return" (func $return (param i32)))

    ;; Returns the sum of `fetch(1)` and `fetch(2)`, which are in progress at the same time. The
    ;; results are at 16 and 20, events at 0.
    (func (export "sum")
      (local $set i32)
      (local.set $set (call $set-new))
      (call $begin (local.get $set) (i32.const 1) (i32.const 16))
      (call $begin (local.get $set) (i32.const 2) (i32.const 20))
      (block $all
        (loop $more
          (br_if $all (i32.eqz (global.get $pending)))
          (drop (call $set-wait (local.get $set) (i32.const 0)))
          ;; The event: the subtask at 0, its state at 4.
          (if (i32.eq (i32.load (i32.const 4)) (i32.const 2))
            (then
              (call $subtask-drop (i32.load (i32.const 0)))
              (global.set $pending (i32.sub (global.get $pending) (i32.const 1)))))
          (br $more)))
      (call $set-drop (local.get $set))
      (call $return (i32.add (i32.load (i32.const 16)) (i32.load (i32.const 20)))))

    (global $pending (mut i32) (i32.const 0))

    (func $begin (param $set i32) (param $key i32) (param $result i32)
      (local $status i32)
      (local.set $status (call $fetch (local.get $key) (local.get $result)))
      (if (i32.ne (i32.and (local.get $status) (i32.const 15)) (i32.const 2))
        (then
          (call $join (i32.shr_u (local.get $status) (i32.const 4)) (local.get $set))
          (global.set $pending (i32.add (global.get $pending) (i32.const 1)))))))

  (core instance $main (instantiate $Main (with "host" (instance
    (export "memory" (memory $mem))
    (export "fetch" (func $fetch'))
    (export "set-new" (func $set-new))
    (export "set-wait" (func $set-wait))
    (export "set-drop" (func $set-drop))
    (export "join" (func $join))
    (export "subtask-drop" (func $subtask-drop))
    (export "return" (func $return))))))

  (func (export "sum") async (result u32) (canon lift (core func $main "sum") async)))
