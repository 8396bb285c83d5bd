//! The scenarios: each is one round, with new executors, that checks its own result.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle as Thread, ThreadId};

use vestibule_executor::{
    BlockInPhaseError, BlockOnError, Budget, Executor, JoinError, JoinHandle, NoPark, Phase,
    TickEnd,
};

use crate::dice::Dice;

type Scenario = fn(Dice);

pub(crate) const ALL: [(&str, Scenario); 10] = [
    ("wakes", wakes),
    (
        "wakers_given_away_and_dropped",
        wakers_given_away_and_dropped,
    ),
    ("aborts_from_everywhere", aborts_from_everywhere),
    ("spawns_against_a_shutdown", spawns_against_a_shutdown),
    ("wakes_against_a_shutdown", wakes_against_a_shutdown),
    (
        "slots_used_again_under_stale_wakers",
        slots_used_again_under_stale_wakers,
    ),
    ("a_hosts_loop", a_hosts_loop),
    ("a_guest_of_another_executor", a_guest_of_another_executor),
    ("wakes_into_a_phase", wakes_into_a_phase),
    ("two_owners_wake_each_other", two_owners_wake_each_other),
];

const THREADS: usize = 3;

fn join<T>(threads: Vec<Thread<T>>) -> Vec<T> {
    let joined = threads.into_iter().map(|thread| thread.join().unwrap());
    joined.collect()
}

/// Locks without ever sleeping: how the standard mutex sleeps is compiled into the standard library,
/// where ThreadSanitizer does not see it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Where a task leaves its waker, and what it waits for.
#[derive(Default)]
struct Mailbox {
    items: AtomicUsize,
    waker: Mutex<Option<Waker>>,
    polls: AtomicUsize,
}

impl Mailbox {
    /// A future that is done when it has seen so many items.
    fn receive(self: &Arc<Self>, items: usize) -> impl Future<Output = ()> + use<> {
        let mailbox = Arc::clone(self);
        poll_fn(move |cx| {
            mailbox.polls.fetch_add(1, Ordering::Relaxed);
            // As one does it: leave the waker first, look second.
            let old = lock(&mailbox.waker).replace(cx.waker().clone());
            drop(old);
            if mailbox.items.load(Ordering::Relaxed) >= items {
                return Poll::Ready(());
            }
            Poll::Pending
        })
    }

    /// Only the wake publishes the item.
    fn send(&self) {
        self.items.fetch_add(1, Ordering::Relaxed);
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn mailboxes(count: usize) -> Vec<Arc<Mailbox>> {
    (0..count).map(|_| Arc::default()).collect()
}

/// Every item of every thread arrives, and no task is polled more often than it was woken.
fn wakes(mut dice: Dice) {
    const TASKS: usize = 8;
    const ITEMS: usize = 60;
    let executor = Executor::new();
    let boxes = mailboxes(TASKS);
    let tasks: Vec<JoinHandle<()>> = boxes
        .iter()
        .map(|mailbox| executor.spawn(mailbox.receive(ITEMS * THREADS)).unwrap())
        .collect();
    let threads = (0..THREADS).map(|_| {
        let (boxes, mut dice) = (boxes.clone(), dice.split());
        std::thread::spawn(move || {
            let first = dice.below(TASKS);
            for _ in 0..ITEMS {
                for mailbox in boxes.iter().cycle().skip(first).take(TASKS) {
                    mailbox.send();
                    dice.dawdle();
                }
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    executor
        .try_block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    join(threads);
    for mailbox in &boxes {
        let polls = mailbox.polls.load(Ordering::Relaxed);
        assert!(polls <= ITEMS * THREADS + 1, "{polls} polls");
    }
    let metrics = executor.metrics();
    assert_eq!((metrics.live, metrics.completed), (0, TASKS as u64));
    boxes
        .iter()
        .for_each(|mailbox| drop(lock(&mailbox.waker).take()));
}

/// When the last waker is dropped, wherever that is, a block ends: with its value or with the
/// proof that nothing can come.
fn wakers_given_away_and_dropped(mut dice: Dice) {
    const TASKS: usize = 12;
    let executor = Executor::new();
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let polls = Rc::new(Cell::new(0));
    for _ in 0..TASKS {
        let (sender, polls) = (sender.clone(), Rc::clone(&polls));
        let mut left = 1 + dice.below(3);
        let task = poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            sender.send(cx.waker().clone()).unwrap();
            Poll::Pending
        });
        drop(executor.spawn(task).unwrap());
    }
    drop(sender);
    let receiver = Arc::new(Mutex::new(receiver));
    let woken = Arc::new(AtomicUsize::new(0));
    let threads = (0..THREADS).map(|_| {
        let (receiver, woken) = (Arc::clone(&receiver), Arc::clone(&woken));
        let mut dice = dice.split();
        std::thread::spawn(move || {
            loop {
                let waker = match lock(&receiver).try_recv() {
                    Ok(waker) => waker,
                    Err(std::sync::mpsc::TryRecvError::Empty) => {
                        std::thread::yield_now();
                        continue;
                    }
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                };
                dice.dawdle();
                match dice.below(4) {
                    0 => {
                        woken.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    }
                    1 => {
                        let clone = waker.clone();
                        drop(waker);
                        dice.dawdle();
                        woken.fetch_add(1, Ordering::Relaxed);
                        clone.wake_by_ref();
                    }
                    _ => drop(waker),
                }
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    let stalled = match executor.try_block_on(pending::<()>()) {
        Err(BlockOnError::Stalled(stalled)) => stalled,
        other => panic!("{other:?}"),
    };
    assert!(
        stalled.deadlock && stalled.escaped_wakers == 0,
        "{stalled:?}"
    );
    // No wake came before the claim that was not followed by a poll.
    assert_eq!(polls.get(), TASKS + woken.load(Ordering::Relaxed));
    drop(executor);
    join(threads);
}

/// Counts, and insists on the thread where it is dropped.
struct Guest {
    owner: ThreadId,
    drops: Arc<AtomicUsize>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        assert_eq!(std::thread::current().id(), self.owner, "dropped elsewhere");
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tasks that other threads spawn, await on executors of their own, and abort at any moment, end
/// once, and are dropped by the owner.
fn aborts_from_everywhere(mut dice: Dice) {
    const TASKS: usize = 25;
    let executor = Executor::new();
    let (owner, drops) = (std::thread::current().id(), Arc::new(AtomicUsize::new(0)));
    let threads = (0..THREADS).map(|_| {
        let (spawner, drops, mut dice) =
            (executor.send_spawner(), Arc::clone(&drops), dice.split());
        std::thread::spawn(move || {
            let here = Executor::new();
            let mut ended = 0;
            for n in 0..TASKS {
                let drops = Arc::clone(&drops);
                let yields = dice.below(3);
                let handle = spawner.spawn_with(move || {
                    let guest = Guest { owner, drops };
                    async move {
                        for _ in 0..yields {
                            vestibule_executor::yield_now().await;
                        }
                        if n % 3 == 0 {
                            pending::<()>().await;
                        }
                        drop(guest);
                        n
                    }
                });
                let handle = handle.unwrap();
                dice.dawdle();
                let aborts = n % 3 == 0 || dice.once_in(2);
                if aborts {
                    handle.abort();
                }
                if dice.once_in(4) && aborts {
                    // Polled once, and given up while the task may be ending (RUSTSEC-2026-0005).
                    let mut handle = handle;
                    let mut cx = Context::from_waker(Waker::noop());
                    let _ = Pin::new(&mut handle).poll(&mut cx);
                    dice.dawdle();
                    drop(handle);
                    continue;
                }
                if dice.once_in(5) && aborts {
                    // Nobody waits for it; it ends all the same.
                    drop(handle);
                    continue;
                }
                match here.try_block_on(handle).unwrap() {
                    Ok(value) => assert_eq!(value, n),
                    Err(JoinError::Aborted) => assert!(aborts),
                    Err(other) => panic!("{other}"),
                }
                ended += 1;
            }
            ended
        })
    });
    let threads: Vec<_> = threads.collect();
    // Ends when the last spawner is gone and nothing is left to do: a proven deadlock.
    let ended = executor.try_block_on(pending::<()>());
    assert!(matches!(ended, Err(BlockOnError::Stalled(stalled)) if stalled.deadlock));
    let ended: usize = join(threads).into_iter().sum();
    assert!(ended <= TASKS * THREADS);
    // An abort that was asked for after the last drive is answered by the next.
    let _ = executor.run_until_stalled(Budget::UNLIMITED).unwrap();
    let metrics = executor.metrics();
    assert_eq!((metrics.live, metrics.spawned), (0, metrics.completed));
    let spawned = usize::try_from(metrics.spawned).unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), spawned);
}

/// A task that is spawned while the executor ends is answered and dropped by the owner, or comes
/// back to who spawned it.
fn spawns_against_a_shutdown(mut dice: Dice) {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let executor = Executor::new();
    let (drops, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads = (0..THREADS).map(|_| {
        let (spawner, drops, begun) = (
            executor.send_spawner(),
            Arc::clone(&drops),
            Arc::clone(&begun),
        );
        let mut dice = dice.split();
        std::thread::spawn(move || {
            let (mut accepted, mut refused) = (Vec::new(), 0);
            loop {
                let counted = Counted(Arc::clone(&drops));
                let task = async move {
                    pending::<()>().await;
                    drop(counted);
                };
                match spawner.spawn(task) {
                    Ok(handle) => accepted.push(handle),
                    Err(error) => {
                        let before = drops.load(Ordering::Relaxed);
                        drop(error.into_inner());
                        assert!(drops.load(Ordering::Relaxed) > before);
                        refused += 1;
                        if refused == 3 {
                            return (accepted, refused);
                        }
                    }
                }
                begun.fetch_add(1, Ordering::Relaxed);
                dice.dawdle();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    let until = dice.below(60);
    while begun.load(Ordering::Relaxed) < until {
        if dice.once_in(2) {
            let _ = executor.tick().unwrap();
        }
        std::thread::yield_now();
    }
    drop(executor);
    let here = Executor::new();
    let mut total = 0;
    for (accepted, refused) in join(threads) {
        total += accepted.len() + refused;
        for handle in accepted {
            assert!(handle.is_finished());
            let outcome = here.try_block_on(handle).unwrap();
            assert!(
                matches!(outcome, Err(JoinError::ExecutorGone)),
                "{outcome:?}"
            );
        }
    }
    assert_eq!(drops.load(Ordering::Relaxed), total);
}

/// Wakers in use on every thread while the executor, its tasks and their slots go.
fn wakes_against_a_shutdown(mut dice: Dice) {
    const TASKS: usize = 8;
    let executor = Executor::new();
    let boxes = mailboxes(TASKS);
    for mailbox in &boxes {
        drop(executor.spawn(mailbox.receive(usize::MAX)).unwrap());
    }
    let _ = executor.tick().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let threads = (0..THREADS).map(|_| {
        let (boxes, stop, mut dice) = (boxes.clone(), Arc::clone(&stop), dice.split());
        std::thread::spawn(move || {
            let mut late = 0;
            while late < 20 {
                late += usize::from(stop.load(Ordering::Relaxed));
                let mailbox = &boxes[dice.below(TASKS)];
                if dice.once_in(4) {
                    let taken = lock(&mailbox.waker).take();
                    drop(taken);
                } else {
                    mailbox.send();
                }
                dice.dawdle();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    for _ in 0..dice.below(20) {
        let _ = executor.run_until_stalled(Budget::polls(50)).unwrap();
    }
    drop(executor);
    stop.store(true, Ordering::Relaxed);
    join(threads);
    boxes
        .iter()
        .for_each(|mailbox| drop(lock(&mailbox.waker).take()));
}

/// Stale wakers of aborted tasks are used while their slots belong to others: those are not woken.
fn slots_used_again_under_stale_wakers(mut dice: Dice) {
    const TASKS: usize = 20;
    let executor = Executor::new();
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let receiver = Arc::new(Mutex::new(receiver));
    let threads = (0..THREADS).map(|_| {
        let (receiver, mut dice) = (Arc::clone(&receiver), dice.split());
        std::thread::spawn(move || {
            loop {
                let waker = lock(&receiver).try_recv();
                match waker {
                    Ok(waker) => {
                        waker.wake_by_ref();
                        dice.dawdle();
                        waker.wake();
                    }
                    Err(std::sync::mpsc::TryRecvError::Empty) => std::thread::yield_now(),
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    for _ in 0..TASKS {
        // Polled once, its waker given away, and ended while that is used.
        let sender = sender.clone();
        let first = executor.spawn(poll_fn(move |cx| {
            sender.send(cx.waker().clone()).unwrap();
            Poll::<()>::Pending
        }));
        let _ = executor.tick().unwrap();
        first.unwrap().abort();
        // The next one, in the same place, must be polled once and never again.
        let polls = Rc::new(Cell::new(0));
        let count = Rc::clone(&polls);
        let next = executor.spawn(poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::<()>::Pending
        }));
        for _ in 0..3 {
            dice.dawdle();
            let _ = executor.tick().unwrap();
        }
        assert_eq!(polls.get(), 1, "woken by a stranger's waker");
        next.unwrap().abort();
    }
    drop(sender);
    join(threads);
    assert_eq!(executor.metrics().live, 0);
}

/// Sleeps until it is woken; counts.
struct Sleeper {
    thread: std::thread::Thread,
    wakes: AtomicUsize,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            thread: std::thread::current(),
            wakes: AtomicUsize::new(0),
        })
    }

    /// Sleeps until there were more wakes than `seen`; returns how many there are.
    fn sleep(&self, seen: usize) -> usize {
        loop {
            let wakes = self.wakes.load(Ordering::Acquire);
            if wakes != seen {
                return wakes;
            }
            std::thread::park();
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Release);
        self.thread.unpark();
    }
}

fn senders(dice: &mut Dice, boxes: &[Arc<Mailbox>], items: usize) -> Vec<Thread<()>> {
    let threads = (0..THREADS).map(|_| {
        let (boxes, mut dice) = (boxes.to_vec(), dice.split());
        std::thread::spawn(move || {
            for _ in 0..items {
                for mailbox in &boxes {
                    mailbox.send();
                    dice.dawdle();
                }
            }
        })
    });
    threads.collect()
}

/// A host that sleeps after every stalled tick, and is told of every edge, at most once each.
fn a_hosts_loop(mut dice: Dice) {
    const ITEMS: usize = 40;
    let host = Sleeper::new();
    let executor = Executor::builder()
        .host_waker(Waker::from(Arc::clone(&host)))
        .park(NoPark)
        .build();
    let boxes = mailboxes(4);
    for mailbox in &boxes {
        drop(executor.spawn(mailbox.receive(ITEMS * THREADS)).unwrap());
    }
    let threads = senders(&mut dice, &boxes, ITEMS);
    let (mut seen, mut edges) = (0, 0);
    'tasks: loop {
        // One notification for one edge: the count goes up by one while it sleeps.
        let wakes = host.sleep(seen);
        assert_eq!(wakes, seen + 1, "more than one wake for an edge");
        seen = wakes;
        edges += 1;
        loop {
            match executor.tick_with(Budget::polls(3)).unwrap().end {
                TickEnd::Empty => break 'tasks,
                TickEnd::Stalled => break,
                _ => {}
            }
        }
    }
    join(threads);
    let wakes = host.wakes.load(Ordering::Relaxed);
    assert!(wakes <= edges + 1, "{wakes} wakes for {edges} edges");
    boxes
        .iter()
        .for_each(|mailbox| drop(lock(&mailbox.waker).take()));
}

/// The same, as the future of another executor that sleeps.
fn a_guest_of_another_executor(mut dice: Dice) {
    const ITEMS: usize = 40;
    let (executor, other) = (Executor::new(), Executor::new());
    let boxes = mailboxes(4);
    let tasks: Vec<_> = boxes
        .iter()
        .map(|mailbox| executor.spawn(mailbox.receive(ITEMS * THREADS)).unwrap())
        .collect();
    let threads = senders(&mut dice, &boxes, ITEMS);
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    other
        .try_block_on(executor.run_until(all))
        .unwrap()
        .unwrap();
    join(threads);
    boxes
        .iter()
        .for_each(|mailbox| drop(lock(&mailbox.waker).take()));
}

/// While a phase is in force, wakes from other threads reach the group at once and nobody else
/// before its end; none is lost.
fn wakes_into_a_phase(mut dice: Dice) {
    const ITEMS: usize = 30;
    let executor = Executor::new();
    let group = executor.group("instance");
    let boxes = mailboxes(4);
    let in_phase = Rc::new(Cell::new(false));
    let tasks: Vec<_> = boxes
        .iter()
        .enumerate()
        .map(|(n, mailbox)| {
            let (receive, in_phase) = (mailbox.receive(ITEMS * THREADS), Rc::clone(&in_phase));
            let mut receive = Box::pin(receive);
            let task = poll_fn(move |cx| {
                assert!(n < 2 || !in_phase.get(), "polled in a phase of others");
                receive.as_mut().poll(cx)
            });
            let builder = executor.task();
            let builder = if n < 2 {
                builder.group(&group)
            } else {
                builder
            };
            builder.spawn(task).unwrap()
        })
        .collect();
    let _ = executor.tick().unwrap();
    let threads = senders(&mut dice, &boxes, ITEMS);
    while !tasks[..2].iter().all(JoinHandle::is_finished) {
        in_phase.set(true);
        let blocked = executor.with_phase(Phase::instantiating(&group), || {
            executor.block_in_phase(|| tasks[0].is_finished() && tasks[1].is_finished())
        });
        in_phase.set(false);
        match blocked {
            Ok(()) => {}
            Err(BlockInPhaseError::NothingReady) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
        if dice.once_in(8) {
            let _ = executor.tick_with(Budget::polls(1)).unwrap();
        }
    }
    join(threads);
    let _ = executor.run_until_stalled(Budget::UNLIMITED).unwrap();
    assert!(tasks.iter().all(JoinHandle::is_finished));
    boxes
        .iter()
        .for_each(|mailbox| drop(lock(&mailbox.waker).take()));
}

/// Two threads with an executor each play ball: every wake is one from another thread.
fn two_owners_wake_each_other(mut dice: Dice) {
    const ITEMS: usize = 100;
    let boxes = [mailboxes(1), mailboxes(1)].concat();
    let players = (0..2).map(|n| {
        let (mine, theirs) = (Arc::clone(&boxes[n]), Arc::clone(&boxes[1 - n]));
        let dice = dice.split();
        std::thread::spawn(move || {
            let executor = Executor::new();
            let dice = RefCell::new(dice);
            executor
                .try_block_on(async {
                    for item in 1..=ITEMS {
                        if n == 0 {
                            theirs.send();
                        }
                        mine.receive(item).await;
                        dice.borrow_mut().dawdle();
                        if n == 1 {
                            theirs.send();
                        }
                    }
                })
                .unwrap();
        })
    });
    let players: Vec<_> = players.collect();
    join(players);
    boxes
        .iter()
        .for_each(|mailbox| drop(lock(&mailbox.waker).take()));
}
