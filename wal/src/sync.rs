//! Locks that a panic of a former holder does not close.
//!
//! Whoever panics under one of our locks has left, at worst, a change half done in memory. Each place that locks either
//! cannot be hurt by that or ends the process first, so that the poison of the standard locks would only turn one
//! failure into many. Where a half-done change must stop everything (a cohort's step), the lock is taken directly and
//! its poison is looked at.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

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
