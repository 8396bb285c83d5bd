//! Tasks that yield to each other.
//!
//! Where a task that wakes itself is polled again at once, it yields to nobody, and there is
//! nothing to measure: such an executor is left out, with this reason.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::parts::{Never, Slot, YieldOnce};
use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;

/// What the tasks share.
pub(super) struct Round {
    tasks: u64,
    /// How many tasks have had their first poll.
    entered: Cell<u64>,
    /// How many have yielded as often as they are to be measured.
    measured: Cell<u64>,
    pub(super) clock: Clock,
    done: Slot,
}

impl Round {
    pub(super) fn new(tasks: u64) -> Rc<Self> {
        Rc::new(Self {
            tasks,
            entered: Cell::new(0),
            measured: Cell::new(0),
            clock: Clock::default(),
            done: Slot::default(),
        })
    }

    /// The last one to enter starts the clock.
    fn enter(&self) {
        self.entered.set(self.entered.get() + 1);
        if self.entered.get() == self.tasks {
            self.clock.start();
        }
    }

    /// The last one to leave stops it: since it started it every task was polled as often as it
    /// yielded, by an executor that polls in turn.
    fn leave(&self) {
        self.measured.set(self.measured.get() + 1);
        if self.measured.get() == self.tasks {
            self.clock.stop();
            self.done.send(self.tasks);
        }
    }
}

/// `tasks` tasks yield once an iteration, beside `idle` ones that are never ready; that they are
/// spawned and joined is not measured.
pub fn yields<P: Peer>(label: Label, tasks: u64, idle: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    if !take_turns(&executor) {
        return Err(NO_TURNS.into());
    }
    if idle > 0 && !P::CANCELS {
        return Err("its handles can't cancel a task".into());
    }
    let drops = Rc::new(Cell::new(0));
    let mut handles = Vec::with_capacity(tasks as usize);
    Ok(Bench::new(tasks, move |iterations| {
        let spawner = executor.spawner();
        let round = Round::new(tasks);
        let before = drops.get();
        let sum = executor.block_on(async {
            let spawn = |_| P::spawn(&spawner, Never(drops.clone()));
            let idle: Vec<P::Join<()>> = (0..idle).map(spawn).collect();
            handles.extend((0..tasks).map(|_| P::spawn(&spawner, task(round.clone(), iterations))));
            round.done.receive().await;
            label.check("the number of idle tasks that ended", drops.get(), before);
            let ends = before + idle.len() as u64;
            idle.into_iter().for_each(P::cancel);
            let mut sum = 0;
            for handle in handles.drain(..) {
                sum += P::value(handle.await);
            }
            // Some drop what was cancelled at their next turns.
            while drops.get() < ends {
                YieldOnce::default().await;
            }
            sum
        });
        label.check("the number of yields", sum, iterations * tasks);
        round.clock.elapsed()
    }))
}

/// Yields once an iteration, and says how often it did.
pub(super) async fn task(round: Rc<Round>, iterations: u64) -> u64 {
    round.enter();
    let mut yielded = 0;
    for _ in 0..iterations {
        YieldOnce::default().await;
        yielded += 1;
    }
    round.leave();
    // Nobody ends while others are measured.
    YieldOnce::default().await;
    yielded
}

/// Why yields can't be measured where they don't alternate.
pub(super) const NO_TURNS: &str =
    "a task that wakes itself is polled again at once: it yields to nobody";

/// The order in which two tasks were polled, and whether they took turns.
#[derive(Clone, Default)]
pub(super) struct Turns(Rc<RefCell<Vec<u64>>>);

impl Turns {
    pub(super) async fn take(self, name: u64) -> u64 {
        for _ in 0..3 {
            self.0.borrow_mut().push(name);
            YieldOnce::default().await;
        }
        name
    }

    pub(super) fn were_taken(&self) -> bool {
        let order = self.0.borrow();
        order.len() == 6 && order.windows(2).all(|pair| pair[0] != pair[1])
    }
}

fn take_turns<P: Peer>(executor: &P) -> bool {
    let (spawner, turns) = (executor.spawner(), Turns::default());
    executor.block_on(async {
        let tasks = [1, 2].map(|name| P::spawn(&spawner, turns.clone().take(name)));
        for task in tasks {
            P::value::<u64>(task.await);
        }
    });
    turns.were_taken()
}
