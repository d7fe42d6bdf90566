//! Put and get through a cohort: three nodes in this process, real disk, real streams over loopback.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use kvstore::config::NodeConfig;
use kvstore::node::Node;
use kvstore::request::{
    Columns, Consistency, Kv, Mutation, ReadOptions, SessionToken, TableId, Write, WriteOutcome,
};
use replication::coordination::embedded::Embedded;
use wal::NodeId;

use super::median::median;

/// Clients at the same time.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Distinct rows.
const ROWS: u64 = 10_000;
/// Value of one put, in bytes.
const VALUE_BYTES: usize = 100;
/// No call of this suite should need a tenth of it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs the suite in `dir` and prints one line per figure.
pub fn run(dir: &Path, rounds: usize, round: Duration) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let coordinator = Embedded::new();
        let mut nodes = Vec::new();
        for number in 1..=3 {
            let id = NodeId(number);
            let config = NodeConfig::new(id, dir.join(format!("node-{number}")), "127.0.0.1:0");
            nodes.push(Node::start(config, coordinator.client()).await?);
        }
        let kv = nodes[0].kv();
        let table = kv.create_table("bench", Bytes::new(), Vec::new(), deadline()).await?.id;
        let leader = kv.ranges(table).await?.first().and_then(|range| range.leader);
        let at_leader = nodes.iter().find(|node| Some(node.kv().node()) == leader).unwrap_or(&nodes[0]).kv();
        let elsewhere = nodes.iter().find(|node| Some(node.kv().node()) != leader).unwrap_or(&nodes[0]).kv();
        println!(
            "{:<34} {:>7} {:>12} {:>9} {:>9}",
            "cohort of three, one process", "clients", "calls/s", "p50 µs", "p99 µs"
        );
        for (name, kv, call) in [
            ("put, leader's gateway", &at_leader, Call::Put),
            ("put, another gateway", &elsewhere, Call::Put),
            ("get strong, leader's gateway", &at_leader, Call::Get(Consistency::Strong)),
            ("get strong, another gateway", &elsewhere, Call::Get(Consistency::Strong)),
            ("get timeline, another gateway", &elsewhere, Call::Get(Consistency::Timeline)),
        ] {
            for clients in CLIENTS {
                let mut rates = Vec::new();
                let mut latencies = Histogram::<u64>::new(3)?;
                for _ in 0..rounds {
                    rates.push(load(kv, table, call, clients, round, &mut latencies).await?);
                }
                println!(
                    "{name:<34} {clients:>7} {:>12.0} {:>9} {:>9}",
                    median(&mut rates),
                    latencies.value_at_quantile(0.5),
                    latencies.value_at_quantile(0.99)
                );
            }
        }
        for node in &nodes {
            node.shutdown().await;
        }
        Ok(())
    })
}

#[derive(Clone, Copy)]
enum Call {
    Put,
    Get(Consistency),
}

fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

/// Calls per second of `clients` tasks with one call in flight each; latencies in microseconds.
async fn load(
    kv: &Arc<dyn Kv>,
    table: TableId,
    call: Call,
    clients: usize,
    round: Duration,
    latencies: &mut Histogram<u64>,
) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| tokio::spawn(client_loop(kv.clone(), table, call, client as u64, start + round)))
        .collect();
    let mut calls = 0;
    for task in tasks {
        let measured = task.await?.map_err(|error| error.to_string())?;
        calls += measured.len();
        latencies.add(measured)?;
    }
    Ok(calls as f64 / start.elapsed().as_secs_f64())
}

async fn client_loop(
    kv: Arc<dyn Kv>,
    table: TableId,
    call: Call,
    client: u64,
    end: Instant,
) -> Result<Histogram<u64>, Box<dyn Error + Send + Sync>> {
    let session = SessionToken::default();
    let column = Bytes::from_static(b"v");
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let mut latencies = Histogram::new(3)?;
    let mut row = client.wrapping_mul(7919);
    loop {
        let begin = Instant::now();
        if begin >= end {
            return Ok(latencies);
        }
        row = row.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = Bytes::from(format!("row {:06}", (row >> 33) % ROWS));
        match call {
            Call::Put => {
                let mutation = Mutation::Put { column: column.clone(), value: value.clone() };
                let write =
                    Write { table, key, conditions: Vec::new(), mutations: vec![mutation], request: None };
                match kv.write(write, deadline(), Some(&session)).await? {
                    WriteOutcome::Written(_) => {}
                    WriteOutcome::ConditionFailed { .. } => {
                        return Err("a put without condition failed".into());
                    }
                }
            }
            Call::Get(consistency) => {
                let options =
                    ReadOptions { consistency, max_staleness: None, min_lsn: None, deadline: deadline() };
                kv.get(table, key, Columns::All, &options, Some(&session)).await?;
            }
        }
        latencies.record(begin.elapsed().as_micros() as u64)?;
    }
}
