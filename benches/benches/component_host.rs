//! What a component costs: compiling, instantiating, calling. Every benchmark checks its result.

#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented functions"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use vestibule_benches::host;

fn hosts(c: &mut Criterion) {
    for mut case in host::cases() {
        c.bench_function(&format!("{}/ours", case.name), |b| b.iter(&mut case.ours));
        if let Some((who, work)) = &mut case.other {
            c.bench_function(&format!("{}/{who}", case.name), |b| b.iter(&mut *work));
        }
    }
}

criterion_group!(benches, hosts);
criterion_main!(benches);
