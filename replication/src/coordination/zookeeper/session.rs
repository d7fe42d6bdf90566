//! One honest answer about a ZooKeeper session, and a new session after the old one has ended.
//!
//! `zookeeper-client` reconnects within a session by itself, but a client whose session has expired is dead for
//! good. The supervisor here watches one client after the other:
//!
//! - *Live* is announced only when the session stands and the watch on the whole tree does too, so that nothing that
//!   happens afterwards is missed; every (re)connect renews the watch and moves all counters, because events
//!   may have been lost in between (ZOOKEEPER-4698).
//! - *Disconnected* is announced after 0.4 of the session timeout without a word from the server. The server may end
//!   the session well before the client says *Expired* (at 1.0 against 1.4 timeouts), so whoever must not act
//!   without a session stops at Disconnected.
//! - *Expired* ends the client; the next session has the next number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};
use zookeeper_client::{
    AddWatchMode, Client, EventType, PersistentWatcher, SessionState as ClientState, StateWatcher,
};

use super::options::{ConnectString, ZooKeeperOptions};
use crate::coordination::coordinator::{CoordinationError, Result, Session, SessionState};
use crate::coordination::slot::{Slot, finish};
use crate::coordination::watches::Watches;

/// First and longest pause between attempts to open a new session.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often it is said that there is no session yet.
const TELL_PERIOD: Duration = Duration::from_secs(30);
/// How long a closing session may take to say good-bye to the server.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What the supervisor and the callers share.
pub(super) struct Shared {
    pub(super) watches: Watches,
    /// The client of the current session; none while there is no session.
    client: watch::Sender<Option<Client>>,
    session: watch::Sender<Session>,
    /// Number of times that what this client did may have been hidden from its reads: by a server that is behind
    /// the others, by a request still on its way.
    doubts: AtomicU64,
    /// Up to which doubt a sync has cleared it.
    doubts_cleared: AtomicU64,
}

/// A session with its client.
pub(super) struct Opened {
    client: Client,
    states: StateWatcher,
    events: PersistentWatcher,
}

/// Why the supervisor stopped looking after a client.
enum Ended {
    Expired,
    Closing(Option<oneshot::Sender<()>>),
}

impl Shared {
    pub(super) fn session(&self) -> watch::Receiver<Session> {
        self.session.subscribe()
    }

    /// The client, once the session is live; waits for that until the deadline.
    pub(super) async fn live_client(&self, deadline: Instant) -> Result<Client> {
        let mut session = self.session.subscribe();
        let live = session.wait_for(|session| session.state == SessionState::Live);
        let unavailable = |reason: &str| CoordinationError::Unavailable(reason.to_string());
        match timeout_at(deadline, live).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(unavailable("closed")),
            Err(_) => return Err(unavailable("no connection to ZooKeeper")),
        }
        self.client.borrow().clone().ok_or_else(|| unavailable("the session has ended"))
    }

    /// From now on, reads sync first until one has done so.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// The doubt that a sync begun now would clear; none if there is nothing to clear.
    pub(super) fn doubted(&self) -> Option<u64> {
        let doubt = self.doubts.load(Ordering::Acquire);
        (doubt > self.doubts_cleared.load(Ordering::Acquire)).then_some(doubt)
    }

    /// A sync that began at this doubt has ended.
    pub(super) fn clear_doubt(&self, doubt: u64) {
        self.doubts_cleared.fetch_max(doubt, Ordering::AcqRel);
    }

    fn announce(&self, state: SessionState) {
        self.session.send_if_modified(|session| {
            let changed = session.state != state;
            session.state = state;
            changed
        });
        self.watches.all_changed();
    }
}

/// Looks after one session after the other until closed (or until the sender is dropped); the first one may be open
/// already.
pub(super) fn supervise(
    servers: ConnectString,
    options: ZooKeeperOptions,
    first: Option<Opened>,
) -> (Arc<Shared>, oneshot::Sender<oneshot::Sender<()>>) {
    let session = match &first {
        Some(_) => Session { state: SessionState::Live, number: 1 },
        None => Session { state: SessionState::Disconnected, number: 0 },
    };
    let shared = Arc::new(Shared {
        watches: Watches::default(),
        client: watch::channel(first.as_ref().map(|first| first.client.clone())).0,
        session: watch::channel(session).0,
        doubts: AtomicU64::new(0),
        doubts_cleared: AtomicU64::new(0),
    });
    let (close, mut closing) = oneshot::channel();
    let supervised = Arc::clone(&shared);
    tokio::spawn(async move {
        let mut opened = first;
        loop {
            let current = match opened.take() {
                Some(opened) => opened,
                None => {
                    let opened = tokio::select! {
                        opened = open_again(&servers, &options) => opened,
                        done = &mut closing => return supervised.end(done.ok()).await,
                    };
                    supervised.begin(&opened);
                    opened
                }
            };
            if let Ended::Closing(done) = look_after(&supervised, current, &mut closing).await {
                return supervised.end(done).await;
            }
        }
    });
    (shared, close)
}

impl Shared {
    /// A session stands, the next one.
    fn begin(&self, opened: &Opened) {
        info!(session = opened.client.session_id().0, "new ZooKeeper session");
        self.client.send_replace(Some(opened.client.clone()));
        self.doubt();
        self.session.send_modify(|session| {
            *session = Session { state: SessionState::Live, number: session.number + 1 };
        });
        self.watches.all_changed();
    }

    /// Closes for good: with its last client gone, the session ends at the server at once.
    async fn end(&self, done: Option<oneshot::Sender<()>>) {
        let states = self.client.borrow().as_ref().map(Client::state_watcher);
        self.client.send_replace(None);
        self.announce(SessionState::Disconnected);
        if let Some(mut states) = states {
            // Calls under way hold the client a little longer.
            let closed = async { while !states.changed().await.is_terminated() {} };
            let _ = timeout(CLOSE_WAIT, closed).await;
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// Follows one session until it ends, and announces each change of its state.
async fn look_after(
    shared: &Shared,
    opened: Opened,
    closing: &mut oneshot::Receiver<oneshot::Sender<()>>,
) -> Ended {
    let Opened { client, mut states, mut events } = opened;
    // Only the shared slot keeps the session alive, so that emptying it ends the session.
    drop(client);
    let mut renewing: Slot<PersistentWatcher> = None;
    loop {
        let state = tokio::select! {
            done = &mut *closing => return Ended::Closing(done.ok()),
            state = states.changed() => state,
            watcher = finish(&mut renewing) => {
                events = watcher;
                shared.doubt();
                shared.announce(SessionState::Live);
                continue;
            }
            event = events.changed() => match event.event_type {
                // After a terminal state the watcher must not be asked again; others come by `states`, too.
                EventType::Session if event.session_state.is_terminated() => event.session_state,
                EventType::Session => continue,
                _ => {
                    shared.watches.changed(&event.path);
                    continue;
                }
            },
        };
        match state {
            ClientState::SyncConnected | ClientState::ConnectedReadOnly => {
                let client = shared.client.borrow().clone();
                renewing = client.map(|client| renew(client).boxed());
            }
            ClientState::Disconnected => shared.announce(SessionState::Disconnected),
            ClientState::Expired | ClientState::Closed | ClientState::AuthFailed => {
                warn!(%state, "ZooKeeper session ended");
                shared.client.send_replace(None);
                shared.announce(SessionState::Expired);
                return Ended::Expired;
            }
        }
    }
}

/// Watches the whole tree again after a reconnect: zookeeper-client 0.11.2 sends only its oneshot watches to the
/// new connection, and forgets the persistent ones.
async fn renew(client: Client) -> PersistentWatcher {
    loop {
        match client.watch("/", AddWatchMode::PersistentRecursive).await {
            Ok(watcher) => return watcher,
            // If the connection or the session is lost again, the next state says so and ends this.
            Err(error) => warn!(%error, "watch not renewed, trying again"),
        }
        tokio::time::sleep(RETRY_MIN).await;
    }
}

/// Opens the first session within the connect timeout; the error is one line that says what to look at.
pub(super) async fn open_first(servers: &ConnectString, options: &ZooKeeperOptions) -> Result<Opened> {
    let deadline = Instant::now() + options.connect_timeout;
    let reason = loop {
        let reason = match timeout_at(deadline, open(servers, options)).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(_) => break "no answer".to_string(),
        };
        if Instant::now() + RETRY_MIN >= deadline {
            break reason;
        }
        tokio::time::sleep(RETRY_MIN).await;
    };
    let reason = refusal(servers).await.unwrap_or(reason);
    Err(CoordinationError::Unavailable(format!(
        "cannot reach ZooKeeper at {} within {} s: {reason}",
        servers.hosts,
        options.connect_timeout.as_secs_f32()
    )))
}

/// Opens a session, however long that takes; says now and then that there is none yet.
async fn open_again(servers: &ConnectString, options: &ZooKeeperOptions) -> Opened {
    let mut pause = RETRY_MIN;
    let mut told: Option<Instant> = None;
    loop {
        let reason = match timeout(options.connect_timeout, open(servers, options)).await {
            Ok(Ok(opened)) => return opened,
            Ok(Err(reason)) => reason,
            Err(_) => "no answer".to_string(),
        };
        if told.is_none_or(|told| told.elapsed() >= TELL_PERIOD) {
            let reason = refusal(servers).await.unwrap_or(reason);
            warn!(servers = %servers.hosts, reason, "no ZooKeeper session yet, trying until there is one");
            told = Some(Instant::now());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn open(servers: &ConnectString, options: &ZooKeeperOptions) -> std::result::Result<Opened, String> {
    let text = |error: zookeeper_client::Error| error.to_string();
    let mut connector = Client::connector().with_session_timeout(options.session_timeout).with_fail_eagerly();
    if let Some((user, password)) = &options.digest {
        connector = connector.with_auth("digest", format!("{user}:{password}").as_bytes());
    }
    let mut client = connector.connect(&servers.hosts).await.map_err(text)?;
    if servers.chroot != "/" {
        client.mkdir(&servers.chroot, &options.directory()).await.map_err(text)?;
        client = client
            .chroot(servers.chroot.clone())
            .map_err(|_| format!("{} cannot be a root path", servers.chroot))?;
    }
    let states = client.state_watcher();
    let events = client.watch("/", AddWatchMode::PersistentRecursive).await.map_err(text)?;
    Ok(Opened { client, states, events })
}

/// What the operating system says to a plain connection to each server, if none accepts one.
async fn refusal(servers: &ConnectString) -> Option<String> {
    let mut reasons = Vec::new();
    for host in servers.hosts.split(',') {
        match timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(host)).await {
            Ok(Ok(_)) => return None,
            Ok(Err(error)) => reasons.push(error.to_string()),
            Err(_) => reasons.push("no answer".to_string()),
        }
    }
    reasons.dedup();
    Some(reasons.join("; "))
}
