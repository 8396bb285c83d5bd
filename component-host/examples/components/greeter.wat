;; Greets by name; the greeting is made in a start function.
;;
;; The start function runs while the component is being instantiated. It writes the greeting to
;; memory; `greet` then puts it before the name it is given.
(component $greeter
  (core module $Main
    (memory (export "memory") 1)
    (data $hello "Hello, ")

    ;; A bump allocator: what the host lowers goes to 1024 and up.
    (global $next (mut i32) (i32.const 1024))
    (func $realloc (export "realloc")
      (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $ptr i32)
      (local.set $ptr
        (i32.and
          (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $ptr) (local.get $size)))
      (memory.copy (local.get $ptr) (local.get $old) (local.get $old-size))
      (local.get $ptr))

    ;; The greeting is at 16 once the start function has run.
    (func $prepare (memory.init $hello (i32.const 16) (i32.const 0) (i32.const 7)))
    (start $prepare)

    ;; Returns a pointer to the pointer and the length of the result.
    (func (export "greet") (param $name i32) (param $length i32) (result i32)
      (local $text i32)
      (local.set $text
        (call $realloc (i32.const 0) (i32.const 0) (i32.const 1)
          (i32.add (local.get $length) (i32.const 8))))
      (memory.copy (local.get $text) (i32.const 16) (i32.const 7))
      (memory.copy
        (i32.add (local.get $text) (i32.const 7)) (local.get $name) (local.get $length))
      (i32.store8
        (i32.add (local.get $text) (i32.add (local.get $length) (i32.const 7)))
        (i32.const 33))
      (i32.store (i32.const 0) (local.get $text))
      (i32.store (i32.const 4) (i32.add (local.get $length) (i32.const 8)))
      (i32.const 0)))

  (core instance $main (instantiate $Main))

  (func (export "greet") (param "name" string) (result string)
    (canon lift (core func $main "greet")
      (memory (core memory $main "memory")) (realloc (core func $main "realloc")))))
