//! The asynchronous workloads on our host.

use super::{ASYNC, BYTES, CALLS, CHUNKS, ROUND_TRIPS, SUSPENDED, Work, chunk_name};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_component_host::{
    Accessor, Component, Config, Engine, Instance, Linker, Store, StreamAny, StreamReader,
    TypedFunc,
};
use vestibule_executor::{Budget, Executor, JoinHandle, yield_now};

struct Guest {
    executor: Executor,
    store: Store<()>,
    instance: Instance,
}

/// Where the host functions that are suspended leave their wakers.
type Waiting = Rc<RefCell<Vec<Waker>>>;

impl Guest {
    /// With a `pending` that is ready at its second poll, or one that waits to be woken.
    fn new(waiting: Option<Waiting>) -> Guest {
        let engine = Engine::new(Config::new().fuel(u64::MAX));
        let executor = Executor::new();
        let store = Store::new(&engine, &executor, ());
        let component = Component::new(&engine, ASYNC.as_bytes()).expect("the sample is valid");
        let mut linker = Linker::new();
        let mut root = linker.root();
        root.func_async("ready", |_: Accessor<()>, (x,): (u32,)| async move {
            Ok((x + 1,))
        })
        .expect("it is defined once");
        root.func_async("pending", move |_: Accessor<()>, (x,): (u32,)| {
            let waiting = waiting.clone();
            async move {
                match waiting {
                    None => yield_now().await,
                    Some(waiting) => until_woken(&waiting).await,
                }
                Ok((x + 1,))
            }
        })
        .expect("it is defined once");
        let instance = linker.instantiate(&store, &component).expect("it starts");
        Guest {
            executor,
            store,
            instance,
        }
    }

    fn func<P, R>(&self, name: &str) -> TypedFunc<P, R>
    where
        P: vestibule_component_host::LowerList,
        R: vestibule_component_host::LiftList,
    {
        self.instance
            .get_typed_func(&self.store, name)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The first poll of a host function has no waker of its own, the second waits, the third is ready.
async fn until_woken(waiting: &Waiting) {
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        match polls {
            1 => Poll::Pending,
            2 => {
                waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    })
    .await;
}

pub(super) fn works() -> Vec<(&'static str, Work)> {
    let guest = Rc::new(Guest::new(None));
    let mut works: Vec<(&'static str, Work)> = Vec::new();
    for (f, name) in ROUND_TRIPS.iter().enumerate() {
        let guest = Rc::clone(&guest);
        let repeat = guest.func::<(u32, u32), (u32,)>("repeat");
        works.push((
            name,
            Box::new(move || {
                let call = repeat.call(&guest.store, (f as u32, CALLS));
                let result = guest.store.block_on(call).expect("it returns");
                assert_eq!(result, (CALLS,), "{f}");
            }),
        ));
    }
    works.push(("waitable-set/members=10k", fan_in(&guest)));
    for chunk in CHUNKS {
        works.push((chunk_name("guest-guest", chunk), consume(&guest, chunk)));
        works.push((chunk_name("guest-host", chunk), produce(&guest, chunk)));
    }
    works.push(("suspended-calls/calls=10k", suspended()));
    works
}

fn fan_in(guest: &Rc<Guest>) -> Work {
    let guest = Rc::clone(guest);
    let fan_in = guest.func::<(u32,), (u32,)>("fan-in");
    Box::new(move || {
        let call = fan_in.call(&guest.store, (SUSPENDED,));
        let result = guest.store.block_on(call).expect("it returns");
        assert_eq!(result, (SUSPENDED,), "fan-in");
    })
}

fn consume(guest: &Rc<Guest>, chunk: u32) -> Work {
    let guest = Rc::clone(guest);
    let consume = guest.func::<(u32, u32), (u32,)>("consume");
    Box::new(move || {
        let call = consume.call(&guest.store, (BYTES, chunk));
        let result = guest.store.block_on(call).expect("it returns");
        assert_eq!(result, (BYTES,), "consume");
    })
}

fn produce(guest: &Rc<Guest>, chunk: u32) -> Work {
    let guest = Rc::clone(guest);
    let produce = guest.func::<(u32, u32), (StreamAny,)>("produce");
    Box::new(move || {
        let read = async {
            let (stream,) = produce.call(&guest.store, (BYTES, chunk)).await?;
            let mut reader = StreamReader::<u8>::new(&guest.store, stream).chunk(chunk);
            let mut read = 0;
            while let Some(bytes) = reader.read().await? {
                read += bytes.len();
            }
            Ok(read)
        };
        let read = guest.store.block_on(read).expect("it is read");
        assert_eq!(read, BYTES as usize, "produce");
    })
}

/// Calls that wait for the host, all at a time.
struct Suspended {
    guest: Guest,
    repeat: TypedFunc<(u32, u32), (u32,)>,
    waiting: Waiting,
}

type Call = JoinHandle<vestibule_component_host::Result<(u32,)>>;

impl Suspended {
    fn new() -> Suspended {
        let waiting = Waiting::default();
        let guest = Guest::new(Some(Rc::clone(&waiting)));
        let repeat = guest.func("repeat");
        Suspended {
            guest,
            repeat,
            waiting,
        }
    }

    fn begin(&self, calls: u32) -> Vec<Call> {
        let call = |_| self.repeat.call(&self.guest.store, (1, 1));
        let executor = &self.guest.executor;
        let calls = (0..calls)
            .map(|i| executor.spawn(call(i)).expect("it runs"))
            .collect();
        self.run();
        calls
    }

    fn run(&self) {
        self.guest
            .executor
            .run_until_stalled(Budget::rounds(10))
            .expect("it is idle");
    }
}

fn suspended() -> Work {
    let suspended = Suspended::new();
    Box::new(move || {
        let calls = suspended.begin(SUSPENDED);
        let waiting = suspended.waiting.take();
        assert_eq!(waiting.len(), SUSPENDED as usize, "all are suspended");
        waiting.into_iter().for_each(Waker::wake);
        suspended.run();
        assert!(calls.iter().all(JoinHandle::is_finished), "suspended-calls");
    })
}

/// Suspends so many calls, and lets `look` see the process meanwhile.
pub(super) fn suspend(calls: u32, look: &mut dyn FnMut()) {
    let suspended = Suspended::new();
    drop(suspended.begin(1));
    look();
    let calls = suspended.begin(calls);
    look();
    drop(calls);
}
