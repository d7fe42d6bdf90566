//! Work that waits for a device, done so that nothing else waits with it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Does what may wait for a disk. On a worker of a tokio runtime the worker's other tasks go on elsewhere meanwhile; any
/// other thread simply waits.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Both workers wait, and what would end their wait still runs.
    #[test]
    fn workers_that_wait_do_not_hold_up_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (sender, receiver) = channel();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (go, gone) = channel::<()>();
                sender.send(go).unwrap();
                runtime.spawn(async move { waiting(|| gone.recv().is_ok()) })
            })
            .collect();
        runtime.block_on(async {
            let release =
                tokio::spawn(async move { receiver.try_iter().for_each(|go| go.send(()).unwrap()) });
            release.await.unwrap();
            for waiter in waiters {
                assert!(waiter.await.unwrap());
            }
        });
        assert_eq!(waiting(|| 1), 1, "outside of a runtime");
    }
}
