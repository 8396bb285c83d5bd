//! Resources in values that nobody wants: their destructors run, once each, and nothing is left.

mod common;

use common::Host;
use futures_util::future::join;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Caller, Config, Engine, ErrorKind, Func, Instance, Linker, ResourceAny, ResourceType, Store,
    StreamReader, Trap, Val, future, stream,
};
use vestibule_executor::{Executor, JoinHandle};

/// Implements a resource type whose destructor calls `dropped`, and hands it around.
const GIVES: &str = r#"(component $gives
  (import "dropped" (func $dropped (param "rep" u32)))
  (import "f" (func $f async))
  (core func $dropped' (canon lower (func $dropped)))
  (core func $f' (canon lower (func $f)))
  (core module $D
    (import "" "dropped" (func $dropped (param i32)))
    (func (export "dtor") (param i32)
      (if (i32.eq (local.get 0) (i32.const 666)) (then unreachable))
      (if (i32.eq (local.get 0) (i32.const 667)) (then (loop $l (br $l))))
      (call $dropped (local.get 0))))
  (core instance $d (instantiate $D (with "" (instance (export "dropped" (func $dropped'))))))
  (type $r' (resource (rep i32) (dtor (core func $d "dtor"))))
  (core module $Memory
    (memory (export "mem") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x8000)))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "mem" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $new (canon resource.new $r'))
  (core func $drop (canon resource.drop $r'))
  (core func $rep (canon resource.rep $r'))
  (export $r "r" (type $r'))
  (type $rs (stream (own $r)))
  (core func $return (canon task.return (result (own $r))))
  (core func $return-none (canon task.return))
  (core func $inc (canon backpressure.inc))
  (core func $dec (canon backpressure.dec))
  (core func $s-new (canon stream.new $rs))
  (core func $s-write (canon stream.write $rs async (memory $mem)))
  (core func $s-read (canon stream.read $rs async (memory $mem)))
  (core func $s-drop (canon stream.drop-readable $rs))
  (core module $M
    (import "" "mem" (memory 1))
    (import "" "f" (func $f))
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "rep" (func $rep (param i32) (result i32)))
    (import "" "return" (func $return (param i32)))
    (import "" "return-none" (func $return-none))
    (import "" "inc" (func $inc))
    (import "" "dec" (func $dec))
    (import "" "s-new" (func $s-new (result i64)))
    (import "" "s-write" (func $s-write (param i32 i32 i32) (result i32)))
    (import "" "s-read" (func $s-read (param i32 i32 i32) (result i32)))
    (import "" "s-drop" (func $s-drop (param i32)))
    (global $end (mut i32) (i32.const 0))
    (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "slow") (param i32) (call $f) (call $return (call $new (local.get 0))))
    (func (export "many") (param i32) (result i32) (local $i i32)
      (call $f)
      (loop $l
        (i32.store (i32.add (i32.const 0x1000) (i32.mul (local.get $i) (i32.const 4)))
          (call $new (local.get $i)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (local.get 0))))
      (i32.store (i32.const 0) (i32.const 0x1000))
      (i32.store (i32.const 4) (local.get 0))
      (i32.const 0))
    (func (export "bad") (result i32)
      (i32.store (i32.const 0) (call $new (i32.const 9)))
      (i32.store (i32.const 4) (i32.const 0x110000))
      (i32.const 0))
    (func (export "take") (param i32) (call $drop (local.get 0)) (call $return-none))
    (func (export "look") (param i32) (call $return-none))
    (func (export "consume") (param i32) (result i32)
      (local $rep i32)
      (local.set $rep (call $rep (local.get 0)))
      (call $drop (local.get 0)) (local.get $rep))
    (func (export "shut") (call $inc))
    (func (export "open") (call $dec))
    (func (export "make") (result i32)
      (local $ends i64)
      (local.set $ends (call $s-new))
      (global.set $end (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (i32.wrap_i64 (local.get $ends)))
    (func (export "write") (param i32) (result i32)
      (i32.store (i32.const 0) (call $new (local.get 0)))
      (i32.store (i32.const 4) (call $new (i32.add (local.get 0) (i32.const 1))))
      (call $s-write (global.get $end) (i32.const 0) (i32.const 2)))
    (func (export "keep") (param i32) (global.set $end (local.get 0)))
    (func (export "read") (param i32) (result i32)
      (call $s-read (global.get $end) (i32.const 0x2000) (local.get 0)))
    (func (export "close") (call $s-drop (global.get $end))))
  (core instance $m (instantiate $M (with "" (instance
    (export "mem" (memory $mem)) (export "f" (func $f')) (export "new" (func $new))
    (export "drop" (func $drop)) (export "rep" (func $rep)) (export "return" (func $return))
    (export "return-none" (func $return-none))
    (export "inc" (func $inc)) (export "dec" (func $dec)) (export "s-new" (func $s-new))
    (export "s-write" (func $s-write)) (export "s-read" (func $s-read))
    (export "s-drop" (func $s-drop))))))
  (func (export "new") (param "rep" u32) (result (own $r)) (canon lift (core func $m "new")))
  (func (export "slow") async (param "rep" u32) (result (own $r))
    (canon lift (core func $m "slow") async))
  (func (export "many") async (param "n" u32) (result (list (own $r)))
    (canon lift (core func $m "many") (memory $mem)))
  (func (export "bad") (result (tuple (own $r) char))
    (canon lift (core func $m "bad") (memory $mem)))
  (func (export "take") async (param "r" (own $r)) (canon lift (core func $m "take") async))
  (func (export "look") async (param "r" (borrow $r)) (canon lift (core func $m "look") async))
  (func (export "consume") (param "r" (own $r)) (result u32)
    (canon lift (core func $m "consume")))
  (func (export "shut") (canon lift (core func $m "shut")))
  (func (export "open") (canon lift (core func $m "open")))
  (func (export "make") (result $rs) (canon lift (core func $m "make")))
  (func (export "write") (param "rep" u32) (result u32) (canon lift (core func $m "write")))
  (func (export "keep") (param "s" $rs) (canon lift (core func $m "keep")))
  (func (export "read") (param "n" u32) (result u32) (canon lift (core func $m "read")))
  (func (export "close") (canon lift (core func $m "close"))))"#;

struct Guest {
    host: Host,
    store: Store<()>,
    instance: Instance,
    /// The representations whose destructors ran, in order.
    dropped: Rc<RefCell<Vec<u32>>>,
    /// Whether `f` may return.
    open: Rc<Cell<bool>>,
    /// The handles that there were before anything was called.
    handles: usize,
}

impl Guest {
    fn new() -> Guest {
        Guest::with(Config::new())
    }

    fn with(config: Config) -> Guest {
        let host = Host {
            executor: Executor::new(),
            engine: Engine::new(config),
        };
        let (dropped, open) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
        let mut linker = Linker::new();
        let (log, gate) = (Rc::clone(&dropped), Rc::clone(&open));
        let mut root = linker.root();
        root.func("dropped", move |_: Caller<'_, ()>, (rep,): (u32,)| {
            log.borrow_mut().push(rep);
            Ok(())
        })
        .unwrap();
        root.func_async("f", move |_, ()| {
            let gate = Rc::clone(&gate);
            async move {
                poll_fn(|cx| {
                    if gate.get() {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                Ok(())
            }
        })
        .unwrap();
        let store = host.store(());
        let instance = linker.instantiate(&store, &host.component(GIVES)).unwrap();
        let handles = store.counters().unwrap().live.handles;
        Guest {
            host,
            store,
            instance,
            dropped,
            open,
            handles,
        }
    }

    fn func(&self, name: &str) -> Func {
        self.instance.get_func(&self.store, name).unwrap()
    }

    fn call(&self, name: &str, args: &[Val]) -> Option<Val> {
        let func = self.func(name);
        self.store
            .block_on(func.call(&self.store, args))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn resource(&self, rep: u32) -> ResourceAny {
        match self.call("new", &[Val::U32(rep)]) {
            Some(Val::Resource(resource)) => resource,
            other => panic!("new returned {other:?}"),
        }
    }

    /// Runs what is due, and returns whose destructors ran.
    fn dropped(&self) -> Vec<u32> {
        self.host.run();
        self.dropped.take()
    }

    /// Nothing is in progress, and no handle was left behind.
    #[track_caller]
    fn assert_clean(&self) {
        self.host.run();
        assert_eq!(self.dropped.take(), [0; 0]);
        assert!(self.store.is_quiet().unwrap());
        let errors = self.store.take_background_errors();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(self.store.counters().unwrap().live.handles, self.handles);
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_result_of_a_call_that_was_given_up_is_dropped() {
    for late in [false, true] {
        let guest = Guest::new();
        let slow = guest.func("slow");
        let mut call = Box::pin(slow.call(&guest.store, &[Val::U32(7)]));
        assert!(poll(call.as_mut()).is_pending());
        if !late {
            drop(call);
            guest.open.set(true);
            guest.host.run();
        } else {
            guest.open.set(true);
            guest.host.run();
            assert_eq!(guest.dropped(), [0; 0], "it is still wanted");
            drop(call);
            assert!(!guest.store.is_quiet().unwrap(), "a destructor is due");
        }
        assert_eq!(guest.dropped(), [7], "late: {late}");
        guest.assert_clean();
    }
}

#[test]
fn destructors_run_one_a_turn_and_starve_nobody() {
    let guest = Guest::new();
    let many = guest.func("many");
    let mut call = Box::pin(many.call(&guest.store, &[Val::U32(500)]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    guest.open.set(true);
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    let task: JoinHandle<()> = guest
        .host
        .executor
        .spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                vestibule_executor::yield_now().await;
            }
        })
        .unwrap();
    guest
        .store
        .block_on(guest.store.wait_until_quiet())
        .unwrap();
    assert!(turns.get() > 500, "{} turns meanwhile", turns.get());
    drop(task.cancel());
    assert_eq!(guest.dropped.take(), (0..500).collect::<Vec<_>>());
    assert_eq!(guest.store.counters().unwrap().live.handles, guest.handles);
}

#[test]
fn what_was_given_to_a_call_that_never_started_is_dropped() {
    let guest = Guest::new();
    let resource = guest.resource(3);
    guest.call("shut", &[]);
    let take = guest.func("take");
    let mut call = Box::pin(take.call(&guest.store, &[Val::Resource(resource)]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(guest.dropped(), [3]);
    let error = resource.resource_drop(&guest.store).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error}");
    guest.call("open", &[]);
    guest.assert_clean();
}

#[test]
fn what_was_lent_to_a_call_that_never_started_stays_the_embedders() {
    let guest = Guest::new();
    let resource = guest.resource(4);
    guest.call("shut", &[]);
    let look = guest.func("look");
    let mut call = Box::pin(look.call(&guest.store, &[Val::Resource(resource)]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(guest.dropped(), [0; 0]);
    guest.call("open", &[]);
    resource.resource_drop(&guest.store).unwrap();
    assert_eq!(guest.dropped(), [4]);
    guest.assert_clean();
}

#[test]
fn what_was_lifted_of_a_result_that_is_no_good_is_let_go() {
    let guest = Guest::new();
    let bad = guest.func("bad");
    let error = guest
        .store
        .block_on(bad.call(&guest.store, &[]))
        .unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::InvalidChar(_))),
        "{error}"
    );
    // The instance that would run the destructor is locked down, and the host counts nothing.
    guest.assert_clean();
}

#[test]
fn a_destructor_that_traps_or_never_ends_is_limited_and_reported() {
    for (rep, text) in [(666, "unreachable"), (667, "fuel")] {
        let guest = Guest::with(Config::new().fuel(1_000_000));
        let slow = guest.func("slow");
        for rep in [rep, 5] {
            let mut call = Box::pin(slow.call(&guest.store, &[Val::U32(rep)]));
            assert!(poll(call.as_mut()).is_pending());
            drop(call);
        }
        guest.open.set(true);
        assert_eq!(guest.dropped(), [0; 0], "the instance is locked down");
        let errors = guest.store.take_background_errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].to_string().contains(text), "{}", errors[0]);
        guest.assert_clean();
    }
}

#[test]
fn what_a_guest_wrote_and_nobody_took_is_dropped_once() {
    let guest = Guest::new();
    let Some(Val::Stream(made)) = guest.call("make", &[]) else {
        panic!("not a stream");
    };
    let mut reader = StreamReader::<ResourceAny>::new(&guest.store, made);
    {
        let mut read = Box::pin(reader.read());
        assert!(poll(read.as_mut()).is_pending());
    }
    // The copy goes on without the future, and nobody asks for what it brought.
    assert_eq!(guest.call("write", &[Val::U32(20)]), Some(Val::U32(2 << 4)));
    assert_eq!(guest.dropped(), [0; 0]);
    drop(reader);
    assert_eq!(guest.dropped(), [20, 21]);
    assert!(guest.store.is_quiet().unwrap());
}

#[test]
fn what_a_guest_offers_and_nobody_reads_stays_the_guests() {
    let guest = Guest::new();
    let Some(Val::Stream(made)) = guest.call("make", &[]) else {
        panic!("not a stream");
    };
    let reader = StreamReader::<ResourceAny>::new(&guest.store, made);
    assert_eq!(
        guest.call("write", &[Val::U32(30)]),
        Some(Val::U32(u32::MAX))
    );
    drop(reader);
    assert_eq!(guest.dropped(), [0; 0]);
}

#[test]
fn what_the_host_wrote_and_no_guest_read_is_dropped_with_the_stream() {
    // (who goes: the host, or the guest)
    for host_goes in [true, false] {
        let guest = Guest::new();
        let items: Vec<_> = (40..44).map(|rep| guest.resource(rep)).collect();
        let (reader, mut writer) = stream::<ResourceAny>(&guest.store);
        guest.call("keep", &[reader.into()]);
        {
            let mut write = Box::pin(writer.write(items));
            assert!(poll(write.as_mut()).is_pending());
        }
        assert_eq!(guest.call("read", &[Val::U32(1)]), Some(Val::U32(1 << 4)));
        if host_goes {
            drop(writer);
        } else {
            guest.call("close", &[]);
            let error = guest.store.block_on(writer.flush()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        }
        assert_eq!(guest.dropped(), [41, 42, 43], "host goes: {host_goes}");
    }
}

#[test]
fn what_is_taken_back_from_a_stream_can_be_used_again() {
    let guest = Guest::new();
    let items: Vec<_> = (50..53).map(|rep| guest.resource(rep)).collect();
    let (reader, mut writer) = stream::<ResourceAny>(&guest.store);
    guest.call("keep", &[reader.into()]);
    {
        let mut write = Box::pin(writer.write(items));
        assert!(poll(write.as_mut()).is_pending());
    }
    assert_eq!(guest.call("read", &[Val::U32(1)]), Some(Val::U32(1 << 4)));
    let back = writer.cancel().unwrap();
    assert_eq!(back.len(), 2);
    assert_eq!(
        guest.call("consume", &[Val::Resource(back[0])]),
        Some(Val::U32(51))
    );
    back[1].resource_drop(&guest.store).unwrap();
    assert_eq!(guest.dropped(), [51, 52]);
    drop(writer);
    assert_eq!(guest.dropped(), [0; 0]);
}

#[test]
fn a_resource_that_waits_for_the_type_of_its_stream_is_given_once() {
    let guest = Guest::new();
    let resource = guest.resource(60);
    let (reader, mut writer) = stream::<ResourceAny>(&guest.store);
    let mut write = Box::pin(writer.write(vec![resource]));
    assert!(poll(write.as_mut()).is_pending());
    // It is the guest's once the guest has the stream, and nobody else's.
    guest.call("keep", &[reader.into()]);
    assert!(poll(write.as_mut()).is_pending());
    assert_eq!(guest.call("read", &[Val::U32(4)]), Some(Val::U32(1 << 4)));
    guest.store.block_on(write).unwrap();
    let error = resource.resource_drop(&guest.store).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error}");
    assert_eq!(guest.dropped(), [0; 0]);
}

#[test]
fn a_resource_in_a_stream_that_gets_its_type_in_the_middle_of_a_write_is_given_once() {
    let guest = Guest::new();
    let (first, second) = (guest.resource(61), guest.resource(62));
    let (mut reader, mut writer) = stream::<ResourceAny>(&guest.store);
    // Both ends are the embedder's.
    let both = join(reader.read(), writer.write(vec![first]));
    let (read, written) = guest.host.executor.block_on(both);
    assert_eq!(read.unwrap().unwrap().len(), 1);
    written.unwrap();
    first.resource_drop(&guest.store).unwrap();
    assert_eq!(guest.dropped(), [61]);
    let mut write = Box::pin(writer.write(vec![second]));
    assert!(poll(write.as_mut()).is_pending());
    guest.call("keep", &[reader.into()]);
    assert_eq!(guest.call("read", &[Val::U32(4)]), Some(Val::U32(1 << 4)));
    guest.store.block_on(write).unwrap();
    let error = second.resource_drop(&guest.store).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error}");
    assert_eq!(guest.dropped(), [0; 0]);
}

/// A type that the embedder implements.
struct Thing;

/// `slow: async func(rep: u32) -> own<thing>` waits for `f` and then passes on what `make` made.
const GIVES_THINGS: &str = r#"(component
  (import "thing" (type $thing (sub resource)))
  (import "make" (func $make (param "rep" u32) (result (own $thing))))
  (import "f" (func $f async))
  (core func $make' (canon lower (func $make)))
  (core func $f' (canon lower (func $f)))
  (core func $return (canon task.return (result (own $thing))))
  (core module $M
    (import "" "make" (func $make (param i32) (result i32)))
    (import "" "f" (func $f))
    (import "" "return" (func $return (param i32)))
    (func (export "slow") (param i32) (call $f) (call $return (call $make (local.get 0)))))
  (core instance $m (instantiate $M (with "" (instance
    (export "make" (func $make')) (export "f" (func $f')) (export "return" (func $return))))))
  (func (export "slow") async (param "rep" u32) (result (own $thing))
    (canon lift (core func $m "slow") async)))"#;

#[test]
fn a_resource_of_the_embedders_in_a_discarded_result_is_dropped_too() {
    let host = Host::new();
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&dropped);
    let mut linker = Linker::new();
    let mut root = linker.root();
    root.resource(
        "thing",
        ResourceType::host::<Thing>(),
        move |_: Caller<'_, ()>, rep| {
            log.borrow_mut().push(rep);
            match rep {
                13 => Err(vestibule_component_host::Error::host(std::fmt::Error)),
                _ => Ok(()),
            }
        },
    )
    .unwrap();
    root.func("make", |_: Caller<'_, ()>, (rep,): (u32,)| {
        Ok((vestibule_component_host::Resource::<Thing>::new_own(rep),))
    })
    .unwrap();
    root.func_async("f", |_, ()| async {
        vestibule_executor::yield_now().await;
        Ok(())
    })
    .unwrap();
    let store = host.store(());
    let component = host.component(GIVES_THINGS);
    let instance = linker.instantiate(&store, &component).unwrap();
    let slow = instance.get_func(&store, "slow").unwrap();
    for rep in [12, 13, 14] {
        let mut call = Box::pin(slow.call(&store, &[Val::U32(rep)]));
        assert!(poll(call.as_mut()).is_pending());
        drop(call);
    }
    host.run();
    assert_eq!(*dropped.borrow(), [12, 13, 14]);
    assert!(store.is_quiet().unwrap());
    assert_eq!(store.take_background_errors().len(), 1, "that of 13");
}

#[test]
fn a_future_of_a_resource_that_is_not_written_drops_it() {
    let guest = Guest::new();
    let resource = guest.resource(70);
    let (_reader, writer) = future::<ResourceAny>(&guest.store);
    let mut write = Box::pin(writer.write(resource));
    assert!(poll(write.as_mut()).is_pending());
    drop(write);
    assert_eq!(guest.dropped(), [70]);
    let error = resource.resource_drop(&guest.store).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error}");
}
