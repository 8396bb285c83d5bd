//! Guests in somebody else's loop: the loop ticks the executor when the host waker says so, and does
//! its own work between.
//!
//! Run it with `cargo run -p vestibule-component-host --example poll_loop`.

use std::future::poll_fn;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use vestibule_component_host::{Component, Engine, Linker, Result, Store, Val};
use vestibule_executor::{Budget, Executor, NoPark};

const FETCHER: &str = include_str!("components/async-import.wat");

/// What the loop gets.
enum Event {
    /// The executor has work to do.
    Ready,
    /// The loop's own business.
    Tick,
}

struct Post(Sender<Event>);

impl Wake for Post {
    fn wake(self: Arc<Self>) {
        // The loop may be over.
        let _ = self.0.send(Event::Ready);
    }
}

fn main() -> Result<()> {
    let (events, inbox) = channel();
    let executor = Executor::builder()
        .host_waker(Waker::from(Arc::new(Post(events.clone()))))
        // The loop sleeps in its channel; the executor must never put the thread to sleep.
        .park(NoPark)
        .build();
    let engine = Engine::default();
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, FETCHER.as_bytes())?;

    let mut linker = Linker::new();
    linker
        .root()
        .func_async("fetch", |_, (key,): (u32,)| async move {
            answer_from_a_thread(key).await;
            Ok((key * 10,))
        })?;
    let instance = linker.instantiate(&store, &component)?;
    let sum = instance.get_func(&store, "sum")?;
    let call = match executor.spawn(sum.call(&store, &[])) {
        Ok(call) => call,
        Err(error) => panic!("{error}"),
    };

    let again = events.clone();
    // The first turn, before anything was awaited.
    let _ = again.send(Event::Ready);
    thread::spawn(move || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(5));
            let _ = events.send(Event::Tick);
        }
    });
    let (mut polled, mut own) = (0, 0);
    while !call.is_finished() || own < 3 {
        match inbox.recv_timeout(Duration::from_secs(10)) {
            Ok(Event::Ready) => match executor.tick_with(Budget::polls(16)) {
                Ok(tick) => {
                    polled += 1;
                    // What was left over is the loop's to ask for: the waker speaks up only when
                    // there is something after there was nothing.
                    if tick.ready > 0 {
                        let _ = again.send(Event::Ready);
                    }
                }
                Err(refused) => panic!("{refused}"),
            },
            Ok(Event::Tick) => own += 1,
            Err(_) => panic!("the loop waits for ever"),
        }
    }
    let value = match executor.block_on(call) {
        Ok(value) => value?,
        Err(error) => panic!("{error}"),
    };
    println!("sum -> {value:?}, after {polled} ticks and {own} events of the loop's own");
    assert_eq!(value, Some(Val::U32(30)));
    Ok(())
}

/// Waits for what another thread does.
async fn answer_from_a_thread(key: u32) {
    // Whether the answer is there, and whom to wake: whoever polled last.
    let answer = Arc::new(Mutex::new((false, None::<Waker>)));
    let theirs = Arc::clone(&answer);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(u64::from(key)));
        let waker = theirs.lock().ok().and_then(|mut answer| {
            answer.0 = true;
            answer.1.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    poll_fn(|cx| match answer.lock() {
        Ok(mut answer) if !answer.0 => {
            answer.1 = Some(cx.waker().clone());
            Poll::Pending
        }
        _ => Poll::Ready(()),
    })
    .await;
}
