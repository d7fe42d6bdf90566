//! The decision table of an opening, row by row.

use bytes::Bytes;
use wal::{ChainHash, EntryKind};

use super::*;

fn tables(seq: u64, chain: u64) -> FlushedState {
    FlushedState { lsn: Lsn::new(1, seq), chain: ChainHash(chain), ..FlushedState::default() }
}

fn nothing() -> FlushedState {
    FlushedState::default()
}

/// A log that was cut at 1.4 and goes on to 1.8; the chain hash at 1.n is n.
fn log() -> CohortRecovery {
    let entry = |seq| Entry {
        lsn: Lsn::new(1, seq),
        prev: Lsn::new(1, seq - 1),
        chain: ChainHash(seq),
        kind: EntryKind::Write,
        payload: Bytes::new(),
    };
    let checkpoint =
        Checkpoint { flushed: Lsn::new(1, 4), flushed_chain: ChainHash(4), ..Checkpoint::default() };
    CohortRecovery { checkpoint, entries: (5..=8).map(entry).collect(), ..CohortRecovery::default() }
}

fn corrupt(mut log: CohortRecovery) -> CohortRecovery {
    log.corrupt = Some(Corruption { segment: "s".into(), offset: 1, what: "the checksum does not match" });
    log
}

/// What the replica opens as, in words.
fn opens(log: Option<CohortRecovery>, tables: &FlushedState, fresh: bool, loss: Option<&str>) -> String {
    match reconcile(log, tables, fresh, loss.map(str::to_owned)) {
        recovered if recovered.must_rejoin => {
            format!("learner from {}", recovered.log.checkpoint.flushed)
        }
        recovered if recovered.fresh => "fresh".to_owned(),
        recovered if recovered.log_superseded => format!("snapshot at {}", recovered.log.committed),
        recovered => {
            format!("from {} with {} entries", recovered.log.checkpoint.flushed, recovered.log.entries.len())
        }
    }
}

#[test]
fn without_a_log() {
    assert_eq!(opens(None, &nothing(), true, None), "fresh");
    assert_eq!(opens(None, &nothing(), false, None), "from 0.0 with 0 entries");
    assert_eq!(opens(None, &tables(4, 4), false, None), "learner from 1.4");
    assert_eq!(opens(None, &tables(4, 4), false, Some("damaged")), "learner from 1.4");
    assert_eq!(opens(None, &nothing(), false, Some("another disk")), "learner from 0.0");
    assert_eq!(opens(None, &nothing(), true, Some("damage elsewhere")), "fresh");
}

#[test]
fn a_log_that_is_not_trusted_makes_a_learner() {
    assert_eq!(opens(Some(corrupt(log())), &tables(6, 6), false, None), "learner from 1.6");
    let mut wiping = log();
    wiping.checkpoint.must_rejoin = true;
    assert_eq!(opens(Some(wiping), &nothing(), false, None), "learner from 0.0");
}

#[test]
fn log_and_tables_that_fit_are_joined_at_the_flushed_lsn() {
    assert_eq!(opens(Some(log()), &tables(4, 4), false, None), "from 1.4 with 4 entries");
    assert_eq!(opens(Some(log()), &tables(6, 6), false, None), "from 1.6 with 2 entries");
    assert_eq!(opens(Some(log()), &tables(8, 8), false, None), "from 1.8 with 0 entries");
}

#[test]
fn an_installed_snapshot_supersedes_a_log_that_does_not_know_it() {
    for (seq, chain) in [(6, 77), (20, 20)] {
        let snapshot = FlushedState { snapshot: Lsn::new(1, seq), ..tables(seq, chain) };
        assert_eq!(opens(Some(log()), &snapshot, false, None), format!("snapshot at 1.{seq}"));
    }
}

#[test]
fn log_and_tables_that_do_not_fit_make_a_learner() {
    for (seq, chain) in [(3, 3), (6, 77), (20, 20)] {
        let expected = format!("learner from 1.{seq}");
        assert_eq!(opens(Some(log()), &tables(seq, chain), false, None), expected);
    }
}
