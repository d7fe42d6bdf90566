//! What is seen from outside when a range does not serve: `status` and `/ready`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kvstore::status::{self, ClusterStatus};

use crate::cluster::{Cluster, put, soon, written};

/// Asks for a page: its status and body. The node's tasks run on other threads.
fn page(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").expect("it takes the request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status line");
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn quick(cluster: &Cluster, index: usize) -> (ClusterStatus, Duration) {
    let begun = Instant::now();
    let status = status::fetch_quick(&cluster.node(index).address().to_string()).await.unwrap();
    (status, begun.elapsed())
}

/// Waits until the node is ready, or is not; says how long that took, and what it says.
async fn wait_ready(address: &str, ready: bool) -> (Duration, String) {
    let (begun, deadline) = (Instant::now(), soon());
    loop {
        let (code, text) = page(address, "/ready");
        assert!(matches!(code, 200 | 503), "{code}: {text}");
        if (code == 200) == ready {
            return (begun.elapsed(), text);
        }
        assert!(Instant::now() < deadline, "ready or not: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_a_majority_is_seen_at_once() {
    let mut cluster = Cluster::empty(3);
    cluster.http = (0..3).map(|_| free_address()).collect();
    let address = cluster.http[0].clone();
    cluster.start_all().await;
    cluster.table("kv", &["m"]).await;
    wait_ready(&address, true).await;
    let deadline = soon();
    while quick(&cluster, 0).await.0.without_leader() != (0, 2) {
        assert!(Instant::now() < deadline);
    }
    let (well, _) = quick(&cluster, 0).await;
    assert_eq!(well.summary(), "2 ranges: all serve; 3 of 3 nodes answer");

    cluster.kill(1);
    cluster.kill(2);
    let (took, _) = wait_ready(&address, false).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, reason) = wait_ready(&address, false).await;
    assert!(reason.starts_with("isolated from a majority: no other node was heard for "), "{reason}");
    assert_eq!(page(&address, "/health").0, 200, "the process lives");

    let (status, took) = quick(&cluster, 0).await;
    // A second is what it takes at most; the machine may be slow.
    assert!(took < Duration::from_secs(3), "{took:?}");
    let text = status.to_string();
    assert_eq!(status.without_leader(), (2, 2), "{text}");
    assert!(text.contains("not ready: isolated from a majority"), "{text}");
    assert!(text.ends_with("\n2 ranges: 0 serve, 2 without a leader; 1 of 3 nodes answer\n"), "{text}");
    assert!(text.contains("no leader: 1 of 3 replicas reachable: start n2 or n3\n"), "{text}");
    assert!(text.contains(" s ago)"), "how long the others were silent: {text}");
    let json = status.json();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["ranges_without_leader"], 2);
    assert_eq!(json["ranges"][0]["lacks"][0]["kind"], "no_majority");
    assert_eq!(json["nodes"][1]["answered"], false);
    assert!(json["nodes"][1]["silent_ms"].is_u64(), "{json:#}");

    cluster.restart(1).await;
    wait_ready(&address, true).await;
    let deadline = soon();
    loop {
        let text = quick(&cluster, 0).await.0.to_string();
        if text.matches("under-replicated: n3 does not answer: start n3\n").count() == 2 {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The families of a page in Prometheus' text format, with their types; panics if it is not one.
fn families(page: &str) -> BTreeMap<String, String> {
    let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help has a text");
            assert!(!text.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                helped.contains(name) && types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let name = name.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let base = base.filter(|base| types.get(*base).is_some_and(|kind| kind == "histogram"));
            assert!(types.contains_key(base.unwrap_or(name)), "no type before {line}");
        }
    }
    types
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_those_that_the_documentation_lists() {
    let mut cluster = Cluster::empty(1);
    cluster.http = vec![free_address()];
    cluster.range_metrics = true;
    cluster.start_all().await;
    let table = cluster.table("a \"table\"", &["m"]).await;
    written(cluster.kv(0).write(put(&table, "k", "v"), soon(), None).await);
    let (code, text) = page(&cluster.http[0], "/metrics");
    assert_eq!(code, 200);
    let leading =
        text.lines().filter(|line| line.starts_with("spinnaker_range_leading{") && line.ends_with(" 1"));
    assert_eq!(leading.count(), 2, "{text}");
    assert!(text.contains(r#",table="a \"table\"",start="m"} "#), "{text}");
    assert!(text.contains("spinnaker_build_info{version="), "{text}");
    let shown: BTreeSet<String> = families(&text).into_keys().collect();
    let manual = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let manual = std::fs::read_to_string(manual).expect("the manual is there");
    let listed: BTreeSet<String> = manual
        .lines()
        .filter(|line| line.starts_with("| `spinnaker_"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split('`'))
        .filter(|word| word.starts_with("spinnaker_"))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = shown.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&shown).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the manual: {missing:?}; not on the page: {gone:?}"
    );
}
