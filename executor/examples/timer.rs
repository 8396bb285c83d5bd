//! Timers, which the executor leaves to its host: a `Park` that sleeps until the earliest one,
//! and a `sleep` future.
//!
//! The park is the only place where the thread sleeps, so it is where time passes:
//!
//! 1. `sleep` puts its deadline and its waker into a list;
//! 2. [`Park::park`] sleeps until the earliest deadline, or until it is unparked, and wakes
//!    what is due;
//! 3. [`Park::next_deadline`] says that something will come, so that the executor does not
//!    take the wait for a deadlock; a loop that drives with `tick` asks for it to know how
//!    long it may sleep.
//!
//! Run it with `cargo run -p vestibule-executor --example timer`; it checks itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use vestibule_executor::{BlockOnError, CannotPark, Executor, Park};

/// Where time comes from, and how it is waited for. The real one, or a test's.
trait Clock {
    fn now(&self) -> Instant;
    /// Waits until `deadline` (if any), or until the thread is unparked, or less.
    fn wait(&self, deadline: Option<Instant>);
}

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait(&self, deadline: Option<Instant>) {
        match deadline {
            None => thread::park(),
            Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(self.now())),
        }
    }
}

/// A timer's place in the list: its deadline, and a number that tells it from others with the
/// same one.
type Key = (Instant, u64);

/// The timers of one thread.
#[derive(Clone)]
struct Timers(Rc<Inner>);

struct Inner {
    clock: Box<dyn Clock>,
    waiting: RefCell<BTreeMap<Key, Waker>>,
    next_number: Cell<u64>,
}

impl Timers {
    fn new(clock: impl Clock + 'static) -> Self {
        Self(Rc::new(Inner {
            clock: Box::new(clock),
            waiting: RefCell::default(),
            next_number: Cell::new(0),
        }))
    }

    /// Done once `duration` has passed.
    ///
    /// # Cancellation
    ///
    /// Dropping it takes the timer out of the list.
    fn sleep(&self, duration: Duration) -> Sleep {
        let number = self.0.next_number.get();
        self.0.next_number.set(number + 1);
        Sleep {
            timers: self.clone(),
            key: (self.0.clock.now() + duration, number),
        }
    }

    fn earliest(&self) -> Option<Instant> {
        let waiting = self.0.waiting.borrow();
        waiting.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Wakes what is due, the earliest first.
    fn fire(&self) {
        let now = self.0.clock.now();
        loop {
            // The borrow ends before the wake: a waker is foreign code.
            let due = {
                let mut waiting = self.0.waiting.borrow_mut();
                match waiting.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }
}

struct Sleep {
    timers: Timers,
    key: Key,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &self.timers.0;
        if self.key.0 <= inner.clock.now() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let old = inner.waiting.borrow_mut().insert(self.key, waker);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.timers.0.waiting.borrow_mut().remove(&self.key);
        drop(waker);
    }
}

/// Sleeps until the earliest timer.
struct TimerPark {
    timers: Timers,
    thread: Arc<Unpark>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Park for TimerPark {
    fn park(&self) -> Result<(), CannotPark> {
        self.timers.0.clock.wait(self.timers.earliest());
        self.timers.fire();
        Ok(())
    }

    fn unparker(&self) -> Waker {
        Waker::from(Arc::clone(&self.thread))
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.timers.earliest()
    }
}

fn executor_with(timers: &Timers) -> Executor {
    let park = TimerPark {
        timers: timers.clone(),
        thread: Arc::new(Unpark(thread::current())),
    };
    Executor::builder().park(park).build()
}

/// Starts three sleepers, cancels one, and says in which order the others woke up.
fn sleepers(executor: &Executor, timers: &Timers, unit: Duration) -> Vec<u32> {
    let order = Rc::new(RefCell::new(Vec::new()));
    let start = |units: u32| {
        let (timers, order) = (timers.clone(), Rc::clone(&order));
        let task = async move {
            timers.sleep(units * unit).await;
            order.borrow_mut().push(units);
        };
        executor
            .task()
            .name(format!("sleeps {units}"))
            .spawn(task)
            .unwrap()
    };
    let [slow, quick, cancelled] = [3, 1, 2].map(start);
    executor
        .try_block_on(async {
            quick.await.unwrap();
            let _ = cancelled.cancel().await;
            slow.await.unwrap();
        })
        .unwrap();
    order.take()
}

fn main() {
    // With the real clock: in order, no earlier than asked for.
    let timers = Timers::new(RealClock);
    let executor = executor_with(&timers);
    let start = Instant::now();
    assert_eq!(
        sleepers(&executor, &timers, Duration::from_millis(10)),
        [1, 3]
    );
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(30), "{took:?}");

    // A wake from another thread ends the sleep before the timer does.
    let spawner = executor.send_spawner();
    let hour = timers.sleep(Duration::from_secs(3600));
    let waits = executor.spawn(hour).unwrap();
    let remote = thread::spawn(move || spawner.spawn(async { 42 }).unwrap());
    let answer = executor.try_block_on(remote.join().unwrap()).unwrap();
    assert_eq!(answer.unwrap(), 42);
    assert!(
        executor.next_deadline().is_some(),
        "a loop may sleep for an hour"
    );
    waits.abort();
    assert_eq!(executor.next_deadline(), None);

    // Without a timer nothing can come, and that is said instead of slept through.
    let error = executor
        .try_block_on(std::future::pending::<()>())
        .unwrap_err();
    assert!(
        matches!(error, BlockOnError::Stalled(stalled) if stalled.deadlock),
        "{error}"
    );

    // A clock that jumps: a machine that slept for days finds everything due, in order, the
    // second one before it could be cancelled.
    let jumps = Jumps::default();
    let timers = Timers::new(jumps.clone());
    let executor = executor_with(&timers);
    assert_eq!(
        sleepers(&executor, &timers, Duration::from_secs(60)),
        [1, 2, 3]
    );
    assert!(jumps.0.now.get() > Duration::from_secs(86_400));
    println!("30 ms of sleep took {took:?}; a day of it took no time at all");
}

/// A clock that jumps three days ahead whenever it is waited for, and a little back after.
#[derive(Clone)]
struct Jumps(Rc<JumpsInner>);

struct JumpsInner {
    start: Instant,
    now: Cell<Duration>,
}

impl Default for Jumps {
    fn default() -> Self {
        Self(Rc::new(JumpsInner {
            start: Instant::now(),
            now: Cell::default(),
        }))
    }
}

impl Clock for Jumps {
    fn now(&self) -> Instant {
        let now = self.0.now.get();
        self.0.now.set(now.saturating_sub(Duration::from_millis(1)));
        self.0.start + now
    }

    fn wait(&self, deadline: Option<Instant>) {
        assert!(deadline.is_some(), "it would wait for ever");
        self.0
            .now
            .set(self.0.now.get() + Duration::from_secs(3 * 86_400));
    }
}
