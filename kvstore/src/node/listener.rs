//! The gRPC listener: public service, peers, health and reflection on one port, and a way to cut all connections.
//!
//! Peers' connections for replication are told by their first bytes, and served on replication's threads; all others are
//! served where statements are. So no client holds up what other nodes have to say.
//!
//! A killed node must look dead from outside, also when it is one of several in a process. So every accepted
//! connection watches a flag: once it is up, reading and writing fail at once and the connection's task ends.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use futures::Stream;
use replication::runtime::PEER_MARK;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
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

/// Accepted connections that wait to be taken by their server.
const QUEUE_LEN: usize = 64;
/// Connections that may be looked at before it is known whether there is a place for them.
const LOOKS_MAX: usize = 64;
/// How long a connection may take to show what it is, and how often is looked.
const LOOK_MAX: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(1);
/// How an HTTP/2 connection begins, and the frame header of its settings behind that.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_LEN: usize = 9;
const SETTING_LEN: usize = 6;
/// SETTINGS_MAX_HEADER_LIST_SIZE.
const MAX_HEADER_LIST: u16 = 6;

/// A connection on its way to the server that takes it: of no runtime yet.
struct Accepted {
    stream: std::net::TcpStream,
    /// Peers have theirs in the reserve.
    place: Option<descriptors::Connection<'static>>,
}

/// Where accepted connections go.
#[derive(Clone)]
pub(crate) struct Routes {
    clients: mpsc::Sender<Accepted>,
    peers: mpsc::Sender<Accepted>,
}

type Killed = Pin<Box<dyn Future<Output = ()> + Send>>;

fn when_killed(killed: &watch::Receiver<bool>) -> Killed {
    let mut killed = killed.clone();
    Box::pin(async move {
        // An error means that the node is gone altogether.
        let _ = killed.wait_for(|killed| *killed).await;
    })
}

/// Makes the two ways: what is accepted is sent into the routes, and comes out as clients' and as peers' connections.
pub(crate) fn routes(killed: &watch::Receiver<bool>) -> (Routes, Incoming, Incoming) {
    let (clients, from_clients) = mpsc::channel(QUEUE_LEN);
    let (peers, from_peers) = mpsc::channel(QUEUE_LEN);
    let incoming = |accepted| Incoming { accepted, killed: killed.clone(), end: when_killed(killed) };
    (Routes { clients, peers }, incoming(from_clients), incoming(from_peers))
}

/// Accepts connections until the flag is up. On replication's threads: peers get through whatever statements do.
pub(crate) async fn accept(listener: TcpListener, mut killed: watch::Receiver<bool>, routes: Routes) {
    let mut log = AcceptLog::new("gRPC");
    let looks = Arc::new(Semaphore::new(LOOKS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = killed.wait_for(|killed| *killed) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = log.accepted();
                // Whoever finds neither a place nor somebody to look is closed at once: the call fails as unavailable.
                let look = looks.clone().try_acquire_owned().ok();
                if place.is_some() || look.is_some() {
                    let (routes, killed) = (routes.clone(), killed.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = route(stream, place, routes) => {}
                            () = when_killed(&killed) => {}
                        }
                        drop(look);
                    });
                }
            }
            Err(error) => {
                log.failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sends a connection where it belongs.
async fn route(stream: TcpStream, place: Option<descriptors::Connection<'static>>, routes: Routes) {
    // Small frames must not wait for each other; if it cannot be set, it is only slower.
    let _ = stream.set_nodelay(true);
    let is_peer = tokio::time::timeout(LOOK_MAX, is_peer(&stream)).await.unwrap_or(false);
    if place.is_none() && !is_peer {
        return;
    }
    // An error: it is gone already.
    let Ok(stream) = stream.into_std() else { return };
    let way = if is_peer { routes.peers } else { routes.clients };
    // An error: the node ends.
    let _ = way.send(Accepted { stream, place }).await;
}

/// Whether the connection says that it carries replication. Nothing is taken from it.
async fn is_peer(stream: &TcpStream) -> bool {
    let mut begun = [0; 256];
    loop {
        match stream.peek(&mut begun).await {
            Ok(0) | Err(_) => return false,
            Ok(length) => match mark(&begun[..length]) {
                Some(mark) => return mark == Some(PEER_MARK),
                None => tokio::time::sleep(LOOK_PERIOD).await,
            },
        }
    }
}

/// The largest header list that the settings at the beginning of a connection name, if any; `None`: too little is there
/// yet.
fn mark(begun: &[u8]) -> Option<Option<u32>> {
    let known = begun.len().min(PREFACE.len());
    if begun[..known] != PREFACE[..known] {
        return Some(None);
    }
    let frame = begun.get(PREFACE.len()..)?;
    let length = u32::from_be_bytes([0, *frame.first()?, *frame.get(1)?, *frame.get(2)?]) as usize;
    let kind = *frame.get(3)?;
    if kind != 4 || length > 20 * SETTING_LEN {
        return Some(None);
    }
    let settings = frame.get(FRAME_HEADER_LEN..FRAME_HEADER_LEN + length)?;
    let mut found = settings
        .chunks_exact(SETTING_LEN)
        .map(|mut setting| (setting.get_u16(), setting.get_u32()))
        .filter_map(|(name, value)| (name == MAX_HEADER_LIST).then_some(value));
    Some(found.next())
}

/// Accepted connections, until the flag is up.
pub(crate) struct Incoming {
    accepted: mpsc::Receiver<Accepted>,
    killed: watch::Receiver<bool>,
    end: Killed,
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
        self.accepted.poll_recv(context).map(|accepted| {
            let Accepted { stream, place } = accepted?;
            // From here on it belongs to the runtime that serves it.
            let connection = TcpStream::from_std(stream).map(|stream| Connection {
                stream,
                killed: when_killed(&self.killed),
                dead: false,
                _place: place,
            });
            Some(connection)
        })
    }
}

/// A connection that can be cut.
pub(crate) struct Connection {
    stream: TcpStream,
    killed: Killed,
    dead: bool,
    _place: Option<descriptors::Connection<'static>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, (settings.len() * SETTING_LEN) as u8, 4, 0, 0, 0, 0, 0]);
        for (name, value) in settings {
            bytes.extend_from_slice(&name.to_be_bytes());
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn a_peer_is_told_by_its_settings_and_nothing_else_is_one() {
        let peer = settings(&[(2, 0), (MAX_HEADER_LIST, PEER_MARK), (4, 1 << 20)]);
        for length in 0..peer.len() {
            assert_eq!(mark(&peer[..length]), None, "{length} bytes are too few to tell");
        }
        assert_eq!(mark(&peer), Some(Some(PEER_MARK)));
        assert_eq!(mark(&settings(&[(2, 0), (MAX_HEADER_LIST, 16384)])), Some(Some(16384)));
        assert_eq!(mark(&settings(&[])), Some(None));
        assert_eq!(mark(b"GET / HTTP/1.1"), Some(None));
        let long = [PREFACE, &[255, 255, 255, 4, 0, 0, 0, 0, 0]].concat();
        assert_eq!(mark(&long), Some(None), "nobody waits for so much");
    }

    #[tokio::test]
    async fn what_dials_as_a_peer_is_taken_for_one() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for as_peer in [true, false] {
            let address = address.clone();
            let dialling = tokio::spawn(async move {
                match as_peer {
                    true => replication::runtime::dial_peer(&address).await,
                    false => replication::runtime::dial(&address).await,
                }
            });
            let (stream, _) = listener.accept().await.unwrap();
            assert_eq!(is_peer(&stream).await, as_peer);
            dialling.abort();
        }
    }
}
