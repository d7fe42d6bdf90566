//! A node whose limit of open files is small: sessions are refused, and everything else goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use spinnaker_tests::cluster::nodes::Nodes;

/// A session of PostgreSQL's protocol, as few words as will do.
struct Session(TcpStream);

/// How the node answered: the SQLSTATE if that was an error.
type Answer = Result<(), String>;

impl Session {
    /// Opens a session; an error if it is refused, `None` if the connection is closed without a word.
    fn open(address: &str) -> Option<Result<Session, String>> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        let mut session = Session(stream);
        let body = b"\0\x03\0\0user\0root\0\0";
        session.send(None, body).ok()?;
        match session.answer().ok()? {
            Ok(()) => Some(Ok(session)),
            Err(state) => Some(Err(state)),
        }
    }

    fn query(&mut self, sql: &str) -> Answer {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body).expect("the session stands");
        self.answer().expect("the session stands")
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> std::io::Result<()> {
        let mut bytes: Vec<u8> = kind.into_iter().collect();
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        self.0.write_all(&bytes)
    }

    /// Reads up to ReadyForQuery, or to the end of the stream behind an error.
    fn answer(&mut self) -> std::io::Result<Answer> {
        let mut answer = Ok(());
        loop {
            let mut head = [0; 5];
            match self.0.read_exact(&mut head) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && answer.is_err() => {
                    return Ok(answer);
                }
                read => read?,
            }
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body)?;
            match head[0] {
                b'Z' => return Ok(answer),
                b'E' => {
                    let mut fields =
                        body.split(|byte| *byte == 0).filter(|field| field.first() == Some(&b'C'));
                    let state = fields.next().map(|field| String::from_utf8_lossy(&field[1..]).into_owned());
                    answer = Err(state.unwrap_or_default());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn sessions_are_refused_before_log_and_tables_run_out_of_descriptors() {
    let mut nodes = Nodes::start_limited(300, &["--log-retention-mib", "4", "--pg-connections-max", "1000"]);
    nodes.process(1).wait_line(Duration::from_secs(60), "warning of the small limit", |line| {
        line.contains("the limit of open files leaves room for").then_some(())
    });
    let address = nodes.pg_listen(1).to_owned();
    let mut writer = Session::open(&address).expect("a word").expect("there is room");
    assert_eq!(writer.query("CREATE TABLE t (k int PRIMARY KEY, v text)"), Ok(()));
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..320 {
        match Session::open(&address) {
            Some(Ok(session)) => open.push(session),
            Some(Err(state)) => {
                assert_eq!(state, "53300");
                refused += 1;
            }
            // Too many are being refused at once.
            None => {}
        }
    }
    assert!(open.len() > 50 && refused > 50, "{} open, {refused} refused", open.len());
    // Segments of 1 MiB: the log begins a new one every few writes, and tables are flushed and compacted.
    let text = "x".repeat(200_000);
    for key in 0..100 {
        let sql = format!("UPSERT INTO t VALUES ({}, '{text}')", key % 10);
        assert_eq!(writer.query(&sql), Ok(()), "write {key}");
    }
    drop(open);
    let again = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Session::open(&address).and_then(Result::ok)
    });
    assert_eq!(again.expect("there is room again").query("SELECT k FROM t"), Ok(()));
    for number in 1..=3 {
        let process = nodes.process(number);
        assert!(process.is_running(), "node {number} has ended:\n{}", process.said());
    }
    let said = nodes.process(1).said();
    assert!(said.contains("refuses connections"), "{said}");
}
