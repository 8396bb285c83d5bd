//! Host functions that hold something across an await: whoever comes second is told, waits, or, in a
//! start function, traps; nobody hangs.

mod common;

use common::{CALLS_ASYNC_F, CALLS_F, Host, WAITS_IN_EXPORT, call_u32};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use vestibule_component_host::{Caller, Error, ErrorKind, Func, Linker, Result, Store, Trap, Val};
use vestibule_executor::JoinHandle;

/// A lock whose second taker waits without blocking the thread.
#[derive(Default)]
struct Lock {
    held: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// The lock, until it is dropped.
struct Held(Rc<Lock>);

impl Lock {
    async fn take(self: Rc<Lock>) -> Held {
        poll_fn(|cx| {
            if self.held.replace(true) {
                self.waiting.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        Held(self)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.set(false);
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Opens when it is told to.
#[derive(Default)]
struct Gate {
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    async fn passed(self: Rc<Gate>) {
        poll_fn(|cx| match self.open.get() {
            true => Poll::Ready(()),
            false => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }

    fn open(&self) {
        self.open.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// A store whose export `run` awaits `f` of the linker.
fn store(host: &Host, linker: &Linker<()>) -> (Store<()>, Func) {
    let store = host.store(());
    let component = host.component(WAITS_IN_EXPORT);
    let instance = linker.instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    (store, run)
}

fn begin(host: &Host, (store, run): &(Store<()>, Func)) -> JoinHandle<Result<Option<Val>>> {
    let task = host.executor.spawn(run.call(store, &[])).unwrap();
    host.run();
    task
}

#[test]
fn a_cell_that_is_borrowed_across_an_await_panics_the_second_call_and_nobody_else() {
    let host = Host::new();
    let (cell, gate) = (Rc::new(RefCell::new(1u32)), Rc::new(Gate::default()));
    let mut linker = Linker::new();
    let (shared, door) = (Rc::clone(&cell), Rc::clone(&gate));
    linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| {
            let (shared, door) = (Rc::clone(&shared), Rc::clone(&door));
            #[allow(clippy::await_holding_refcell_ref, reason = "that is the mistake")]
            async move {
                let mut number = shared.borrow_mut();
                door.passed().await;
                *number += 1;
                Ok((x + *number,))
            }
        })
        .unwrap();
    let (first, second) = (store(&host, &linker), store(&host, &linker));
    let holds = begin(&host, &first);
    let fails = begin(&host, &second);
    let error = host.executor.block_on(fails).unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HostPanic(_)), "{error}");
    assert!(
        error.to_string().contains("in host function `f`"),
        "{error}"
    );
    gate.open();
    let result = host.executor.block_on(holds).unwrap().unwrap();
    assert_eq!(result, Some(Val::U32(43)));
}

/// `f` awaits the lock, and then the gate.
fn locked(lock: &Rc<Lock>, gate: &Rc<Gate>) -> Linker<()> {
    let (lock, gate) = (Rc::clone(lock), Rc::clone(gate));
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| {
            let (lock, gate) = (Rc::clone(&lock), Rc::clone(&gate));
            async move {
                let _held = lock.take().await;
                gate.passed().await;
                Ok((x,))
            }
        })
        .unwrap();
    linker
}

#[test]
fn a_lock_that_is_held_across_an_await_makes_the_second_call_wait() {
    let host = Host::new();
    let (lock, gate) = Default::default();
    let linker = locked(&lock, &gate);
    let (first, second) = (store(&host, &linker), store(&host, &linker));
    let (holds, waits) = (begin(&host, &first), begin(&host, &second));
    assert!(!holds.is_finished() && !waits.is_finished());
    gate.open();
    for call in [holds, waits] {
        let result = host.executor.block_on(call).unwrap().unwrap();
        assert_eq!(result, Some(Val::U32(41)));
    }
    assert!(!lock.held.get());
}

#[test]
fn a_call_that_is_dropped_lets_go_of_its_lock() {
    let host = Host::new();
    let (lock, gate) = Default::default();
    let linker = locked(&lock, &gate);
    let (first, second) = (store(&host, &linker), store(&host, &linker));
    let (holds, waits) = (begin(&host, &first), begin(&host, &second));
    holds.abort();
    gate.open();
    let result = host.executor.block_on(waits).unwrap().unwrap();
    assert_eq!(result, Some(Val::U32(41)));
}

#[test]
fn a_start_function_that_wants_a_lock_that_is_held_traps_and_the_holder_goes_on() {
    let host = Host::new();
    let (lock, gate) = Default::default();
    let linker = locked(&lock, &gate);
    let first = store(&host, &linker);
    let holds = begin(&host, &first);
    let starting = host.store(());
    let error = linker
        .instantiate(&starting, &host.component(CALLS_ASYNC_F))
        .unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::CannotBlockSyncTask), "{error}");
    assert!(error.hint().unwrap().contains("`Caller::defer`"), "{error}");
    gate.open();
    host.executor.block_on(holds).unwrap().unwrap();
    // Nobody holds it any more, also not the start function that wanted it.
    let instance = linker
        .instantiate(&starting, &host.component(CALLS_ASYNC_F))
        .unwrap();
    assert_eq!(call_u32(&starting, &instance, "value"), 41);
}

#[test]
fn a_mutex_of_the_thread_that_is_held_can_be_asked_for_without_blocking() {
    // `Mutex::lock` would block the thread for ever: nobody else runs that could unlock it.
    let host = Host::new();
    let shared = Arc::new(Mutex::new(()));
    let mut linker = Linker::new();
    let mutex = Arc::clone(&shared);
    linker
        .root()
        .func("f", move |_: Caller<'_, ()>, (x,): (u32,)| {
            match mutex.try_lock() {
                Ok(_) => Ok((x,)),
                Err(held) => Err(Error::host(held.to_string())),
            }
        })
        .unwrap();
    let store = host.store(());
    let component = host.component(CALLS_F);
    let held = shared.lock().unwrap();
    let error = linker.instantiate(&store, &component).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Host(_)), "{error}");
    drop(held);
    linker.instantiate(&store, &component).unwrap();
}
