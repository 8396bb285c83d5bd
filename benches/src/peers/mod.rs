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
mod smol;
#[cfg(feature = "peers-executor")]
mod tokio;

use crate::case::Case;

/// Every workload on every executor that was built in, ours first.
pub fn cases() -> Vec<Case> {
    [
        ours::cases(),
        #[cfg(feature = "peers-executor")]
        tokio::cases(),
        #[cfg(feature = "peers-executor")]
        async_executor::cases(),
        #[cfg(feature = "peers-executor")]
        smol::cases(),
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
