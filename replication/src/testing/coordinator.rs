//! The coordination service, as one range sees it: the embedded tree of znodes, on which each member carries out its
//! requests with the code of production; sessions that end; and what an operator can do to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use wal::ReplicaId;

use crate::coordination::Coordinator;
use crate::coordination::embedded::{Embedded, EmbeddedClient};
use crate::coordination::range::RangeZnodes;
use crate::protocol::coordination::{CoordinationRequest, RangeView};

/// The range's own znode. Nobody deletes it: it is the catalog's.
const RANGE: &str = "/range";

/// The service for one range.
pub struct Service {
    tree: Embedded,
    /// The members' sessions.
    clients: BTreeMap<ReplicaId, Arc<EmbeddedClient>>,
    /// Sees everything, and owns nothing.
    operator: Arc<EmbeddedClient>,
    /// Grows with every change, so that views can be distinguished from newer ones.
    pub change: u64,
}

/// The persistent znodes of one moment.
#[derive(Clone, Debug)]
pub struct Backup {
    bytes: Bytes,
    change: u64,
}

impl Default for Service {
    fn default() -> Service {
        let service = Service::on(Embedded::new(), 0);
        now(service.operator.ensure(RANGE)).expect("a tree takes it");
        service
    }
}

impl Service {
    fn on(tree: Embedded, change: u64) -> Service {
        let operator = tree.client();
        Service { tree, clients: BTreeMap::new(), operator, change }
    }

    /// Carries out a request of a member whose session lives; whether it took effect.
    pub fn execute(&mut self, member: ReplicaId, request: CoordinationRequest) -> bool {
        self.change += 1;
        let client = self.clients.entry(member).or_insert_with(|| self.tree.client());
        let znodes = Arc::new(znodes(Arc::clone(client), member));
        let done = now(Arc::clone(&znodes).carry_out(request)).done;
        if let CoordinationRequest::Win { epoch, .. } = request
            && done
        {
            now(znodes.clear_elections(epoch));
        }
        done
    }

    /// The member's session ends: its ephemerals go.
    pub fn expire(&mut self, member: ReplicaId) {
        self.change += 1;
        if let Some(client) = self.clients.remove(&member) {
            client.kill(Duration::ZERO);
        }
    }

    /// What a member with (or without) a session sees.
    pub fn view(&self, session: bool) -> RangeView {
        let nobody = ReplicaId::default();
        let view = now(znodes(Arc::clone(&self.operator), nobody).view()).expect("a tree can be read");
        RangeView { session, ..view }
    }

    /// An operator deletes znodes: 0 the leader's, 1 the epoch's, 2 all below the range.
    pub fn delete(&mut self, what: u8) {
        self.change += 1;
        if what != 1 {
            self.delete_all(&format!("{RANGE}/leader"));
        }
        if what != 0 {
            self.delete_all(&format!("{RANGE}/epoch"));
        }
        if what == 2 {
            self.delete_all(&format!("{RANGE}/election"));
        }
    }

    fn delete_all(&self, path: &str) {
        for child in now(self.operator.list(path)).expect("a tree can be read") {
            self.delete_all(&format!("{path}/{child}"));
        }
        // That it is not there is no harm.
        let _ = now(self.operator.delete(path, None));
    }

    /// What a backup of the service keeps: the persistent znodes.
    pub fn back_up(&self) -> Backup {
        Backup { bytes: self.tree.back_up(), change: self.change }
    }

    /// The service is restored from a backup: ephemerals are gone, the epoch is an old one, versions may repeat.
    pub fn restore(&mut self, backup: &Backup) {
        let tree = Embedded::restored(backup.bytes.clone()).expect("what was backed up");
        *self = Service::on(tree, self.change.max(backup.change) + 1);
    }
}

fn znodes(coordinator: Arc<EmbeddedClient>, me: ReplicaId) -> RangeZnodes {
    RangeZnodes { coordinator, path: RANGE.to_owned(), me, junk: Mutex::default() }
}

/// The embedded tree answers at once.
fn now<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("the embedded tree never waits")
}
