//! The [`Coordinator`] on a ZooKeeper ensemble (3.6 or later), through `zookeeper-client`.
//!
//! - One recursive watch on the root of the connect string serves all watchers of this client, whatever their
//!   number; give the cluster a chroot of its own in a shared ensemble.
//! - The crate queues requests while it is disconnected and cannot cancel them, and reports a lost connection in many
//!   ways. Here a call waits for a live session first, so that `Unavailable` means "nothing was done"; every
//!   failure that is not a definite answer of the server is [`CoordinationError::Unknown`].
//! - After an unknown outcome or a reconnect the next read syncs first: what this client did, or what is still on
//!   its way from it, then lies before the read. So "read back" answers the question that the caller has.

mod session;
mod options;

use std::future::Future;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};
use wal::sync;
use zookeeper_client::{Client, Error, MultiWriteError};

use self::options::ConnectString;
pub use self::options::ZooKeeperOptions;
use self::session::Shared;
use super::coordinator::{CoordinationError, Coordinator, CreateMode, Op, Result, Session, Znode};

/// One client of the ensemble, with one session after the other. Dropping it ends its session.
pub struct ZooKeeper {
    options: ZooKeeperOptions,
    shared: Arc<Shared>,
    /// Ends the supervisor, which answers through the sender that it is handed; taken by the first close.
    close: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl ZooKeeper {
    /// Opens a session; needs a tokio runtime. The error is one line that names the servers.
    pub async fn connect(options: ZooKeeperOptions) -> Result<Arc<ZooKeeper>> {
        let servers = ConnectString::parse(&options.servers)?;
        let first = session::open_first(&servers, &options).await?;
        Ok(ZooKeeper::supervised(servers, options, Some(first)))
    }

    /// A client that has no session yet and tries until it has one; needs a tokio runtime. Until then its state is
    /// disconnected, and calls fail as unavailable after the request timeout. An error: the address is none.
    pub fn open(options: ZooKeeperOptions) -> Result<Arc<ZooKeeper>> {
        let servers = ConnectString::parse(&options.servers)?;
        Ok(ZooKeeper::supervised(servers, options, None))
    }

    fn supervised(
        servers: ConnectString,
        options: ZooKeeperOptions,
        first: Option<session::Opened>,
    ) -> Arc<ZooKeeper> {
        let (shared, close) = session::supervise(servers, options.clone(), first);
        Arc::new(ZooKeeper { options, shared, close: Mutex::new(Some(close)) })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.options.request_timeout
    }

    /// Waits for the answer to a write: a definite one, or unknown.
    async fn write<T>(
        &self,
        path: &str,
        deadline: Instant,
        answer: impl Future<Output = std::result::Result<T, Error>>,
    ) -> Result<T> {
        let error = match timeout_at(deadline, answer).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => translate(error, path),
            Err(_) => CoordinationError::Unknown(format!("no answer about {path} in time")),
        };
        if let CoordinationError::Unknown(_) = error {
            self.shared.doubt();
        }
        Err(error)
    }

    /// A client for reading that has seen all this session did.
    async fn reading_client(&self, deadline: Instant) -> Result<Client> {
        let client = self.shared.live_client(deadline).await?;
        if let Some(doubt) = self.shared.doubted() {
            self.read(deadline, client.sync("/")).await?;
            self.shared.clear_doubt(doubt);
        }
        Ok(client)
    }

    /// Waits for the answer to a read: whatever goes wrong, nothing was done.
    async fn read<T>(
        &self,
        deadline: Instant,
        answer: impl Future<Output = std::result::Result<T, Error>>,
    ) -> Result<T> {
        let unavailable = |reason: String| CoordinationError::Unavailable(reason);
        match timeout_at(deadline, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable("no answer in time".to_string())),
        }
    }
}

impl Coordinator for ZooKeeper {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.shared.live_client(deadline).await?;
            let options = self.options.mode(mode);
            let (_, sequence) = self.write(path, deadline, client.create(path, &data, &options)).await?;
            Ok(match mode {
                CreateMode::EphemeralSequential => format!("{path}{sequence}"),
                CreateMode::Persistent | CreateMode::Ephemeral => path.to_string(),
            })
        })
    }

    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.shared.live_client(deadline).await?;
            let stat = self.write(path, deadline, client.set_data(path, &data, version)).await?;
            Ok(stat.version)
        })
    }

    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.shared.live_client(deadline).await?;
            self.write(path, deadline, client.delete(path, version)).await
        })
    }

    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.shared.live_client(deadline).await?;
            let mut writer = client.new_multi_writer();
            for op in &ops {
                let added = match op {
                    Op::Check { path, version } => writer.add_check_version(path, *version),
                    Op::Create { path, data, mode } => {
                        writer.add_create(path, data, &self.options.mode(*mode))
                    }
                    Op::Set { path, data, version } => writer.add_set_data(path, data, *version),
                    Op::Delete { path, version } => writer.add_delete(path, *version),
                };
                added.map_err(|error| translate(error, op.path()))?;
            }
            let answer = async {
                match writer.commit().await {
                    Ok(_) => Ok(Ok(())),
                    Err(MultiWriteError::RequestFailed { source }) => Err(source),
                    // A definite answer; the step that failed gives its path to the error.
                    Err(MultiWriteError::OperationFailed { index, source }) => {
                        Ok(Err(translate(source, ops.get(index).map_or("/", Op::path))))
                    }
                }
            };
            self.write("a multi", deadline, answer).await?
        })
    }

    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.reading_client(deadline).await?;
            let answer = async {
                match client.get_data(path).await {
                    Ok(found) => Ok(Some(found)),
                    Err(Error::NoNode) => Ok(None),
                    Err(error) => Err(error),
                }
            };
            let found = self.read(deadline, answer).await?;
            Ok(found.map(|(data, stat)| Znode {
                data: Bytes::from(data),
                version: stat.version,
                mine: stat.ephemeral_owner == client.session_id().0,
            }))
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.reading_client(deadline).await?;
            let answer = async {
                match client.list_children(path).await {
                    Err(Error::NoNode) => Ok(Vec::new()),
                    other => other,
                }
            };
            let mut names = self.read(deadline, answer).await?;
            names.sort_unstable();
            Ok(names)
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let deadline = self.deadline();
            let client = self.shared.live_client(deadline).await?;
            self.read(deadline, client.sync("/")).await
        })
    }

    fn ensure<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.get(path).await?.is_some() {
                return Ok(());
            }
            let deadline = self.deadline();
            let client = self.shared.live_client(deadline).await?;
            let options = self.options.directory();
            self.write(path, deadline, client.mkdir(path, &options)).await
        })
    }

    fn watch(&self, path: &str) -> watch::Receiver<u64> {
        self.shared.watches.add(path)
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.shared.session()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let close = sync::lock(&self.close).take();
            let (done, closed) = oneshot::channel();
            if close.is_some_and(|close| close.send(done).is_ok()) {
                // An error means that the supervisor is gone, and the session with it.
                let _ = closed.await;
            }
        })
    }
}

/// A definite answer of the server by its meaning; anything else leaves the outcome unknown.
fn translate(error: Error, path: &str) -> CoordinationError {
    match error {
        Error::NoNode => CoordinationError::NoNode(path.to_string()),
        Error::NodeExists => CoordinationError::NodeExists(path.to_string()),
        Error::BadVersion => CoordinationError::BadVersion(path.to_string()),
        Error::NotEmpty => CoordinationError::NotEmpty(path.to_string()),
        Error::BadArguments(_)
        | Error::NoAuth
        | Error::InvalidAcl
        | Error::NoChildrenForEphemerals
        | Error::QuotaExceeded
        | Error::Unimplemented => CoordinationError::Refused(format!("{path}: {error}")),
        Error::NotReadOnly | Error::Throttled | Error::NoHosts | Error::AuthFailed => {
            CoordinationError::Unavailable(error.to_string())
        }
        _ => CoordinationError::Unknown(format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::coordination::SessionState;

    #[tokio::test]
    async fn who_opens_without_a_server_waits_and_who_gives_no_address_does_not() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = ZooKeeperOptions {
            request_timeout: Duration::from_millis(50),
            ..ZooKeeperOptions::new(format!("127.0.0.1:{port}"))
        };
        let client = ZooKeeper::open(options).unwrap();
        assert_eq!(*client.session().borrow(), Session { state: SessionState::Disconnected, number: 0 });
        let unavailable = client.get("/x").await;
        assert!(matches!(unavailable, Err(CoordinationError::Unavailable(_))), "{unavailable:?}");
        client.close().await;
        let refused = ZooKeeper::open(ZooKeeperOptions::new("zk1")).err();
        assert!(matches!(refused, Some(CoordinationError::Refused(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn out_of_reach_is_one_clear_line() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = ZooKeeperOptions {
            connect_timeout: Duration::from_millis(300),
            ..ZooKeeperOptions::new(format!("127.0.0.1:{port}/x"))
        };
        let error = ZooKeeper::connect(options).await.err().unwrap().to_string();
        let expected =
            format!("coordination service: cannot reach ZooKeeper at 127.0.0.1:{port} within 0.3 s: ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("refused") && !error.contains('\n'), "{error}");
    }
}
