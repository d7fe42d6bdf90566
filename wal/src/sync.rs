//! Locks that a panic of a former holder does not close.
//!
//! Whoever panics under one of our locks has left, at worst, a change half done in memory. Each place that locks either
//! cannot be hurt by that or ends the process first, so that the poison of the standard locks would only turn one
//! failure into many. Where a half-done change must stop everything (a cohort's step), the lock is taken directly and
//! its poison is looked at.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Locks `mutex`, whether or not a former holder panicked.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `lock` for reading, whether or not a former writer panicked.
pub fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `lock` for writing, whether or not a former writer panicked.
pub fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` without the lock, for at most `duration`; also says whether that ran out. It may return early for
/// no reason, as all condition variables do.
pub fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    duration: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, timeout) = condvar.wait_timeout(guard, duration).unwrap_or_else(PoisonError::into_inner);
    (guard, timeout.timed_out())
}

/// Counts work that is being done on threads of a pool, so that the end of its owner can wait for it: a task can be
/// aborted, a blocking call cannot. No lock is held while the work is done.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    left: Condvar,
}

#[derive(Default)]
struct GateState {
    inside: usize,
    closed: bool,
}

/// One piece of work behind a [`Gate`]; it is done when this is dropped.
pub struct Inside(Arc<Gate>);

impl Gate {
    /// Begins a piece of work; `None` if the gate is closed: then it must not be done.
    pub fn enter(self: &Arc<Gate>) -> Option<Inside> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        state.inside += 1;
        drop(state);
        Some(Inside(Arc::clone(self)))
    }

    /// Lets no more work begin, and waits until all that has begun is done, for at most `wait_max`. Returns how much of
    /// it goes on nevertheless. May be called again.
    pub fn close(&self, wait_max: Duration) -> usize {
        let deadline = Instant::now() + wait_max;
        let mut state = lock(&self.state);
        state.closed = true;
        while state.inside > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = wait_timeout(&self.left, state, left);
        }
        state.inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        lock(&self.0.state).inside -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_gate_waits_for_what_is_inside_and_lets_nothing_more_in() {
        let gate = Arc::new(Gate::default());
        let inside = gate.enter().unwrap();
        assert_eq!(gate.close(Duration::ZERO), 1);
        assert!(gate.enter().is_none(), "closed");
        let closing = thread::spawn({
            let gate = gate.clone();
            move || gate.close(Duration::from_secs(60))
        });
        drop(inside);
        assert_eq!(closing.join().unwrap(), 0);
    }
}
