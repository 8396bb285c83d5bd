//! Guests in a tokio program: the executor is one future of a current-thread runtime, and host
//! functions await tokio's own.
//!
//! Run it with `cargo run -p vestibule-component-host --example tokio_current_thread`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use vestibule_component_host::{Component, Engine, Linker, Result, Store, Val};
use vestibule_executor::Executor;

const FETCHER: &str = include_str!("components/async-import.wat");

/// Host state that is shared by tokio's tasks and the guest's host functions, and need not be `Send`.
type Log = Rc<RefCell<Vec<String>>>;

async fn guest(log: Log) -> Result<Option<Val>> {
    let executor = Executor::new();
    let engine = Engine::default();
    let store = Store::new(&engine, &executor, log);
    let component = Component::new(&engine, FETCHER.as_bytes())?;
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("fetch", |accessor, (key,): (u32,)| async move {
            tokio::time::sleep(Duration::from_millis(u64::from(key))).await;
            accessor.with(|log: &mut Log| log.borrow_mut().push(format!("fetched {key}")))?;
            Ok((key * 10,))
        })?;
    let instance = linker.instantiate(&store, &component)?;
    let sum = instance.get_func(&store, "sum")?;
    // Tokio polls this; it parks the thread, and its timers wake us.
    match executor.run_until(sum.call(&store, &[])).await {
        Ok(result) => result,
        Err(error) => Err(vestibule_component_host::Error::host(error)),
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be made");
    let log = Log::default();
    let local = tokio::task::LocalSet::new();
    let value = local.block_on(&runtime, async {
        let beside = Rc::clone(&log);
        let other = tokio::task::spawn_local(async move {
            beside.borrow_mut().push("a task of tokio's".to_owned());
        });
        let value = guest(Rc::clone(&log)).await;
        other.await.expect("it does not panic");
        value
    });
    println!("{:?}: {value:?}", log.borrow());
    assert_eq!(value.expect("the call succeeds"), Some(Val::U32(30)));
    let log = log.borrow();
    assert!(
        log.iter().any(|line| line == "a task of tokio's"),
        "{log:?}"
    );
    assert_eq!(
        log.iter()
            .filter(|line| line.starts_with("fetched"))
            .count(),
        2
    );
}
