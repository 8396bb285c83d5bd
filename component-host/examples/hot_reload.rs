//! Replaces a component while the program runs: calls in progress end with the old version, new
//! ones go to the new one, and a version that fails to start changes nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_component_host::{Accessor, Component, Engine, Linker, Result, Store, TypedFunc};
use vestibule_executor::{Budget, Executor};

/// Waits for the host, and returns the version's number.
fn version(number: u32) -> String {
    format!(
        r#"(component
          (import "wait" (func $wait async))
          (core func $wait' (canon lower (func $wait)))
          (core func $return (canon task.return (result u32)))
          (core module $M
            (import "" "wait" (func $wait))
            (import "" "return" (func $return (param i32)))
            (func (export "run") (call $wait) (call $return (i32.const {number}))))
          (core instance $m (instantiate $M (with "" (instance
            (export "wait" (func $wait')) (export "return" (func $return))))))
          (func (export "run") async (result u32) (canon lift (core func $m "run") async)))"#
    )
}

/// A version whose start function traps.
const BROKEN: &str = r#"(component
  (core module $M (func $start unreachable) (start $start))
  (core instance (instantiate $M)))"#;

/// What the program calls: the current version, in a store of its own.
struct Plugin {
    store: Store<()>,
    run: TypedFunc<(), (u32,)>,
}

struct Host {
    executor: Executor,
    engine: Engine,
    linker: Linker<()>,
    current: RefCell<Rc<Plugin>>,
}

impl Host {
    fn load(
        executor: &Executor,
        engine: &Engine,
        linker: &Linker<()>,
        text: &str,
    ) -> Result<Rc<Plugin>> {
        let store = Store::new(engine, executor, ());
        let component = Component::new(engine, text.as_bytes())?;
        let instance = linker.instantiate(&store, &component)?;
        let run = instance.get_typed_func(&store, "run")?;
        Ok(Rc::new(Plugin { store, run }))
    }

    /// Puts a new version in the place of the current one, once it has started.
    fn reload(&self, text: &str) -> Result<()> {
        let plugin = Host::load(&self.executor, &self.engine, &self.linker, text)?;
        // The old store goes when the last call that holds it has ended.
        self.current.replace(plugin);
        Ok(())
    }
}

fn main() -> Result<()> {
    let (executor, engine, mut linker) = (Executor::new(), Engine::default(), Linker::new());
    // Calls wait here until the gate is open; a future may be polled any number of times before.
    let open = Rc::new(Cell::new(false));
    let gate: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let (is_open, waiting) = (Rc::clone(&open), Rc::clone(&gate));
    linker
        .root()
        .func_async("wait", move |_: Accessor<()>, ()| {
            let (open, waiting) = (Rc::clone(&is_open), Rc::clone(&waiting));
            poll_fn(move |cx| match open.get() {
                true => Poll::Ready(Ok(())),
                false => {
                    waiting.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
            })
        })?;
    let current = RefCell::new(Host::load(&executor, &engine, &linker, &version(1))?);
    let host = Host {
        executor,
        engine,
        linker,
        current,
    };
    let call = || {
        let plugin = Rc::clone(&host.current.borrow());
        let call = async move { plugin.run.call(&plugin.store, ()).await };
        host.executor.spawn(call).expect("the executor runs")
    };

    let first = Rc::downgrade(&host.current.borrow());
    let old = call();
    host.executor.run_until_stalled(Budget::rounds(100))?;
    host.reload(&version(2))?;
    assert!(first.upgrade().is_some(), "a call is still in progress");
    let new = call();
    let error = host.reload(BROKEN).expect_err("its start function traps");
    println!(
        "refused: {}",
        error.to_string().lines().next().unwrap_or_default()
    );
    host.executor.run_until_stalled(Budget::rounds(100))?;
    open.set(true);
    gate.take().into_iter().for_each(Waker::wake);
    host.executor.run_until_stalled(Budget::rounds(100))?;

    assert!(
        old.is_finished() && new.is_finished(),
        "both calls have ended"
    );
    let (old, new) = host.executor.block_on(async { (old.await, new.await) });
    let (old, new) = (
        old.expect("it was not aborted")?,
        new.expect("it was not aborted")?,
    );
    println!("a call that was in progress ended with version {}", old.0);
    println!("a call after the reload went to version {}", new.0);
    assert_eq!((old, new), ((1,), (2,)));
    // With its last call, the old version and its store are gone.
    assert!(first.upgrade().is_none());
    Ok(())
}
