//! The executor driven by somebody else's loop.
//!
//! A GUI, a game, an I/O library or an interpreter often owns the thread's loop and can't
//! hand it over to `block_on`. Such a loop needs three things from an executor:
//!
//! 1. a *host waker*, which is woken once when there is something to do after there was
//!    nothing, from whatever thread: here it posts an event into the loop's channel;
//! 2. a *tick* which does a bounded piece of work and says whether there is more;
//! 3. a *refusal* in place of a hang when a callback blocks where it must not.
//!
//! Run it with `cargo run -p vestibule-executor --example foreign_loop`; it checks itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use vestibule_executor::{BlockOnError, Budget, Executor, NoPark, Reason, TickEnd, yield_now};

/// What the loop reacts to.
#[derive(Debug, PartialEq)]
enum Event {
    /// The user did something.
    Click(u32),
    /// The executor has work.
    TasksReady,
}

/// The host waker: a sender of events, callable from any thread.
struct PostEvent(Mutex<Sender<Event>>);

impl Wake for PostEvent {
    fn wake(self: Arc<Self>) {
        // The loop may have ended; then nobody is interested.
        let _ = self.0.lock().unwrap().send(Event::TasksReady);
    }
}

/// What happened, for the check at the end.
type Log = Rc<RefCell<Vec<String>>>;

fn main() {
    let (events, inbox) = mpsc::channel();
    let executor = Executor::builder()
        .host_waker(Waker::from(Arc::new(PostEvent(Mutex::new(events.clone())))))
        // This loop sleeps in its own channel; the executor must never put the thread to
        // sleep behind its back.
        .park(NoPark)
        .build();
    let log = Log::default();

    let download = spawn_download(&executor, &log);
    spawn_animation(&executor, &log);
    for n in 1..=2 {
        events.send(Event::Click(n)).unwrap();
    }

    let ticks = run_loop(&executor, &inbox, &log);

    // The loop slept while nothing was ready: it did not spin through the 30 milliseconds.
    assert!(ticks < 50, "{ticks} ticks: the loop was busy");
    let answer = executor.try_block_on(download).unwrap().unwrap();
    assert_eq!(answer, 200);
    let log = log.borrow();
    for expected in [
        "click 1",
        "click 2",
        "frame 3",
        "download: 200",
        "refused in a task",
    ] {
        assert!(
            log.iter().any(|line| line == expected),
            "no `{expected}` in {log:?}"
        );
    }
    println!("{ticks} ticks: {log:?}");
}

/// Waits for another thread, as for an answer from the network.
fn spawn_download(executor: &Executor, log: &Log) -> vestibule_executor::JoinHandle<u32> {
    let (handle, log) = (executor.handle(), Rc::clone(log));
    let task = async move {
        // A library deep down in the task may try to block. It gets an error to report, not
        // a frozen window.
        let error = handle.try_block_on(async {}).unwrap_err();
        assert!(
            matches!(error, BlockOnError::Refused(refused) if refused.reason() == Reason::Nested)
        );
        log.borrow_mut().push("refused in a task".into());
        let status = fetch().await;
        log.borrow_mut().push(format!("download: {status}"));
        status
    };
    executor.task().name("download").spawn(task).unwrap()
}

/// An answer that comes from another thread after 30 milliseconds.
async fn fetch() -> u32 {
    let (sender, answer) = mpsc::channel();
    let mut thread = None;
    std::future::poll_fn(move |cx| {
        let (waker, sender) = (cx.waker().clone(), sender.clone());
        thread.get_or_insert_with(|| {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(30));
                sender.send(200).unwrap();
                waker.wake();
            })
        });
        match answer.try_recv() {
            Ok(status) => Poll::Ready(status),
            Err(_) => Poll::Pending,
        }
    })
    .await
}

/// Draws three frames and lets the loop breathe between them.
fn spawn_animation(executor: &Executor, log: &Log) {
    let log = Rc::clone(log);
    let task = async move {
        for frame in 1..=3 {
            log.borrow_mut().push(format!("frame {frame}"));
            yield_now().await;
        }
    };
    // Nobody waits for it: it is detached.
    drop(executor.task().name("animation").spawn(task).unwrap());
}

/// The foreign loop. Returns how many ticks it made.
fn run_loop(executor: &Executor, inbox: &Receiver<Event>, log: &Log) -> usize {
    let mut ticks = 0;
    loop {
        // The only place where this thread sleeps.
        let event = inbox.recv().unwrap();
        match event {
            Event::Click(n) => log.borrow_mut().push(format!("click {n}")),
            Event::TasksReady => {
                // The waker told us once; from here on the ticks say whether there is more.
                // A budget keeps a long queue from holding up the next click.
                loop {
                    ticks += 1;
                    let tick = executor.tick_with(Budget::polls(16)).unwrap();
                    match tick.end {
                        TickEnd::Empty => return ticks,
                        TickEnd::Stalled => break,
                        _ => handle_clicks(inbox, log),
                    }
                }
            }
        }
    }
}

/// Between two ticks the loop attends to whatever else has come in.
fn handle_clicks(inbox: &Receiver<Event>, log: &Log) {
    for event in inbox.try_iter() {
        match event {
            Event::Click(n) => log.borrow_mut().push(format!("click {n}")),
            Event::TasksReady => unreachable!("woken again although a tick is owed"),
        }
    }
}
