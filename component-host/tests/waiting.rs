//! Whoever polls a wait is woken when it is over, under whatever waker: a task of the store's
//! executor, a combinator inside of one, or another executor.

mod common;

use common::{Host, WAITS_IN_EXPORT};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use vestibule_component_host::{Linker, Store, StreamReader, Val};

type Waits = Pin<Box<dyn Future<Output = String>>>;
type Happen = Box<dyn FnOnce(&Host, &Store<()>)>;

/// Something that is waited for, and what brings it about.
struct Setting {
    host: Host,
    store: Store<()>,
    waits: Waits,
    happen: Happen,
    outcome: &'static str,
}

/// A call that waits for the host, until a gate is open.
fn a_call() -> Setting {
    let host = Host::new();
    let store = host.store(());
    let gate: Rc<(Cell<bool>, RefCell<Vec<Waker>>)> = Rc::default();
    let at_gate = Rc::clone(&gate);
    let mut linker = Linker::new();
    let mut root = linker.root();
    root.func_async("f", move |_, (x,): (u32,)| {
        let gate = Rc::clone(&at_gate);
        async move {
            poll_fn(|cx| match gate.0.get() {
                true => Poll::Ready(()),
                false => {
                    gate.1.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
            })
            .await;
            Ok((x + 1,))
        }
    })
    .unwrap();
    let component = host.component(WAITS_IN_EXPORT);
    let instance = linker.instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let call = run.call(&store, &[]);
    Setting {
        host,
        store,
        waits: Box::pin(async move { said(call.await) }),
        happen: Box::new(move |_, _| {
            gate.0.set(true);
            gate.1.take().into_iter().for_each(Waker::wake);
        }),
        outcome: "Some(U32(42))",
    }
}

/// A read of a stream that a guest has not written yet.
fn a_read() -> Setting {
    let host = Host::new();
    let (store, instance) = host.instantiate(include_str!("streams.wat")).unwrap();
    let make = instance.get_func(&store, "make").unwrap();
    let Some(Val::Stream(stream)) = store.block_on(make.call(&store, &[])).unwrap() else {
        panic!("no stream");
    };
    let mut reader = StreamReader::<u8>::new(&store, stream);
    let write = instance.get_func(&store, "write").unwrap();
    Setting {
        host,
        store,
        waits: Box::pin(async move { said(reader.read().await) }),
        happen: Box::new(move |host, store| {
            let call = write.call(store, &[Val::U32(3)]);
            drop(host.executor.spawn(call).unwrap());
        }),
        outcome: "Some([0, 1, 2])",
    }
}

/// That a store is quiet in which a call waits.
fn quiet() -> Setting {
    let call = a_call();
    drop(call.host.executor.spawn(call.waits).unwrap());
    let store = call.store.clone();
    Setting {
        waits: Box::pin(async move { said(store.wait_until_quiet().await) }),
        outcome: "()",
        ..call
    }
}

fn said<T: std::fmt::Debug>(result: vestibule_component_host::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

/// Counts its wakes: what another executor would have.
#[derive(Default)]
struct Foreign(AtomicUsize);

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Foreign {
    fn woken(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

fn poll(waits: &mut Waits, waker: &Waker) -> Poll<String> {
    waits.as_mut().poll(&mut Context::from_waker(waker))
}

const ALL: [fn() -> Setting; 3] = [a_call, a_read, quiet];

#[test]
fn a_task_of_the_executor_waits() {
    for setting in ALL {
        let setting = setting();
        let task = setting.host.executor.spawn(setting.waits).unwrap();
        setting.host.run();
        assert!(!task.is_finished());
        (setting.happen)(&setting.host, &setting.store);
        let result = setting.host.executor.block_on(task).unwrap();
        assert_eq!(result, setting.outcome);
    }
}

#[test]
fn a_combinator_with_wakers_of_its_own_waits() {
    for setting in ALL {
        let setting = setting();
        let mut set: FuturesUnordered<_> = [setting.waits].into_iter().collect();
        let task = setting.host.executor.spawn(async move { set.next().await });
        setting.host.run();
        (setting.happen)(&setting.host, &setting.store);
        let result = setting.host.executor.block_on(task.unwrap()).unwrap();
        assert_eq!(result.as_deref(), Some(setting.outcome));
    }
}

#[test]
fn another_executor_waits() {
    for setting in ALL {
        let mut setting = setting();
        let foreign = Arc::new(Foreign::default());
        let waker = Waker::from(Arc::clone(&foreign));
        setting.host.run();
        assert!(poll(&mut setting.waits, &waker).is_pending());
        setting.host.run();
        assert!(!foreign.woken());
        (setting.happen)(&setting.host, &setting.store);
        setting.host.run();
        assert!(foreign.woken());
        let outcome = Poll::Ready(setting.outcome.to_owned());
        assert_eq!(poll(&mut setting.waits, &waker), outcome);
    }
}

#[test]
fn a_wait_moves_between_the_two() {
    for setting in ALL {
        for own_last in [true, false] {
            let setting = setting();
            let foreign = Arc::new(Foreign::default());
            let waker = Waker::from(Arc::clone(&foreign));
            let waits = Rc::new(RefCell::new(setting.waits));
            setting.host.run();
            let own = |times: u32| {
                let (waits, mut left) = (Rc::clone(&waits), times);
                let poll = poll_fn(move |cx| {
                    left = left.saturating_sub(1);
                    match waits.borrow_mut().as_mut().poll(cx) {
                        Poll::Pending if left == 0 && times > 0 => Poll::Ready(String::new()),
                        polled => polled,
                    }
                });
                let task = setting.host.executor.spawn(poll).unwrap();
                setting.host.run();
                task
            };
            // Each waits once before the last one stays.
            drop(own(1));
            assert!(poll(&mut waits.borrow_mut(), &waker).is_pending());
            drop(own(1));
            let last = match own_last {
                true => Some(own(0)),
                false => {
                    assert!(poll(&mut waits.borrow_mut(), &waker).is_pending());
                    None
                }
            };
            setting.host.run();
            foreign.woken();
            (setting.happen)(&setting.host, &setting.store);
            setting.host.run();
            let result = match last {
                Some(task) => setting.host.executor.block_on(task).unwrap(),
                None => {
                    assert!(foreign.woken());
                    match poll(&mut waits.borrow_mut(), &waker) {
                        Poll::Ready(result) => result,
                        Poll::Pending => panic!("it is still pending"),
                    }
                }
            };
            assert_eq!(result, setting.outcome);
        }
    }
}

#[test]
fn another_executor_is_told_when_ours_is_shut_down() {
    for setting in ALL {
        let mut setting = setting();
        let foreign = Arc::new(Foreign::default());
        let waker = Waker::from(Arc::clone(&foreign));
        setting.host.run();
        assert!(poll(&mut setting.waits, &waker).is_pending());
        setting.host.executor.shutdown();
        assert!(foreign.woken());
        match poll(&mut setting.waits, &waker) {
            Poll::Ready(said) => assert!(said.contains("the executor was shut down"), "{said}"),
            Poll::Pending => panic!("it waits for ever"),
        }
    }
}

#[test]
fn a_task_that_shuts_its_executor_down_and_goes_on_is_told() {
    for setting in ALL {
        let mut setting = setting();
        setting.host.run();
        let executor = setting.host.executor.handle();
        let said = Rc::new(RefCell::new(None));
        let result = Rc::clone(&said);
        let task = setting.host.executor.spawn(poll_fn(move |cx| {
            assert!(setting.waits.as_mut().poll(cx).is_pending());
            executor.shutdown();
            *result.borrow_mut() = Some(setting.waits.as_mut().poll(cx));
            Poll::Ready(())
        }));
        drop(task.unwrap());
        setting.host.run();
        match said.take() {
            Some(Poll::Ready(said)) => {
                assert!(said.contains("the executor was shut down"), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_reads_is_told_when_the_store_is_dropped() {
    for foreign_waits in [false, true] {
        let mut setting = a_read();
        let foreign = Arc::new(Foreign::default());
        let waker = Waker::from(Arc::clone(&foreign));
        let task = if foreign_waits {
            assert!(poll(&mut setting.waits, &waker).is_pending());
            None
        } else {
            let waits = std::mem::replace(&mut setting.waits, Box::pin(async { String::new() }));
            let task = setting.host.executor.spawn(waits).unwrap();
            setting.host.run();
            Some(task)
        };
        drop(setting.happen);
        drop(setting.store);
        let said = match task {
            Some(task) => setting.host.executor.block_on(task).unwrap(),
            None => {
                assert!(foreign.woken());
                match poll(&mut setting.waits, &waker) {
                    Poll::Ready(said) => said,
                    Poll::Pending => panic!("it waits for ever"),
                }
            }
        };
        assert!(said.contains("closed"), "{said}");
    }
}
