//! What all accept loops of a node do alike: rest after a failure, and refuse what would take the last descriptors.

use std::io;
use std::time::Duration;

use wal::descriptors::{Connection, DESCRIPTORS};

/// Pause after a failed accept (no file descriptor, most likely): trying again at once would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells of an accept loop's troubles, each once as long as it lasts.
#[derive(Debug)]
pub struct AcceptLog {
    listener: &'static str,
    failing: bool,
    refusing: bool,
}

impl AcceptLog {
    /// For the listener of this name.
    pub fn new(listener: &'static str) -> AcceptLog {
        AcceptLog { listener, failing: false, refusing: false }
    }

    /// Accepting failed. The caller rests for [`ACCEPT_PAUSE`].
    pub fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(listener = self.listener, %error, "cannot accept connections, and tries again until it can");
        }
    }

    /// A connection was accepted. Its place among the descriptors of the process; `None`: it is to be refused, so that log
    /// and tables get theirs.
    pub fn accepted(&mut self) -> Option<Connection<'static>> {
        if std::mem::take(&mut self.failing) {
            tracing::info!(listener = self.listener, "accepts connections again");
        }
        let place = DESCRIPTORS.connection();
        match &place {
            Some(_) => self.refusing = false,
            None if !std::mem::replace(&mut self.refusing, true) => {
                tracing::error!(
                    listener = self.listener,
                    limit = DESCRIPTORS.limit(),
                    files = DESCRIPTORS.files(),
                    connections = DESCRIPTORS.connections(),
                    "refuses connections: no file descriptor is left for them (raise ulimit -n)"
                );
            }
            None => {}
        }
        place
    }
}

/// Raises the limit of open files as far as it may be, and says so if clients will be refused before `connections_max`
/// of them are there. An error: the limit is no use at all.
pub fn check_limit(connections_max: usize) -> io::Result<()> {
    let limit = DESCRIPTORS.raise_limit()?;
    let room = DESCRIPTORS.connections_max();
    if room < connections_max as u64 {
        tracing::warn!(
            limit,
            "the limit of open files leaves room for {room} connections, fewer than the {connections_max} that are \
             configured: raise it (ulimit -n, or LimitNOFILE= of a systemd unit), or lower --pg-connections-max"
        );
    }
    Ok(())
}
