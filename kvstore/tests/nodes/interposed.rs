//! A coordinator's client with something that happens just before one of its reads, or whose answer to CREATE or DROP is
//! lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use kvstore::coordination::embedded::EmbeddedClient;
use kvstore::coordination::{CoordinationError, Coordinator, CreateMode, Op, Result, Session, Znode};
use tokio::sync::watch;

/// What happens, and before which list of children.
type Before = (String, BoxFuture<'static, ()>);

/// Passes everything on.
pub(crate) struct Interposed {
    inner: Arc<EmbeddedClient>,
    before_list: Mutex<Option<Before>>,
    /// The connection is lost with the next change of the catalog; whether that is still carried out.
    lost_change: Mutex<Option<bool>>,
    /// Reads of descriptors fail.
    away: AtomicBool,
    /// The connection is lost after so many more sets.
    sets_left: Mutex<Option<u32>>,
    /// Descriptors of ranges are not found.
    ranges_hidden: AtomicBool,
}

impl Interposed {
    pub(crate) fn new(inner: Arc<EmbeddedClient>) -> Arc<Interposed> {
        Arc::new(Interposed {
            inner,
            before_list: Mutex::default(),
            lost_change: Mutex::default(),
            sets_left: Mutex::default(),
            away: AtomicBool::default(),
            ranges_hidden: AtomicBool::default(),
        })
    }

    /// The next list of the children of `path` comes after `happens`.
    pub(crate) fn before_list(&self, path: &str, happens: impl Future<Output = ()> + Send + 'static) {
        *self.before_list.lock().unwrap() = Some((path.to_owned(), Box::pin(happens)));
    }

    /// The answer to the next CREATE or DROP is lost, carried out or not. While the coordinator is `away`, nobody can look
    /// what became of it.
    pub(crate) fn lose_answer(&self, carried_out: bool, away: bool) {
        *self.lost_change.lock().unwrap() = Some(carried_out);
        self.away.store(away, Ordering::Relaxed);
    }

    /// Only so many more sets are carried out.
    pub(crate) fn lose_sets_after(&self, count: u32) {
        *self.sets_left.lock().unwrap() = Some(count);
    }

    /// Descriptors of ranges are not found at this client's server, or are again.
    pub(crate) fn hide_ranges(&self, hidden: bool) {
        self.ranges_hidden.store(hidden, Ordering::Relaxed);
    }

    /// The coordinator answers again.
    pub(crate) fn back(&self) {
        self.away.store(false, Ordering::Relaxed);
    }
}

impl Coordinator for Interposed {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>> {
        self.inner.create(path, data, mode)
    }
    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>> {
        match &mut *self.sets_left.lock().unwrap() {
            Some(0) => {
                return Box::pin(async { Err(CoordinationError::Unavailable("no connection".into())) });
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.inner.set(path, data, version)
    }
    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>> {
        self.inner.delete(path, version)
    }
    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>> {
        let catalog = ops.iter().any(|op| match op {
            Op::Create { path, .. } | Op::Delete { path, .. } => path.contains("/names/"),
            Op::Set { .. } | Op::Check { .. } => false,
        });
        Box::pin(async move {
            let lost = self.lost_change.lock().unwrap().take_if(|_| catalog);
            match lost {
                None => return self.inner.multi(ops).await,
                Some(false) => {}
                Some(true) => self.inner.multi(ops).await?,
            }
            Err(CoordinationError::Unknown("connection lost".into()))
        })
    }
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>> {
        if self.away.load(Ordering::Relaxed) && path.contains("/tables/") {
            return Box::pin(async { Err(CoordinationError::Unavailable("no connection".into())) });
        }
        if self.ranges_hidden.load(Ordering::Relaxed) && path.contains("/ranges/") {
            return Box::pin(async { Ok(None) });
        }
        self.inner.get(path)
    }
    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            let before = self.before_list.lock().unwrap().take_if(|(at, _)| at == path);
            if let Some((_, happens)) = before {
                happens.await;
            }
            self.inner.list(path).await
        })
    }
    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.sync()
    }
    fn ensure<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.ensure(path)
    }
    fn watch(&self, path: &str) -> watch::Receiver<u64> {
        self.inner.watch(path)
    }
    fn session(&self) -> watch::Receiver<Session> {
        self.inner.session()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
