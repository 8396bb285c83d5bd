//! Wakes from other threads.
//!
//! What sleeps has to be asleep: before a one-way wake the other thread waits for longer than any
//! executor takes to park. In a round trip both sides sleep.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::parts::{Slot, opaque};
use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;

/// How long the other thread waits before a one-way wake.
const PAUSE: Duration = Duration::from_micros(50);

/// Tells a thread of a bench to end.
const STOP: u64 = u64::MAX;

/// A task asks, another thread answers and wakes it.
struct Line {
    /// The waker of the task, from before it asks.
    waker: Mutex<Option<Waker>>,
    asked: AtomicU64,
    answered: AtomicU64,
    /// When the wake began: nanoseconds since `epoch`.
    woken_at: AtomicU64,
    epoch: Instant,
}

impl Line {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The other thread: answers each question once, `pause` after it came.
    fn answer(&self, pause: Option<Duration>) {
        let mut seen = 0;
        loop {
            let asked = self.asked.load(Acquire);
            if asked == STOP {
                return;
            }
            if asked == seen {
                thread::park();
                continue;
            }
            seen = asked;
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
            let waker = self.waker.lock().expect("no holder panics").take();
            let waker = waker.expect("the waker is there before the question");
            self.woken_at.store(self.now(), Release);
            self.answered.store(asked, Release);
            waker.wake();
        }
    }
}

/// The thread that answers; it ends with the bench.
struct Partner {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

impl Partner {
    fn start(pause: Option<Duration>) -> Self {
        let line = Arc::new(Line {
            waker: Mutex::new(None),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            woken_at: AtomicU64::new(0),
            epoch: Instant::now(),
        });
        let other = line.clone();
        Self {
            line,
            thread: Some(thread::spawn(move || other.answer(pause))),
        }
    }

    fn thread(&self) -> Thread {
        let thread = self.thread.as_ref().expect("it runs until the drop");
        thread.thread().clone()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.line.asked.store(STOP, Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// One question, and the wait for its answer.
struct Ask<'a> {
    line: &'a Line,
    partner: &'a Thread,
    number: u64,
    asked: bool,
}

impl Future for Ask<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.line.answered.load(Acquire) == self.number {
            return Poll::Ready(());
        }
        *self.line.waker.lock().expect("no holder panics") = Some(opaque(cx).clone());
        if !self.asked {
            self.asked = true;
            self.line.asked.store(self.number, Release);
            self.partner.unpark();
        }
        Poll::Pending
    }
}

/// How long after another thread's wake a task is polled whose executor was asleep.
pub fn one_way<P: Peer>(label: Label) -> Result<Bench, String> {
    asking::<P>(label, Some(PAUSE))
}

/// A task wakes a thread, which wakes the task; both were asleep.
pub fn round_trip<P: Peer>(label: Label) -> Result<Bench, String> {
    asking::<P>(label, None)
}

fn asking<P: Peer>(label: Label, pause: Option<Duration>) -> Result<Bench, String> {
    let executor = P::start()?;
    Ok(questions(label, pause, move |task| {
        let spawner = executor.spawner();
        executor.block_on(async { P::value(P::spawn(&spawner, task.run()).await) })
    }))
}

/// The same without tasks: what `block_on` runs is the future itself. The least it can take.
#[cfg(feature = "peers-executor")]
pub(crate) fn asking_alone(
    label: Label,
    sleeps: bool,
    block_on: fn(Pin<&mut dyn Future<Output = Duration>>) -> Duration,
) -> Bench {
    questions(label, sleeps.then_some(PAUSE), move |task| {
        block_on(std::pin::pin!(task.run()))
    })
}

fn questions(
    label: Label,
    pause: Option<Duration>,
    run: impl Fn(Questions) -> Duration + 'static,
) -> Bench {
    let partner = Partner::start(pause);
    let mut number = 0;
    Bench::new(1, move |iterations| {
        let elapsed = run(Questions {
            line: partner.line.clone(),
            partner: partner.thread(),
            numbers: number + 1..=number + iterations,
            sleeps: pause.is_some(),
        });
        number += iterations;
        let answered = partner.line.answered.load(Acquire);
        label.check("the number of answers", answered, number);
        elapsed
    })
}

/// What a task asks, one after the other.
struct Questions {
    line: Arc<Line>,
    partner: Thread,
    numbers: std::ops::RangeInclusive<u64>,
    /// Whether the executor sleeps before each wake, and only the wake is measured.
    sleeps: bool,
}

impl Questions {
    async fn run(self) -> Duration {
        let (line, partner) = (&*self.line, &self.partner);
        let mut latency = 0;
        let start = Instant::now();
        for number in self.numbers {
            let ask = Ask {
                line,
                partner,
                number,
                asked: false,
            };
            ask.await;
            latency += line.now() - line.woken_at.load(Acquire);
        }
        match self.sleeps {
            true => Duration::from_nanos(latency),
            false => start.elapsed(),
        }
    }
}

/// How many tasks wait in a burst.
const TASKS: usize = 1_000;

/// What a burst's threads share.
struct Storm {
    /// For each task, the last burst in which it was woken.
    stamps: Vec<AtomicU64>,
    /// The burst that is wanted.
    wanted: AtomicU64,
    /// The tasks' wakers, each where its stamp is. Replaced between bursts alone.
    wakers: Mutex<Arc<[Waker]>>,
}

impl Storm {
    /// A producer: wakes its part of the tasks, each once a burst.
    fn produce(&self, part: std::ops::Range<usize>) {
        let mut seen = 0;
        loop {
            let wanted = self.wanted.load(Acquire);
            if wanted == STOP {
                return;
            }
            if wanted == seen {
                thread::park();
                continue;
            }
            seen = wanted;
            let wakers = self.wakers.lock().expect("no holder panics").clone();
            for at in part.clone() {
                self.stamps[at].store(wanted, Release);
                wakers[at].wake_by_ref();
            }
        }
    }
}

struct Producers {
    storm: Arc<Storm>,
    threads: Vec<JoinHandle<()>>,
}

impl Producers {
    fn start(count: usize) -> Self {
        let storm = Arc::new(Storm {
            stamps: (0..TASKS).map(|_| AtomicU64::new(0)).collect(),
            wanted: AtomicU64::new(0),
            wakers: Mutex::new(Arc::new([])),
        });
        let share = TASKS / count;
        let threads = (0..count)
            .map(|at| {
                let storm = storm.clone();
                thread::spawn(move || storm.produce(at * share..(at + 1) * share))
            })
            .collect();
        Self { storm, threads }
    }

    fn want(&self, burst: u64) {
        self.storm.wanted.store(burst, Release);
        self.threads
            .iter()
            .for_each(|thread| thread.thread().unpark());
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        self.want(STOP);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What a burst's tasks share.
struct Burst {
    storm: Arc<Storm>,
    wakers: Cell<Vec<Waker>>,
    /// How many tasks have seen the burst that is under way.
    seen: Cell<usize>,
    done: Slot,
    over: Cell<bool>,
}

/// A thousand waiting tasks are each woken once, by `producers` threads at the same time, until
/// all of them have been polled.
pub fn burst<P: Peer>(label: Label, producers: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    let producers = Producers::start(producers as usize);
    let mut last = 0;
    Ok(Bench::new(TASKS as u64, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::of_the_world());
        let burst = Rc::new(Burst {
            storm: producers.storm.clone(),
            wakers: Cell::default(),
            seen: Cell::new(0),
            done: Slot::default(),
            over: Cell::new(false),
        });
        let seen = executor.block_on(async {
            let tasks = (0..TASKS).map(|at| waiting(burst.clone(), at, last));
            let tasks: Vec<_> = tasks.map(|task| P::spawn(&spawner, task)).collect();
            burst.done.receive().await;
            let wakers: Arc<[Waker]> = burst.wakers.take().into();
            *producers.storm.wakers.lock().expect("no holder panics") = wakers.clone();
            clock.start();
            for number in last + 1..=last + iterations {
                burst.seen.set(0);
                producers.want(number);
                burst.done.receive().await;
            }
            clock.stop();
            burst.over.set(true);
            wakers.iter().for_each(Waker::wake_by_ref);
            let mut seen = 0;
            for task in tasks {
                seen += P::value::<u64>(task.await);
            }
            seen
        });
        last += iterations;
        label.check("the number of wakes seen", seen, iterations * TASKS as u64);
        clock.elapsed()
    }))
}

/// A task that counts the bursts it was woken in.
async fn waiting(burst: Rc<Burst>, at: usize, mut last: u64) -> u64 {
    let (mut entered, mut wakes) = (false, 0);
    poll_fn(move |cx| {
        let stamp = burst.storm.stamps[at].load(Acquire);
        let news = if entered {
            stamp > last
        } else {
            let mut wakers = burst.wakers.take();
            wakers.push(opaque(cx).clone());
            burst.wakers.set(wakers);
            entered = true;
            true
        };
        if news {
            wakes += u64::from(stamp > last);
            last = stamp;
            burst.seen.set(burst.seen.get() + 1);
            if burst.seen.get() == TASKS {
                burst.done.send(0);
            }
        }
        match burst.over.get() {
            true => Poll::Ready(wakes),
            false => Poll::Pending,
        }
    })
    .await
}
