//! Runs foreign code so that the executor's blocking detector can say whose it was, under the feature
//! `blocking-detector`.

use crate::error::Error;
use crate::func::HostFunc;
use crate::store::State;

/// Runs a host function, or the first poll of its future, in a phase that names the import.
#[cfg(feature = "blocking-detector")]
pub(crate) fn watched<R>(
    state: &State,
    host: &HostFunc,
    run: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    use vestibule_executor::{Phase, PhaseKind};
    let executor = state.executor.clone();
    let phase = match executor.phase().kind {
        PhaseKind::Instantiating => Phase::instantiating(&state.group),
        _ => Phase::custom("host function", &state.group),
    };
    let outer = executor.phase().label;
    let within = outer.map_or_else(String::new, |label| format!(", in {label}"));
    let label = format!("import `{}`{within}", host.name);
    executor.with_phase(phase.label(label).entered_at(host.defined_at), run)
}

#[cfg(not(feature = "blocking-detector"))]
pub(crate) fn watched<R>(
    _: &State,
    _: &HostFunc,
    run: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    run()
}
