//! The host's ends of streams and futures under the drivers of the futures crate: `StreamExt`,
//! `SinkExt`, `FutureExt`.

mod common;

use common::Host;
use futures_util::future::{Either, FusedFuture as _, join, select};
use futures_util::stream::{self as streams, FuturesUnordered};
use futures_util::{FutureExt as _, SinkExt, StreamExt, TryStreamExt as _};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Error, ErrorKind, FutureReader, Instance, Linker, Store, StreamReader, StreamWriter, Val,
    future, stream,
};
use vestibule_executor::yield_now;

/// One instance of `streams.wat`.
struct Guest {
    host: Host,
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new() -> Guest {
        let host = Host::new();
        let component = host.component(include_str!("streams.wat"));
        let store = host.store(());
        let instance = Linker::new().instantiate(&store, &component).unwrap();
        Guest {
            host,
            store,
            instance,
        }
    }

    async fn call(&self, name: &str, args: &[Val]) -> Result<u32, Error> {
        let func = self.instance.get_func(&self.store, name)?;
        match func.call(&self.store, args).await? {
            Some(Val::U32(number)) => Ok(number),
            _ => Ok(0),
        }
    }

    async fn reader(&self) -> StreamReader<u8> {
        let make = self.instance.get_func(&self.store, "make").unwrap();
        match make.call(&self.store, &[]).await.unwrap() {
            Some(Val::Stream(stream)) => StreamReader::new(&self.store, stream),
            other => panic!("make returned {other:?}"),
        }
    }

    /// The writable end of a stream that the guest reads.
    async fn writer(&self) -> StreamWriter<u8> {
        let (reader, writer) = stream::<u8>(&self.store);
        self.call("take", &[reader.into()]).await.unwrap();
        writer
    }

    fn block_on<R>(&self, future: impl Future<Output = R>) -> R {
        self.host.executor.block_on(future)
    }
}

fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|i| i as u8).collect()
}

fn is_closed<R>(result: &Result<R, Error>) -> bool {
    matches!(result, Err(error) if matches!(error.kind(), ErrorKind::Closed))
}

#[test]
fn chunks_are_collected_until_the_guest_closes_its_end() {
    let guest = Guest::new();
    guest.block_on(async {
        let reader = guest.reader().await.chunk(5);
        let writes = async {
            // A guest is told how much of what it wrote was taken.
            let mut written = Vec::new();
            while written.len() < 40 {
                let taken = guest.call("write", &[Val::U32(8)]).await.unwrap() >> 4;
                written.extend(pattern(taken));
            }
            guest.call("drop-writable", &[]).await.unwrap();
            written
        };
        let (chunks, written) = join(reader.try_collect::<Vec<_>>(), writes).await;
        let chunks = chunks.unwrap();
        assert!(chunks.iter().all(|chunk| (1..=5).contains(&chunk.len())));
        assert_eq!(chunks.concat(), written);
    });
    assert!(guest.store.is_quiet().unwrap());
}

#[test]
fn a_stream_that_has_ended_stays_ended() {
    let guest = Guest::new();
    guest.block_on(async {
        let mut reader = guest.reader().await;
        guest.call("drop-writable", &[]).await.unwrap();
        for _ in 0..3 {
            assert!(reader.next().await.is_none());
        }
    });
}

#[test]
fn adapters_stack_up_on_a_reader() {
    let guest = Guest::new();
    guest.block_on(async {
        let reader = guest.reader().await.chunk(4);
        let mut sums = reader
            .map_ok(|chunk| chunk.into_iter().map(u32::from).sum::<u32>())
            .take(2)
            .boxed_local()
            .fuse();
        let writing = guest.call("write", &[Val::U32(8)]);
        let reading = async { (sums.next().await, sums.next().await, sums.next().await) };
        let (written, (first, second, third)) = join(writing, reading).await;
        assert_eq!(written.unwrap(), 8 << 4);
        assert_eq!((first.unwrap().unwrap(), second.unwrap().unwrap()), (6, 22));
        assert!(third.is_none());
        drop(sums);
        assert_eq!(guest.call("write", &[Val::U32(8)]).await.unwrap(), 1);
    });
}

#[test]
fn a_sink_takes_the_next_chunk_only_when_the_guest_has_read_the_last() {
    let guest = Guest::new();
    guest.block_on(async {
        let mut writer = guest.writer().await;
        writer.feed(pattern(6)).await.unwrap();
        // It was taken, and nobody has read it: there is no room for another.
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_ready_unpin(&mut cx).is_pending());
        assert_eq!(guest.call("read", &[Val::U32(4)]).await.unwrap(), 4 << 4);
        assert!(
            writer.poll_ready_unpin(&mut cx).is_pending(),
            "two are left"
        );
        assert_eq!(guest.call("read", &[Val::U32(4)]).await.unwrap(), 2 << 4);
        assert!(matches!(
            writer.poll_ready_unpin(&mut cx),
            Poll::Ready(Ok(()))
        ));
        writer.start_send_unpin(pattern(3)).unwrap();
        let early = writer.start_send_unpin(pattern(3)).unwrap_err();
        assert!(matches!(early.kind(), ErrorKind::Type(_)), "{early}");
        let reads = async {
            assert_eq!(guest.call("read", &[Val::U32(8)]).await.unwrap(), 3 << 4);
        };
        let (closed, ()) = join(SinkExt::close(&mut writer), reads).await;
        closed.unwrap();
        assert_eq!(
            guest.call("read", &[Val::U32(8)]).await.unwrap(),
            1,
            "dropped"
        );
    });
}

#[test]
fn a_producer_is_held_back_by_a_guest_that_reads_slowly() {
    let guest = Guest::new();
    guest.block_on(async {
        let mut writer = guest.writer().await;
        let produced = Rc::new(Cell::new(0u32));
        let counted = Rc::clone(&produced);
        let chunks = streams::iter(0..100u32).map(move |_| {
            counted.set(counted.get() + 1);
            Ok::<_, Error>(pattern(8))
        });
        let mut chunks = pin!(chunks);
        let sending = pin!(async { writer.send_all(&mut chunks).await });
        let reading = pin!(async {
            for read in 1..=100 {
                for _ in 0..5 {
                    yield_now().await;
                }
                assert!(produced.get() <= read + 2, "{} of {read}", produced.get());
                assert_eq!(guest.call("read", &[Val::U32(8)]).await.unwrap(), 8 << 4);
            }
        });
        let (sent, ()) = join(sending, reading).await;
        sent.unwrap();
        assert_eq!(produced.get(), 100);
    });
}

#[test]
fn a_reader_is_forwarded_into_a_sink_by_the_futures_crate() {
    let (from, to) = (Guest::new(), Guest::new());
    // Two stores, so that it is the chunks that pass, and not the ends.
    let other = Store::new(&to.host.engine, &from.host.executor, ());
    let component = to.host.component(include_str!("streams.wat"));
    let instance = Linker::new().instantiate(&other, &component).unwrap();
    from.block_on(async {
        let call = |name: &'static str, args: Vec<Val>| {
            let func = instance.get_func(&other, name).unwrap();
            let other = other.clone();
            async move { func.call(&other, &args).await.unwrap() }
        };
        let (reader, writer) = stream::<u8>(&other);
        call("take", vec![reader.into()]).await;
        // Not the method of the same name, which joins the ends themselves.
        let pipe = StreamExt::forward(from.reader().await.chunk(3), writer);
        let source = async {
            let mut written = 0;
            while written < 40 {
                written += from.call("write", &[Val::U32(8)]).await.unwrap() >> 4;
            }
            from.call("drop-writable", &[]).await.unwrap();
            written
        };
        let sink = async {
            let mut read = 0;
            loop {
                let Some(Val::U32(copied)) = call("read", vec![Val::U32(8)]).await else {
                    panic!("not a number");
                };
                read += copied >> 4;
                if copied & 1 == 1 {
                    break read;
                }
            }
        };
        let (piped, (written, read)) = join(pipe, join(source, sink)).await;
        piped.unwrap();
        assert_eq!(written, read);
    });
    assert!(from.store.is_quiet().unwrap() && other.is_quiet().unwrap());
}

#[test]
fn a_pipe_ends_with_an_error_when_the_guest_that_reads_goes() {
    let guest = Guest::new();
    guest.block_on(async {
        let writer = guest.writer().await;
        let chunks = streams::repeat_with(|| Ok(pattern(8)));
        let pipe = chunks.forward(writer);
        let reads = async {
            assert_eq!(guest.call("read", &[Val::U32(8)]).await.unwrap(), 8 << 4);
            guest.call("drop-readable", &[]).await.unwrap();
        };
        let (piped, ()) = join(pipe, reads).await;
        assert!(is_closed(&piped), "{piped:?}");
    });
    assert!(guest.store.is_quiet().unwrap());
}

#[test]
fn a_send_that_loses_a_race_loses_nothing() {
    let guest = Guest::new();
    guest.block_on(async {
        let mut writer = guest.writer().await;
        let timer = pin!(async {
            for _ in 0..3 {
                yield_now().await;
            }
        });
        {
            let send = pin!(writer.send(pattern(5)));
            match select(send, timer).await {
                Either::Right(((), _)) => {}
                Either::Left((sent, _)) => panic!("nobody reads, and it was sent: {sent:?}"),
            }
        }
        assert_eq!(guest.call("read", &[Val::U32(8)]).await.unwrap(), 5 << 4);
        writer.flush().await.unwrap();
    });
}

#[test]
fn a_reader_that_is_dropped_in_the_middle_of_a_copy_is_told_to_the_guest() {
    let guest = Guest::new();
    guest.block_on(async {
        let mut reader = guest.reader().await.chunk(3);
        assert_eq!(
            guest.call("write-now", &[Val::U32(8)]).await.unwrap(),
            u32::MAX
        );
        assert_eq!(reader.next().await.unwrap().unwrap(), pattern(3));
        // A read is in progress when it goes.
        assert_eq!(
            reader
                .next()
                .now_or_never()
                .unwrap()
                .unwrap()
                .unwrap()
                .len(),
            3
        );
        drop(reader);
        let told = guest.call("cancel-write", &[]).await.unwrap();
        assert_eq!(told, (6 << 4) | 1, "six, and dropped");
        guest.call("drop-writable", &[]).await.unwrap();
    });
}

#[test]
fn errors_come_once_and_end_the_stream() {
    let guest = Guest::new();
    guest.block_on(async {
        let make = guest.instance.get_func(&guest.store, "make").unwrap();
        let Some(Val::Stream(bytes)) = make.call(&guest.store, &[]).await.unwrap() else {
            panic!("not a stream");
        };
        let mut wrong = StreamReader::<String>::new(&guest.store, bytes);
        let error = wrong.next().await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
        assert!(wrong.next().await.is_none());
    });
}

#[test]
fn many_readers_wait_at_a_time_in_one_set() {
    let guest = Guest::new();
    guest.block_on(async {
        let (mut readers, mut writers) = (FuturesUnordered::new(), Vec::new());
        for _ in 0..50 {
            let (reader, writer) = stream::<u8>(&guest.store);
            readers.push(reader.into_future());
            writers.push(writer);
        }
        let writes = async {
            for (n, writer) in writers.iter_mut().enumerate().rev() {
                writer.send(vec![n as u8]).await.unwrap();
            }
        };
        let reads = async {
            let mut read = Vec::new();
            while let Some((chunk, _reader)) = readers.next().await {
                read.extend(chunk.unwrap().unwrap());
            }
            read
        };
        let (mut read, ()) = join(reads, writes).await;
        read.sort_unstable();
        assert_eq!(read, (0..50).collect::<Vec<u8>>());
    });
}

#[test]
fn a_future_of_a_guest_is_fused_shared_and_raced() {
    let guest = Guest::new();
    guest.block_on(async {
        let make = guest.instance.get_func(&guest.store, "make-f").unwrap();
        let Some(Val::Future(number)) = make.call(&guest.store, &[]).await.unwrap() else {
            panic!("not a future");
        };
        let reader = FutureReader::<u32>::new(&guest.store, number);
        let mut fused = reader.map(|number| number.ok()).fuse();
        assert!((&mut fused).now_or_never().is_none());
        let write = guest.call("write-f", &[Val::U32(7)]);
        let (number, _) = join(&mut fused, write).await;
        assert_eq!(number, Some(7));
        assert!(fused.is_terminated());
        // One that is closed without a value is an error, once.
        let (reader, writer) = future::<u32>(&guest.store);
        drop(writer);
        assert!(is_closed(&reader.await));
    });
}
