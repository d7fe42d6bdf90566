//! Cancelling a running statement from another connection.
//!
//! A client that wants its statement to end opens a second connection and sends the number and the secret that it
//! was given at startup. Nothing is answered there, whether the key was right or not. Each session counts its
//! requests: a statement remembers the count when it starts and is cancelled when it has changed. So a request
//! that comes between two statements hits neither, as in PostgreSQL.
//!
//! A statement that only reads then fails with 57014. A write may have been proposed already, and a proposed write
//! can still commit: it fails with 40003, so that nobody takes it for undone.

use std::collections::{HashMap, hash_map};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use planner::{SqlError, sqlstate};
use tokio::sync::Notify;

/// The sessions of one gateway that can be cancelled.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    sessions: Mutex<HashMap<i32, Entry>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    secret: Vec<u8>,
    slot: Arc<Slot>,
}

/// A session's place in the registry; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    cancels: Arc<Cancels>,
    /// The session's number.
    pub(crate) id: i32,
    /// What a cancel request must show besides the number.
    pub(crate) secret: Vec<u8>,
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    requests: AtomicU64,
    changed: Notify,
}

/// The time of one statement: requests that come in it cancel the statement.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    slot: Arc<Slot>,
    seen: u64,
}

/// The client wants the statement to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

impl Cancels {
    fn sessions(&self) -> MutexGuard<'_, HashMap<i32, Entry>> {
        // Each change of the map is one call: a panic elsewhere cannot leave it half done.
        self.sessions.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Enters a session with a fresh number and a random secret of `secret_bytes`.
    pub(crate) fn register(self: &Arc<Cancels>, secret_bytes: usize) -> Result<Registration, SqlError> {
        let mut secret = vec![0; secret_bytes];
        getrandom::fill(&mut secret)
            .map_err(|error| SqlError::internal(format!("no random numbers: {error}")))?;
        let slot = Arc::new(Slot::default());
        let mut sessions = self.sessions();
        loop {
            // Positive, and not one that a session of long ago still has.
            let id = (self.last.fetch_add(1, Ordering::Relaxed) % (i32::MAX as u64)) as i32 + 1;
            if let hash_map::Entry::Vacant(place) = sessions.entry(id) {
                place.insert(Entry { secret: secret.clone(), slot: slot.clone() });
                drop(sessions);
                return Ok(Registration { cancels: self.clone(), id, secret, slot });
            }
        }
    }

    /// Cancels what session `id` is running, if `secret` is its own.
    pub(crate) fn cancel(&self, id: i32, secret: &[u8]) {
        let slot = match self.sessions().get(&id) {
            Some(entry) if same(&entry.secret, secret) => entry.slot.clone(),
            Some(_) | None => return,
        };
        slot.requests.fetch_add(1, Ordering::SeqCst);
        slot.changed.notify_waiters();
    }
}

/// Compares without telling by its time how much was right.
fn same(own: &[u8], given: &[u8]) -> bool {
    own.len() == given.len() && own.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Registration {
    /// A statement starts.
    pub(crate) fn scope(&self) -> Scope {
        Scope { slot: self.slot.clone(), seen: self.slot.requests.load(Ordering::SeqCst) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cancels.sessions().remove(&self.id);
    }
}

impl Scope {
    /// Runs a piece of the statement, unless (and until) it is cancelled.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Cancelled> {
        // Made before the count is read: a request in between wakes it.
        let changed = self.slot.changed.notified();
        if self.slot.requests.load(Ordering::SeqCst) != self.seen {
            return Err(Cancelled);
        }
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = changed => Err(Cancelled),
        }
    }
}

impl Cancelled {
    /// The error that the client gets for it.
    pub(crate) fn error(self, writes: bool) -> SqlError {
        let message = "canceling statement due to user request";
        if writes {
            SqlError::new(sqlstate::OUTCOME_UNKNOWN, message)
                .detail("A write that was under way may or may not have been committed.")
                .hint("Read the row to find out.")
        } else {
            SqlError::new(sqlstate::CANCELED, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_running_statement_of_the_right_session_is_cancelled() {
        let cancels = Arc::new(Cancels::default());
        let one = cancels.register(4).unwrap();
        let two = cancels.register(32).unwrap();
        assert_ne!(one.id, two.id);

        let before = one.scope();
        cancels.cancel(one.id, &two.secret);
        cancels.cancel(two.id, &one.secret);
        assert_eq!(before.guard(async { 1 }).await, Ok(1), "a wrong secret does nothing");

        cancels.cancel(one.id, &one.secret);
        assert_eq!(before.guard(async { 1 }).await, Err(Cancelled));
        assert_eq!(one.scope().guard(async { 2 }).await, Ok(2), "the next statement is not hit");

        let running = two.scope();
        let (result, ()) = tokio::join!(running.guard(std::future::pending::<()>()), async {
            cancels.cancel(two.id, &two.secret)
        });
        assert_eq!(result, Err(Cancelled));
    }

    #[test]
    fn a_session_that_left_is_forgotten() {
        let cancels = Arc::new(Cancels::default());
        let id = cancels.register(4).unwrap().id;
        assert!(cancels.sessions().is_empty());
        cancels.cancel(id, &[0; 4]);
    }
}
