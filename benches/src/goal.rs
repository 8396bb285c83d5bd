//! What our executor has to reach, in the same run as those it is compared with.

/// A bound for the time of an operation of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most so many times the best executor with handles.
    OfBestWithHandles(f64),
    /// At most so many times the best of anything.
    OfBest(f64),
    /// At most so many nanoseconds more than the best of anything.
    MoreThanBest(f64),
    /// At most so many times the named one.
    Of(&'static str, f64),
}

/// The bound for a workload, if there is one.
pub fn of(workload: &str) -> Option<Goal> {
    let goal = match workload {
        "spawn_join/tasks=1000000" => Goal::OfBestWithHandles(0.7),
        "yield/tasks=1000" => Goal::OfBestWithHandles(0.4),
        "yield/tasks=100000" => Goal::OfBestWithHandles(0.45),
        "wake_chain/tasks=1000" => Goal::OfBestWithHandles(0.55),
        "block_on/ready" => Goal::MoreThanBest(3.0),
        "block_on/pending_once" => Goal::Of("futures-unordered", 1.0),
        "cross_thread/one_way" | "cross_thread/round_trip" => Goal::OfBest(1.05),
        _ => match workload.split('/').next()? {
            "spawn_join" | "yield" | "ping_pong" | "join_random" => Goal::OfBestWithHandles(0.5),
            "spawn_cancel" => Goal::OfBestWithHandles(0.4),
            "cross_thread" => Goal::OfBestWithHandles(0.6),
            "join_set" => Goal::OfBestWithHandles(0.25),
            _ => return None,
        },
    };
    Some(goal)
}
