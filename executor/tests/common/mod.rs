//! What several test files need.

#![allow(dead_code, unreachable_pub)]

use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, event: impl Display) {
        self.0.borrow_mut().push(event.to_string());
    }

    /// Returns the events so far and starts over.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// A future that logs an event and is done.
    pub fn task(&self, event: impl Display) -> impl Future<Output = ()> + 'static {
        let (log, event) = (self.clone(), event.to_string());
        async move { log.add(event) }
    }

    /// A value that logs its drop.
    pub fn on_drop(&self, event: impl Display) -> OnDrop {
        OnDrop(self.clone(), event.to_string())
    }
}

pub struct OnDrop(Log, String);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add(&self.1);
    }
}

/// Pending until opened; keeps the wakers of whoever waits.
#[derive(Clone, Default)]
pub struct Gate(Rc<RefCell<(bool, Vec<Waker>)>>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        let wakers = {
            let mut state = self.0.borrow_mut();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// The wakers collected so far.
    pub fn wakers(&self) -> Vec<Waker> {
        std::mem::take(&mut self.0.borrow_mut().1)
    }

    pub fn is_open(&self) -> bool {
        self.0.borrow().0
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.0 {
            return Poll::Ready(());
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }
}

/// Counts its wakes.
#[derive(Default)]
pub struct CountWakes(AtomicUsize);

impl CountWakes {
    pub fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&count));
        (count, waker)
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Pending for ever, with no waker kept.
pub fn never() -> impl Future<Output = ()> + 'static {
    std::future::pending()
}
