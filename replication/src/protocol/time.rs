//! Time as the protocol sees it: stamps of a boot-time clock, handed in with each event.

/// Microseconds on one node's boot-time clock (CLOCK_BOOTTIME: it counts through suspend). Stamps of
/// different nodes cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

/// A duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u32);

impl Millis {
    /// One more: rounds a truncated duration up.
    pub(crate) fn plus_one(self) -> Millis {
        Millis(self.0.saturating_add(1))
    }
}

impl Stamp {
    /// This stamp and `duration`.
    pub fn plus(self, duration: Millis) -> Stamp {
        Stamp(self.0.saturating_add(u64::from(duration.0) * 1000))
    }

    /// Whole milliseconds since `earlier`, 0 if that is later.
    pub fn since(self, earlier: Stamp) -> Millis {
        Millis(u32::try_from(self.0.saturating_sub(earlier.0) / 1000).unwrap_or(u32::MAX))
    }
}
