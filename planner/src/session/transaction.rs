//! The settings of a session and its transaction block. They are one thing, since ROLLBACK takes settings back.
//!
//! # Transaction blocks
//! A block may hold any reads and at most one writing statement on one key. That write is *deferred*: it is
//! checked when the statement runs, kept here, seen by the block's own reads, and sent to the store by COMMIT.
//! So ROLLBACK undoes it truly, and a block is never half done. The write carries the condition that the row is
//! still as the statement saw it; if another session changed it meanwhile, COMMIT fails with 40001.

use std::collections::BTreeSet;

use kvstore::request::Write;

use super::cursors::Cursors;
use super::notice::Notice;
use crate::error::{SqlError, sqlstate};
use crate::settings::Settings;
use crate::types::now_micros;

/// The status of a session between statements, as ReadyForQuery reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a block.
    Idle,
    /// `T`: in a block.
    InBlock,
    /// `E`: in a block that failed; only ROLLBACK (or COMMIT, which rolls back) ends it.
    Failed,
}

impl TransactionStatus {
    /// The byte of ReadyForQuery.
    pub fn byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InBlock => b'T',
            TransactionStatus::Failed => b'E',
        }
    }
}

/// How COMMIT ended a block.
#[derive(Debug)]
pub(crate) enum Commit {
    /// There was no block.
    NoBlock,
    /// The block had failed and was rolled back.
    RolledBack,
    /// The block's statements hold. Its deferred write, if it has one, is now to be sent.
    Send(Option<Write>),
}

/// A savepoint of a block.
#[derive(Clone, Debug)]
struct Savepoint {
    name: String,
    /// Whether the block had written when the savepoint was made.
    wrote: bool,
    /// The settings when the savepoint was made.
    settings: Settings,
    /// How many cursors had ever been declared.
    cursors: u64,
}

/// A block in progress.
#[derive(Debug)]
struct Block {
    failed: bool,
    read_only: bool,
    deferred: Option<Write>,
    savepoints: Vec<Savepoint>,
    /// Settings before the block, for ROLLBACK.
    before: Settings,
    /// Names set by SET LOCAL: they go back to `before` at COMMIT.
    local: BTreeSet<String>,
    /// What now() gives in all of the block, in microseconds since 2000.
    started: i64,
    /// How many cursors had ever been declared before.
    cursors: u64,
}

/// The settings of a session, and its block if one is open.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) settings: Settings,
    pub(super) cursors: Cursors,
    block: Option<Block>,
    /// Grows with each block, and each return to a savepoint.
    stretch: u64,
}

impl Transaction {
    /// Outside of a block.
    pub(super) fn new(settings: Settings) -> Transaction {
        Transaction { settings, cursors: Cursors::default(), block: None, stretch: 0 }
    }

    /// The status between statements.
    pub(super) fn status(&self) -> TransactionStatus {
        match &self.block {
            None => TransactionStatus::Idle,
            Some(block) if block.failed => TransactionStatus::Failed,
            Some(_) => TransactionStatus::InBlock,
        }
    }

    /// 25P02 if the block has failed.
    pub(super) fn check_not_failed(&self) -> Result<(), SqlError> {
        match self.status() {
            TransactionStatus::Failed => Err(SqlError::new(
                sqlstate::FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            TransactionStatus::Idle | TransactionStatus::InBlock => Ok(()),
        }
    }

    /// What now() gives, in microseconds since 2000.
    pub(super) fn now(&self) -> i64 {
        self.block.as_ref().map_or_else(now_micros, |block| block.started)
    }

    /// A statement failed: an open block fails with it, and its write is dropped.
    pub(super) fn fail(&mut self) {
        if let Some(block) = &mut self.block {
            block.failed = true;
            block.deferred = None;
        }
    }

    /// Which stretch of statements this is that fail together, for an error that may come late; `None` outside of a block.
    pub(super) fn stretch(&self) -> Option<u64> {
        self.block.as_ref().map(|_| self.stretch)
    }

    /// A statement of that stretch failed: the block fails if it is still the same, and has not gone back since.
    pub(super) fn fail_stretch(&mut self, stretch: Option<u64>) {
        if stretch.is_some() && stretch == self.stretch() {
            self.fail();
        }
    }

    /// SET; `None` is DEFAULT. A `local` value holds for the rest of the block.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
        notices: &mut Vec<Notice>,
    ) -> Result<(), SqlError> {
        let warning = match value {
            Some(value) => self.settings.set(name, value)?,
            None => {
                self.settings.reset(name)?;
                None
            }
        };
        if Settings::spelling(name) == "transaction_read_only" {
            // It is the block's, not the session's: kept there, and gone with it.
            let read_only = self.settings.show(name).is_ok_and(|value| value == "on");
            self.settings.reset(name)?;
            self.set_read_only(read_only, notices);
            return Ok(());
        }
        match &mut self.block {
            Some(block) => {
                let name = Settings::spelling(name).to_string();
                if local {
                    block.local.insert(name);
                } else {
                    block.local.remove(&name);
                }
            }
            None if local => notices.push(Notice::only_in_block("SET LOCAL")),
            None => {}
        }
        notices.extend(warning.map(|text| Notice::warning(sqlstate::WARNING, text)));
        Ok(())
    }

    /// BEGIN. `None` takes the default of the session.
    pub(super) fn begin(&mut self, read_only: Option<bool>, notices: &mut Vec<Notice>) {
        if self.block.is_some() {
            notices.push(Notice::warning(
                sqlstate::ACTIVE_TRANSACTION,
                "there is already a transaction in progress",
            ));
            return;
        }
        self.stretch += 1;
        let by_default = self.default_read_only();
        self.block = Some(Block {
            failed: false,
            read_only: read_only.unwrap_or(by_default),
            deferred: None,
            savepoints: Vec::new(),
            before: self.settings.clone(),
            local: BTreeSet::new(),
            started: now_micros(),
            cursors: self.cursors.declared(),
        });
    }

    /// SET TRANSACTION READ ONLY / READ WRITE.
    pub(super) fn set_read_only(&mut self, read_only: bool, notices: &mut Vec<Notice>) {
        match &mut self.block {
            Some(block) => block.read_only = read_only,
            None => notices.push(Notice::only_in_block("SET TRANSACTION")),
        }
    }

    /// Ends the block for COMMIT.
    pub(super) fn commit(&mut self) -> Commit {
        let Some(block) = self.block.take() else { return Commit::NoBlock };
        if block.failed {
            self.settings = block.before;
            self.cursors.undo(block.cursors);
            return Commit::RolledBack;
        }
        self.cursors.end_transaction();
        for name in &block.local {
            // The old value was valid when it was set, so setting it again cannot fail.
            let _ = match block.before.show(name) {
                Ok(value) => self.settings.set(name, &value).map(drop),
                Err(_) => self.settings.reset(name),
            };
        }
        Commit::Send(block.deferred)
    }

    /// ROLLBACK; whether there was a block.
    pub(super) fn rollback(&mut self) -> bool {
        let Some(block) = self.block.take() else { return false };
        self.settings = block.before;
        self.cursors.undo(block.cursors);
        true
    }

    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<(), SqlError> {
        let block = self.block.as_mut().ok_or_else(|| no_block("SAVEPOINT"))?;
        block.savepoints.push(Savepoint {
            name: name.to_string(),
            wrote: block.deferred.is_some(),
            settings: self.settings.clone(),
            cursors: self.cursors.declared(),
        });
        Ok(())
    }

    /// RELEASE SAVEPOINT.
    pub(super) fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let (block, at) = self.at_savepoint(name, "RELEASE SAVEPOINT")?;
        block.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: also a failed block goes on from there.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<(), SqlError> {
        let (block, at) = self.at_savepoint(name, "ROLLBACK TO SAVEPOINT")?;
        let Savepoint { wrote, settings, cursors, .. } = block.savepoints[at].clone();
        if wrote && block.deferred.is_none() {
            // The failure dropped a write that was made before the savepoint: it cannot be brought back.
            return Err(SqlError::unsupported("going back to a savepoint after which the block failed")
                .hint("Use ROLLBACK and start again."));
        }
        block.savepoints.truncate(at + 1);
        block.failed = false;
        if !wrote {
            block.deferred = None;
        }
        self.settings = settings;
        self.cursors.undo(cursors);
        self.stretch += 1;
        Ok(())
    }

    /// The block, and the newest savepoint of that name in it. 25P01 without a block, 3B001 without a savepoint.
    fn at_savepoint(&mut self, name: &str, command: &str) -> Result<(&mut Block, usize), SqlError> {
        let block = self.block.as_mut().ok_or_else(|| no_block(command))?;
        match block.savepoints.iter().rposition(|own| own.name == name) {
            Some(at) => Ok((block, at)),
            None => Err(SqlError::new(
                sqlstate::UNKNOWN_SAVEPOINT,
                format!("savepoint \"{name}\" does not exist"),
            )),
        }
    }

    /// The block's deferred write, for reads of the same block.
    pub(super) fn deferred(&self) -> Option<Write> {
        self.block.as_ref().and_then(|block| block.deferred.clone())
    }

    /// May a statement write now? 25006 in a read-only block, 0A000 if the block has its write already.
    pub(super) fn check_write(&self, command: &str) -> Result<(), SqlError> {
        match &self.block {
            Some(block) if block.read_only => Err(SqlError::new(
                sqlstate::READ_ONLY_TRANSACTION,
                format!("cannot execute {command} in a read-only transaction"),
            )),
            Some(block) if block.deferred.is_some() => Err(SqlError::unsupported(
                "a second writing statement in a transaction block",
            )
            .hint(
                "A block may hold any reads and one writing statement on one key. Commit first, or run the \
                 writes outside of a block: each is atomic by itself.",
            )),
            None if self.default_read_only() => Err(SqlError::new(
                sqlstate::READ_ONLY_TRANSACTION,
                format!("cannot execute {command} in a read-only transaction"),
            )),
            _ => Ok(()),
        }
    }

    /// Does a new transaction refuse writes?
    fn default_read_only(&self) -> bool {
        self.settings.show("default_transaction_read_only").is_ok_and(|value| value == "on")
    }

    /// The value of a setting; some are those of the transaction.
    pub(super) fn show(&self, name: &str) -> Result<String, SqlError> {
        let read_only = || self.block.as_ref().map_or(self.default_read_only(), |block| block.read_only);
        match Settings::spelling(name) {
            "transaction_read_only" => Ok(if read_only() { "on" } else { "off" }.into()),
            name => self.settings.show(name),
        }
    }

    /// Keeps the block's write until COMMIT.
    pub(super) fn defer(&mut self, write: Write) {
        debug_assert!(self.block.is_some(), "only a block defers a write");
        if let Some(block) = &mut self.block {
            block.deferred = Some(write);
        }
    }
}

/// 25P01: the command is for blocks only.
fn no_block(command: &str) -> SqlError {
    SqlError::new(
        sqlstate::NO_ACTIVE_TRANSACTION,
        format!("{command} can only be used in transaction blocks"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scan goes on while its rows are sent; its error may come when another block is open.
    #[test]
    fn a_late_error_fails_only_the_block_that_it_is_of() {
        let mut transaction = Transaction::new(Settings::new(&[], "db"));
        let mut notices = Vec::new();
        let outside = transaction.stretch();
        transaction.begin(None, &mut notices);
        transaction.fail_stretch(outside);
        assert_eq!(transaction.status(), TransactionStatus::InBlock);
        let first = transaction.stretch();
        assert!(transaction.rollback());
        transaction.fail_stretch(first);
        assert_eq!(transaction.status(), TransactionStatus::Idle);
        transaction.begin(None, &mut notices);
        transaction.fail_stretch(first);
        assert_eq!(transaction.status(), TransactionStatus::InBlock);
        transaction.savepoint("s").unwrap();
        let second = transaction.stretch();
        transaction.rollback_to("s").unwrap();
        transaction.fail_stretch(second);
        assert_eq!(transaction.status(), TransactionStatus::InBlock, "it went back behind the statement");
        transaction.fail_stretch(transaction.stretch());
        assert_eq!(transaction.status(), TransactionStatus::Failed);
    }
}
