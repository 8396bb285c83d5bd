//! A plug-in is replaced by a newer one while calls of the old one are in flight: those end in the
//! old one's store, new calls go to the new one's.
//!
//! Run it with `cargo run -p vestibule-component-host --example plugin_reload`.

use std::cell::RefCell;
use std::rc::Rc;
use vestibule_component_host::{Component, Engine, Func, Linker, Result, Store, Val};
use vestibule_executor::{Executor, yield_now};

/// A plug-in that asks the host for something slow and adds its version.
fn plugin(version: u32) -> String {
    format!(
        r#"(component
      (import "slow" (func $slow async (result u32)))
      (core func $slow' (canon lower (func $slow)))
      (core func $return (canon task.return (result u32)))
      (core module $M
        (import "" "slow" (func $slow (result i32)))
        (import "" "return" (func $return (param i32)))
        (func (export "run")
          (call $return (i32.add (call $slow) (i32.const {version})))))
      (core instance $m (instantiate $M (with ""
        (instance (export "slow" (func $slow')) (export "return" (func $return))))))
      (func (export "run") async (result u32) (canon lift (core func $m "run") async)))"#
    )
}

/// What runs now: a store of its own, so that it goes as a whole.
struct Plugin {
    store: Store<()>,
    run: Func,
}

impl Plugin {
    async fn load(engine: &Engine, executor: &Executor, text: String) -> Result<Plugin> {
        let store = Store::new(engine, executor, ());
        let component = Component::new(engine, text.as_bytes())?;
        let mut linker = Linker::new();
        linker.root().func_async("slow", |_, ()| async {
            for _ in 0..20 {
                yield_now().await;
            }
            Ok((100u32,))
        })?;
        // A plug-in that does not load leaves the running one in place.
        let instance = linker.instantiate_async(&store, &component).await?;
        let run = instance.get_func(&store, "run")?;
        Ok(Plugin { store, run })
    }

    async fn call(self: Rc<Self>) -> Result<Option<Val>> {
        self.run.call(&self.store, &[]).await
    }
}

fn main() -> Result<()> {
    let executor = Executor::new();
    let engine = Engine::default();
    let load = |text: String| executor.block_on(Plugin::load(&engine, &executor, text));
    let current = RefCell::new(Rc::new(load(plugin(1))?));
    let call = || Rc::clone(&current.borrow()).call();

    // Two calls of the old plug-in begin, and wait for the host.
    let old = Rc::downgrade(&current.borrow());
    let in_flight: Vec<_> = [call(), call()]
        .into_iter()
        .filter_map(|call| executor.spawn(call).ok())
        .collect();
    executor.block_on(async {
        yield_now().await;
        yield_now().await;
    });

    // A broken one is refused, and nothing has changed.
    let error = match load("(component (import \"nothing\" (func)))".to_owned()) {
        Err(error) => error,
        Ok(_) => panic!("it has an import that nobody offers"),
    };
    println!("not loaded: {error}");

    current.replace(Rc::new(load(plugin(2))?));
    let new = executor.block_on(call())?;
    println!("new call: {new:?}");
    assert_eq!(new, Some(Val::U32(102)));

    assert_eq!(in_flight.len(), 2);
    for task in in_flight {
        let value = match executor.block_on(task) {
            Ok(result) => result?,
            Err(error) => panic!("{error}"),
        };
        println!("call in flight: {value:?}");
        assert_eq!(value, Some(Val::U32(101)));
    }
    // With its last call, the old plug-in and its store are gone.
    assert!(old.upgrade().is_none());
    Ok(())
}
