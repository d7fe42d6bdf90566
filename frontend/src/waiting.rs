//! While a node starts there is nothing to serve yet: each client is told so with 57P03, as by a PostgreSQL that starts, and
//! what the start waits for.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::{io, net};

use kvstore::accept::{ACCEPT_PAUSE, AcceptLog};
use kvstore::node::Starting;
use planner::{SqlError, sqlstate};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::startup;
use crate::wire::Wire;

/// Connections that are answered at a time.
const AT_ONCE_MAX: usize = 64;

/// Answers at a listener until it is closed or dropped.
pub(crate) struct Waiting(JoinSet<()>);

impl Waiting {
    /// Answers from now on. Who connects after its end comes out of the listener itself.
    pub(crate) fn open(listener: &TcpListener, starting: &Arc<Starting>) -> io::Result<Waiting> {
        let listener = net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        let mut task = JoinSet::new();
        task.spawn(answer(TcpListener::from_std(listener)?, starting.clone()));
        Ok(Waiting(task))
    }

    /// Ends it.
    pub(crate) async fn close(mut self) {
        self.0.shutdown().await;
    }
}

async fn answer(listener: TcpListener, starting: Arc<Starting>) {
    let mut connections = JoinSet::new();
    let mut log = AcceptLog::new("SQL");
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < AT_ONCE_MAX => match accepted {
                Ok((stream, _)) => {
                    // Without a place it is closed at once.
                    let Some(place) = log.accepted() else { continue };
                    let error = SqlError::new(sqlstate::UNAVAILABLE, "the database system is starting up")
                        .detail(starting.reason())
                        .hint("Connect again in a moment, or to another node.");
                    connections.spawn(async move {
                        if let Err(error) = startup::refuse(&mut Wire::new(stream), &error).await {
                            tracing::debug!(%error, "connection lost");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    log.failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn who_connects_is_told_and_who_comes_later_finds_the_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = Waiting::open(&listener, &Arc::default()).unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        // Encryption first, as libpq asks for it.
        client.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'N');
        let packet = b"\0\x03\0\0user\0root\0\0";
        client.write_all(&[&[0, 0, 0, packet.len() as u8 + 4][..], packet].concat()).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        for part in
            ["FATAL", "57P03", "the database system is starting up", "the data directory is being opened"]
        {
            assert!(answer.contains(part), "{answer}");
        }
        waiting.close().await;
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        connected.and(accepted).unwrap();
    }
}
