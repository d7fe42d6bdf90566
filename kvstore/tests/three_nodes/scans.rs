//! Reads in several steps: at one LSN, whatever happens meanwhile, and nothing left behind.

use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use kvstore::error::KvError;
use kvstore::request::{Columns, Kv, Row, Scan, ScanBatch, Table};

use super::cluster::{Cluster, put, soon, strong, value, written};

const ROWS: u64 = 2000;

fn key(number: u64) -> String {
    format!("k{number:04}")
}

fn all(table: &Table) -> Scan {
    Scan {
        table: table.id,
        start: Bytes::new(),
        end: None,
        reverse: false,
        limit: None,
        columns: Columns::All,
    }
}

/// Writes all rows, each with this value.
async fn fill(kv: &Arc<dyn Kv>, table: &Table, text: &str) {
    let writes = (0..ROWS).map(|number| put(table, &key(number), text)).collect();
    for outcome in kv.write_many(writes, soon(), None).await {
        written(outcome);
    }
}

/// The node that leads the table's only range.
async fn leader(cluster: &Cluster, table: &Table) -> usize {
    let deadline = soon();
    loop {
        for gateway in 0..3 {
            let ranges = cluster.kv(gateway).ranges(table.id).await.unwrap();
            if let Some(leader) = ranges[0].leader {
                return leader.0 as usize - 1;
            }
        }
        assert!(Instant::now() < deadline, "nobody leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn values(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_goes_on_at_its_lsn_when_its_leader_dies_and_never_reads_another_scans_rows() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let other = cluster.table("other", &[]).await;
    fill(&cluster.kv(0), &table, &"old".repeat(40)).await;
    fill(&cluster.kv(0), &other, &"other".repeat(40)).await;
    let dies = leader(&cluster, &table).await;
    let gateway = cluster.kv((dies + 1) % 3);
    let options = strong();
    let mut pages = gateway.scan(all(&table), &options, None);
    let first = pages.next().await.unwrap().unwrap();
    fill(&gateway, &table, "new").await;
    cluster.kill(dies);
    cluster.restart(dies).await;
    // Scans of another table are opened at the restarted node, as the first ones of its life.
    let options = strong();
    let mut others: Vec<_> = (0..3).map(|node| cluster.kv(node)).collect();
    let others = others.iter_mut().map(|kv| kv.scan(all(&other), &options, None).into_future());
    let others: Vec<_> = join_all(others).await;
    assert!(others.iter().all(|(page, _)| page.as_ref().unwrap().is_ok()));
    let (lsn, mut rows) = (first.source.lsn, first.rows);
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert_eq!(page.source.lsn, lsn);
        rows.extend(page.rows);
    }
    let keys: Vec<String> = rows.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()).collect();
    assert_eq!(keys, (0..ROWS).map(key).collect::<Vec<_>>());
    assert!(values(&rows).iter().all(|text| *text == "old".repeat(40)));
}

/// Writes the rows over and over, one after the other: at every LSN those up to some key have a number that is one
/// higher than the others'.
async fn go_round(kv: Arc<dyn Kv>, table: Table, keys: u64, stop: Arc<AtomicBool>) {
    for round in 1u64.. {
        for number in 0..keys {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let text = format!("{round:06}{}", "x".repeat(500));
            written(kv.write(put(&table, &key(number), &text), soon(), None).await);
        }
    }
}

/// Whether the rows are those of one LSN, as [`go_round`] writes them.
fn assert_one_moment(rows: &[Row]) {
    let rounds: Vec<u64> = values(rows).iter().map(|text| text[..6].parse().unwrap()).collect();
    let (first, last) = (rounds[0], rounds[rounds.len() - 1]);
    assert!(first == last || first == last + 1, "{first} and {last}");
    let steps = rounds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(steps <= 1, "{rounds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_of_keys_and_scans_of_several_pages_are_of_one_lsn() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let keys = 150;
    let text = format!("{:06}{}", 0, "x".repeat(500));
    for number in 0..keys {
        written(cluster.kv(0).write(put(&table, &key(number), &text), soon(), None).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(go_round(cluster.kv(0), table.clone(), keys, stop.clone()));
    for round in 0..12 {
        let (kv, options) = (cluster.kv(round % 3), strong());
        let wanted = (0..keys).map(|number| key(number).into()).collect();
        let found = kv.multi_get(table.id, wanted, Columns::All, &options, None).await.unwrap();
        assert!(found.iter().all(|read| read.source.lsn == found[0].source.lsn));
        assert_one_moment(&found.into_iter().map(|read| read.row).collect::<Vec<_>>());
        let mut pages = kv.scan(all(&table), &options, None);
        let mut found: Vec<ScanBatch> = Vec::new();
        while let Some(page) = pages.next().await {
            found.push(page.unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(found.len() > 1, "one page says nothing");
        let rows: Vec<Row> = found.into_iter().flat_map(|page| page.rows).collect();
        assert_eq!(rows.len() as u64, keys);
        assert_one_moment(&rows);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

/// A number that a node shows at `/metrics`.
fn metric(address: &str, name: &str) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_that_end_early_leave_nothing_open() {
    let mut cluster = Cluster::empty(3);
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    cluster.http = (0..3).map(|_| free()).collect();
    cluster.start_all().await;
    let open_scans = || cluster.http.iter().map(|http| metric(http, "spinnaker_open_scans")).sum::<u64>();
    let table = cluster.table("t", &[]).await;
    fill(&cluster.kv(0), &table, &"x".repeat(100)).await;
    let mut open = 0;
    for number in 0..300 {
        let (kv, options) = (cluster.kv(number % 3), strong());
        let mut pages = kv.scan(all(&table), &options, None);
        match number % 4 {
            // Nobody waits for the first page.
            0 => drop(tokio::time::timeout(Duration::from_micros(300), pages.next()).await),
            _ => assert!(pages.next().await.unwrap().is_ok()),
        }
        open = open.max(open_scans());
    }
    assert!(open > 0, "no scan was ever open: this test tests nothing");
    let deadline = soon();
    while open_scans() > 0 {
        assert!(Instant::now() < deadline, "{} scans stay open", open_scans());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_ends_at_its_deadline_though_nothing_ever_waits() {
    let cluster = Cluster::start(1).await;
    let table = cluster.table("t", &[]).await;
    fill(&cluster.kv(0), &table, "x").await;
    let (kv, mut options) = (cluster.kv(0), strong());
    options.deadline = Instant::now() + Duration::from_millis(300);
    let mut pages = kv.scan(all(&table), &options, None);
    assert!(pages.next().await.unwrap().is_ok());
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut last = None;
    while let Some(page) = pages.next().await {
        last = Some(page.map(|_| ()));
    }
    assert!(matches!(last, Some(Err(KvError::DeadlineExceeded(_)))), "{last:?}");
}
