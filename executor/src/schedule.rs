//! Decides which of several ready tasks is polled next.

use crate::choices::Choices;

/// The order in which ready tasks are polled.
///
/// The Component Model says "pick any ready thread"; a program that is right in one order
/// only is wrong. [`Schedule::Shuffle`] makes other orders happen, and makes them happen
/// again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// As [`Shuffle`](Schedule::Shuffle), in an order that is recorded, or that was.
    Choices(Choices),
}

/// Draws positions; `None` in the table means first come, first served.
#[derive(Debug)]
pub(crate) enum Shuffler {
    Seeded(u64),
    Choices(Choices),
}

impl Shuffler {
    pub(crate) fn new(schedule: Schedule) -> Option<Self> {
        match schedule {
            Schedule::Fifo => None,
            Schedule::Shuffle { seed } => Some(Self::Seeded(seed)),
            Schedule::Choices(choices) => Some(Self::Choices(choices)),
        }
    }

    /// A position below `len`, which is not 0.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        match self {
            Self::Seeded(seed) => draw(seed, len),
            Self::Choices(choices) => choices.below(len),
        }
    }
}

/// The next position below `len`, which is not 0, of the generator that `seed` is the state of.
pub(crate) fn draw(seed: &mut u64, len: usize) -> usize {
    // SplitMix64 (Steele, Lea, Flood 2014): any seed will do, 0 included.
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % len as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::draw;

    /// The outputs that are published for this seed (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    /// A seed from a bug report must mean the same order in every version.
    #[test]
    fn the_generator_is_split_mix_64() {
        let mut seed = 1_234_567;
        let drawn = [(); 5].map(|()| draw(&mut seed, usize::MAX) as u64);
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }
}
