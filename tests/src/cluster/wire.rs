//! A client made by hand: any bytes of the PostgreSQL protocol go out, what comes back is read frame by frame.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a reply may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// A connection.
pub struct Connection {
    io: BufReader<TcpStream>,
    /// BackendKeyData, for a cancel request.
    pub key: Vec<u8>,
}

impl Connection {
    /// Connects to a server on loopback without sending anything.
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT_MAX))?;
        Ok(Connection { io: BufReader::new(stream), key: Vec::new() })
    }

    /// Connects and brings a session of user `root` in database `spinnaker` up.
    pub fn connect(port: u16) -> io::Result<Connection> {
        let mut connection = Connection::open(port)?;
        let parameters = [
            ("user", "root"),
            ("database", "spinnaker"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
        ];
        connection.send(&startup(&parameters))?;
        let replies = connection.until_ready()?;
        match replies.last() {
            Some(Frame { kind: b'Z', .. }) => Ok(connection),
            _ => Err(io::Error::other(format!("no session: {replies:?}"))),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.get_mut().write_all(bytes)
    }

    /// The next frame; `None` when the server has closed.
    pub fn frame(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; 5];
        match self.io.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other?,
        }
        let [kind, length @ ..] = header;
        let length =
            usize::try_from(u32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4));
        let mut body = vec![0; length.ok_or_else(|| io::Error::other("a length below 4"))?];
        self.io.read_exact(&mut body)?;
        if kind == b'K' {
            self.key.clone_from(&body);
        }
        Ok(Some(Frame { kind, body }))
    }

    /// Frames up to ReadyForQuery, or to the end of the connection.
    pub fn until_ready(&mut self) -> io::Result<Vec<Frame>> {
        self.frames(|frames| frames.last().is_some_and(|frame| frame.kind == b'Z'))
    }

    /// Frames until they are enough, or to the end of the connection.
    pub fn frames(&mut self, enough: impl Fn(&[Frame]) -> bool) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while !enough(&frames) {
            match self.frame()? {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        Ok(frames)
    }

    /// Frames until none has begun for this long.
    pub fn frames_until_quiet(&mut self, quiet: Duration) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        loop {
            self.io.get_ref().set_read_timeout(Some(quiet))?;
            let more = self.io.fill_buf().map(|buffered| !buffered.is_empty());
            self.io.get_ref().set_read_timeout(Some(WAIT_MAX))?;
            match more {
                Ok(true) => frames.extend(self.frame()?),
                Ok(false) => return Ok(frames),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(frames);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is read from a frame, front to back.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a>(pub &'a [u8]);

impl<'a> Body<'a> {
    /// The next `count` bytes, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// An integer of two bytes.
    pub fn i16(&mut self) -> i16 {
        self.take(2).try_into().map_or(0, i16::from_be_bytes)
    }

    /// An integer of four bytes.
    pub fn i32(&mut self) -> i32 {
        self.take(4).try_into().map_or(0, i32::from_be_bytes)
    }

    /// A text that ends with a zero byte.
    pub fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        text
    }

    /// The fields of an error or a notice.
    pub fn fields(&mut self) -> std::collections::BTreeMap<char, String> {
        let mut fields = std::collections::BTreeMap::new();
        while self.0.first().is_some_and(|kind| *kind != 0) {
            let kind = char::from(self.0[0]);
            self.take(1);
            fields.insert(kind, self.text());
        }
        fields
    }
}

/// A message: type, length, body.
pub fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut message = vec![kind];
    message.extend(length(body.len() + 4));
    message.extend(body);
    message
}

/// The first packet, of protocol 3.0.
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    packet(&body)
}

/// A request to cancel what the session with this key does; for a connection of its own.
pub fn cancel_request(key: &[u8]) -> Vec<u8> {
    packet(&[&80_877_102_u32.to_be_bytes(), key].concat())
}

fn packet(body: &[u8]) -> Vec<u8> {
    let mut packet = length(body.len() + 4).to_vec();
    packet.extend(body);
    packet
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', [sql.as_bytes(), b"\0"].concat())
}

/// Parse, with the types that are declared for its parameters.
pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{sql}\0").into_bytes();
    body.extend(count(types.len()));
    types.iter().for_each(|ty| body.extend(ty.to_be_bytes()));
    message(b'P', body)
}

/// Bind, with parameters in text, and all results in text or binary.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>], binary: bool) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend(count(parameters.len()));
    for parameter in parameters {
        match parameter {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend(length(value.len()));
                body.extend(value.as_bytes());
            }
        }
    }
    body.extend([0, 1, 0, u8::from(binary)]);
    message(b'B', body)
}

/// Describe of a statement (`S`) or portal (`P`).
pub fn describe(what: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{what}{name}\0"))
}

/// Close of a statement (`S`) or portal (`P`).
pub fn close(what: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{what}{name}\0"))
}

/// Execute; 0 rows is all.
pub fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend(rows_max.to_be_bytes());
    message(b'E', body)
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', "")
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message(b'H', "")
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a test's message is small").to_be_bytes()
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).expect("a test's message is small").to_be_bytes()
}
