//! Ends of streams and futures in the hands of the embedder.

mod common;

use common::Host;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Config, Engine, Error, ErrorKind, FutureReader, Instance, Linker, Store, StreamReader, Trap,
    Val, future, stream,
};
use vestibule_executor::{Budget, Executor, JoinHandle};

const BLOCKED: u32 = u32::MAX;
/// What a copy of `n` elements returns to a guest.
const fn completed(n: u32) -> u32 {
    n << 4
}
const fn dropped(n: u32) -> u32 {
    (n << 4) | 1
}
const fn cancelled(n: u32) -> u32 {
    (n << 4) | 2
}

/// One instance of `streams.wat`.
struct Guest {
    host: Host,
    store: Store<()>,
    instance: Instance,
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
        let (store, instance) = host.instantiate(include_str!("streams.wat")).unwrap();
        Guest {
            host,
            store,
            instance,
        }
    }

    fn try_call(&self, name: &str, args: &[Val]) -> Result<Option<Val>, Error> {
        let func = self.instance.get_func(&self.store, name).unwrap();
        self.store.block_on(func.call(&self.store, args))
    }

    fn call(&self, name: &str, args: &[Val]) -> Option<Val> {
        self.try_call(name, args)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn number(&self, name: &str, args: &[Val]) -> u32 {
        match self.call(name, args) {
            Some(Val::U32(number)) => number,
            other => panic!("{name} returned {other:?}"),
        }
    }

    /// Begins a call that may block.
    fn spawn(&self, name: &str, args: &[Val]) -> JoinHandle<Result<Option<Val>, Error>> {
        let func = self.instance.get_func(&self.store, name).unwrap();
        let task = self.host.executor.spawn(func.call(&self.store, args));
        self.run();
        task.unwrap()
    }

    fn run(&self) {
        let tick = self.host.executor.run_until_stalled(Budget::rounds(100));
        tick.unwrap();
    }

    fn join(&self, task: JoinHandle<Result<Option<Val>, Error>>) -> u32 {
        match self.host.executor.block_on(task).unwrap().unwrap() {
            Some(Val::U32(number)) => number,
            other => panic!("the call returned {other:?}"),
        }
    }

    /// The readable end of a stream that the guest writes.
    fn reader(&self) -> StreamReader<u8> {
        match self.call("make", &[]) {
            Some(Val::Stream(stream)) => StreamReader::new(&self.store, stream),
            other => panic!("make returned {other:?}"),
        }
    }

    fn block_on<R>(&self, future: impl Future<Output = Result<R, Error>>) -> Result<R, Error> {
        self.store.block_on(future)
    }
}

fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|i| i as u8).collect()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_host_reads_what_a_guest_writes_whoever_comes_first() {
    let guest = Guest::new();
    // The guest first.
    let mut reader = guest.reader();
    let writing = guest.spawn("write", &[Val::U32(1000)]);
    assert!(!writing.is_finished(), "nobody reads yet");
    assert_eq!(guest.block_on(reader.read()).unwrap(), Some(pattern(1000)));
    assert_eq!(guest.join(writing), completed(1000));
    // The host first.
    {
        let mut read = Box::pin(reader.read());
        assert!(poll(read.as_mut()).is_pending());
        guest.run();
        assert_eq!(guest.number("write-now", &[Val::U32(5)]), completed(5));
        assert_eq!(guest.block_on(read).unwrap(), Some(pattern(5)));
    }
    // In chunks that the host chooses.
    let mut reader = reader.chunk(400);
    let writing = guest.spawn("write", &[Val::U32(1000)]);
    let sizes: Vec<usize> = (0..1)
        .map(|_| guest.block_on(reader.read()).unwrap().unwrap().len())
        .collect();
    assert_eq!(sizes, [400]);
    assert_eq!(
        guest.join(writing),
        completed(400),
        "a write may be partial"
    );
    guest.call("drop-writable", &[]);
    assert_eq!(guest.block_on(reader.read()).unwrap(), None);
    assert_eq!(guest.block_on(reader.read()).unwrap(), None, "for ever");
}

#[test]
fn a_read_that_is_given_up_loses_nothing() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    {
        let mut read = Box::pin(reader.read());
        assert!(poll(read.as_mut()).is_pending());
    }
    assert_eq!(guest.number("write-now", &[Val::U32(3)]), completed(3));
    // What was written went into the copy that nobody waits for; more may join it.
    assert_eq!(guest.number("write-now", &[Val::U32(2)]), completed(2));
    let read = guest.block_on(reader.read()).unwrap();
    assert_eq!(read, Some(vec![0, 1, 2, 0, 1]));
}

#[test]
fn a_guest_reads_what_the_host_writes_at_its_own_pace() {
    let guest = Guest::new();
    let (reader, mut writer) = stream::<u8>(&guest.store);
    guest.call("take", &[reader.into()]);
    let read = |len| guest.spawn("read", &[Val::U32(len)]);
    let mut writing = Box::pin(writer.write(pattern(100)));
    assert!(poll(writing.as_mut()).is_pending(), "backpressure");
    // The host gives more than is asked for: the rest waits.
    assert_eq!(guest.join(read(10)), completed(10));
    assert_eq!(guest.number("sum", &[Val::U32(10)]), (0..10).sum::<u32>());
    assert!(poll(writing.as_mut()).is_pending());
    assert_eq!(guest.join(read(50)), completed(50));
    assert_eq!(guest.number("sum", &[Val::U32(50)]), (10..60).sum::<u32>());
    assert!(poll(writing.as_mut()).is_pending());
    assert_eq!(guest.join(read(500)), completed(40));
    guest.block_on(writing).unwrap();
    // The guest first.
    let reading = read(7);
    assert!(!reading.is_finished());
    guest.block_on(writer.write(vec![1; 5])).unwrap();
    assert_eq!(guest.join(reading), completed(5));
    // The host goes.
    let reading = read(7);
    drop(writer);
    assert_eq!(guest.join(reading), dropped(0));
}

#[test]
fn what_a_guest_does_not_read_is_taken_back_or_lost_with_the_stream() {
    let guest = Guest::new();
    let (reader, mut writer) = stream::<u8>(&guest.store);
    guest.call("take", &[reader.into()]);
    {
        let mut writing = Box::pin(writer.write(pattern(10)));
        assert!(poll(writing.as_mut()).is_pending());
    }
    assert_eq!(
        guest.join(guest.spawn("read", &[Val::U32(4)])),
        completed(4)
    );
    assert_eq!(writer.cancel().unwrap(), [4, 5, 6, 7, 8, 9]);
    assert_eq!(guest.number("read-now", &[Val::U32(4)]), BLOCKED);
    assert_eq!(guest.number("cancel-read", &[]), cancelled(0));
    // The guest goes while the host writes.
    let mut writing = Box::pin(writer.write(pattern(10)));
    assert!(poll(writing.as_mut()).is_pending());
    guest.call("drop-readable", &[]);
    let error = guest.block_on(writing).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    assert!(writer.is_closed());
    let error = guest.block_on(writer.write(vec![1])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
}

#[test]
fn a_guest_learns_that_the_host_has_closed_its_end() {
    let guest = Guest::new();
    let reader = guest.reader();
    let writing = guest.spawn("write", &[Val::U32(8)]);
    drop(reader);
    assert_eq!(guest.join(writing), dropped(0));

    // In the middle of a copy that the guest does not wait for.
    let guest = Guest::new();
    let mut reader = guest.reader().chunk(3);
    assert_eq!(guest.number("write-now", &[Val::U32(8)]), BLOCKED);
    assert_eq!(guest.block_on(reader.read()).unwrap(), Some(pattern(3)));
    reader.close();
    assert_eq!(guest.number("cancel-write", &[]), dropped(3));
    guest.call("drop-writable", &[]);
}

#[test]
fn both_ends_may_go_at_any_moment() {
    // (who has begun to copy, who goes first)
    for reads in [false, true] {
        for writes in [false, true] {
            for reader_first in [false, true] {
                let guest = Guest::new();
                let (mut reader, mut writer) = stream::<u8>(&guest.store);
                if reads {
                    assert!(poll(Box::pin(reader.read()).as_mut()).is_pending());
                }
                if writes {
                    let _ = poll(Box::pin(writer.write(pattern(9))).as_mut());
                }
                match reader_first {
                    true => {
                        drop(reader);
                        let error = guest.block_on(writer.write(vec![1])).unwrap_err();
                        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
                    }
                    false => {
                        drop(writer);
                        // What was read before the writable end went is not lost.
                        let expected = (reads && writes).then(|| pattern(9));
                        assert_eq!(guest.block_on(reader.read()).unwrap(), expected);
                    }
                }
                guest.run();
                assert!(guest.store.is_quiet().unwrap());
            }
        }
    }
}

#[test]
fn elements_of_any_type_go_both_ways() {
    let guest = Guest::new();
    let Some(Val::Stream(texts)) = guest.call("make-s", &[]) else {
        panic!("not a stream");
    };
    let mut reader = StreamReader::<String>::new(&guest.store, texts);
    let writing = guest.spawn("write-s", &[]);
    let read = guest.block_on(reader.read()).unwrap().unwrap();
    assert_eq!(read, ["one", "two", "three"]);
    assert_eq!(guest.join(writing), completed(3));

    let (reader, mut writer) = stream::<Val>(&guest.store);
    guest.call("take-s", &[reader.into()]);
    let reading = guest.spawn("read-s", &[]);
    // The guest's `realloc` runs for what the host writes.
    guest
        .block_on(writer.write(vec![Val::from("drei")]))
        .unwrap();
    let read = guest.host.executor.block_on(reading).unwrap().unwrap();
    assert_eq!(read, Some(Val::from("drei")));
    // What is of another type never reaches the guest, and harms nobody.
    let reading = guest.spawn("read-s", &[]);
    let error = guest
        .block_on(writer.write(vec![Val::from("vier"), Val::U32(5)]))
        .unwrap_err();
    assert!(error.to_string().contains("element 1"), "{error}");
    guest
        .block_on(writer.write(vec![Val::from("fuenf")]))
        .unwrap();
    let read = guest.host.executor.block_on(reading).unwrap().unwrap();
    assert_eq!(read, Some(Val::from("fuenf")));
}

#[test]
fn a_guest_cannot_pile_up_values_in_a_chunk_that_the_host_does_not_take() {
    let guest = Guest::new();
    let Some(Val::Stream(texts)) = guest.call("make-s", &[]) else {
        panic!("not a stream");
    };
    let mut reader = StreamReader::<String>::new(&guest.store, texts);
    let mut read = Box::pin(reader.read());
    assert!(poll(read.as_mut()).is_pending());
    let first = guest.spawn("write-s", &[]);
    let second = guest.spawn("write-s", &[]);
    assert!(first.is_finished() && !second.is_finished());
    assert_eq!(guest.block_on(read).unwrap().unwrap().len(), 3);
    assert_eq!(guest.block_on(reader.read()).unwrap().unwrap().len(), 3);
    assert_eq!(guest.join(second), completed(3));
}

#[test]
fn a_stream_of_another_type_is_refused_before_the_guest_runs() {
    let guest = Guest::new();
    let (reader, _writer) = stream::<String>(&guest.store);
    let error = guest.try_call("take", &[reader.into()]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    assert!(error.to_string().contains("string"), "{error}");
    // Read as what it is not.
    let bytes = guest.reader().into_any();
    let mut reader = StreamReader::<String>::new(&guest.store, bytes);
    let error = guest.block_on(reader.read()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    // Of a future.
    let (reader, _writer) = future::<u8>(&guest.store);
    let error = guest.try_call("take", &[reader.into()]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    // The guest is as well as before.
    assert_eq!(guest.number("sum", &[Val::U32(0)]), 0);
}

#[test]
fn an_argument_that_is_no_good_any_more_is_the_hosts_fault_and_not_the_guests() {
    let guest = Guest::new();
    let closed = guest.reader().into_any();
    closed.close(&guest.store).unwrap();
    let error = guest.try_call("take", &[Val::Stream(closed)]).unwrap_err();
    assert!(
        error.to_string().contains("passed on or closed already"),
        "{error}"
    );
    // Given twice in one call, which no function of this component takes: given twice in two.
    let twice = guest.reader().into_any();
    guest.call("take", &[Val::Stream(twice)]);
    assert!(guest.try_call("take", &[Val::Stream(twice)]).is_err());
    // In use.
    let used = guest.reader().into_any();
    let mut reader = StreamReader::<u8>::new(&guest.store, used);
    assert!(poll(Box::pin(reader.read()).as_mut()).is_pending());
    assert!(guest.try_call("take", &[Val::Stream(used)]).is_err());
    let mut second = StreamReader::<u8>::new(&guest.store, used);
    assert!(guest.block_on(second.read()).is_err(), "one reader only");
    drop(second);
    assert_eq!(guest.number("write-now", &[Val::U32(2)]), completed(2));
    assert_eq!(guest.block_on(reader.read()).unwrap(), Some(pattern(2)));
}

#[test]
fn a_guest_that_writes_nonsense_is_locked_down_and_the_host_told() {
    let guest = Guest::new();
    let Some(Val::Stream(texts)) = guest.call("make-s", &[]) else {
        panic!("not a stream");
    };
    let mut reader = StreamReader::<String>::new(&guest.store, texts);
    let writing = guest.spawn("write-bad-s", &[]);
    let error = guest.block_on(reader.read()).unwrap_err();
    assert!(error.trap().is_some(), "{error}");
    let error = guest.host.executor.block_on(writing).unwrap().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Poisoned { .. }),
        "{error}"
    );
    let error = guest.try_call("sum", &[Val::U32(0)]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot enter component instance"),
        "{error}"
    );
    assert_eq!(guest.block_on(reader.read()).unwrap(), None);
}

#[test]
fn a_guest_whose_realloc_traps_for_the_hosts_elements_is_locked_down() {
    let guest = Guest::new();
    let (reader, mut writer) = stream::<Val>(&guest.store);
    guest.call("take-s", &[reader.into()]);
    assert_eq!(guest.number("read-s-now", &[Val::U32(2)]), BLOCKED);
    let long = "x".repeat(0x20000);
    let error = guest
        .block_on(writer.write(vec![Val::from(long.as_str())]))
        .unwrap_err();
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert!(guest.try_call("sum", &[Val::U32(0)]).is_err());
    let error = guest
        .block_on(writer.write(vec![Val::from("y")]))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
}

#[test]
fn futures_go_both_ways_once() {
    let guest = Guest::new();
    let Some(Val::Future(number)) = guest.call("make-f", &[]) else {
        panic!("not a future");
    };
    let reader = FutureReader::<u32>::new(&guest.store, number);
    let writing = guest.spawn("write-f", &[Val::U32(17)]);
    assert_eq!(guest.block_on(reader).unwrap(), 17);
    assert_eq!(guest.join(writing), 0);

    let (reader, writer) = future::<u32>(&guest.store);
    guest.call("take-f", &[reader.into()]);
    let reading = guest.spawn("read-f", &[]);
    guest.block_on(writer.write(19)).unwrap();
    assert_eq!(guest.join(reading), 19);

    // Without a value.
    let (reader, writer) = future::<u32>(&guest.store);
    guest.call("take-f", &[reader.into()]);
    let reading = guest.spawn("read-f", &[]);
    drop(writer);
    assert_eq!(guest.join(reading).wrapping_neg(), 1, "dropped");
    let (reader, writer) = future::<u32>(&guest.store);
    guest.call("take-f", &[reader.into()]);
    guest.call("drop-f", &[]);
    let error = guest.block_on(writer.write(1)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
}

#[test]
fn streams_are_elements_of_streams() {
    let guest = Guest::new();
    let (outer, mut outer_writer) = stream::<Val>(&guest.store);
    guest.call("take-ss", &[outer.into()]);
    let (inner, mut inner_writer) = stream::<u8>(&guest.store);
    let reading = guest.spawn("read-ss", &[]);
    guest
        .block_on(outer_writer.write(vec![inner.into()]))
        .unwrap();
    assert_eq!(guest.join(reading), completed(1));
    let reading = guest.spawn("read", &[Val::U32(4)]);
    guest.block_on(inner_writer.write(vec![7; 4])).unwrap();
    assert_eq!(guest.join(reading), completed(4));
    assert_eq!(guest.number("sum", &[Val::U32(4)]), 28);
    // One that is never read goes with the stream it is in.
    let (inner, mut inner_writer) = stream::<u8>(&guest.store);
    {
        let mut writing = Box::pin(outer_writer.write(vec![inner.into()]));
        let _ = poll(writing.as_mut());
    }
    drop(outer_writer);
    let error = guest.block_on(inner_writer.write(vec![1])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
}

#[test]
fn a_stream_is_forwarded_to_another() {
    let guest = Guest::new();
    // From the guest through the host, back to the guest.
    let (reader, writer) = stream::<u8>(&guest.store);
    let from_guest = guest.reader();
    guest.call("take", &[reader.into()]);
    let reading = guest.spawn("read", &[Val::U32(6)]);
    from_guest.forward(writer).unwrap();
    assert_eq!(guest.number("write-now", &[Val::U32(6)]), completed(6));
    assert_eq!(guest.join(reading), completed(6));
    assert_eq!(guest.number("sum", &[Val::U32(6)]), 15);
    guest.call("drop-writable", &[]);
    assert_eq!(guest.join(guest.spawn("read", &[Val::U32(6)])), dropped(0));
}

#[test]
fn ends_that_the_host_has_count_against_the_limit() {
    let guest = Guest::with(Config::new().max_handles(10));
    let mut readers = Vec::new();
    let error = loop {
        match guest.try_call("make", &[]) {
            Ok(Some(Val::Stream(stream))) => {
                readers.push(StreamReader::<u8>::new(&guest.store, stream));
            }
            Ok(other) => panic!("make returned {other:?}"),
            Err(error) => break error,
        }
        assert!(readers.len() <= 10, "no limit");
    };
    assert!(error.to_string().contains("max_handles"), "{error}");

    // What is dropped does not count any more: neither what the host made nor what it was given.
    let guest = Guest::with(Config::new().max_handles(10));
    for _ in 0..100 {
        drop(guest.reader());
        guest.call("drop-writable", &[]);
        let (reader, writer) = stream::<u8>(&guest.store);
        guest.call("take", &[reader.into()]);
        drop(writer);
        guest.call("drop-readable", &[]);
        let (mut reader, _writer) = stream::<u8>(&guest.store);
        assert!(poll(Box::pin(reader.read()).as_mut()).is_pending());
    }
}

/// `run: async func() -> u32` reads from the stream that the import `source` returns; `pass: async
/// func(n: u32) -> u32` writes to one that it gives to the import `sink`, and returns what that
/// returned.
const IMPORTS: &str = r#"(component
  (type $bytes (stream u8))
  (import "source" (func $source (result $bytes)))
  (import "sink" (func $sink async (param "s" $bytes) (result u32)))
  (core module $Memory (memory (export "mem") 2))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "mem" (core memory $mem))
  (core func $source' (canon lower (func $source)))
  (core func $sink' (canon lower (func $sink) async (memory $mem)))
  (core func $new (canon stream.new $bytes))
  (core func $read (canon stream.read $bytes (memory $mem)))
  (core func $write (canon stream.write $bytes (memory $mem)))
  (core func $drop-writable (canon stream.drop-writable $bytes))
  (core func $drop-readable (canon stream.drop-readable $bytes))
  (core func $set (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core func $wait (canon waitable-set.wait (memory $mem)))
  (core func $return (canon task.return (result u32)))
  (core module $M
    (import "" "mem" (memory 2))
    (import "" "source" (func $source (result i32)))
    (import "" "sink" (func $sink (param i32 i32) (result i32)))
    (import "" "new" (func $new (result i64)))
    (import "" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "" "drop-writable" (func $drop-writable (param i32)))
    (import "" "drop-readable" (func $drop-readable (param i32)))
    (import "" "set" (func $set (result i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "wait" (func $wait (param i32 i32) (result i32)))
    (import "" "return" (func $return (param i32)))
    (func (export "run") (local $s i32) (local $n i32) (local $got i32)
      (local.set $s (call $source))
      (loop $more
        (local.set $got (call $read (local.get $s) (i32.const 0x100) (i32.const 0x100)))
        (local.set $n (i32.add (local.get $n) (i32.shr_u (local.get $got) (i32.const 4))))
        (br_if $more (i32.eqz (i32.and (local.get $got) (i32.const 15)))))
      (call $drop-readable (local.get $s))
      (call $return (local.get $n)))
    (func (export "pass") (param $n i32) (local $ends i64) (local $w i32) (local $sub i32)
      (local.set $ends (call $new))
      (local.set $w (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (local.set $sub (call $sink (i32.wrap_i64 (local.get $ends)) (i32.const 16)))
      (loop $more
        (local.set $n (i32.sub (local.get $n)
          (i32.shr_u (call $write (local.get $w) (i32.const 0x100) (local.get $n)) (i32.const 4))))
        (br_if $more (local.get $n)))
      (call $drop-writable (local.get $w))
      (if (i32.ne (local.get $sub) (i32.const 2)) (then
        (local.set $w (call $set))
        (call $join (i32.shr_u (local.get $sub) (i32.const 4)) (local.get $w))
        (drop (call $wait (local.get $w) (i32.const 32)))))
      (call $return (i32.load (i32.const 16)))))
  (core instance $m (instantiate $M (with "" (instance
    (export "mem" (memory $mem)) (export "source" (func $source')) (export "sink" (func $sink'))
    (export "new" (func $new)) (export "read" (func $read)) (export "write" (func $write))
    (export "drop-writable" (func $drop-writable)) (export "drop-readable" (func $drop-readable))
    (export "set" (func $set)) (export "join" (func $join)) (export "wait" (func $wait))
    (export "return" (func $return))))))
  (func (export "run") async (result u32) (canon lift (core func $m "run") async))
  (func (export "pass") async (param "n" u32) (result u32)
    (canon lift (core func $m "pass") async)))"#;

#[test]
fn host_functions_return_streams_that_they_write_and_read_those_they_are_given() {
    use vestibule_component_host::{Accessor, Caller, StreamAny};
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("source", |caller: Caller<'_, ()>, ()| {
            // While the guest waits, the store is taken: the pair is made all the same.
            let (reader, mut writer) = stream::<u8>(&caller);
            let write = async move {
                for chunk in 1..=10u32 {
                    writer.write(pattern(chunk * 100)).await?;
                }
                Ok::<(), Error>(())
            };
            caller.executor().spawn(write).unwrap();
            Ok((reader.into_any(),))
        })
        .unwrap();
    linker
        .root()
        .func_async(
            "sink",
            |accessor: Accessor<()>, (s,): (StreamAny,)| async move {
                let mut reader = StreamReader::<u8>::new(&accessor, s).chunk(64);
                let mut count = 0;
                while let Some(chunk) = reader.read().await? {
                    count += chunk.len() as u32;
                }
                Ok((count,))
            },
        )
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(IMPORTS))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let result = store.block_on(run.call(&store, &[])).unwrap();
    assert_eq!(result, Some(Val::U32(5500)));
    let pass = instance.get_func(&store, "pass").unwrap();
    let result = store
        .block_on(pass.call(&store, &[Val::U32(1000)]))
        .unwrap();
    assert_eq!(result, Some(Val::U32(1000)));
    host.run();
    assert!(store.is_quiet().unwrap());
}

#[test]
fn who_reads_what_nobody_writes_is_told_of_the_deadlock() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    let error = guest.block_on(reader.read()).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
    // Also one of the host's own that was never passed on.
    let (_reader, mut writer) = stream::<u8>(&guest.store);
    let error = guest.block_on(writer.write(vec![1])).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
}

#[test]
fn ends_outlive_their_store() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    let (_unpassed, mut writer) = stream::<u8>(&guest.store);
    let executor = guest.host.executor;
    drop((guest.instance, guest.store));
    for error in [
        executor.block_on(reader.read()).unwrap_err(),
        executor.block_on(writer.write(vec![1])).unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    }
}
