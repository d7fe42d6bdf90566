//! Errors of the log, by consequence.

use std::io;
use std::sync::Arc;

use crate::lsn::Lsn;

/// Why an append or a force failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// No space: this append is refused whole, nothing before it is touched. Retry when space is back.
    #[error("disk full: the log takes no writes until space is freed")]
    DiskFull,
    /// A segment could not be made, noted, read or removed, for a reason that may pass (no file descriptor, no memory). Nothing
    /// is lost: the open batch waits for the next force, and a segment that was to go stays for now.
    #[error("a segment of the log could not be made, noted, read or removed: {0}")]
    Segment(Arc<io::Error>),
    /// A force failed: what reached the disk is unknown, so nothing is acknowledged any more. Final; restart.
    #[error("log poisoned after a failed force: {0}")]
    Poisoned(Arc<io::Error>),
    /// The log was closed or killed.
    #[error("log closed")]
    Closed,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The disk refused.
    #[error("log directory: {0}")]
    Io(#[from] io::Error),
    /// Written by an older or newer program.
    #[error(
        "log segment {segment} has format version {found}, this program reads version {known} only: start the {} \
         program that wrote it, or give the node an empty data directory and start it with --rebuild",
        if .found < .known { "older" } else { "newer" }
    )]
    Version {
        /// File.
        segment: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The file that says how far the log reaches was made by a newer program.
    #[error(
        "the data directory's EXTENT file has version {found}, this program reads version {known} only: start the program \
         that made it, or give the node an empty data directory and start it with --rebuild"
    )]
    Extent {
        /// Its version.
        found: String,
        /// Ours.
        known: &'static str,
    },
}

/// Why entries could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer reaches back: what lies behind `oldest` can be read.
    #[error("the log was removed up to {oldest}")]
    Gone {
        /// Entries behind this LSN are there.
        oldest: Lsn,
    },
    /// The LSN asked for is not in the live log.
    #[error("{0} is not in the live log")]
    NotLive(Lsn),
    /// The bytes do not match their checksum.
    #[error("log segment {segment} is corrupt at offset {offset}")]
    Corrupt {
        /// File.
        segment: String,
        /// Where.
        offset: u64,
    },
    /// The disk refused.
    #[error("reading the log: {0}")]
    Io(#[from] io::Error),
}
