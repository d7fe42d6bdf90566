//! What a scan of a range asks, and what it makes of the answers.

use bytes::Bytes;
use wal::CohortId;

use super::*;
use crate::request::{Cell, Columns};

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    steps: RangeScanSteps,
    now: Instant,
}

fn at(seq: u64) -> Lsn {
    Lsn::new(1, seq)
}

fn row(key: &str) -> Row {
    let cell = Cell { column: "c".into(), value: "v".into(), version: at(1) };
    Row { key: Bytes::copy_from_slice(key.as_bytes()), cells: vec![cell], version: at(1) }
}

/// A page: rows, the LSN, who answered; with a cursor that has passed this key.
fn page(keys: &[&str], seq: u64, node: u32, passed: Option<&str>) -> Answer {
    let source = Source { range: CohortId(7), replica: NodeId(node), lsn: at(seq), staleness: None };
    let passed = passed.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let cursor = passed.map(|passed| Cursor { id: 70 + u64::from(node), passed: Some(passed) });
    Answer::Rows { rows: keys.iter().map(|key| row(key)).collect(), source, cursor }
}

fn scene(consistency: Consistency, max_staleness: Option<Duration>) -> Scene {
    let now = Instant::now();
    let options = ReadOptions { consistency, max_staleness, min_lsn: None, deadline: now + 10 * SECOND };
    let whole = RangeScan {
        start: "a".into(),
        end: Some("z".into()),
        reverse: false,
        limit: None,
        columns: Columns::All,
    };
    let members = vec![NodeId(1), NodeId(2), NodeId(3)];
    Scene { steps: RangeScanSteps::new(members, whole, &options), now }
}

impl Scene {
    fn strong() -> Scene {
        scene(Consistency::Strong, None)
    }

    fn step(&mut self) -> ScanStep {
        self.steps.step(self.now).unwrap()
    }

    fn opened(&mut self, answer: Answer) -> Handed {
        assert!(matches!(self.step(), ScanStep::Open(..)));
        self.steps.opened(self.now, answer).unwrap()
    }

    /// Whom it asks for the rest, from which key on, with which cursor.
    fn asks(&mut self) -> (u32, String, u64) {
        match self.step() {
            ScanStep::Ask(node, Operation::Rest { scan, at: lsn, cursor, .. }) => {
                assert_eq!(lsn, at(5));
                (node.0, String::from_utf8_lossy(&scan.start).into_owned(), cursor)
            }
            other => panic!("{other:?}"),
        }
    }

    fn answered(&mut self, result: Result<Answer, CallError>) -> Result<Option<Handed>, KvError> {
        self.steps.answered(self.now, self.now, result)
    }

    fn refused(&mut self, error: KvError) -> Result<Option<Handed>, KvError> {
        self.answered(Err(CallError::Refused(error)))
    }
}

#[test]
fn pages_go_on_behind_the_key_that_was_passed_at_the_lsn_of_the_first() {
    let mut scene = Scene::strong();
    assert_eq!(scene.opened(page(&["b"], 5, 2, Some("c"))).rows.len(), 1);
    assert_eq!(scene.asks(), (2, "c\0".into(), 72));
    // Nothing found, but looked at.
    assert_eq!(scene.answered(Ok(page(&[], 5, 2, Some("f")))).unwrap().unwrap().rows.len(), 0);
    assert_eq!(scene.asks(), (2, "f\0".into(), 72));
    assert_eq!(scene.answered(Ok(page(&["g"], 5, 2, None))).unwrap().unwrap().rows.len(), 1);
    assert_eq!(scene.step(), ScanStep::Done);
    assert_eq!(scene.steps.abandoned(), [], "the replica has closed it");
}

#[test]
fn another_member_goes_on_at_the_same_lsn_and_nobody_at_another_one() {
    let mut scene = Scene::strong();
    scene.opened(page(&["b"], 5, 2, Some("b")));
    scene.asks();
    assert_eq!(scene.answered(Err(CallError::Lost("broke".into()))), Ok(None));
    assert_eq!(scene.steps.abandoned(), [(NodeId(2), 72)]);
    assert_eq!(scene.asks(), (3, "b\0".into(), 0));
    // A node of the last release answers as of its newest LSN: its rows are not handed on, what it opened is closed.
    assert_eq!(scene.answered(Ok(page(&["c", "d"], 6, 3, Some("d")))), Ok(None));
    assert_eq!(scene.steps.abandoned(), [(NodeId(3), 73)]);
    assert_eq!(scene.asks(), (1, "b\0".into(), 0));
    assert_eq!(scene.answered(Ok(page(&["c"], 5, 1, None))).unwrap().unwrap().rows, [row("c")]);
    assert_eq!(scene.step(), ScanStep::Done);
}

#[test]
fn when_nobody_has_the_lsn_any_more_it_fails_if_rows_were_handed_on() {
    let mut scene = Scene::strong();
    scene.opened(page(&["b"], 5, 2, Some("b")));
    for _ in 0..3 {
        scene.asks();
        assert_eq!(scene.refused(KvError::ReadTooOld("flushed".into())), Ok(None));
    }
    assert_eq!(scene.steps.step(scene.now), Err(KvError::ReadTooOld("flushed".into())));
}

#[test]
fn when_nobody_has_the_lsn_any_more_it_starts_over_from_the_start_if_none_were() {
    let mut scene = Scene::strong();
    scene.opened(page(&[], 5, 2, Some("m")));
    for _ in 0..3 {
        scene.asks();
        assert_eq!(scene.refused(KvError::ReadTooOld("flushed".into())), Ok(None));
    }
    assert!(matches!(scene.step(), ScanStep::Pause(_)));
    // At a newer LSN there may be rows in what was passed.
    let ScanStep::Open(scan, _) = scene.step() else { panic!("it does not start over") };
    assert_eq!((&scan.start[..], scan.end.as_deref()), (&b"a"[..], Some(&b"z"[..])));
}

#[test]
fn members_that_do_not_answer_are_asked_again_until_the_deadline() {
    let mut scene = Scene::strong();
    scene.opened(page(&["b"], 5, 2, Some("b")));
    for _ in 0..2 {
        for _ in 0..3 {
            scene.asks();
            assert_eq!(scene.refused(KvError::NotLeader { hint: None }), Ok(None));
        }
        assert!(matches!(scene.step(), ScanStep::Pause(_)));
    }
    let late = scene.steps.step(scene.now + 10 * SECOND);
    assert!(matches!(late, Err(KvError::DeadlineExceeded(_))), "{late:?}");
}

#[test]
fn an_answer_of_another_scan_is_never_taken() {
    let mut scene = Scene::strong();
    scene.opened(page(&["b"], 5, 2, Some("m")));
    scene.asks();
    assert_eq!(scene.answered(Ok(page(&["c"], 5, 2, None))), Ok(None), "a key that was passed");
    scene.asks();
    assert_eq!(scene.answered(Ok(page(&["zz"], 5, 3, None))), Ok(None), "a key outside of the bounds");
    scene.asks();
    let outside = scene.answered(Ok(page(&[], 5, 1, Some("b"))));
    assert!(matches!(outside, Err(KvError::Internal(_))), "{outside:?}");
}

#[test]
fn max_staleness_holds_for_every_page() {
    let mut scene = scene(Consistency::Timeline, Some(SECOND));
    let young = |mut answer: Answer, age: Duration| {
        if let Answer::Rows { source, .. } = &mut answer {
            source.staleness = Some(age);
        }
        answer
    };
    scene.opened(young(page(&["b"], 5, 2, Some("b")), SECOND / 2));
    scene.now += SECOND / 4;
    scene.asks();
    let handed = scene.answered(Ok(page(&["c"], 5, 2, Some("c")))).unwrap().unwrap();
    assert_eq!(handed.source.staleness, Some(SECOND * 3 / 4), "the age of the page, not of the first one");
    // The replica shows that the LSN is still the newest: the rows are as young as that.
    scene.now += SECOND;
    scene.asks();
    assert!(scene.answered(Ok(young(page(&["d"], 5, 2, Some("d")), SECOND / 8))).unwrap().is_some());
    scene.now += SECOND;
    scene.asks();
    let old = scene.answered(Ok(page(&["e"], 5, 2, Some("e"))));
    assert!(matches!(old, Err(KvError::ReadTooOld(_))), "{old:?}");
    assert_eq!(scene.steps.abandoned(), [(NodeId(2), 72)]);
}

#[test]
fn a_scan_that_ends_early_is_closed() {
    let mut scene = Scene::strong();
    scene.opened(page(&["b"], 5, 2, Some("b")));
    scene.steps.stop();
    assert_eq!(scene.steps.abandoned(), [(NodeId(2), 72)]);
    assert_eq!(scene.step(), ScanStep::Done);
    let mut limited = Scene::strong();
    limited.steps.rest.limit = Some(1);
    limited.opened(page(&["b"], 5, 2, Some("b")));
    assert_eq!(limited.step(), ScanStep::Done);
    assert_eq!(limited.steps.abandoned(), [(NodeId(2), 72)]);
    assert_eq!(limited.steps.left(), Some(0));
}

#[test]
fn a_node_of_the_last_release_is_asked_by_its_cursor_alone() {
    let mut scene = Scene::strong();
    let mut first = page(&["b"], 5, 2, Some("b"));
    if let Answer::Rows { cursor: Some(cursor), .. } = &mut first {
        cursor.passed = None;
    }
    scene.opened(first);
    assert_eq!(scene.step(), ScanStep::Ask(NodeId(2), Operation::Next(72)));
    // It was restarted, and the number stands for another scan.
    assert_eq!(scene.answered(Ok(page(&["q"], 9, 2, None))), Ok(None));
    assert_eq!(scene.asks(), (3, "b\0".into(), 0));
}

#[test]
fn a_scan_that_finds_little_memory_asks_for_smaller_pages_and_waits_only_for_the_smallest() {
    let mut scene = Scene::strong();
    let memory = Budget::new("scans", (PAGE_BYTES_MIN * 3) as u64);
    let mut first = scene.step();
    let held = scene.steps.reserve(&mut first, &memory, scene.now).unwrap().unwrap();
    assert_eq!(held.bytes(), PAGE_BYTES_MIN as u64);
    scene.steps.opened(scene.now, page(&["a"], 5, 1, Some("a"))).unwrap();
    scene.steps.answered(scene.now, scene.now, Ok(page(&["b"], 5, 1, Some("b")))).unwrap();
    // A page of four times the first would be next.
    let mut next = scene.step();
    let more = scene.steps.reserve(&mut next, &memory, scene.now).unwrap().unwrap();
    assert_eq!(more.bytes(), 2 * PAGE_BYTES_MIN as u64);
    assert!(
        matches!(next, ScanStep::Ask(_, Operation::Rest { page_bytes, .. }) if page_bytes as u64 == more.bytes())
    );
    assert_eq!(scene.steps.reserve(&mut next, &memory, scene.now).unwrap().unwrap_err(), MEMORY_PAUSE);
    drop(more);
    assert!(scene.steps.reserve(&mut next, &memory, scene.now).unwrap().is_ok());
}
