//! One component shared by threads: the engine and what it compiled go from thread to thread; each
//! thread has an executor and a store of its own.

use std::thread;
use vestibule_component_host::{Component, Engine, Linker, Result, Store};
use vestibule_executor::Executor;

const FIBONACCI: &str = r#"(component
  (core module $M
    (func $fib (export "fib") (param $n i32) (result i64)
      (if (result i64) (i32.lt_u (local.get $n) (i32.const 2))
        (then (i64.extend_i32_u (local.get $n)))
        (else (i64.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2))))))))
  (core instance $m (instantiate $M))
  (func (export "fib") (param "n" u32) (result u64) (canon lift (core func $m "fib"))))"#;

fn work(engine: &Engine, component: &Component, n: u32) -> Result<u64> {
    let executor = Executor::new();
    let store = Store::new(engine, &executor, ());
    let instance = Linker::new().instantiate(&store, component)?;
    let fib = instance.get_typed_func::<(u32,), (u64,)>(&store, "fib")?;
    let (result,) = store.block_on(fib.call(&store, (n,)))?;
    Ok(result)
}

fn main() -> Result<()> {
    let engine = Engine::default();
    let component = Component::new(&engine, FIBONACCI.as_bytes())?;
    let results: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (10..14)
            .map(|n| {
                let (engine, component) = (&engine, &component);
                // An error stays on its thread: it may hold what is not `Send`.
                scope.spawn(move || work(engine, component, n).map_err(|error| error.to_string()))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .expect("it does not panic")
                    .expect("it returns")
            })
            .collect()
    });
    println!("four threads, one component: {results:?}");
    assert_eq!(results, [55, 89, 144, 233]);
    Ok(())
}
