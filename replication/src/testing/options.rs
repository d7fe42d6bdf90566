//! How a world misbehaves by itself, and the one source of its chances.

use crate::protocol::Settings;

/// Splitmix64: small, good enough, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How the world misbehaves by itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Members of the cohort.
    pub members: u32,
    /// Most a message takes, in microseconds (the least is 50).
    pub delay_max: u64,
    /// A message is lost once in so many (0: never).
    pub loss: u64,
    /// A message comes twice once in so many (0: never).
    pub duplication: u64,
    /// Most a force takes, in microseconds (the least is 100).
    pub force_max: u64,
    /// Clocks run too fast or too slow by up to so many per mille.
    pub drift_per_mille: u64,
    /// Periods and limits of the protocol.
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            members: 3,
            delay_max: 100,
            loss: 0,
            duplication: 0,
            force_max: 100,
            drift_per_mille: 0,
            settings: Settings::default(),
        }
    }
}
