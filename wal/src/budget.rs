//! A limit in bytes on what clients can make grow.
//!
//! Whoever is about to keep bytes for a client reserves them first and gives them back by dropping the guard. Nobody
//! waits: what does not fit is refused, with an error that becomes 53200 or RESOURCE_EXHAUSTED.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes, shared by all who hold a clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: &'static str,
    max: u64,
    used: AtomicU64,
    refused: AtomicU64,
}

/// The budget does not hold so much now. Nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory for {name}: {wanted} bytes more than the {used} of {max} bytes in use")]
pub struct OverBudget {
    /// What the budget is for.
    pub name: &'static str,
    /// Bytes that were asked for.
    pub wanted: u64,
    /// Bytes in use then.
    pub used: u64,
    /// All that there is.
    pub max: u64,
}

/// Bytes taken from a budget; dropped, it gives them back.
#[derive(Debug)]
pub struct Reserved {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `max` bytes; `name` says what it is for ("scans", "sorts"), for the error's text.
    pub fn new(name: &'static str, max: u64) -> Budget {
        Budget(Arc::new(Shared { name, max, used: AtomicU64::new(0), refused: AtomicU64::new(0) }))
    }

    /// Reserves bytes, or says why not.
    pub fn reserve(&self, bytes: u64) -> Result<Reserved, OverBudget> {
        self.take(bytes)?;
        Ok(Reserved { budget: self.clone(), bytes })
    }

    /// Bytes in use now.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// All bytes that there are.
    pub fn max(&self) -> u64 {
        self.0.max
    }

    /// How often something was refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// What it is for.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn take(&self, bytes: u64) -> Result<(), OverBudget> {
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.max);
        match self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(used) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                Err(OverBudget { name: self.0.name, wanted: bytes, used, max: self.0.max })
            }
        }
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reserved {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds so many bytes from now on. On an error it holds what it held.
    pub fn resize(&mut self, bytes: u64) -> Result<(), OverBudget> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.budget.take(more)?,
            None => self.budget.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Holds so many bytes more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), OverBudget> {
        self.resize(self.bytes.saturating_add(bytes))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_dropped_comes_back() {
        let budget = Budget::new("sorts", 100);
        let mut first = budget.reserve(60).expect("it is empty");
        let error = budget.reserve(50).expect_err("too much");
        assert_eq!((error.wanted, error.used, error.max), (50, 60, 100));
        let second = budget.reserve(40).expect("just fits");
        assert!(first.grow(1).is_err() && first.bytes() == 60);
        drop(second);
        first.grow(30).expect("room again");
        first.resize(10).expect("less always fits");
        assert_eq!((budget.used(), budget.refused()), (10, 2));
        assert!(budget.reserve(u64::MAX).is_err(), "no sum overflows");
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
