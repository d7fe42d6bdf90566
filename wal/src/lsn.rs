//! Names of positions and parties: epochs, LSNs, cohorts, nodes, incarnations.
//!
//! An LSN is `epoch.sequence` (paper, appendix B). It orders by epoch first; the sequence goes on
//! across epochs, so in one cohort's live log the sequence alone is a dense index: `1.21` is followed
//! by `2.22`. A sequence number can stand twice *physically* (`1.22` dropped, `2.22` kept), never
//! twice among live records.

use std::fmt;
use std::str::FromStr;

use bytes::{Buf, BufMut};

/// A leadership's number, unique per cohort; 0 means "none yet" .
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// Log sequence number `epoch.seq`; [`Lsn::ZERO`] stands before the first record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn {
    /// Epoch of the leader that first proposed the record.
    pub epoch: Epoch,
    /// Dense position in the cohort's log, counted from 1.
    pub seq: u64,
}

impl Lsn {
    /// The position before the first record of a cohort.
    pub const ZERO: Lsn = Lsn { epoch: Epoch(0), seq: 0 };

    /// The LSN `epoch.seq`.
    pub const fn new(epoch: u32, seq: u64) -> Lsn {
        Lsn { epoch: Epoch(epoch), seq }
    }

    /// Appends the LSN as all our files hold it: epoch, 4 bytes, then sequence number, 8 bytes, both little-endian.
    pub fn put(self, out: &mut impl BufMut) {
        out.put_u32_le(self.epoch.0);
        out.put_u64_le(self.seq);
    }

    /// Takes an LSN that [`Lsn::put`] wrote off the front of `bytes`; `None`, and nothing taken, if there are too few.
    pub fn take(bytes: &mut impl Buf) -> Option<Lsn> {
        (bytes.remaining() >= 12).then(|| Lsn { epoch: Epoch(bytes.get_u32_le()), seq: bytes.get_u64_le() })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// The text does not name an LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN (expected epoch.sequence, such as 2.22)")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let (epoch, seq) = text.split_once('.').ok_or(ParseLsnError)?;
        Ok(Lsn {
            epoch: Epoch(epoch.parse().map_err(|_| ParseLsnError)?),
            seq: seq.parse().map_err(|_| ParseLsnError)?,
        })
    }
}

/// A cohort's (range's) identity: random 128 bits, never reused, so that a restored coordinator
/// cannot hand a new range the records of an old one [random-cohort-ids].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortId(pub u128);

impl fmt::Display for CohortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for CohortId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<CohortId, Self::Err> {
        u128::from_str_radix(text, 16).map(CohortId)
    }
}

/// A node's number as the operator gave it (`--node-id`), 1 and up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// The text does not name a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a node (expected n and its number, such as n2)")]
pub struct ParseNodeIdError;

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    /// Reads what [`fmt::Display`] writes: `n2`.
    fn from_str(text: &str) -> Result<NodeId, ParseNodeIdError> {
        let number = text.strip_prefix('n').ok_or(ParseNodeIdError)?;
        number.parse().map(NodeId).map_err(|_| ParseNodeIdError)
    }
}

/// Which life of a node's *disk* this is: random, made with an empty data directory and kept in it.
/// A node that comes back with an empty disk is another incarnation, and rejoins as a learner
/// [rejoin-as-learner].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = std::num::ParseIntError;

    /// Reads what [`fmt::Display`] writes: a hexadecimal number.
    fn from_str(text: &str) -> Result<Incarnation, Self::Err> {
        u64::from_str_radix(text, 16).map(Incarnation)
    }
}

/// A member as other members know it: node number and disk life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// The node.
    pub node: NodeId,
    /// Its disk's life.
    pub incarnation: Incarnation,
}

/// A hash over all Write and EpochStart records of a cohort up to an LSN, so that replicas that differ find out
/// [match-before-append].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChainHash(pub u64);

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl ChainHash {
    /// The hash before the first record.
    pub const ZERO: ChainHash = ChainHash(0);

    /// The hash after one more record.
    pub fn extend(self, lsn: Lsn, kind: u8, payload: &[u8]) -> ChainHash {
        let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(self.0);
        hasher.update(&lsn.epoch.0.to_le_bytes());
        hasher.update(&lsn.seq.to_le_bytes());
        hasher.update(&[kind]);
        hasher.update(payload);
        ChainHash(hasher.digest())
    }
}
