//! The executor driven from an epoll loop, as in a server that has one already.
//!
//! The loop sleeps in `epoll_wait` and nowhere else. Three things end its sleep: a descriptor
//! that a task waits for, the executor's host waker (an eventfd that any thread may write to),
//! and a time limit. Ready descriptors wake tasks; tasks run in ticks, each within a budget, so
//! that a busy task can't keep the loop from its descriptors.
//!
//! Run it with `cargo run -p vestibule-executor --example epoll_loop`; it checks itself.

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("epoll is Linux's");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::task::{Poll, Wake, Waker};
    use std::thread;
    use std::time::Duration;

    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use rustix::event::{EventfdFlags, Timespec, eventfd};
    use vestibule_executor::{Budget, Executor, Handle, NoPark, TickEnd};

    /// The event that stands for the host waker; descriptors are never that large.
    const HOST: u64 = u64::MAX;

    /// The host waker: makes an eventfd readable, from any thread.
    struct Rouse(OwnedFd);

    impl Wake for Rouse {
        fn wake(self: Arc<Self>) {
            // It is woken once an edge, so the counter can't overflow.
            rustix::io::write(&self.0, &1_u64.to_ne_bytes()).unwrap();
        }
    }

    /// Which tasks wait for which descriptor.
    #[derive(Clone)]
    struct Reactor(Rc<Inner>);

    struct Inner {
        epoll: OwnedFd,
        readers: RefCell<HashMap<u64, Waker>>,
    }

    impl Reactor {
        fn register(&self, stream: &UnixStream) {
            stream.set_nonblocking(true).unwrap();
            let data = EventData::new_u64(stream.as_raw_fd() as u64);
            // Edge-triggered: one event for one change, as with wakers.
            epoll::add(&self.0.epoll, stream, data, EventFlags::IN | EventFlags::ET).unwrap();
        }

        /// Reads what is there, and waits for something if there is nothing.
        async fn read(&self, stream: &UnixStream, buffer: &mut [u8]) -> std::io::Result<usize> {
            poll_fn(|cx| {
                // The waker first: an event that comes after the read must find it.
                let (fd, waker) = (stream.as_raw_fd() as u64, cx.waker().clone());
                let old = self.0.readers.borrow_mut().insert(fd, waker);
                drop(old);
                let mut source = stream;
                match source.read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                    result => Poll::Ready(result),
                }
            })
            .await
        }

        fn ready(&self, fd: u64) {
            let waker = self.0.readers.borrow_mut().remove(&fd);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Answers every line with its length until the other side hangs up.
    async fn serve(reactor: Reactor, stream: UnixStream) -> usize {
        reactor.register(&stream);
        let (mut lines, mut buffer) = (0, [0; 64]);
        loop {
            let read = reactor.read(&stream, &mut buffer).await.unwrap();
            if read == 0 {
                return lines;
            }
            lines += 1;
            writeln!(&stream, "{}", read - 1).unwrap();
        }
    }

    /// A client on a thread of its own; takes its time.
    fn client(mut stream: UnixStream, lines: usize) {
        for n in 0..lines {
            thread::sleep(Duration::from_millis(3));
            // In one write: the server takes what it reads at once for a line.
            let line = "x".repeat(n) + "\n";
            stream.write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            while !answer.ends_with('\n') {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.push(byte[0].into());
            }
            assert_eq!(answer.trim(), n.to_string());
        }
    }

    /// The loop of the host; returns how often it slept. Ends when no task is left.
    fn run(executor: &Handle, reactor: &Reactor, rouse: &OwnedFd) -> usize {
        let mut events = Vec::with_capacity(16);
        let mut naps = 0;
        loop {
            naps += 1;
            // A host with timers would ask `executor.next_deadline()` here.
            let limit = Timespec {
                tv_sec: 10,
                tv_nsec: 0,
            };
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&reactor.0.epoll, buffer, Some(&limit)).unwrap();
            assert!(!events.is_empty(), "nothing happened for ten seconds");
            for event in &events {
                match event.data.u64() {
                    HOST => drop(rustix::io::read(rouse, &mut [0; 8]).unwrap()),
                    fd => reactor.ready(fd),
                }
            }
            // Tick until nothing is ready: only then is the host waker armed again. A server
            // would look at its descriptors between two ticks.
            loop {
                match executor.tick_with(Budget::polls(64)).unwrap().end {
                    TickEnd::Empty => return naps,
                    TickEnd::Stalled => break,
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn main() {
        const CLIENTS: usize = 3;
        const LINES: usize = 5;
        let rouse = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let waker = Rouse(rouse.try_clone().unwrap());
        let reactor = Reactor(Rc::new(Inner {
            epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
            readers: RefCell::default(),
        }));
        let host = EventData::new_u64(HOST);
        epoll::add(&reactor.0.epoll, rouse.as_fd(), host, EventFlags::IN).unwrap();
        let executor = Executor::builder()
            .host_waker(Waker::from(Arc::new(waker)))
            // The thread sleeps in `epoll_wait` and must not be put to sleep elsewhere.
            .park(NoPark)
            .build();

        let mut servers = Vec::new();
        let mut threads = Vec::new();
        for n in 0..CLIENTS {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let server = executor.task().name(format!("client {n}"));
            servers.push(server.spawn(serve(reactor.clone(), ours)).unwrap());
            threads.push(thread::spawn(move || client(theirs, LINES)));
        }
        // A task that comes from another thread: it is the host waker that rouses the loop.
        let spawner = executor.send_spawner();
        let remote = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            spawner.spawn_with(|| async { *Rc::new(6) * 7 }).unwrap()
        });

        let naps = run(&executor, &reactor, &rouse);

        for thread in threads {
            thread.join().unwrap();
        }
        for server in servers {
            assert_eq!(executor.try_block_on(server).unwrap().unwrap(), LINES);
        }
        let answer = remote.join().unwrap();
        assert_eq!(executor.try_block_on(answer).unwrap().unwrap(), 42);
        // It slept, and did not spin: a nap ends with an event, and each line is one or two.
        let most = 4 * CLIENTS * (LINES + 2);
        assert!(naps <= most, "{naps} naps: the loop was busy");
        println!("{CLIENTS} clients, {LINES} lines each, {naps} naps");
    }
}
