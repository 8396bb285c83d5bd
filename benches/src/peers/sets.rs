//! Sets of futures: `futures::stream::FuturesUnordered`, and those of `futures-buffered` and
//! `unicycle`. And no executor at all: a future that blocks its thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{FuturesUnordered, Stream};
use futures_buffered::FuturesUnordered as Buffered;
use unicycle::{FuturesUnordered as Unicycle, PollNext};

use crate::case::{Case, Offer};
use crate::workload::asking_alone;
use crate::workload::sets::{self, Set, Sets};

pub(crate) struct OfFutures;

impl Sets for OfFutures {
    const NAME: &'static str = "futures-unordered";
    type Of<F: Future + 'static> = FuturesUnordered<F>;
}

impl<F: Future> Set<F> for FuturesUnordered<F> {
    fn push(&mut self, future: F) {
        FuturesUnordered::push(self, future);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        Stream::poll_next(Pin::new(self), cx)
    }
}

pub(crate) struct OfFuturesBuffered;

impl Sets for OfFuturesBuffered {
    const NAME: &'static str = "futures-buffered";
    type Of<F: Future + 'static> = Buffered<F>;
}

impl<F: Future> Set<F> for Buffered<F> {
    fn push(&mut self, future: F) {
        Buffered::push(self, future);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        Stream::poll_next(Pin::new(self), cx)
    }
}

pub(crate) struct OfUnicycle;

impl Sets for OfUnicycle {
    const NAME: &'static str = "unicycle";
    type Of<F: Future + 'static> = Unicycle<F>;
}

impl<F: Future> Set<F> for Unicycle<F> {
    fn push(&mut self, future: F) {
        Unicycle::push(self, future);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        PollNext::poll_next(Pin::new(self), cx)
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = sets::cases::<OfFutures>();
    cases.extend(sets::cases::<OfFuturesBuffered>());
    cases.extend(sets::cases::<OfUnicycle>());
    for (name, operation, sleeps) in [
        ("cross_thread/one_way", "wake", true),
        ("cross_thread/round_trip", "round trip", false),
    ] {
        cases.push(Case::new(
            name,
            "futures-block-on",
            operation,
            Offer::Less,
            move |label| {
                Ok(asking_alone(label, sleeps, |f| {
                    futures::executor::block_on(f)
                }))
            },
        ));
    }
    cases
}
