//! The executors.

mod ours;

#[cfg(feature = "peers-executor")]
mod async_executor;
#[cfg(feature = "peers-executor")]
mod compio;
#[cfg(feature = "peers-executor")]
mod compio_executor;
#[cfg(all(feature = "peers-executor", target_os = "linux"))]
mod glommio;
#[cfg(feature = "peers-executor")]
mod local_pool;
#[cfg(all(feature = "peers-executor", target_os = "linux"))]
mod monoio;
#[cfg(feature = "peers-executor")]
mod sets;
#[cfg(feature = "peers-executor")]
mod tokio;

use crate::case::Case;
use crate::workload::memory::IdleCase;

/// Every workload on every executor that was built in, ours first.
pub fn cases() -> Vec<Case> {
    [
        ours::cases(),
        #[cfg(feature = "peers-executor")]
        tokio::cases(),
        #[cfg(feature = "peers-executor")]
        async_executor::cases::<async_executor::FuturesLite>(),
        #[cfg(feature = "peers-executor")]
        async_executor::cases::<async_executor::Smol>(),
        #[cfg(feature = "peers-executor")]
        local_pool::cases(),
        #[cfg(feature = "peers-executor")]
        compio_executor::cases(),
        #[cfg(feature = "peers-executor")]
        compio::cases(),
        #[cfg(all(feature = "peers-executor", target_os = "linux"))]
        monoio::cases(),
        #[cfg(all(feature = "peers-executor", target_os = "linux"))]
        glommio::cases(),
        #[cfg(feature = "peers-executor")]
        sets::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What an idle task takes, on every executor that was built in, ours first.
pub fn idle() -> Vec<IdleCase> {
    vec![
        IdleCase::of::<ours::Ours>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<tokio::WithLocalSet>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<tokio::Local>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<async_executor::Local<async_executor::FuturesLite>>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<async_executor::Local<async_executor::Smol>>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<local_pool::Pool>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<compio_executor::Bare>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of::<compio::Compio>(),
        #[cfg(all(feature = "peers-executor", target_os = "linux"))]
        IdleCase::of::<monoio::Monoio>(),
        #[cfg(all(feature = "peers-executor", target_os = "linux"))]
        IdleCase::of::<glommio::Glommio>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of_set::<sets::OfFutures>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of_set::<sets::OfFuturesBuffered>(),
        #[cfg(feature = "peers-executor")]
        IdleCase::of_set::<sets::OfUnicycle>(),
    ]
}
