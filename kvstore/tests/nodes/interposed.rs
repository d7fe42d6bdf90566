//! A coordinator's client with something that happens just before one of its reads.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use kvstore::coordination::embedded::EmbeddedClient;
use kvstore::coordination::{Coordinator, CreateMode, Op, Result, Session, Znode};
use tokio::sync::watch;

/// What happens, and before which list of children.
type Before = (String, BoxFuture<'static, ()>);

/// Passes everything on.
pub(crate) struct Interposed {
    inner: Arc<EmbeddedClient>,
    before_list: Mutex<Option<Before>>,
}

impl Interposed {
    pub(crate) fn new(inner: Arc<EmbeddedClient>) -> Arc<Interposed> {
        Arc::new(Interposed { inner, before_list: Mutex::default() })
    }

    /// The next list of the children of `path` comes after `happens`.
    pub(crate) fn before_list(&self, path: &str, happens: impl Future<Output = ()> + Send + 'static) {
        *self.before_list.lock().unwrap() = Some((path.to_owned(), Box::pin(happens)));
    }
}

impl Coordinator for Interposed {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>> {
        self.inner.create(path, data, mode)
    }
    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>> {
        self.inner.set(path, data, version)
    }
    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>> {
        self.inner.delete(path, version)
    }
    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>> {
        self.inner.multi(ops)
    }
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>> {
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
