//! How long something takes, counted in fixed buckets without a lock: cheap enough for every force and every write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; one more bucket takes what is longer.
pub const BOUNDS_MICROS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// Durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many in each bucket, not cumulated; the last one has no upper bound.
    pub buckets: [u64; BOUNDS_MICROS.len() + 1],
    /// All durations together, in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// It took so long, once.
    pub fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn durations(&self) -> Durations {
        let load = |bucket: &AtomicU64| bucket.load(Ordering::Relaxed);
        Durations { buckets: self.buckets.each_ref().map(load), sum_micros: load(&self.sum_micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for micros in [100, 101, 11_000_000] {
            histogram.took(Duration::from_micros(micros));
        }
        let Durations { buckets, sum_micros } = histogram.durations();
        assert_eq!((buckets[0], buckets[1], buckets[BOUNDS_MICROS.len()], sum_micros), (1, 1, 1, 11_000_201));
    }
}
