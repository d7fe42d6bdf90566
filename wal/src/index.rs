//! Where each live entry of each cohort lies, so that catch-up reads it back without a scan [index-covers-log].

use std::collections::{BTreeMap, VecDeque};

use crate::lsn::{CohortId, Epoch, Lsn};

/// One entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) epoch: Epoch,
    /// Length of the whole record.
    pub(crate) bytes: u32,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The live entries of one cohort: sequence `first + i` stands at `places[i]`.
#[derive(Debug, Default)]
pub(crate) struct CohortIndex {
    /// The LSN before the first place: entries behind it can be read.
    oldest: Lsn,
    places: VecDeque<Place>,
}

impl CohortIndex {
    /// An empty index behind `oldest`.
    pub(crate) fn starting(oldest: Lsn) -> CohortIndex {
        CohortIndex { oldest, places: VecDeque::new() }
    }

    /// Everything up to `base` is elsewhere, and nothing behind it is here yet.
    pub(crate) fn restart(&mut self, base: Lsn) {
        *self = CohortIndex::starting(base);
    }

    pub(crate) fn oldest(&self) -> Lsn {
        self.oldest
    }

    pub(crate) fn last(&self) -> Lsn {
        match self.places.back() {
            None => self.oldest,
            Some(place) => Lsn { epoch: place.epoch, seq: self.oldest.seq + self.places.len() as u64 },
        }
    }

    /// The LSN before the first place, and the last LSN of each epoch behind it.
    pub(crate) fn epoch_ends(&self) -> Vec<Lsn> {
        let mut ends = vec![self.oldest];
        for (seq, place) in (self.oldest.seq + 1..).zip(&self.places) {
            let lsn = Lsn { epoch: place.epoch, seq };
            match ends.last_mut() {
                Some(end) if end.epoch == lsn.epoch => *end = lsn,
                Some(_) | None => ends.push(lsn),
            }
        }
        ends
    }

    /// The place of the live entry with this sequence number.
    pub(crate) fn at(&self, seq: u64) -> Option<Place> {
        let position = seq.checked_sub(self.oldest.seq + 1)?;
        self.places.get(usize::try_from(position).ok()?).copied()
    }

    /// Adds an entry, or the newer place of one that was appended again: a full disk refuses what came behind it, too, and
    /// whoever was refused repeats all. One that does not follow the last starts the index anew behind `prev`.
    pub(crate) fn push(&mut self, lsn: Lsn, prev: Lsn, place: Place) {
        let repeated = self.at(lsn.seq).is_some_and(|known| known.epoch == lsn.epoch);
        if repeated {
            return self.moved(lsn.seq, place);
        }
        if self.last() != prev {
            self.oldest = prev;
            self.places.clear();
        }
        debug_assert_eq!(lsn.seq, self.last().seq + 1);
        self.places.push_back(place);
    }

    /// Replaces the place of an entry that was copied forward.
    pub(crate) fn moved(&mut self, seq: u64, place: Place) {
        if let Some(position) = seq.checked_sub(self.oldest.seq + 1)
            && let Some(old) = self.places.get_mut(position as usize)
        {
            *old = place;
        }
    }

    /// Drops entries from `seq` on (a truncation).
    pub(crate) fn truncate(&mut self, seq: u64) {
        let keep = seq.saturating_sub(self.oldest.seq + 1);
        self.places.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Forgets the entries in segments below `segment`, as far as they stand first.
    pub(crate) fn drop_below(&mut self, segment: u64) {
        while let Some(place) = self.places.front()
            && place.segment < segment
        {
            self.oldest = Lsn { epoch: place.epoch, seq: self.oldest.seq + 1 };
            self.places.pop_front();
        }
    }
}

/// All cohorts' indexes.
pub(crate) type Index = BTreeMap<CohortId, CohortIndex>;
