;; Its start function asks the host for a limit, and fills a table of squares up to it.
(component $squares
  (import "limit" (func $limit (result u32)))
  (core func $limit' (canon lower (func $limit)))
  (core module $Main
    (import "host" "limit" (func $limit (result i32)))
    (memory 1)
    (func $fill
      (local $i i32) (local $n i32)
      (local.set $n (call $limit))
      (loop $next
        (i32.store
          (i32.mul (local.get $i) (i32.const 4))
          (i32.mul (local.get $i) (local.get $i)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (local.get $n)))))
    (start $fill)
    (func (export "square") (param $x i32) (result i32)
      (i32.load (i32.mul (local.get $x) (i32.const 4)))))
  (core instance $main (instantiate $Main
    (with "host" (instance (export "limit" (func $limit'))))))
  (func (export "square") (param "x" u32) (result u32)
    (canon lift (core func $main "square"))))
