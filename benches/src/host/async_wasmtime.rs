//! The asynchronous workloads on wasmtime.

use super::{ASYNC, BYTES, CALLS, CHUNKS, ROUND_TRIPS, SUSPENDED, Work, chunk_name};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use wasmtime::component::{
    Component, ComponentNamedList, Instance, Lift, Linker, Lower, Source, StreamConsumer,
    StreamReader, StreamResult, TypedFunc,
};
use wasmtime::{Config, Engine, Store, StoreContextMut};

struct Guest {
    store: RefCell<Store<()>>,
    instance: Instance,
}

/// Where the host functions that are suspended leave their wakers.
type Waiting = Arc<Mutex<Vec<Waker>>>;

impl Guest {
    fn new(waiting: Option<Waiting>) -> wasmtime::Result<Guest> {
        let mut config = Config::new();
        config
            .wasm_component_model_async(true)
            .wasm_component_model_more_async_builtins(true)
            .wasm_component_model_async_stackful(true)
            .wasm_component_model_threading(true);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, wat::parse_str(ASYNC).expect("it is valid"))?;
        let mut linker = Linker::new(&engine);
        let mut root = linker.root();
        root.func_wrap_concurrent("ready", |_, (x,): (u32,)| {
            Box::pin(async move { Ok((x + 1,)) })
        })?;
        root.func_wrap_concurrent("pending", move |_, (x,): (u32,)| {
            let waiting = waiting.clone();
            Box::pin(async move {
                until_woken(waiting.as_ref()).await;
                Ok((x + 1,))
            })
        })?;
        let mut store = Store::new(&engine, ());
        let instance = block_on(linker.instantiate_async(&mut store, &component))?;
        Ok(Guest {
            store: RefCell::new(store),
            instance,
        })
    }

    fn func<P, R>(&self, name: &str) -> TypedFunc<P, R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let mut store = self.store.borrow_mut();
        self.instance
            .get_typed_func(&mut *store, name)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Pending once: until it is woken, by itself when nobody else does that.
async fn until_woken(waiting: Option<&Waiting>) {
    let mut polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        match waiting {
            None => cx.waker().wake_by_ref(),
            Some(waiting) => waiting.lock().expect("it holds").push(cx.waker().clone()),
        }
        Poll::Pending
    })
    .await;
}

pub(super) fn works() -> Vec<(&'static str, Work)> {
    let guest = Rc::new(Guest::new(None).unwrap_or_else(|error| panic!("{error:?}")));
    let mut works: Vec<(&'static str, Work)> = Vec::new();
    for (f, name) in ROUND_TRIPS.iter().enumerate() {
        works.push((name, call(&guest, "repeat", (f as u32, CALLS), CALLS)));
    }
    let members = call(&guest, "fan-in", (SUSPENDED,), SUSPENDED);
    works.push(("waitable-set/members=10k", members));
    for chunk in CHUNKS {
        let consume = call(&guest, "consume", (BYTES, chunk), BYTES);
        works.push((chunk_name("guest-guest", chunk), consume));
        works.push((chunk_name("guest-host", chunk), produce(&guest, chunk)));
    }
    works.push(("suspended-calls/calls=10k", suspended()));
    works
}

fn call<P>(guest: &Rc<Guest>, name: &'static str, params: P, expected: u32) -> Work
where
    P: ComponentNamedList + Lower + Copy + Send + Sync + 'static,
{
    let (guest, func) = (Rc::clone(guest), guest.func::<P, (u32,)>(name));
    Box::new(move || {
        let mut store = guest.store.borrow_mut();
        let result = block_on(func.call_async(&mut *store, params));
        assert_eq!(result.expect("it returns"), (expected,), "{name}");
    })
}

/// Takes all that is written, and says so when it is dropped.
struct Drain(Arc<Mutex<Drained>>);

#[derive(Default)]
struct Drained {
    bytes: u32,
    ended: bool,
    waker: Option<Waker>,
}

impl StreamConsumer<()> for Drain {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, ()>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        // As ours does, it copies what it reads.
        let bytes = std::hint::black_box(source.remaining().to_vec());
        source.mark_read(bytes.len());
        self.0.lock().expect("it holds").bytes += bytes.len() as u32;
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let mut drained = self.0.lock().expect("it holds");
        drained.ended = true;
        if let Some(waker) = drained.waker.take() {
            waker.wake();
        }
    }
}

fn produce(guest: &Rc<Guest>, chunk: u32) -> Work {
    let guest = Rc::clone(guest);
    let produce = guest.func::<(u32, u32), (StreamReader<u8>,)>("produce");
    Box::new(move || {
        let mut store = guest.store.borrow_mut();
        let read = store.run_concurrent(async |accessor| {
            let (stream,) = produce.call_concurrent(accessor, (BYTES, chunk)).await?;
            let drained = Arc::<Mutex<Drained>>::default();
            let drain = Drain(Arc::clone(&drained));
            accessor.with(|access| stream.pipe(access, drain))?;
            poll_fn(|cx| {
                let mut drained = drained.lock().expect("it holds");
                drained.waker = Some(cx.waker().clone());
                match drained.ended {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            let drained = drained.lock().expect("it holds");
            wasmtime::Result::Ok(drained.bytes)
        });
        let read = block_on(read).and_then(|read| read);
        assert_eq!(read.expect("it is read"), BYTES, "produce");
    })
}

/// Calls that wait for the host, all at a time.
struct Suspended {
    guest: Guest,
    repeat: TypedFunc<(u32, u32), (u32,)>,
    waiting: Waiting,
}

impl Suspended {
    fn new() -> Suspended {
        let waiting = Waiting::default();
        let guest = Guest::new(Some(Arc::clone(&waiting)));
        let guest = guest.unwrap_or_else(|error| panic!("{error:?}"));
        let repeat = guest.func("repeat");
        Suspended {
            guest,
            repeat,
            waiting,
        }
    }

    fn run(&self, calls: u32, look: &mut dyn FnMut()) {
        let mut store = self.guest.store.borrow_mut();
        let all = store.run_concurrent(async |accessor| {
            let call = |_| self.repeat.call_concurrent(accessor, (1, 1));
            let mut calls: FuturesUnordered<_> = (0..calls).map(call).collect();
            // Until all of them wait.
            let expected = calls.len();
            poll_fn(|cx| {
                let _ = calls.poll_next_unpin(cx);
                let waiting = self.waiting.lock().expect("it holds").len();
                match waiting == expected {
                    true => Poll::Ready(()),
                    false => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                }
            })
            .await;
            look();
            let waiting = std::mem::take(&mut *self.waiting.lock().expect("it holds"));
            waiting.into_iter().for_each(Waker::wake);
            let mut returned = 0;
            while let Some(result) = calls.next().await {
                returned += result?.0;
            }
            wasmtime::Result::Ok(returned)
        });
        let returned = block_on(all).and_then(|all| all);
        assert_eq!(returned.expect("they return"), calls, "suspended-calls");
    }
}

fn suspended() -> Work {
    let suspended = Suspended::new();
    Box::new(move || suspended.run(SUSPENDED, &mut || ()))
}

/// Suspends so many calls, and lets `look` see the process meanwhile.
pub(super) fn suspend(calls: u32, look: &mut dyn FnMut()) {
    let suspended = Suspended::new();
    suspended.run(1, look);
    suspended.run(calls, look);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls on this thread, and sleeps while there is nothing to do.
fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    }
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut cx = Context::from_waker(waker);
        loop {
            match future.as_mut().poll(&mut cx) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}
