//! Tasks of one thread that wait for each other.

use std::rc::Rc;

use super::parts::Slot;
use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;

/// Two tasks send a number back and forth.
pub fn ping_pong<P: Peer>(label: Label) -> Result<Bench, String> {
    let executor = P::start()?;
    Ok(Bench::new(1, move |iterations| {
        let spawner = executor.spawner();
        let table = Rc::new((Slot::default(), Slot::default(), Clock::default()));
        let (last, trips) = executor.block_on(async {
            let answers = P::spawn(&spawner, pong(table.clone(), iterations));
            let last = P::spawn(&spawner, ping(table.clone(), iterations));
            (P::value(last.await), P::value(answers.await))
        });
        label.check("the number sent to and fro", last, 2 * (iterations + 1));
        label.check("the number of answers", trips, iterations + 1);
        table.2.elapsed()
    }))
}

/// One round trip more than is measured.
pub(super) async fn ping(table: Rc<(Slot, Slot, Clock)>, iterations: u64) -> u64 {
    let (there, back, clock) = &*table;
    there.send(1);
    let mut number = back.receive().await;
    clock.start();
    for _ in 0..iterations {
        there.send(number + 1);
        number = back.receive().await;
    }
    clock.stop();
    number
}

pub(super) async fn pong(table: Rc<(Slot, Slot, Clock)>, iterations: u64) -> u64 {
    let (there, back, _) = &*table;
    let mut answers = 0;
    for _ in 0..=iterations {
        let number = there.receive().await;
        back.send(number + 1);
        answers += 1;
    }
    answers
}

/// Each of `tasks` tasks wakes the next one; once through the chain is one iteration.
pub fn wake_chain<P: Peer>(label: Label, tasks: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    let mut handles = Vec::with_capacity(tasks as usize);
    Ok(Bench::new(tasks, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        let chain: Rc<[Slot]> = (0..=tasks).map(|_| Slot::default()).collect();
        let wakes = executor.block_on(async {
            let links = (0..tasks as usize).map(|at| link(chain.clone(), at, iterations));
            handles.extend(links.map(|link| P::spawn(&spawner, link)));
            let wakes = pull(&chain, &clock, iterations).await;
            for handle in handles.drain(..) {
                P::value::<()>(handle.await);
            }
            wakes
        });
        label.check("the number of wakes", wakes, (iterations + 1) * tasks);
        clock.elapsed()
    }))
}

/// Wakes the first and waits for the last.
pub(super) async fn pull(chain: &[Slot], clock: &Clock, iterations: u64) -> u64 {
    let (first, last) = (&chain[0], &chain[chain.len() - 1]);
    // Once unmeasured: until all have been polled.
    first.send(0);
    let mut wakes = last.receive().await;
    clock.start();
    for _ in 0..iterations {
        first.send(wakes);
        wakes = last.receive().await;
    }
    clock.stop();
    wakes
}

/// Waits for its number, and sends the next one, once more than is measured.
pub(super) async fn link(chain: Rc<[Slot]>, at: usize, iterations: u64) {
    for _ in 0..=iterations {
        let number = chain[at].receive().await;
        chain[at + 1].send(number + 1);
    }
}
