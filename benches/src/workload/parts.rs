//! The futures that workloads are made of, the same for every executor.

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The waker, with its table of functions hidden from the compiler.
#[inline]
pub(crate) fn opaque<'a>(cx: &'a Context<'_>) -> &'a Waker {
    black_box(cx.waker())
}

/// Pending once, having woken its task.
#[derive(Debug, Default)]
pub struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        opaque(cx).wake_by_ref();
        Poll::Pending
    }
}

/// A place for one number, and for the waker of who waits for it.
///
/// What a channel does at least: the receiver leaves a clone of its waker whenever it waits, and
/// the sender uses it up.
#[derive(Default)]
pub(crate) struct Slot {
    number: Cell<Option<u64>>,
    waker: Cell<Option<Waker>>,
}

impl Slot {
    pub(crate) fn send(&self, number: u64) {
        self.number.set(Some(number));
        if let Some(waker) = self.waker.take() {
            black_box(waker).wake();
        }
    }

    pub(crate) fn receive(&self) -> Receive<'_> {
        Receive(self)
    }
}

/// Waits for the number of a [`Slot`].
pub(crate) struct Receive<'a>(&'a Slot);

impl Future for Receive<'_> {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        match self.0.number.take() {
            Some(number) => Poll::Ready(number),
            None => {
                self.0.waker.set(Some(opaque(cx).clone()));
                Poll::Pending
            }
        }
    }
}

/// Never ready; counts its drop.
#[derive(Debug)]
pub(crate) struct Never(pub(crate) Rc<Cell<u64>>);

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Never {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// The numbers below `len` in an order that is always the same and looks random.
pub(crate) fn shuffled(len: usize) -> Vec<usize> {
    let mut numbers: Vec<_> = (0..len).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..len).rev() {
        // Xorshift: good enough to leave no order that a cache could use.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.swap(last, (state % (last as u64 + 1)) as usize);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn a_shuffle_keeps_every_number_and_no_order() {
        let mut numbers = shuffled(1_000);
        let neighbours = numbers.windows(2).filter(|w| w[0] + 1 == w[1]).count();
        assert!(neighbours < 10, "{neighbours} of 999 pairs are in order");
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1_000));
    }
}
