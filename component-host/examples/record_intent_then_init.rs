//! The start function records intent, the deferred work runs right after the instantiation, and an
//! exported async `init` waits for what takes time.
//!
//! Run it with `cargo run -p vestibule-component-host --example record_intent_then_init`.

use std::cell::RefCell;
use std::rc::Rc;
use vestibule_component_host::{Caller, Component, Engine, Linker, Result, Store, Val};
use vestibule_executor::{Executor, yield_now};

const RECORDS: &str = include_str!("components/record-intent.wat");

/// What happened, in order. Host state need not be `Send`.
type Log = Rc<RefCell<Vec<String>>>;

fn main() -> Result<()> {
    let executor = Executor::new();
    let engine = Engine::default();
    let log = Log::default();
    let store = Store::new(&engine, &executor, Rc::clone(&log));
    let component = Component::new(&engine, RECORDS.as_bytes())?;

    let mut linker = Linker::new();
    // Called by the start function: it must not wait, so it defers.
    linker
        .root()
        .func("want-config", |mut caller: Caller<'_, Log>, ()| {
            let log = Rc::clone(caller.data_mut());
            log.borrow_mut()
                .push("start: the configuration is wanted".to_owned());
            let _task = caller.defer(async move {
                log.borrow_mut()
                    .push("deferred: fetching begins".to_owned());
            })?;
            Ok(())
        })?;
    linker
        .root()
        .func_async("fetch-config", |accessor, ()| async move {
            yield_now().await;
            accessor.with(|log: &mut Log| log.borrow_mut().push("fetched".to_owned()))?;
            Ok((42u32,))
        })?;

    let instance = linker.instantiate(&store, &component)?;
    log.borrow_mut().push("instantiated".to_owned());

    let init = instance.get_func(&store, "init")?;
    let value = store.block_on(init.call(&store, &[]))?;
    log.borrow_mut().push(format!("init -> {value:?}"));

    for line in log.borrow().iter() {
        println!("{line}");
    }
    assert_eq!(value, Some(Val::U32(42)));
    assert_eq!(
        *log.borrow(),
        [
            "start: the configuration is wanted",
            "instantiated",
            "deferred: fetching begins",
            "fetched",
            "init -> Some(U32(42))",
        ]
    );
    Ok(())
}
