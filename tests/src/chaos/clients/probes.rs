//! Probes: one writer for each range, at nodes to which nothing is done, or, where something is done to all, at whichever
//! answers: as a client does that has several addresses. The longest time between two of its acknowledgements is the
//! range's write gap.

use std::sync::Arc;
use std::time::Duration;

use super::kv::{Failure, Kv};
use super::shared::{Found, LETTERS, Shared};

/// Works until the trial ends.
pub(super) async fn work(shared: Arc<Shared>, range: usize, nodes: Vec<usize>) -> Found {
    let mut at = range;
    let mut kv = Kv::to(nodes[at % nodes.len()]);
    for number in 0_u64.. {
        if shared.stopping() {
            break;
        }
        let key = format!("{}probe-{}", LETTERS[range], shared.trial);
        match kv.put(&key, &number.to_string()).await {
            Ok(_) => {
                shared.gaps.acknowledged(range, shared.record.now());
            }
            Err(Failure::NotDone(why) | Failure::Unknown(why)) => {
                shared.gaps.failed(why);
                at += 1;
                kv = Kv::to(nodes[at % nodes.len()]);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Found::default()
}
