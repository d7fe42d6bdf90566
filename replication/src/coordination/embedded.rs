//! The coordination service inside this process: the [`Tree`] behind a lock.
//!
//! For the demo, for tests and for a single machine. It is *not* fault-tolerant: it lives and dies with its
//! process, and durable promises [promise-before-word] keep acknowledged data safe all the same if its state is lost.
//!
//! Persistent nodes are kept, if a disk is given, in one file that is rewritten whole at each change of a
//! persistent node, before the change is answered or seen by anyone:
//!
//! ```text
//! coordinator/state:  magic "SPNKCRD1" | u32 crc32c of the rest | tree (see tree.rs)
//! ```
//!
//! It is written aside, forced, renamed and the directory forced, so a crash leaves the old or the new state.
//! Changes of persistent nodes are rare (tables, ranges, won elections), so the lock is held over that write:
//! simple, and nobody sees what may still be lost. Ephemeral nodes never touch the disk.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use tokio::sync::watch;
use wal::disk::Disk;
use wal::sync;

use super::coordinator::{
    CoordinationError, Coordinator, CreateMode, Op, Result, Session, SessionState, Znode,
};
use super::tree::{SessionId, Tree};
use super::watches::Watches;

const DIRECTORY: &str = "coordinator";
const STATE: &str = "coordinator/state";
const STATE_NEW: &str = "coordinator/state.new";
const MAGIC: &[u8; 8] = b"SPNKCRD1";

/// The shared service; clones are the same service.
#[derive(Clone)]
pub struct Embedded {
    service: Arc<Service>,
}

/// One client with its own session, as one node of a cluster has it.
pub struct EmbeddedClient {
    service: Arc<Service>,
    watches: Arc<Watches>,
    /// The current session of the tree; 0 after [`EmbeddedClient::kill`].
    session: AtomicU64,
    state: watch::Sender<Session>,
    /// What this client's reads see, if it is a client that lags.
    behind: Mutex<Option<Tree>>,
}

struct Service {
    state: Mutex<State>,
    disk: Option<Arc<dyn Disk>>,
}

struct State {
    tree: Tree,
    clients: Vec<Weak<Watches>>,
}

impl Default for Embedded {
    fn default() -> Embedded {
        Embedded::new()
    }
}

impl Embedded {
    /// A service that keeps nothing beyond the process.
    pub fn new() -> Embedded {
        Embedded::with(Tree::default(), None)
    }

    /// A service that keeps its persistent nodes on `disk`, and starts with those it finds there.
    ///
    /// Fails with `InvalidData` if the file is damaged: it is never guessed at.
    pub fn open(disk: Arc<dyn Disk>) -> io::Result<Embedded> {
        disk.create_dir(DIRECTORY)?;
        let tree = load(disk.as_ref())?.unwrap_or_default();
        Ok(Embedded::with(tree, Some(disk)))
    }

    /// The persistent nodes as bytes, as a backup of the service holds them.
    #[cfg(feature = "testing")]
    pub fn back_up(&self) -> Bytes {
        self.service.lock().tree.encode().into()
    }

    /// A service with the nodes of a backup and no session; `None` if the bytes are none.
    #[cfg(feature = "testing")]
    pub fn restored(backup: Bytes) -> Option<Embedded> {
        Tree::decode(backup).map(|tree| Embedded::with(tree, None))
    }

    /// A new client with a session of its own.
    pub fn client(&self) -> Arc<EmbeddedClient> {
        let watches = Arc::new(Watches::default());
        let mut state = self.service.lock();
        let session = state.tree.open_session();
        state.clients.retain(|client| client.strong_count() > 0);
        state.clients.push(Arc::downgrade(&watches));
        drop(state);
        Arc::new(EmbeddedClient {
            service: Arc::clone(&self.service),
            watches,
            session: AtomicU64::new(session.0),
            state: watch::channel(Session { state: SessionState::Live, number: 1 }).0,
            behind: Mutex::default(),
        })
    }

    fn with(tree: Tree, disk: Option<Arc<dyn Disk>>) -> Embedded {
        Embedded {
            service: Arc::new(Service { state: Mutex::new(State { tree, clients: Vec::new() }), disk }),
        }
    }
}

impl EmbeddedClient {
    /// Crashes this client: every later call fails as unavailable, and the service ends the session (ephemerals
    /// go) once `session_timeout` has passed: at once if it is zero, else on the current tokio runtime.
    pub fn kill(&self, session_timeout: Duration) {
        let session = SessionId(self.session.swap(0, Ordering::AcqRel));
        if session_timeout.is_zero() {
            self.service.end_session(session);
        } else {
            let service = Arc::clone(&self.service);
            tokio::spawn(async move {
                tokio::time::sleep(session_timeout).await;
                service.end_session(session);
            });
        }
        self.state.send_modify(|session| session.state = SessionState::Disconnected);
        self.watches.all_changed();
    }

    /// Ends the session and opens the next one, as after a pause longer than the session timeout.
    pub fn expire(&self) {
        let next = self.service.lock().tree.open_session();
        let ended = SessionId(self.session.swap(next.0, Ordering::AcqRel));
        self.service.end_session(ended);
        self.state.send_modify(|session| {
            *session = Session { state: SessionState::Live, number: session.number + 1 };
        });
        self.watches.all_changed();
    }

    /// From now on this client reads from a server that lags: reads see the tree as it is now, with this client's own
    /// changes, until it syncs, and watches are silent.
    pub fn fall_behind(&self) {
        *sync::lock(&self.behind) = Some(self.service.lock().tree.clone());
        self.watches.set_silent(true);
    }

    /// The server of this client has caught up, and does not lag any more.
    pub fn catch_up(&self) {
        *sync::lock(&self.behind) = None;
        self.watches.set_silent(false);
        self.watches.all_changed();
    }

    /// The service has seen a change or a sync of this client: a server that lags has come so far.
    fn see_all(&self) {
        let mut behind = sync::lock(&self.behind);
        if behind.is_some() {
            *behind = Some(self.service.lock().tree.clone());
        }
    }

    /// Reads the tree as this client sees it.
    fn read<T>(&self, read: impl FnOnce(&Tree) -> T) -> T {
        match &*sync::lock(&self.behind) {
            Some(tree) => read(tree),
            None => read(&self.service.lock().tree),
        }
    }

    fn session_id(&self) -> Result<SessionId> {
        match self.session.load(Ordering::Acquire) {
            0 => Err(CoordinationError::Unavailable("the session is closed".to_string())),
            id => Ok(SessionId(id)),
        }
    }

    /// Runs one change of the tree; if it touches persistent nodes, it is on disk before anyone sees it.
    fn change<T>(
        &self,
        persistent: bool,
        change: impl FnOnce(&mut Tree, SessionId) -> Result<T>,
    ) -> Result<T> {
        let session = self.session_id()?;
        let mut state = self.service.lock();
        let before = (persistent && self.service.disk.is_some()).then(|| state.tree.clone());
        let answer = change(&mut state.tree, session)?;
        if let (Some(disk), Some(before)) = (&self.service.disk, before)
            && let Err(error) = store(disk.as_ref(), &state.tree)
        {
            state.tree = before;
            return Err(CoordinationError::Io(Arc::new(error)));
        }
        // Under its name it is what a restart finds, unless a power loss takes that back: so it is what all see from here on.
        let forced = match &self.service.disk {
            Some(disk) if persistent => disk.sync_dir(DIRECTORY),
            Some(_) | None => Ok(()),
        };
        state.publish();
        drop(state);
        self.see_all();
        forced.map_err(|error| CoordinationError::Unknown(format!("coordinator state: {error}")))?;
        Ok(answer)
    }

    fn is_ephemeral(&self, path: &str) -> bool {
        self.service.lock().tree.get(path).is_some_and(|node| node.owner.is_some())
    }
}

impl Drop for EmbeddedClient {
    fn drop(&mut self) {
        self.service.end_session(SessionId(self.session.load(Ordering::Acquire)));
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }

    fn end_session(&self, session: SessionId) {
        let mut state = self.lock();
        state.tree.close_session(session);
        state.publish();
    }
}

impl State {
    /// Wakes the watchers of everything that changed.
    fn publish(&mut self) {
        for path in self.tree.take_changes() {
            for client in self.clients.iter().filter_map(Weak::upgrade) {
                client.changed(&path);
            }
        }
    }
}

impl Coordinator for EmbeddedClient {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            self.change(mode == CreateMode::Persistent, |tree, session| {
                tree.create(session, path, data, mode)
            })
        })
    }

    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>> {
        Box::pin(
            async move { self.change(!self.is_ephemeral(path), |tree, _| tree.set(path, data, version)) },
        )
    }

    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.change(!self.is_ephemeral(path), |tree, _| tree.delete(path, version)) })
    }

    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.change(true, |tree, session| tree.multi(session, ops)) })
    }

    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>> {
        Box::pin(async move {
            let session = self.session_id()?;
            let znode = |tree: &Tree| {
                tree.get(path).map(|node| Znode {
                    data: node.data.clone(),
                    version: node.version,
                    mine: node.owner == Some(session),
                })
            };
            Ok(self.read(znode))
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            self.session_id()?;
            Ok(self.read(|tree| tree.list(path)))
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.session_id()?;
            self.see_all();
            Ok(())
        })
    }

    fn ensure<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.session_id()?;
            if self.service.lock().tree.get(path).is_some() {
                return Ok(());
            }
            self.change(true, |tree, session| {
                let ends = path.match_indices('/').map(|(at, _)| at).filter(|&at| at > 0).chain([path.len()]);
                let missing = ends.map(|end| &path[..end]).filter(|prefix| tree.get(prefix).is_none());
                let ops = missing.map(|prefix| Op::Create {
                    path: prefix.to_string(),
                    data: Bytes::new(),
                    mode: CreateMode::Persistent,
                });
                let ops = ops.collect();
                tree.multi(session, ops)
            })
        })
    }

    fn watch(&self, path: &str) -> watch::Receiver<u64> {
        self.watches.add(path)
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.state.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.kill(Duration::ZERO) })
    }
}

fn load(disk: &dyn Disk) -> io::Result<Option<Tree>> {
    let file = match disk.open(STATE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{STATE} is damaged"));
    let length = usize::try_from(file.len()?).map_err(|_| damaged())?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    let mut bytes = Bytes::from(bytes);
    if bytes.len() < MAGIC.len() + 4 || bytes.split_to(MAGIC.len()).as_ref() != MAGIC {
        return Err(damaged());
    }
    let checksum = bytes.get_u32_le();
    if checksum != crc32c::crc32c(&bytes) {
        return Err(damaged());
    }
    Tree::decode(bytes).map(Some).ok_or_else(damaged)
}

/// Puts a tree in force. An error leaves the one before; its name is not forced yet.
fn store(disk: &dyn Disk, tree: &Tree) -> io::Result<()> {
    let tree = tree.encode();
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + tree.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&crc32c::crc32c(&tree).to_le_bytes());
    bytes.extend_from_slice(&tree);
    // A leftover of a crash between writing and renaming.
    match disk.remove(STATE_NEW) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(STATE_NEW)?;
    file.write_all_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(STATE_NEW, STATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        let service = Embedded::new();
        let connect = || {
            let client: Arc<dyn Coordinator> = service.client();
            Box::pin(std::future::ready(client)) as BoxFuture<'static, Arc<dyn Coordinator>>
        };
        contract::run(&connect, "/contract").await;
    }

    #[cfg(feature = "testing")]
    mod on_disk {
        use wal::disk::{Faults, MemoryDisk};

        use super::*;

        async fn content(disk: &MemoryDisk) -> io::Result<Vec<Option<Bytes>>> {
            let client = Embedded::open(Arc::new(disk.clone()))?.client();
            let mut found = Vec::new();
            for path in ["/a", "/a/b", "/a/mine"] {
                found.push(client.get(path).await.unwrap().map(|node| node.data));
            }
            Ok(found)
        }

        #[tokio::test]
        async fn what_was_answered_survives_a_power_loss() {
            let disk = MemoryDisk::new();
            let client = Embedded::open(Arc::new(disk.clone())).unwrap().client();
            client.ensure("/a").await.unwrap();
            client.create("/a/mine", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
            client.create("/a/b", Bytes::from_static(b"1"), CreateMode::Persistent).await.unwrap();
            client.set("/a/b", Bytes::from_static(b"2"), Some(0)).await.unwrap();
            let expected = vec![Some(Bytes::new()), Some(Bytes::from_static(b"2")), None];
            for seed in 0..20 {
                assert_eq!(content(&disk.crash(seed)).await.unwrap(), expected, "seed {seed}");
            }
        }

        #[tokio::test]
        async fn a_write_that_fails_is_not_done() {
            let disk = MemoryDisk::new();
            let client = Embedded::open(Arc::new(disk.clone())).unwrap().client();
            client.ensure("/a").await.unwrap();
            disk.set_capacity(Some(0));
            let full = client.create("/a/b", Bytes::from_static(b"1"), CreateMode::Persistent).await;
            assert!(matches!(full, Err(CoordinationError::Io(_))), "{full:?}");
            assert_eq!(client.list("/a").await.unwrap(), Vec::<String>::new());
            client.create("/a/mine", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
            disk.set_capacity(None);
            client.create("/a/b", Bytes::from_static(b"1"), CreateMode::Persistent).await.unwrap();
        }

        #[tokio::test]
        async fn whether_a_change_stands_whose_name_is_not_forced_nobody_knows() {
            let disk = MemoryDisk::new();
            let client = Embedded::open(Arc::new(disk.clone())).unwrap().client();
            client.ensure("/a").await.unwrap();
            let create = || client.create("/a/b", Bytes::from_static(b"1"), CreateMode::Persistent);
            let mut seen = Vec::new();
            for step in 0..10 {
                disk.set_faults(Faults { stop_after: Some(disk.operations() + step), ..Faults::default() });
                let made = create().await;
                disk.set_faults(Faults::default());
                let there = client.get("/a/b").await.unwrap().is_some();
                let found = content(&disk).await.unwrap()[1].is_some();
                assert_eq!(there, found, "step {step}: what is seen is what a restart finds");
                match made {
                    Err(CoordinationError::Io(_)) => assert!(!there, "step {step}: it was not done"),
                    Err(CoordinationError::Unknown(_)) => assert!(there, "step {step}: it may be lost"),
                    made => {
                        made.unwrap();
                        assert!(seen.contains(&"unknown"), "{seen:?}");
                        return;
                    }
                }
                seen.push(if there { "unknown" } else { "not done" });
                if there {
                    client.delete("/a/b", None).await.unwrap();
                }
            }
            panic!("it is never done: {seen:?}");
        }

        #[tokio::test]
        async fn damage_is_refused() {
            let disk = MemoryDisk::new();
            let client = Embedded::open(Arc::new(disk.clone())).unwrap().client();
            client.ensure("/a").await.unwrap();
            let bits = 8 * disk.open(STATE).unwrap().len().unwrap();
            for bit in 0..bits {
                disk.flip(STATE, bit).unwrap();
                let refused = content(&disk).await.expect_err("a flipped bit is noticed");
                assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "bit {bit}");
                disk.flip(STATE, bit).unwrap();
            }
        }
    }
}
