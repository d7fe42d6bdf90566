//! The time that passes while something is awaited at the coordinator: the machine's, or a simulator's.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

/// A clock that can be waited for.
pub trait Time: Send + Sync {
    /// The time now.
    fn now(&self) -> Instant;

    /// Returns so much later.
    fn sleep(&self, during: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock, on a tokio runtime.
pub(crate) struct MachineTime;

impl Time for MachineTime {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, during: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(during))
    }
}
