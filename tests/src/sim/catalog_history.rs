//! What clients saw of a catalog, and what it must be: the existence of each name is linearizable, a table that was dropped
//! takes no write and one that stands loses none, and what is made again begins empty.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kvstore::error::KvError;
use kvstore::request::TableId;

use super::coverage::{Kind, Kinds};

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// CREATE TABLE.
    Create(String),
    /// DROP TABLE.
    Drop(String),
    /// Whether there is a table of this name, as of now.
    Look(String),
    /// A row into this table.
    Write(TableId),
    /// All rows of this table.
    Read(TableId),
}

/// How a statement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The table is made.
    Made(TableId),
    /// There is one of that name.
    Exists,
    /// It is dropped; whether no write to it can be acknowledged any more.
    Dropped(TableId, bool),
    /// The same, by this statement or by another one that ran at the same time.
    Gone(TableId, bool),
    /// There is this one.
    Found(TableId),
    /// There is none.
    Missing,
    /// The row is written.
    Written,
    /// The rows.
    Rows(BTreeSet<u64>),
    /// It failed, and nothing was done.
    Nothing,
    /// Nobody knows.
    Unknown,
    /// It was tried too often.
    GaveUp,
}

#[derive(Debug)]
struct Statement {
    act: Act,
    began: u64,
    /// `None`: its gateway has ended, or it is still at it.
    ended: Option<(u64, Done)>,
}

/// All statements of a run, and what was noticed besides.
#[derive(Default)]
pub(super) struct History {
    all: Vec<Statement>,
    errors: Vec<Kind>,
    broken: Option<String>,
}

impl History {
    pub(super) fn begin(&mut self, act: Act, at: u64) -> u64 {
        self.all.push(Statement { act, began: at, ended: None });
        self.all.len() as u64 - 1
    }

    pub(super) fn end(&mut self, number: u64, done: Done, at: u64) {
        self.all[number as usize].ended = Some((at, done));
    }

    /// How a statement ended, if it has.
    pub(super) fn outcome(&self, number: u64) -> Option<Done> {
        self.all[number as usize].ended.as_ref().map(|(_, done)| done.clone())
    }

    /// An error was told.
    pub(super) fn error(&mut self, error: &KvError) {
        self.errors.push(error.kind());
    }

    pub(super) fn broken(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Tables that any client knows.
    pub(super) fn tables(&self) -> Vec<TableId> {
        let known = self.all.iter().filter_map(|one| match one.ended {
            Some((
                _,
                Done::Made(table) | Done::Found(table) | Done::Dropped(table, _) | Done::Gone(table, _),
            )) => Some(table),
            _ => None,
        });
        known.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Which statements there were, and what came of each.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let kind = |one: &Statement| match (&one.act, one.ended.as_ref().map(|(_, done)| done)) {
            (Act::Create(_), Some(Done::Made(_))) => "create: made",
            (Act::Create(_), Some(Done::Exists)) => "create: exists",
            (Act::Create(_), Some(Done::Unknown)) => "create: unknown",
            (Act::Create(_), Some(_)) => "create: nothing",
            (Act::Create(_), None) => "create: crash",
            (Act::Drop(_), Some(Done::Dropped(_, true))) => "drop: dropped",
            (Act::Drop(_), Some(Done::Dropped(_, false))) => "drop: not confirmed",
            (Act::Drop(_), Some(Done::Gone(..))) => "drop: this one or another",
            (Act::Drop(_), Some(Done::Missing)) => "drop: missing",
            (Act::Drop(_), Some(Done::Unknown)) => "drop: unknown",
            (Act::Drop(_), Some(_)) => "drop: nothing",
            (Act::Drop(_), None) => "drop: crash",
            (Act::Look(_), Some(Done::Found(_))) => "look: found",
            (Act::Look(_), Some(Done::Missing)) => "look: missing",
            (Act::Look(_), _) => "look: nothing",
            (Act::Write(_), Some(Done::Written)) => "write: written",
            (Act::Write(_), Some(Done::Missing)) => "write: missing",
            (Act::Write(_), _) => "write: nothing",
            (Act::Read(_), Some(Done::Rows(_))) => "read: rows",
            (Act::Read(_), Some(Done::Missing)) => "read: missing",
            (Act::Read(_), _) => "read: nothing",
        };
        self.all.iter().map(|one| ("catalog", kind(one))).chain(self.errors.iter().copied()).collect()
    }

    /// What is wrong, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(what) = &self.broken {
            return Err(what.clone());
        }
        if let Some(one) = self.all.iter().find(|one| matches!(one.ended, Some((_, Done::GaveUp)))) {
            return Err(format!("{one:?} though few made tables at once"));
        }
        let mut names: BTreeMap<&str, Vec<&Statement>> = BTreeMap::new();
        for one in &self.all {
            if let Act::Create(name) | Act::Drop(name) | Act::Look(name) = &one.act {
                names.entry(name).or_default().push(one);
            }
        }
        names.iter().try_for_each(|(name, statements)| check_name(name, statements))?;
        self.check_rows()
    }

    /// Writes and reads of each table.
    fn check_rows(&self) -> Result<(), String> {
        for one in &self.all {
            let (table, Some((at, done))) = (one.table(), &one.ended) else { continue };
            let Some(table) = table else { continue };
            let dropped = self.all.iter().filter_map(|other| match (&other.ended, &other.act) {
                (Some((at, Done::Dropped(gone, true) | Done::Gone(gone, true))), _) if *gone == table => {
                    Some(*at)
                }
                _ => None,
            });
            let dropped = dropped.min().unwrap_or(u64::MAX);
            match done {
                // It was acknowledged at the end.
                Done::Written if *at > dropped => {
                    return Err(format!("{one:?} after the drop was answered at {dropped}"));
                }
                Done::Missing if !self.may_be_missing(table, *at) => {
                    return Err(format!("{one:?}, and nobody had dropped it"));
                }
                Done::Rows(rows) => self.check_read(one, table, rows)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether somebody may have dropped the table before then: the drop of a name drops whatever bears it.
    fn may_be_missing(&self, table: TableId, before: u64) -> bool {
        let named = |name: &str| {
            self.all.iter().any(|one| match (&one.act, &one.ended) {
                (Act::Create(of) | Act::Drop(of) | Act::Look(of), Some((_, done))) => {
                    let id = match done {
                        Done::Made(id) | Done::Found(id) | Done::Dropped(id, _) | Done::Gone(id, _) => {
                            Some(*id)
                        }
                        _ => None,
                    };
                    of == name && id == Some(table)
                }
                _ => false,
            })
        };
        self.all.iter().any(|one| {
            let nothing = matches!(one.ended, Some((_, Done::Missing | Done::Nothing)));
            matches!(&one.act, Act::Drop(name) if one.began < before && !nothing && named(name))
        })
    }

    /// A read shows every row that was acknowledged before it began, and none of another table.
    fn check_read(&self, read: &Statement, table: TableId, rows: &BTreeSet<u64>) -> Result<(), String> {
        let dropped = self.may_be_missing(table, u64::MAX);
        for (number, one) in (0..).zip(&self.all) {
            let (shown, own) = (rows.contains(&number), one.act == Act::Write(table));
            let acknowledged = matches!(one.ended, Some((at, Done::Written)) if at < read.began);
            if own && acknowledged && !shown && !dropped {
                return Err(format!("{read:?} lacks {one:?}"));
            }
            if shown && !own {
                return Err(format!("{read:?} shows {one:?}"));
            }
        }
        Ok(())
    }
}

impl Statement {
    fn table(&self) -> Option<TableId> {
        match self.act {
            Act::Write(table) | Act::Read(table) => Some(table),
            Act::Create(_) | Act::Drop(_) | Act::Look(_) => None,
        }
    }

    /// Whether one of `others`, which took effect before, may have taken away the table that this drop found gone.
    fn gone_before<'a>(&self, mut others: impl Iterator<Item = &'a Statement>) -> bool {
        let Some((at, Done::Gone(table, _))) = &self.ended else { return false };
        others.any(|other| {
            let same = match &other.ended {
                Some((_, Done::Dropped(gone, _) | Done::Gone(gone, _))) => *gone == *table,
                None | Some((_, Done::Unknown)) => true,
                Some(_) => false,
            };
            same && matches!(other.act, Act::Drop(_)) && other.began <= *at && self.began <= other.ended_at()
        })
    }

    fn ended_at(&self) -> u64 {
        self.ended.as_ref().map_or(u64::MAX, |(at, _)| *at)
    }

    /// Whether it must have taken effect, and the states of its name in which it can, with the one after it. A table of
    /// which only an unknown outcome tells has no number that anybody knows.
    fn effect(&self, state: Option<Bearer>, number: usize) -> (bool, Option<Option<Bearer>>) {
        let done = self.ended.as_ref().map(|(_, done)| done);
        match (&self.act, done) {
            (Act::Create(_), Some(Done::Made(table))) => {
                (true, state.is_none().then_some(Some(Bearer::Known(*table))))
            }
            (Act::Create(_), Some(Done::Exists)) => (true, state.is_some().then_some(state)),
            (Act::Create(_), None | Some(Done::Unknown)) => {
                (false, state.is_none().then_some(Some(Bearer::Made(number))))
            }
            (Act::Drop(_), Some(Done::Dropped(table, _) | Done::Gone(table, _))) => {
                (true, state.filter(|bearer| bearer.may_be(*table)).map(|_| None))
            }
            (Act::Drop(_), None | Some(Done::Unknown)) => (false, state.is_some().then_some(None)),
            (Act::Drop(_) | Act::Look(_), Some(Done::Missing)) => (true, state.is_none().then_some(state)),
            (Act::Look(_), Some(Done::Found(table))) => {
                let found = state.filter(|bearer| bearer.may_be(*table));
                (true, found.map(|_| Some(Bearer::Known(*table))))
            }
            _ => (false, None),
        }
    }
}

/// Which table bears a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Bearer {
    /// This one.
    Known(TableId),
    /// The one that this statement made, whose number nobody has been told yet.
    Made(usize),
}

impl Bearer {
    fn may_be(self, table: TableId) -> bool {
        self == Bearer::Known(table) || matches!(self, Bearer::Made(_))
    }
}

/// Whether there is an order of the statements of one name, each between its beginning and its end, in which every answer
/// is right (the search of Wing and Gong, with Lowe's memory).
fn check_name(name: &str, statements: &[&Statement]) -> Result<(), String> {
    if statements.len() > 64 {
        return Err(format!("too many statements of {name} to search"));
    }
    let must: u64 =
        (0..).zip(statements).filter(|(_, one)| one.effect(None, 0).0).map(|(at, _)| 1 << at).sum();
    let (mut seen, mut stack) = (HashSet::new(), vec![(0_u64, None::<Bearer>)]);
    while let Some((done, state)) = stack.pop() {
        if done & must == must {
            return Ok(());
        }
        if !seen.insert((done, state)) {
            continue;
        }
        let left = || (0..).zip(statements).filter(|(at, _)| done >> at & 1 == 0);
        // Nothing may stand before what had ended when it began.
        let first_end = left().filter(|(at, _)| must >> at & 1 == 1).map(|(_, one)| one.ended_at()).min();
        for (at, one) in left().filter(|(_, one)| Some(one.began) <= first_end) {
            if let (_, Some(after)) = one.effect(state, at) {
                stack.push((done | 1 << at, after));
            }
            let before = (0..).zip(statements).filter(|(at, _)| done >> at & 1 == 1).map(|(_, one)| *one);
            if one.gone_before(before) {
                stack.push((done | 1 << at, state));
            }
        }
    }
    Err(format!("no order of these statements explains their answers: {statements:#?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = (Act, u64, Option<(u64, Done)>);

    fn history(statements: &[Told]) -> Result<(), String> {
        let mut history = History::default();
        for (act, began, ended) in statements {
            let number = history.begin(act.clone(), *began);
            if let Some((at, done)) = ended {
                history.end(number, done.clone(), *at);
            }
        }
        history.check()
    }

    fn create(began: u64, ended: Option<(u64, Done)>) -> Told {
        (Act::Create("t".into()), began, ended)
    }

    fn look(began: u64, done: Done) -> Told {
        (Act::Look("t".into()), began, Some((began + 1, done)))
    }

    const ONE: TableId = TableId(1);

    #[test]
    fn a_look_after_a_create_finds_its_table() {
        assert_eq!(history(&[create(0, Some((5, Done::Made(ONE)))), look(6, Done::Found(ONE))]), Ok(()));
        assert!(history(&[create(0, Some((5, Done::Made(ONE)))), look(6, Done::Missing)]).is_err());
        assert_eq!(history(&[create(0, Some((9, Done::Made(ONE)))), look(6, Done::Missing)]), Ok(()));
        assert!(history(&[create(0, Some((5, Done::Nothing))), look(6, Done::Found(ONE))]).is_err());
    }

    #[test]
    fn a_create_that_nobody_knows_of_may_be_done_at_any_later_time_and_once() {
        let lost = || create(0, None);
        assert_eq!(history(&[lost(), look(6, Done::Missing), look(9, Done::Found(ONE))]), Ok(()));
        assert!(history(&[lost(), look(6, Done::Found(ONE)), look(9, Done::Missing)]).is_err());
    }

    #[test]
    fn a_dropped_table_takes_no_write_and_a_new_one_has_no_old_row() {
        let dropped = |confirmed| (Act::Drop("t".into()), 6, Some((8, Done::Dropped(ONE, confirmed))));
        let write = |at| (Act::Write(ONE), at, Some((at + 1, Done::Written)));
        let made = || create(0, Some((5, Done::Made(ONE))));
        assert_eq!(history(&[made(), dropped(true), write(6)]), Ok(()));
        assert!(history(&[made(), dropped(true), write(9)]).is_err());
        assert_eq!(history(&[made(), dropped(false), write(9)]), Ok(()));
        let shown = |rows: &[u64]| {
            (Act::Read(TableId(2)), 20, Some((21, Done::Rows(rows.iter().copied().collect()))))
        };
        assert_eq!(history(&[made(), write(6), shown(&[])]), Ok(()));
        assert!(history(&[made(), write(6), shown(&[1])]).is_err());
    }

    #[test]
    fn a_drop_whose_fate_was_lost_may_be_anothers_only_if_that_ran_at_the_same_time() {
        let drop = |began, ended, done: fn(TableId, bool) -> Done| {
            (Act::Drop("t".into()), began, Some((ended, done(ONE, true))))
        };
        let made = || create(0, Some((5, Done::Made(ONE))));
        assert_eq!(history(&[made(), drop(6, 9, Done::Gone)]), Ok(()));
        assert_eq!(history(&[made(), drop(6, 9, Done::Dropped), drop(7, 12, Done::Gone)]), Ok(()));
        assert_eq!(history(&[made(), drop(6, 9, Done::Gone), drop(7, 12, Done::Gone)]), Ok(()));
        assert!(history(&[made(), drop(6, 9, Done::Dropped), drop(7, 12, Done::Dropped)]).is_err());
        assert!(history(&[made(), drop(6, 9, Done::Dropped), drop(10, 12, Done::Gone)]).is_err());
        assert!(history(&[drop(6, 9, Done::Gone)]).is_err());
    }

    #[test]
    fn an_acknowledged_row_of_a_table_that_stands_is_read() {
        let read = (Act::Read(ONE), 9, Some((10, Done::Rows(BTreeSet::new()))));
        let written = (Act::Write(ONE), 6, Some((7, Done::Written)));
        assert!(history(&[create(0, Some((5, Done::Made(ONE)))), written, read]).is_err());
    }
}
