;; Its start function waits for something that cannot happen yet.
;;
;; The component imports `fetch-config`, an async function, and calls it from the start function
;; of its core module: as a C++ constructor or a Rust `#[ctor]` would that reads its configuration
;; before `main`. Start functions are synchronous, so this works only if the answer is there at
;; once. When the host has to wait for it, the call can never end: the component traps.
(component $config-reader
  (import "fetch-config" (func $fetch-config async (result u32)))

  ;; Lowered without `async`: the core function returns when the answer is there.
  (core func $fetch-config' (canon lower (func $fetch-config)))

  (core module $Main
    (import "host" "fetch-config" (func $fetch-config (result i32)))
    (global $config (mut i32) (i32.const 0))
    (func $read-config (global.set $config (call $fetch-config)))
    (start $read-config)
    (func (export "config") (result i32) (global.get $config)))

  (core instance $main (instantiate $Main
    (with "host" (instance (export "fetch-config" (func $fetch-config'))))))

  (func (export "config") (result u32) (canon lift (core func $main "config"))))
