//! A guest has two calls of an async host function in progress at the same time, while another
//! task of the host runs on the same thread.
//!
//! Run it with `cargo run -p vestibule-component-host --example async_host_function`.

use std::cell::RefCell;
use std::rc::Rc;
use vestibule_component_host::{Component, Engine, Linker, Result, Store, Val};
use vestibule_executor::{Executor, yield_now};

const FETCHER: &str = include_str!("components/async-import.wat");

fn main() -> Result<()> {
    let executor = Executor::new();
    let engine = Engine::default();
    let log = Rc::new(RefCell::new(Vec::new()));
    let store = Store::new(&engine, &executor, Rc::clone(&log));
    let component = Component::new(&engine, FETCHER.as_bytes())?;

    let mut linker = Linker::new();
    // The future holds an `Rc` across an await: it need not be `Send`.
    linker
        .root()
        .func_async("fetch", |accessor, (key,): (u32,)| async move {
            let log: Rc<RefCell<Vec<String>>> = accessor.with(|log| Rc::clone(log))?;
            log.borrow_mut().push(format!("fetch({key}) begins"));
            for _ in 0..key {
                yield_now().await;
            }
            log.borrow_mut().push(format!("fetch({key}) ends"));
            Ok((key * 10,))
        })?;
    let instance = linker.instantiate(&store, &component)?;

    let beside = {
        let log = Rc::clone(&log);
        executor.spawn(async move { log.borrow_mut().push("another task runs".to_owned()) })
    };
    let sum = instance.get_func(&store, "sum")?;
    let value = store.block_on(sum.call(&store, &[]))?;
    drop(beside);

    for line in log.borrow().iter() {
        println!("{line}");
    }
    println!("sum -> {value:?}");
    assert_eq!(value, Some(Val::U32(30)));
    let begins = log
        .borrow()
        .iter()
        .take(2)
        .all(|line| line.ends_with("begins"));
    assert!(begins, "both calls were in progress at the same time");
    Ok(())
}
