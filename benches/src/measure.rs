//! Measures the same workload on several executors, in turn.
//!
//! A machine that others use, or that heats up, is slower at one time than at another. So
//! nothing is measured twice in a row: in each round every executor gets one sample, and what is
//! compared are the medians of one run.

use std::time::{Duration, Instant};

use crate::vigil;
use crate::{Bench, Label};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many samples each executor gets.
    pub rounds: usize,
    /// How long a sample takes, about; one iteration at least.
    pub sample: Duration,
}

/// The samples of one workload on one executor: nanoseconds an operation.
#[derive(Clone, Debug)]
pub struct Figure(Vec<f64>);

impl Figure {
    /// The figure of some samples.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn new(mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "a figure has samples");
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// What a quarter of the samples is below, and a quarter above.
    pub fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// Between two samples where it falls between them.
    fn quantile(&self, part: f64) -> f64 {
        let at = part * (self.0.len() - 1) as f64;
        let (low, high) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }
}

/// A bench, and how often it is repeated for a sample.
struct Runner<'a> {
    label: &'a Label,
    bench: &'a mut Bench,
    iterations: u64,
    samples: Vec<f64>,
}

impl Runner<'_> {
    fn run(&mut self) -> Duration {
        vigil::enter(self.label);
        let measured = self.bench.run(self.iterations);
        vigil::leave();
        measured
    }

    /// Finds how many iterations make up a sample; warms up on the way.
    fn calibrate(&mut self, sample: Duration) {
        let enough = sample / 2;
        loop {
            let mut taken = self.time();
            if taken >= enough {
                // Unless something else had the processor meanwhile: the least of three counts.
                taken = taken.min(self.time()).min(self.time());
            }
            if taken >= enough || self.iterations > u64::MAX / 4 {
                let scale = sample.as_secs_f64() / taken.as_secs_f64();
                let iterations = (self.iterations as f64 * scale).round() as u64;
                self.iterations = iterations.max(1);
                return;
            }
            self.iterations *= 2;
        }
    }

    /// How long a run takes by the time of the world, waits that are not measured included.
    fn time(&mut self) -> Duration {
        let start = Instant::now();
        self.run();
        start.elapsed()
    }

    fn sample(&mut self) {
        let nanoseconds = self.run().as_secs_f64() * 1e9;
        let operations = self.iterations * self.bench.operations();
        self.samples.push(nanoseconds / operations as f64);
    }
}

/// Measures all of them in turn.
pub fn interleaved(benches: &mut [(Label, Bench)], plan: Plan) -> Vec<Figure> {
    let mut runners: Vec<_> = benches
        .iter_mut()
        .map(|(label, bench)| Runner {
            label,
            bench,
            iterations: 1,
            samples: Vec::with_capacity(plan.rounds),
        })
        .collect();
    for runner in &mut runners {
        runner.calibrate(plan.sample);
    }
    for _ in 0..plan.rounds {
        runners.iter_mut().for_each(Runner::sample);
    }
    let samples = runners.into_iter().map(|runner| runner.samples);
    samples.map(Figure::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn a_median_is_in_the_middle_and_quartiles_are_beside_it() {
        let figure = Figure::new(vec![9.0, 1.0, 5.0, 3.0, 7.0]);
        assert_eq!((figure.median(), figure.quartiles()), (5.0, (3.0, 7.0)));
        assert_eq!(Figure::new(vec![1.0, 2.0]).median(), 1.5);
    }

    #[test]
    fn executors_are_measured_in_turn() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut benches: Vec<_> = ["a", "b"]
            .map(|executor| {
                let (label, order) = (label(executor), order.clone());
                let bench = Bench::new(2, move |iterations| {
                    order.borrow_mut().push(executor);
                    std::thread::sleep(Duration::from_millis(1));
                    Duration::from_nanos(10 * iterations)
                });
                (label, bench)
            })
            .into();
        let plan = Plan {
            rounds: 3,
            sample: Duration::from_millis(1),
        };
        let figures = interleaved(&mut benches, plan);
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].median(), 5.0);
        assert!(order.borrow().ends_with(&["a", "b", "a", "b", "a", "b"]));
    }

    fn label(executor: &'static str) -> Label {
        Label {
            workload: "sleep".into(),
            executor,
        }
    }
}
