//! The next segment, made on a thread of its own while the current one is being filled.
//!
//! So beginning a segment costs the log what a small batch costs, however slow the disk is. If the log comes to its end
//! before the file has all its zeros, it takes the file as it is: zeros save metadata changes, nothing depends on them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::disk::is_full;
use crate::segments::{MadeSegment, MakeSegment, SegmentSource};
use crate::sync;

/// A waiter looks at least so often.
const WAIT: Duration = Duration::from_millis(50);

enum State {
    Idle,
    Ordered(MakeSegment),
    /// A segment of this length is being made.
    Making(u64),
    Made(io::Result<MadeSegment>),
    Ended,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Somebody waits for it.
    hurry: AtomicBool,
}

/// Segments from a thread; dropped, it ends the thread.
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread.
    pub(crate) fn spawn() -> io::Result<Ahead> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
            hurry: AtomicBool::new(false),
        });
        let inner = shared.clone();
        let thread = thread::Builder::new().name("wal-ahead".into()).spawn(move || run(&inner))?;
        Ok(Ahead { shared, thread: Some(thread) })
    }

    /// Replaces the state, and returns what was there.
    fn replace(&self, state: State) -> State {
        std::mem::replace(&mut *sync::lock(&self.shared.state), state)
    }

    /// Waits until nothing is being made, and takes what was.
    fn collect(&self) -> Option<io::Result<MadeSegment>> {
        self.shared.hurry.store(true, Ordering::Relaxed);
        let mut state = sync::lock(&self.shared.state);
        while matches!(*state, State::Ordered(_) | State::Making(_)) {
            (state, _) = sync::wait_timeout(&self.shared.changed, state, WAIT);
        }
        match std::mem::replace(&mut *state, State::Idle) {
            State::Made(made) => Some(made),
            State::Idle | State::Ordered(_) | State::Making(_) | State::Ended => None,
        }
    }
}

impl SegmentSource for Ahead {
    fn take(&mut self, make: &MakeSegment) -> io::Result<MadeSegment> {
        match self.collect() {
            Some(Ok(made)) if made.id == make.id && made.length >= make.least => Ok(made),
            Some(Err(error)) if !is_full(&error) => Err(error),
            // None, or one that is too short, or no space for a long one: made now, as fast as can be.
            Some(Ok(_) | Err(_)) | None => make.make(&AtomicBool::new(true)),
        }
    }

    fn order(&mut self, make: MakeSegment) {
        self.shared.hurry.store(false, Ordering::Relaxed);
        self.replace(State::Ordered(make));
        self.shared.changed.notify_all();
    }

    fn ahead(&self) -> u64 {
        match &*sync::lock(&self.shared.state) {
            State::Ordered(make) => make.length,
            State::Making(length) => *length,
            State::Made(Ok(made)) => made.length,
            State::Made(Err(_)) | State::Idle | State::Ended => 0,
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.hurry.store(true, Ordering::Relaxed);
        self.replace(State::Ended);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut state = sync::lock(&shared.state);
    loop {
        match std::mem::replace(&mut *state, State::Idle) {
            State::Ended => {
                *state = State::Ended;
                return;
            }
            State::Ordered(make) => {
                *state = State::Making(make.length);
                drop(state);
                let made = catch_unwind(AssertUnwindSafe(|| make.make(&shared.hurry)))
                    .unwrap_or_else(|_| Err(io::Error::other("making a segment panicked")));
                state = sync::lock(&shared.state);
                if !matches!(*state, State::Ended) {
                    *state = State::Made(made);
                }
                shared.changed.notify_all();
            }
            waiting @ (State::Idle | State::Making(_) | State::Made(_)) => {
                *state = waiting;
                (state, _) = sync::wait_timeout(&shared.changed, state, Duration::from_secs(3600));
            }
        }
    }
}
