//! The gRPC listener: public service, peers, health and reflection on one port, and a way to cut all connections.
//!
//! A killed node must look dead from outside, also when it is one of several in a process. So every accepted
//! connection watches a flag: once it is up, reading and writing fail at once and the connection's task ends.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};
use wal::descriptors;

use crate::accept::{ACCEPT_PAUSE, AcceptLog};

/// Resolves and binds; the error names the address.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("cannot listen on {address}: the port is in use"),
        _ => format!("cannot listen on {address}: {error}"),
    })
}

/// Accepted connections, until the flag is up.
pub(crate) struct Incoming {
    listener: TcpListener,
    killed: watch::Receiver<bool>,
    end: Killed,
    log: AcceptLog,
    /// A pause after a failed accept.
    rest: Option<Pin<Box<Sleep>>>,
}

type Killed = Pin<Box<dyn Future<Output = ()> + Send>>;

fn when_killed(killed: &watch::Receiver<bool>) -> Killed {
    let mut killed = killed.clone();
    Box::pin(async move {
        // An error means that the node is gone altogether.
        let _ = killed.wait_for(|killed| *killed).await;
    })
}

impl Incoming {
    pub(crate) fn new(listener: TcpListener, killed: watch::Receiver<bool>) -> Incoming {
        let end = when_killed(&killed);
        Incoming { listener, killed, end, log: AcceptLog::new("gRPC"), rest: None }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Connection>>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(rest) = &mut self.rest {
                if rest.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.rest = None;
            }
            let stream = match self.listener.poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    self.log.failed(&error);
                    self.rest = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                    continue;
                }
                Poll::Ready(Ok((stream, _))) => stream,
            };
            // Without a place it is closed at once: the client's call fails as unavailable.
            if let Some(place) = self.log.accepted() {
                // Small frames must not wait for each other; if it cannot be set, it is only slower.
                let _ = stream.set_nodelay(true);
                let killed = when_killed(&self.killed);
                return Poll::Ready(Some(Ok(Connection { stream, killed, dead: false, _place: place })));
            }
        }
    }
}

/// A connection that can be cut.
pub(crate) struct Connection {
    stream: TcpStream,
    killed: Killed,
    dead: bool,
    _place: descriptors::Connection<'static>,
}

impl Connection {
    /// Fails once the node was killed, and sees to it that the task is woken then.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.dead && self.killed.as_mut().poll(context).is_ready() {
            self.dead = true;
        }
        if self.dead { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A connection always waits for something to read, so checking here is enough to be woken.
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.dead {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.dead {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

/// The address that others reach: the listener's own, with a name that means something to them.
pub(crate) fn reachable(listen: &str, bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        // 0.0.0.0 is no address to dial; on one machine the loopback is, and across machines --advertise is needed.
        return format!("127.0.0.1:{}", bound.port());
    }
    match listen.rsplit_once(':') {
        Some((host, _)) if !host.is_empty() => format!("{host}:{}", bound.port()),
        _ => bound.to_string(),
    }
}
