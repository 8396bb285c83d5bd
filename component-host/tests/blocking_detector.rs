//! A host function that blocks the thread is reported by the executor's detector, with its import.

#![cfg(all(feature = "blocking-detector", target_os = "linux"))]

mod common;

use common::{CALLS_F, WAITS_IN_EXPORT};
use std::cell::RefCell;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;
use vestibule_component_host::{Caller, Component, Engine, Linker, Store};
use vestibule_executor::{Blocked, Executor, Hooks};

type Reports = Rc<RefCell<Vec<String>>>;

struct Detects(Reports);

impl Hooks for Detects {
    fn on_blocked(&self, blocked: &Blocked) {
        self.0.borrow_mut().push(blocked.to_string());
    }
}

fn executor(reports: &Reports) -> Executor {
    Executor::builder()
        .hooks(Detects(Rc::clone(reports)))
        .build()
}

#[test]
fn a_plain_host_function_that_sleeps_in_a_start_function_is_named() {
    let reports = Reports::default();
    let (executor, engine) = (executor(&reports), Engine::default());
    let store = Store::new(&engine, &executor, ());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (x,): (u32,)| {
            sleep(Duration::from_millis(50));
            Ok((x,))
        })
        .unwrap();
    let component = Component::new(&engine, CALLS_F.as_bytes()).unwrap();
    linker.instantiate(&store, &component).unwrap();
    let reports = reports.borrow();
    let named = reports
        .iter()
        .any(|report| report.contains("import `f`") && report.contains("start function `start`"));
    assert!(named, "{reports:?}");
}

#[test]
fn an_async_host_function_that_sleeps_in_a_later_poll_is_named() {
    let reports = Reports::default();
    let (executor, engine) = (executor(&reports), Engine::default());
    let store = Store::new(&engine, &executor, ());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (x,): (u32,)| async move {
            vestibule_executor::yield_now().await;
            sleep(Duration::from_millis(50));
            Ok((x,))
        })
        .unwrap();
    let component = Component::new(&engine, WAITS_IN_EXPORT.as_bytes()).unwrap();
    let instance = linker.instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    store.block_on(run.call(&store, &[])).unwrap();
    let reports = reports.borrow();
    assert!(
        reports.iter().any(|report| report.contains("`f`")),
        "{reports:?}"
    );
}
