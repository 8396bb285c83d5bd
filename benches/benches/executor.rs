//! What a task costs: the cases of the library, by criterion. Every workload checks its result.
//!
//! `figures` is what compares executors: it measures them in turn. This is for following one of
//! them over time: `cargo bench -p vestibule-benches --bench executor -- ours`.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use vestibule_benches::{peers, vigil};

fn main() {
    vigil::keep(Duration::from_secs(120));
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for case in peers::cases() {
        let mut bench = match case.start() {
            Ok(bench) => bench,
            Err(reason) => {
                eprintln!("{}: not measured: {reason}", case.label);
                continue;
            }
        };
        let mut group = criterion.benchmark_group(case.label.workload.as_str());
        group.throughput(Throughput::Elements(bench.operations()));
        group.bench_function(case.label.executor, |b| {
            b.iter_custom(|iterations| {
                vigil::enter(&case.label);
                let measured = bench.run(iterations);
                vigil::leave();
                measured
            });
        });
        group.finish();
    }
    criterion.final_summary();
}
