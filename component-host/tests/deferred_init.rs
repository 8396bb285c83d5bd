//! Deferred initialisation: a guest records intent in its start function and finishes in `init`.

mod common;

use common::{Host, Trace, call_u32};
use vestibule_component_host::{Caller, ErrorKind, Linker};

const RECORDS: &str = include_str!("../examples/components/record-intent.wat");

fn linker(answer: u32) -> Linker<Trace> {
    let mut linker = Linker::new();
    linker
        .root()
        .func("want-config", |caller: Caller<'_, Trace>, ()| {
            let trace = Trace::clone(caller.data());
            trace.borrow_mut().push("wanted".to_owned());
            let _task =
                caller.defer(async move { trace.borrow_mut().push("deferred".to_owned()) })?;
            Ok(())
        })
        .unwrap();
    linker
        .root()
        .func_async("fetch-config", move |accessor, ()| async move {
            accessor.with(|trace: &mut Trace| trace.borrow_mut().push("fetching".to_owned()))?;
            vestibule_executor::yield_now().await;
            Ok((answer,))
        })
        .unwrap();
    linker
}

#[test]
fn init_is_awaited_after_what_start_deferred_was_released() {
    let host = Host::new();
    let trace = Trace::default();
    let store = host.store(Trace::clone(&trace));
    let (linker, component) = (linker(42), host.component(RECORDS));
    let ready = linker.instantiate_then(&store, &component, "init");
    assert!(
        trace.borrow().is_empty(),
        "nothing happens before the first poll"
    );
    let _instance = store.block_on(ready).unwrap();
    assert_eq!(trace.borrow()[0], "wanted");
    assert!(trace.borrow().iter().any(|line| line == "deferred"));
    assert!(trace.borrow().iter().any(|line| line == "fetching"));
}

#[test]
fn an_init_that_is_not_there_is_a_link_error() {
    let host = Host::new();
    let store = host.store(Trace::default());
    let (linker, component) = (linker(42), host.component(RECORDS));
    let error = store
        .block_on(linker.instantiate_then(&store, &component, "initialise"))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Link(_)), "{error}");
    assert!(error.to_string().contains("`init`"), "{error}");
}

/// `init` returns the error case the first time; `value` tells whether it was called.
const FAILS: &str = r#"(component
  (core module $M
    (global $called (mut i32) (i32.const 0))
    (func (export "init") (result i32) (global.set $called (i32.const 1)) (i32.const 1))
    (func (export "value") (result i32) (global.get $called)))
  (core instance $m (instantiate $M))
  (func (export "init") (result (result)) (canon lift (core func $m "init")))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;

#[test]
fn an_init_that_returns_an_error_fails_the_whole() {
    let host = Host::new();
    let store = host.store(());
    let (linker, component) = (Linker::new(), host.component(FAILS));
    let error = store
        .block_on(linker.instantiate_then(&store, &component, "init"))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Host(_)), "{error}");
    assert!(error.to_string().contains("`init` failed"), "{error}");
    // The instance that was not made can be made by hand, and asked.
    let instance = linker.instantiate(&store, &component).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 0);
}
