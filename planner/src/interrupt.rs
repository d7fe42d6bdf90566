//! The end of a statement that computes for long: its timeout passes, or nobody waits for it any more. Loops over rows
//! ask for it as they go, and let other work of the process have its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{SqlError, sqlstate};

/// Work that computes lets others have their turn after so long.
const TURN: Duration = Duration::from_millis(1);

/// When a statement must end. A clone is of the same statement.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    deadline: Option<Instant>,
    gone: Arc<Gone>,
}

/// Whether the statement's caller has left.
#[derive(Debug, Default)]
struct Gone {
    has_left: AtomicBool,
    told: Notify,
}

impl Interrupt {
    /// A statement that must end at `deadline`.
    pub(crate) fn at(deadline: Instant) -> Interrupt {
        Interrupt { deadline: Some(deadline), gone: Arc::default() }
    }

    /// A statement without an end of its own.
    pub(crate) fn never() -> Interrupt {
        Interrupt { deadline: None, gone: Arc::default() }
    }

    /// When it must have ended.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// 57014 if the statement must end. Cheap enough for every row.
    pub(crate) fn check(&self) -> Result<(), SqlError> {
        if self.gone.has_left.load(Ordering::Acquire) {
            return Err(SqlError::new(sqlstate::CANCELED, "canceling statement due to user request"));
        }
        match self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(timed_out()),
            false => Ok(()),
        }
    }

    /// Waits until the statement's caller has left.
    pub(crate) async fn given_up(&self) {
        loop {
            let told = self.gone.told.notified();
            if self.gone.has_left.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Runs what may compute for long on a thread where it hinders nobody. When the caller leaves, it ends soon.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let mut leaving = Leaving(Some(&self.gone));
        let done = tokio::task::spawn_blocking(work).await;
        leaving.0 = None;
        match done {
            Ok(done) => done,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(SqlError::new(sqlstate::SHUTDOWN, "the node is shutting down")),
            },
        }
    }
}

/// 57014: the statement's time is over.
pub(crate) fn timed_out() -> SqlError {
    SqlError::new(sqlstate::CANCELED, "canceling statement due to statement timeout")
}

/// Tells the work, when its caller is dropped before it is done.
struct Leaving<'a>(Option<&'a Gone>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(gone) = self.0 {
            gone.has_left.store(true, Ordering::Release);
            gone.told.notify_waiters();
        }
    }
}

/// The pace of a task that computes between two waits.
pub(crate) struct Pace {
    since: Instant,
}

impl Pace {
    /// It begins now.
    pub(crate) fn new() -> Pace {
        Pace { since: Instant::now() }
    }

    /// Lets others have their turn, if it has computed for long enough. 57014 if the statement must end.
    pub(crate) async fn step(&mut self, interrupt: &Interrupt) -> Result<(), SqlError> {
        if self.since.elapsed() >= TURN {
            interrupt.check()?;
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_soon_after_its_caller_has_left() {
        let interrupt = Interrupt::never();
        let (ended, mut end) = tokio::sync::oneshot::channel();
        let inside = interrupt.clone();
        let work = interrupt.compute(move || {
            let result = loop {
                if let Err(error) = inside.check() {
                    break error;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            let _ = ended.send(result.sqlstate.to_owned());
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), work).await.is_err());
        let state = tokio::time::timeout(Duration::from_secs(5), &mut end).await.unwrap().unwrap();
        assert_eq!(state, sqlstate::CANCELED);
    }

    #[tokio::test]
    async fn the_deadline_ends_loops_and_others_get_their_turn() {
        let interrupt = Interrupt::at(Instant::now() + Duration::from_millis(30));
        let mut pace = Pace::new();
        let other = tokio::spawn(async {});
        let error = loop {
            if let Err(error) = pace.step(&interrupt).await {
                break error;
            }
        };
        assert_eq!(error.sqlstate, sqlstate::CANCELED);
        assert!(other.is_finished());
        assert!(interrupt.compute(|| Ok(())).await.is_ok());
    }
}
