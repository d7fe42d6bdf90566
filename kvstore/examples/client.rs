//! A client of the key-value service: puts, puts if nobody was faster, reads both ways, and scans.
//!
//! ```sh
//! cargo run -- demo                                                        # prints "gRPC on ..."
//! cargo run -p kvstore --example client -- http://127.0.0.1:7401           # in another terminal
//! ```
//!
//! The messages are those of `proto/kv.proto`; a program of your own would make its client from that file.

use std::error::Error;
use std::time::Duration;

use kvstore::proto::v1::kv_client::KvClient;
use kvstore::proto::v1::*;
use tonic::{Code, Request};

/// The table that this example makes and drops.
const TABLE: &str = "example_client";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: client http://HOST:PORT")?;
    // Any node will do: it forwards to the replica that must answer.
    let mut kv = KvClient::connect(address).await?;
    kv.create_table(limited(CreateTableRequest { table: TABLE.into(), splits: vec!["m".into()] })).await?;

    // A put writes columns of one row, atomically. It is answered when a majority of the replicas has it on disk.
    let mut version = None;
    for (fruit, color) in [("apple", "green"), ("cherry", "red"), ("plum", "blue")] {
        let written = kv.put(limited(put(fruit, color))).await?.into_inner();
        println!("put {fruit}: version {}", show(written.lsn.as_ref()));
        if fruit == "apple" {
            version = written.lsn;
        }
    }

    // A conditional put writes only if the row still is what we think it is; this one wins, the second comes late.
    let condition = Condition { kind: version.map(condition::Kind::RowVersion) };
    let repaint =
        |color| ConditionalPutRequest { put: Some(put("apple", color)), conditions: vec![condition.clone()] };
    let repainted = kv.conditional_put(limited(repaint("red"))).await?.into_inner().lsn;
    println!("conditional put of apple: version {}", show(repainted.as_ref()));
    match kv.conditional_put(limited(repaint("yellow"))).await {
        Err(status) if status.code() == Code::FailedPrecondition => {
            println!("conditional put of apple again: refused ({})", status.message());
        }
        other => return Err(format!("expected a refusal: {other:?}").into()),
    }

    // Strong: the latest value, from the range's leader.
    let strong = ReadOptions { consistency: Consistency::Strong as i32, ..ReadOptions::default() };
    print_get("strong", kv.get(limited(get("apple", strong))).await?.into_inner());
    // Timeline: from the nearest replica, which may be behind. With `min_lsn` at least our own write is seen, and
    // with `max_staleness_ms` nothing that is older than that.
    let timeline = ReadOptions {
        consistency: Consistency::Timeline as i32,
        max_staleness_ms: Some(1000),
        min_lsn: repainted,
    };
    print_get("timeline", kv.get(limited(get("apple", timeline))).await?.into_inner());

    // A scan streams rows in the order of their keys, page by page.
    let all = ScanRequest { table: TABLE.into(), start: "b".into(), ..ScanRequest::default() };
    let mut pages = kv.scan(all).await?.into_inner();
    while let Some(page) = pages.message().await? {
        for row in &page.rows {
            println!("scan: {}", show_row(row));
        }
    }
    kv.drop_table(limited(DropTableRequest { table: TABLE.into() })).await?;
    Ok(())
}

/// A request with a deadline. Until then the node retries by itself, through elections and failures.
fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    request
}

fn put(key: &str, color: &str) -> PutRequest {
    let columns = vec![ColumnValue { column: "color".into(), value: color.to_owned().into() }];
    PutRequest { table: TABLE.into(), key: key.to_owned().into(), columns, request: None }
}

fn get(key: &str, options: ReadOptions) -> GetRequest {
    GetRequest {
        table: TABLE.into(),
        key: key.to_owned().into(),
        columns: Vec::new(),
        options: Some(options),
    }
}

fn print_get(how: &str, answer: GetResponse) {
    let source = answer.source.unwrap_or_default();
    let age = source.staleness_ms.map_or("of unknown age".into(), |ms| format!("at most {ms} ms old"));
    println!("{how}: {}, from node {}, {age}", show_row(&answer.row.unwrap_or_default()), source.replica);
}

fn show_row(row: &Row) -> String {
    let text = String::from_utf8_lossy;
    let cells = row.cells.iter().map(|cell| {
        format!("{}={} (version {})", text(&cell.column), text(&cell.value), show(cell.version.as_ref()))
    });
    format!("{} {}", text(&row.key), cells.collect::<Vec<_>>().join(", "))
}

fn show(lsn: Option<&Lsn>) -> String {
    lsn.map_or("-".into(), |lsn| format!("{}.{}", lsn.epoch, lsn.sequence))
}
