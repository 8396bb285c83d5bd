//! Runs real components, made by C, Rust and AssemblyScript toolchains, whose initialisers do
//! their work while they are instantiated.
//!
//! The components are not part of the repository: they are looked for in the folder that
//! `VESTIBULE_GUESTS` names, or in `../shared/guests` beside the workspace. Each is run with a
//! host whose `wait` is ready at once, and with one whose `wait` suspends first.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Poll;
use vestibule_component_host::{Caller, Component, Engine, Instance, Linker, Result, Store, Val};
use vestibule_executor::{Budget, Executor};

const HOST: &str = "demo:init/host@0.1.0";

/// What each guest must print, with `wait` ready at once and with `wait` suspended. `ok A B`
/// stands for a successful instantiation and two calls of `value`; the host's own lines are
/// indented.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("c-init-ping", "  ping(41)|ok|42|42", "  ping(41)|ok|42|42"),
    (
        "c-init-poll",
        "  wait(41) starts|  wait(41) ends|ok|141|141",
        "  wait(41) starts|ok|1000|  wait(41) ends|1000",
    ),
    ("c-init-trap", "unreachable", "unreachable"),
    (
        "c-init-wait-later",
        "  wait(41) starts|  wait(41) ends|ok|141|141",
        "  wait(41) starts|ok|0|  wait(41) ends|141",
    ),
    (
        "c-init-wait-set",
        "  wait(41) starts|  wait(41) ends|ok|141|141",
        "  wait(41) starts|cannot block",
    ),
    (
        "c-init-wait-sync",
        "  wait(41) starts|  wait(41) ends|ok|141|141",
        "  wait(41) starts|cannot block",
    ),
    ("c-init-yield", "ok|5|5", "ok|5|5"),
    (
        "as-start-wait",
        "  wait(41) starts|  wait(41) ends|ok|141|141",
        "  wait(41) starts|cannot block",
    ),
    ("as-start", "  ping(41)|ok|42|42", "  ping(41)|ok|42|42"),
    (
        "rs-init-ctor-lazy",
        "ok|  ping(41)|42|42",
        "ok|  ping(41)|42|42",
    ),
    ("rs-init-ctor", "  ping(41)|ok|42|42", "  ping(41)|ok|42|42"),
];

fn folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("VESTIBULE_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/guests"),
    };
    folder.is_dir().then_some(folder)
}

/// A host whose `wait` suspends until `release` is set, unless it is ready at once.
fn linker(log: &Rc<RefCell<Vec<String>>>, release: &Rc<Cell<bool>>) -> Result<Linker<()>> {
    let mut linker = Linker::new();
    let mut host = linker.instance(HOST)?;
    let pings = Rc::clone(log);
    host.func("ping", move |_: Caller<'_, ()>, (x,): (u32,)| {
        pings.borrow_mut().push(format!("  ping({x})"));
        Ok((x + 1,))
    })?;
    let (log, release) = (Rc::clone(log), Rc::clone(release));
    host.func_async("wait", move |_, (x,): (u32,)| {
        let (log, release) = (Rc::clone(&log), Rc::clone(&release));
        async move {
            log.borrow_mut().push(format!("  wait({x}) starts"));
            poll_fn(|cx| {
                if release.get() {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            log.borrow_mut().push(format!("  wait({x}) ends"));
            Ok((x + 100,))
        }
    })?;
    Ok(linker)
}

fn value(store: &Store<()>, instance: &Instance) -> Result<String> {
    // Exported by the interface `demo:init/api@0.1.0`, or by the component itself.
    let names = instance.func_names();
    let name = names
        .iter()
        .find(|name| name.ends_with("value"))
        .expect("a guest has a value");
    let func = instance.get_func(store, name)?;
    match store.block_on(func.call(store, &[]))? {
        Some(Val::U32(value)) => Ok(value.to_string()),
        other => Ok(format!("{other:?}")),
    }
}

fn run(bytes: &[u8], ready: bool) -> Vec<String> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let release = Rc::new(Cell::new(ready));
    let outcome = (|| -> Result<()> {
        let (executor, engine) = (Executor::new(), Engine::default());
        let store = Store::new(&engine, &executor, ());
        let component = Component::new(&engine, bytes)?;
        let instance = linker(&log, &release)?.instantiate(&store, &component)?;
        log.borrow_mut().push("ok".to_owned());
        let first = value(&store, &instance)?;
        log.borrow_mut().push(first);
        release.set(true);
        executor.run_until_stalled(Budget::rounds(1_000))?;
        let second = value(&store, &instance)?;
        log.borrow_mut().push(second);
        Ok(())
    })();
    if let Err(error) = outcome {
        log.borrow_mut().push(error.to_string());
    }
    log.take()
}

#[test]
fn guests_of_real_toolchains_initialise_as_they_should() {
    let Some(folder) = folder() else {
        // Written past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "left out: the real guests, since there is no folder of them; name one in \
             VESTIBULE_GUESTS"
        );
        return;
    };
    let mut failures = Vec::new();
    for (name, ready, suspend) in EXPECTED {
        let bytes = std::fs::read(folder.join(format!("{name}.wasm"))).unwrap();
        for (mode, expected) in [(true, ready), (false, suspend)] {
            let got = run(&bytes, mode);
            let expected: Vec<&str> = expected.split('|').collect();
            let same = got.len() == expected.len()
                && got.iter().zip(&expected).all(|(got, expected)| {
                    got == expected || (expected.len() > 8 && got.contains(expected))
                });
            if !same {
                failures.push(format!(
                    "{name}, ready {mode}:\n{expected:#?}\nbut got\n{got:#?}"
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
