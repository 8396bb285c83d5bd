;; The same work done right: the start function records what it wants, and an exported async
;; `init` waits for it.
;;
;; `want-config` returns at once; the host defers the fetching until the instantiation is over.
;; `init` is an async function, so it may wait: it calls `fetch-config` and returns when the answer
;; is there.
(component $config-reader
  (import "want-config" (func $want-config))
  (import "fetch-config" (func $fetch-config async (result u32)))

  (core func $want-config' (canon lower (func $want-config)))
  (core func $fetch-config' (canon lower (func $fetch-config)))
  (core func $init-return (canon task.return (result u32)))

  (core module $Main
    (import "host" "want-config" (func $want-config))
    (import "host" "fetch-config" (func $fetch-config (result i32)))
    (import "host" "init-return" (func $init-return (param i32)))
    (global $config (mut i32) (i32.const 0))

    ;; Runs while the component is being instantiated, and only records intent.
    (start $want-config)

    ;; Runs after it, and may wait.
    (func (export "init")
      (global.set $config (call $fetch-config))
      (call $init-return (global.get $config)))

    (func (export "config") (result i32) (global.get $config)))

  (core instance $main (instantiate $Main
    (with "host" (instance
      (export "want-config" (func $want-config'))
      (export "fetch-config" (func $fetch-config'))
      (export "init-return" (func $init-return))))))

  (func (export "init") async (result u32) (canon lift (core func $main "init") async))
  (func (export "config") (result u32) (canon lift (core func $main "config"))))
