//! What an observer is told.

mod common;

use common::{CALLS_F, Host, PLAIN, call_u32};
use std::cell::RefCell;
use std::rc::Rc;
use vestibule_component_host::{Caller, Error, Event, Linker, Observer, Store};

type Log = Rc<RefCell<Vec<String>>>;

struct Writes(Log);

impl Observer for Writes {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Instantiating { component } => format!("instantiating {component}"),
            Event::Instantiated { component, error } => {
                let how = if error.is_some() { "failed" } else { "done" };
                format!("instantiated {component}: {how}")
            }
            Event::Entered {
                component,
                function,
            } => format!("enter {component} {function}"),
            Event::Left => "left".to_owned(),
            Event::HostCall {
                component,
                import,
                first_call,
            } => format!("host {component} {import} {first_call}"),
            Event::HostReturned => "host returned".to_owned(),
            Event::Refused(refused) => format!("refused {:?}", refused.reason()),
            Event::Failed(error) => format!("failed {}", error.to_string().lines().next().unwrap()),
            Event::LockedDown { component } => format!("locked down {component}"),
            _ => "something new".to_owned(),
        };
        self.0.borrow_mut().push(line);
    }
}

fn observed(host: &Host) -> (Store<()>, Log) {
    let (store, log) = (host.store(()), Log::default());
    store.observe(Writes(Rc::clone(&log))).unwrap();
    (store, log)
}

#[test]
fn an_instantiation_that_succeeds_is_told_from_begin_to_end() {
    let host = Host::new();
    let (store, log) = observed(&host);
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (x,): (u32,)| Ok((x,)))
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 41);
    assert_eq!(
        *log.borrow(),
        [
            "instantiating calls-f",
            "enter component `calls-f` start",
            "host component `calls-f` f true",
            "host returned",
            "left",
            "instantiated calls-f: done",
            "enter component `calls-f` value",
            "left",
        ]
    );
}

#[test]
fn a_failure_is_told_with_who_is_locked_down() {
    let host = Host::new();
    let (store, log) = observed(&host);
    let mut linker = Linker::new();
    linker
        .root()
        .func(
            "f",
            |_: Caller<'_, ()>, (_x,): (u32,)| -> Result<(u32,), Error> { Err(Error::host("no")) },
        )
        .unwrap();
    let _error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    let log = log.borrow();
    let expected = [
        "host returned",
        "left",
        "failed host function failed: no",
        "locked down component `calls-f`",
    ];
    let from = log.iter().position(|line| line == "host returned").unwrap();
    assert_eq!(log[from..from + 4], expected, "{log:?}");
    assert_eq!(log.last().unwrap(), "instantiated calls-f: failed");
}

#[test]
fn a_refusal_is_told() {
    let host = Host::new();
    let (store, log) = observed(&host);
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (x,): (u32,)| Ok((x,)))
        .unwrap();
    linker.start_safe("f", false);
    let _error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    let line = "refused PhaseForbids";
    assert!(log.borrow().iter().any(|told| told == line), "{log:?}");
}

struct Panics;

impl Observer for Panics {
    fn event(&self, _: &Event<'_>) {
        panic!("an observer broke");
    }
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    let host = Host::new();
    let store = host.store(());
    store.observe(Panics).unwrap();
    let instance = Linker::new()
        .instantiate(&store, &host.component(PLAIN))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}
