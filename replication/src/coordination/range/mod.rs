//! One range's dealings with the coordinator: keeps the protocol's [`RangeView`] up to date and carries out
//! its [`CoordinationRequest`]s.
//!
//! Views are level-triggered: whenever the watch counter moves, the whole (small) subtree is read again. A burst
//! of changes costs one read more, not one per change. A view that was being read while a request of ours ended
//! is thrown away, so after an outcome no view is announced that is older than it. An outcome is never lost, only late while
//! the service is out of reach. The znodes themselves are described in `znodes.rs`.

mod znodes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::warn;
use wal::{CohortId, ReplicaId};

pub(crate) use self::znodes::RangeZnodes;
pub use self::znodes::{NO_EPOCH, leader, range_path};
use super::coordinator::{Coordinator, Result};
use super::slot::{Slot, finish};
use crate::protocol::coordination::{CoordinationOutcome, CoordinationRequest, RangeView};

/// How often a view is read again because something changed meanwhile, before it is announced as it is.
const UNSTABLE_READS_MAX: u32 = 3;
/// Pause before a failed read is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What the adaptor reports to the cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeEvent {
    /// The coordinator's state of the range, as last read.
    View(RangeView),
    /// A request ended.
    Outcome(CoordinationOutcome),
}

/// A running adaptor for one range on one node. Dropping it stops it: nothing is reported afterwards (but a
/// request that is on its way to the service may still be carried out there).
pub struct RangeCoordination {
    requests: mpsc::UnboundedSender<CoordinationRequest>,
    task: AbortHandle,
}

impl RangeCoordination {
    /// Starts on the current tokio runtime for `range` of the cluster at `root` (`/spinnaker/<cluster>`).
    /// `events` is called from the adaptor's task, one call at a time; it must not block. The range's own znode
    /// ([`range_path`]) must have been made by whoever made the range, else nobody can be elected.
    pub fn spawn(
        coordinator: Arc<dyn Coordinator>,
        root: &str,
        range: CohortId,
        me: ReplicaId,
        events: impl Fn(RangeEvent) + Send + Sync + 'static,
    ) -> RangeCoordination {
        let znodes =
            Arc::new(RangeZnodes { coordinator, path: range_path(root, range), me, junk: Mutex::default() });
        let (requests, queue) = mpsc::unbounded_channel();
        let adaptor = Adaptor {
            znodes,
            events,
            view: RangeView { epoch_version: NO_EPOCH, ..RangeView::default() },
            must_announce: true,
            unstable_reads: 0,
            reading: None,
            running: None,
            clearing: None,
        };
        RangeCoordination { requests, task: tokio::spawn(adaptor.run(queue)).abort_handle() }
    }

    /// Carries out a request, after those before it; its outcome comes as an event.
    pub fn request(&self, request: CoordinationRequest) {
        // The receiver goes only with the task: on shutdown, when nobody waits for outcomes.
        let _ = self.requests.send(request);
    }
}

impl Drop for RangeCoordination {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state of the adaptor's task.
struct Adaptor<F> {
    znodes: Arc<RangeZnodes>,
    events: F,
    /// As last announced.
    view: RangeView,
    /// The next view is announced even if it equals the last one.
    must_announce: bool,
    unstable_reads: u32,
    reading: Slot<Result<RangeView>>,
    running: Slot<CoordinationOutcome>,
    /// Old election directories are removed behind a win; nobody waits for it.
    clearing: Slot<()>,
}

impl<F: Fn(RangeEvent) + Send + Sync + 'static> Adaptor<F> {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<CoordinationRequest>) {
        let mut changes = self.znodes.coordinator.watch(&self.znodes.path);
        let mut stale = true;
        loop {
            if stale && self.reading.is_none() {
                changes.mark_unchanged();
                stale = false;
                self.start_reading(Duration::ZERO);
            }
            tokio::select! {
                biased;
                outcome = finish(&mut self.running) => {
                    self.announce_outcome(outcome);
                    stale = true;
                }
                request = queue.recv(), if self.running.is_none() => {
                    let Some(request) = request else { return };
                    self.running = Some(Box::pin(Arc::clone(&self.znodes).carry_out(request)));
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    stale = true;
                    if !self.znodes.is_session_live() {
                        // Announced at once: a read would first wait for the service.
                        self.reading = None;
                    }
                }
                view = finish(&mut self.reading) => match view {
                    Ok(view) if !stale || self.unstable_reads >= UNSTABLE_READS_MAX => self.announce_view(view),
                    Ok(_) => self.unstable_reads += 1,
                    Err(error) => {
                        warn!(range = %self.znodes.path, %error, "coordination view not read, trying again");
                        self.start_reading(RETRY);
                    }
                },
                () = finish(&mut self.clearing) => {}
            }
        }
    }

    fn start_reading(&mut self, delay: Duration) {
        if self.znodes.is_session_live() {
            let znodes = Arc::clone(&self.znodes);
            self.reading = Some(Box::pin(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                znodes.view().await
            }));
        } else {
            // Read again when the session's return moves the counter.
            self.announce_view(RangeView { session: false, ..self.view.clone() });
        }
    }

    fn announce_outcome(&mut self, outcome: CoordinationOutcome) {
        if let (CoordinationRequest::Win { epoch, .. }, true) = (outcome.request, outcome.done) {
            self.clearing = Some(Box::pin(Arc::clone(&self.znodes).clear_elections(epoch)));
        }
        // A view that began before the request ended may not know of it.
        self.reading = None;
        self.must_announce = true;
        (self.events)(RangeEvent::Outcome(outcome));
    }

    fn announce_view(&mut self, view: RangeView) {
        self.unstable_reads = 0;
        if self.must_announce || view != self.view {
            self.must_announce = false;
            self.view = view.clone();
            (self.events)(RangeEvent::View(view));
        }
    }
}
