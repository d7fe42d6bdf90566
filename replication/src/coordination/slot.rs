//! A place for one piece of work under way, for loops that wait for several things at once.

use futures::future::BoxFuture;

/// Work under way, if any.
pub(super) type Slot<T> = Option<BoxFuture<'static, T>>;

/// Waits for the future in the slot and empties it; forever if there is none. Cancelling loses nothing.
pub(super) async fn finish<T>(slot: &mut Slot<T>) -> T {
    match slot {
        Some(future) => {
            let value = future.await;
            *slot = None;
            value
        }
        None => std::future::pending().await,
    }
}
