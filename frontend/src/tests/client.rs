//! A client made by hand: it sends any bytes and prints what comes back, one line for each frame.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use planner::{Planner, ServerInfo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use crate::connection;
use crate::server::Server;
use kvstore::testing::MemoryKv;

/// The server's end of a connection, counting its writes.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if written.is_ready() {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A gateway over a store in memory, without sockets.
pub(crate) fn server(kv: Arc<MemoryKv>, connections_max: usize) -> Server {
    let planner = Planner::new(kv, ServerInfo::new("spinnaker"));
    Server::new(Arc::new(planner), connections_max)
}

/// One frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// A connection.
pub(crate) struct Client {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
    served: tokio::task::JoinHandle<io::Result<()>>,
    /// Number and secret, once connected.
    pub(crate) key: (i32, Vec<u8>),
}

/// A message: type, length, body.
pub(crate) fn frame(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut frame = vec![kind];
    frame.extend((body.len() as u32 + 4).to_be_bytes());
    frame.extend(body);
    frame
}

/// A startup packet: code and body.
pub(crate) fn packet(code: u32, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut packet = (body.len() as u32 + 8).to_be_bytes().to_vec();
    packet.extend(code.to_be_bytes());
    packet.extend(body);
    packet
}

/// A startup packet of protocol 3.`minor`.
pub(crate) fn startup(minor: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body: Vec<u8> = Vec::new();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    packet((3 << 16) | minor, body)
}

/// Parse of the unnamed statement without types.
pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(b'P', format!("{name}\0{sql}\0\0\0"))
}

/// Bind to the unnamed portal: parameters and results in text.
pub(crate) fn bind(statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = format!("\0{statement}\0\0\0").into_bytes();
    body.extend((parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        body.extend((parameter.len() as u32).to_be_bytes());
        body.extend(parameter.as_bytes());
    }
    body.extend([0, 0]);
    frame(b'B', body)
}

/// Execute of the unnamed portal.
pub(crate) fn execute(rows_max: i32) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(rows_max.to_be_bytes());
    frame(b'E', body)
}

/// Query.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', format!("{sql}\0"))
}

/// Sync.
pub(crate) fn sync() -> Vec<u8> {
    frame(b'S', "")
}

impl Client {
    /// Connects without sending anything.
    pub(crate) fn open(server: &Server) -> Client {
        let (io, theirs) = tokio::io::duplex(1 << 20);
        let writes = Arc::new(AtomicUsize::new(0));
        let theirs = Counted { io: theirs, writes: writes.clone() };
        let served = tokio::spawn(connection::serve(theirs, server.clone()));
        Client { io, writes, served, key: (0, Vec::new()) }
    }

    /// Connects and brings a session up.
    pub(crate) async fn connect(server: &Server) -> Client {
        let mut client = Client::open(server);
        client.send(&startup(0, &[("user", "root"), ("database", "spinnaker")])).await;
        let replies = client.until_ready().await;
        assert_eq!(replies.last().map(|reply| reply.kind), Some(b'Z'), "{}", print(&replies));
        client
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already: what it said before that is still to be read.
        let _closed = self.io.write_all(bytes).await;
    }

    /// Sends one simple query and gives the replies as text.
    pub(crate) async fn query(&mut self, sql: &str) -> String {
        self.send(&query(sql)).await;
        print(&self.until_ready().await)
    }

    /// The next frame; `None` when the server closed.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let mut header = [0; 5];
        self.io.read_exact(&mut header).await.ok()?;
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.io.read_exact(&mut body).await.ok()?;
        if header[0] == b'K' {
            self.key = (i32::from_be_bytes(body[..4].try_into().unwrap()), body[4..].to_vec());
        }
        Some(Reply { kind: header[0], body })
    }

    /// Frames up to ReadyForQuery, or to the end.
    pub(crate) async fn until_ready(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply().await {
            let last = reply.kind == b'Z';
            replies.push(reply);
            if last {
                break;
            }
        }
        replies
    }

    /// Frames up to the end of the connection.
    pub(crate) async fn until_closed(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply().await {
            replies.push(reply);
        }
        replies
    }

    /// One raw byte.
    pub(crate) async fn byte(&mut self) -> u8 {
        self.io.read_u8().await.unwrap()
    }

    /// Writes of the server since the last call.
    pub(crate) fn take_writes(&self) -> usize {
        self.writes.swap(0, Ordering::SeqCst)
    }

    /// Hangs up, and gives how the server's side ended.
    pub(crate) async fn hang_up(self) -> io::Result<()> {
        drop(self.io);
        self.served.await.expect("the connection did not panic")
    }
}

/// Frames as lines.
pub(crate) fn print(replies: &[Reply]) -> String {
    replies.iter().map(|reply| line(reply) + "\n").collect()
}

fn line(reply: &Reply) -> String {
    let mut body = Body(&reply.body);
    match reply.kind {
        b'1' => "ParseComplete".into(),
        b'2' => "BindComplete".into(),
        b'3' => "CloseComplete".into(),
        b'n' => "NoData".into(),
        b's' => "PortalSuspended".into(),
        b'I' => "EmptyQuery".into(),
        b'c' => "CopyDone".into(),
        b'C' => format!("Complete {}", body.text()),
        b'Z' => format!("Ready {}", body.0[0] as char),
        b'R' => format!("Authentication {}", body.i32()),
        b'K' => format!("KeyData secret of {} bytes", body.0.len() - 4),
        b'S' => format!("Parameter {}={}", body.text(), body.text()),
        b'd' => format!("CopyData {:?}", String::from_utf8_lossy(body.0)),
        b't' => {
            let types = (0..body.i16()).map(|_| body.i32().to_string());
            format!("Parameters {}", types.collect::<Vec<_>>().join(" "))
        }
        b'T' => {
            let columns = (0..body.i16()).map(|_| {
                let name = body.text();
                let (_table, _attribute, ty) = (body.i32(), body.i16(), body.i32());
                let (_size, _modifier, format) = (body.i16(), body.i32(), body.i16());
                format!("{name}:{ty}{}", if format == 1 { ":binary" } else { "" })
            });
            format!("Columns {}", columns.collect::<Vec<_>>().join(" "))
        }
        b'D' => {
            let values = (0..body.i16()).map(|_| match body.i32() {
                -1 => "null".to_string(),
                length => {
                    let (value, rest) = body.0.split_at(length as usize);
                    body.0 = rest;
                    match std::str::from_utf8(value) {
                        Ok(text) if !text.contains(char::is_control) => format!("'{text}'"),
                        _ => {
                            format!("x{}", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
                        }
                    }
                }
            });
            format!("Row {}", values.collect::<Vec<_>>().join(" "))
        }
        b'E' | b'N' => message(if reply.kind == b'E' { "Error" } else { "Notice" }, body),
        b'G' | b'H' => format!("{} {:?}", if reply.kind == b'G' { "CopyIn" } else { "CopyOut" }, body.0),
        b'v' => {
            let (version, count) = (body.i32(), body.i32());
            let options: Vec<String> = (0..count).map(|_| body.text()).collect();
            format!("Negotiate {}.{} {}", version >> 16, version & 0xffff, options.join(" "))
        }
        other => format!("{} {:?}", other as char, body.0),
    }
}

/// An error or a notice: severity, SQLSTATE, message, then the fields that a user sees.
fn message(what: &str, mut body: Body<'_>) -> String {
    let mut fields = std::collections::BTreeMap::new();
    while body.0[0] != 0 {
        let kind = body.0[0] as char;
        body.0 = &body.0[1..];
        fields.insert(kind, body.text());
    }
    assert_eq!(fields.get(&'S'), fields.get(&'V'));
    let mut line = format!("{what} {} {}: {}", fields[&'S'], fields[&'C'], fields[&'M']);
    for kind in ['D', 'H', 'P', 'W'] {
        if let Some(text) = fields.get(&kind) {
            line += &format!(" [{kind}: {text}]");
        }
    }
    line
}

struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn i16(&mut self) -> i16 {
        let (value, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        i16::from_be_bytes(*value)
    }

    fn i32(&mut self) -> i32 {
        let (value, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        i32::from_be_bytes(*value)
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(self.0[..end].to_vec()).unwrap();
        self.0 = &self.0[end + 1..];
        text
    }
}
