;; Initialisation that has to wait, in an exported function instead of the start function.
;;
;; There is no start function at all. The host calls `init` once, right after instantiation
;; (`Linker::instantiate_then`); until it has returned, `config` has nothing to say.
(component $config-reader
  (import "fetch-config" (func $fetch-config async (result u32)))

  (core func $fetch-config' (canon lower (func $fetch-config)))
  (core func $init-return (canon task.return (result (result))))

  (core module $Main
    (import "host" "fetch-config" (func $fetch-config (result i32)))
    (import "host" "init-return" (func $init-return (param i32)))
    (global $config (mut i32) (i32.const 0))

    ;; An error, when the configuration is empty.
    (func (export "init")
      (global.set $config (call $fetch-config))
      (call $init-return (i32.eqz (global.get $config))))

    (func (export "config") (result i32) (global.get $config)))

  (core instance $main (instantiate $Main
    (with "host" (instance
      (export "fetch-config" (func $fetch-config'))
      (export "init-return" (func $init-return))))))

  (func (export "init") async (result (result)) (canon lift (core func $main "init") async))
  (func (export "config") (result u32) (canon lift (core func $main "config"))))
