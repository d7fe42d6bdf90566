//! Runs the golden scripts: messages in, frames out.
//!
//! Messages are gathered and sent in one piece by `go`, which prints the replies up to the ReadyForQuery of the
//! last Query or Sync (`go frames=N`: exactly N frames; `go closed`: up to the end) and whether the server needed
//! more than one write for them. A prefix names the connection; it is opened at its first use.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use tokio::runtime::Runtime;

use super::client::{Client, Reply, frame, print, server, startup};
use crate::server::Server;
use kvstore::testing::MemoryKv;
use wal::golden::{self, Arguments, bytes};

/// Longer than any reply takes on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(20);

struct Script {
    runtime: Runtime,
    server: Server,
    clients: BTreeMap<String, Conversation>,
}

struct Conversation {
    client: Client,
    /// Messages yet to be sent, and the ReadyForQuery that they will bring.
    queued: Vec<u8>,
    ready: usize,
}

impl Script {
    fn new() -> Script {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = server(MemoryKv::new(), 10);
        Script { runtime, server, clients: BTreeMap::new() }
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let arguments = Arguments::of(command);
        let (word, named) = (|index| arguments.word(index), &arguments.named);
        let number = |key: &str| named.get(key).map(|value| value.parse::<i32>().expect("a number"));
        let list = |key: &str| -> Vec<i32> {
            let list = named.get(key).map_or("", String::as_str);
            list.split(',').filter(|item| !item.is_empty()).map(|item| item.parse().unwrap()).collect()
        };

        let name = context.prefix.clone().unwrap_or_default();
        if command.name == "startup" {
            let minor = named.get("minor").map_or(0, |minor| minor.parse().unwrap());
            let parameters = named.iter().filter(|(key, _)| *key != "minor");
            let parameters: Vec<_> = parameters.map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let _runtime = self.runtime.enter();
            let client = Client::open(&self.server);
            self.clients.insert(name, Conversation { client, queued: startup(minor, &parameters), ready: 1 });
            return Ok(String::new());
        }
        let client = self.clients.entry(name).or_insert_with(|| {
            let client = self.runtime.block_on(Client::connect(&self.server));
            client.take_writes();
            Conversation { client, queued: Vec::new(), ready: 0 }
        });
        let message = match command.name.as_str() {
            "go" => return Ok(self.runtime.block_on(go(client, number("frames"), word(0) == "closed"))),
            "query" => {
                client.ready += 1;
                frame(b'Q', format!("{}\0", word(0)))
            }
            "sync" => {
                client.ready += 1;
                frame(b'S', "")
            }
            "flush" => frame(b'H', ""),
            "terminate" => frame(b'X', ""),
            "parse" => {
                let types = list("types");
                frame(b'P', parse_body(word(0), word(1), &types))
            }
            "bind" => {
                let values = arguments.words.get(2..).unwrap_or_default();
                frame(b'B', bind_body(word(0), word(1), values, (&list("formats"), &list("results"))))
            }
            "describe" => frame(b'D', format!("{}{}\0", word(0), word(1))),
            "close" => frame(b'C', format!("{}{}\0", word(0), word(1))),
            "execute" => {
                let mut body = format!("{}\0", word(0)).into_bytes();
                body.extend(number("max").unwrap_or(0).to_be_bytes());
                frame(b'E', body)
            }
            "copydata" => frame(b'd', word(0)),
            "copydone" => frame(b'c', ""),
            "copyfail" => frame(b'f', format!("{}\0", word(0))),
            "message" => frame(word(0).as_bytes()[0], bytes(word(1))),
            other => return Err(format!("unknown command {other}").into()),
        };
        client.queued.extend(message);
        Ok(String::new())
    }
}

fn parse_body(name: &str, text: &str, types: &[i32]) -> Vec<u8> {
    let mut body = format!("{name}\0{text}\0").into_bytes();
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    body
}

fn bind_body(portal: &str, name: &str, values: &[String], (formats, results): (&[i32], &[i32])) -> Vec<u8> {
    let mut body = format!("{portal}\0{name}\0").into_bytes();
    codes(&mut body, formats);
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        let value = match value.as_str() {
            "null" => {
                body.extend((-1_i32).to_be_bytes());
                continue;
            }
            hex if hex.starts_with("0x") => bytes(&hex[2..]),
            text => text.as_bytes().to_vec(),
        };
        body.extend((value.len() as i32).to_be_bytes());
        body.extend(value);
    }
    codes(&mut body, results);
    body
}

/// Sends what is queued and prints the answers.
async fn go(client: &mut Conversation, frames: Option<i32>, closed: bool) -> String {
    let sent = std::mem::take(&mut client.queued);
    let ready = std::mem::take(&mut client.ready);
    client.client.send(&sent).await;
    let mut replies: Vec<Reply> = Vec::new();
    let gather = async {
        if closed {
            replies = client.client.until_closed().await;
        } else if let Some(frames) = frames {
            for _ in 0..frames {
                replies.extend(client.client.reply().await);
            }
        } else {
            for _ in 0..ready {
                replies.extend(client.client.until_ready().await);
            }
        }
    };
    // A script that expects too much shall fail, not hang.
    let missing = tokio::time::timeout(TIME_MAX, gather).await.is_err();
    let writes = client.client.take_writes();
    let missing = if missing { "MISSING REPLIES\n" } else { "" };
    // How many more depends on how tokio schedules.
    format!("{}{missing}({})", print(&replies), if writes == 1 { "1 write" } else { "more writes" })
}

fn codes(body: &mut Vec<u8>, codes: &[i32]) {
    body.extend((codes.len() as u16).to_be_bytes());
    codes.iter().for_each(|code| body.extend((*code as u16).to_be_bytes()));
}

#[test]
fn wire_scripts() {
    golden::run_all(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/wire"), Script::new);
}
