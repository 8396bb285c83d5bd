//! Decides which of several ready tasks is polled next.

/// The order in which ready tasks are polled.
///
/// The Component Model says "pick any ready thread"; a program that is right in one order
/// only is wrong. [`Schedule::Shuffle`] makes other orders happen, and makes them happen
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// In the order of their wakes.
    #[default]
    Fifo,
    /// In an order drawn from a generator that starts at `seed`: the same program with the
    /// same seed runs in the same order. A round still polls everything that was ready at
    /// its start, so nothing starves. Picking takes time linear in the number of ready
    /// tasks: this is for tests.
    Shuffle {
        /// Where the generator starts.
        seed: u64,
    },
}

/// Draws positions; `None` in the table means first come, first served.
#[derive(Debug)]
pub(crate) struct Shuffler(u64);

impl Shuffler {
    pub(crate) fn new(schedule: Schedule) -> Option<Self> {
        match schedule {
            Schedule::Fifo => None,
            Schedule::Shuffle { seed } => Some(Self(seed)),
        }
    }

    /// A position below `len`, which is not 0.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood 2014): any seed will do, 0 included.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % len as u64) as usize
    }
}
