//! A coordinator's client whose service can be out of reach.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use kvstore::coordination::embedded::EmbeddedClient;
use kvstore::coordination::{
    CoordinationError, Coordinator, CreateMode, Op, Result, Session, SessionState, Znode,
};
use tokio::sync::watch;

/// Passes everything on as long as the service is there.
pub(crate) struct Away {
    inner: Arc<EmbeddedClient>,
    session: watch::Sender<Session>,
}

impl Away {
    /// A client that has not reached its service yet.
    pub(crate) fn new(inner: Arc<EmbeddedClient>) -> Arc<Away> {
        Arc::new(Away {
            inner,
            session: watch::Sender::new(Session { state: SessionState::Disconnected, number: 0 }),
        })
    }

    /// From now on it is there.
    pub(crate) fn come(&self) {
        self.session.send_replace(Session { state: SessionState::Live, number: 1 });
    }

    fn reached<'a, T: Send + 'a>(&'a self, call: BoxFuture<'a, Result<T>>) -> BoxFuture<'a, Result<T>> {
        match self.session.borrow().state {
            SessionState::Live => call,
            SessionState::Disconnected | SessionState::Expired => {
                Box::pin(async { Err(CoordinationError::Unavailable("nobody answers".into())) })
            }
        }
    }
}

impl Coordinator for Away {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>> {
        self.reached(self.inner.create(path, data, mode))
    }
    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>> {
        self.reached(self.inner.set(path, data, version))
    }
    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>> {
        self.reached(self.inner.delete(path, version))
    }
    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>> {
        self.reached(self.inner.multi(ops))
    }
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>> {
        self.reached(self.inner.get(path))
    }
    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.reached(self.inner.list(path))
    }
    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        self.reached(self.inner.sync())
    }
    fn ensure<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.reached(self.inner.ensure(path))
    }
    fn watch(&self, path: &str) -> watch::Receiver<u64> {
        self.inner.watch(path)
    }
    fn session(&self) -> watch::Receiver<Session> {
        self.session.subscribe()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
