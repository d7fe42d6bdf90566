//! Nodes that are started while ZooKeeper is away: they wait, or serve what their disks know, and say so at their ports.

use std::process::Command;
use std::time::{Duration, Instant};

use spinnaker_tests::cluster::Cluster;
use spinnaker_tests::cluster::nodes::Nodes;
use spinnaker_tests::cluster::provision;
use spinnaker_tests::story;

const WAIT_MAX: Duration = Duration::from_secs(60);

#[test]
fn new_nodes_wait_for_zookeeper_and_say_so() {
    let mut nodes = Nodes::prepared();
    nodes.zookeeper.stop();
    for number in 1..=3 {
        nodes.spawn(number);
    }
    nodes.wait_page(1, 503, "no coordinator yet: ");
    assert_eq!(nodes.page(1, "/health").map(|(status, _)| status), Some(200));
    let refused = nodes.gateway(1).must_fail("SELECT 1;");
    assert!(refused.contains("the database system is starting up"), "{refused}");
    let mut status = Command::new(provision::binary("spinnaker"));
    let status = status.args(["status", "--node", nodes.listen(1)]).output().expect("status runs");
    let said = String::from_utf8_lossy(&status.stderr);
    assert!(status.status.code() == Some(1) && said.contains("no coordinator yet"), "{said}");
    let told = |line: &str| {
        line.contains("WARN").then(|| line.contains("no coordinator yet").then_some(())).flatten()
    };
    nodes.process(1).wait_line(WAIT_MAX, "warning", told);

    nodes.zookeeper.restart();
    for number in 1..=3 {
        nodes.wait_ready(number);
        nodes.wait_page(number, 200, "ready");
    }
    nodes
        .gateway(1)
        .must("CREATE TABLE t (k text PRIMARY KEY, v int4); UPSERT INTO t (k, v) VALUES ('a', 0);");
    assert_eq!(nodes.gateway(3).must("SELECT v FROM t;"), "0");
}

#[test]
fn nodes_that_restart_without_zookeeper_serve_what_they_know() {
    let mut nodes = Nodes::start();
    nodes
        .gateway(1)
        .must("CREATE TABLE t (k text PRIMARY KEY, v int4); UPSERT INTO t (k, v) VALUES ('a', 1);");
    story::all_agree(&mut nodes);
    let leader = leader(&mut nodes);
    let (back, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    nodes.zookeeper.stop();
    nodes.crash(back);
    nodes.spawn(back);
    nodes.wait_page(back, 503, "no coordinator yet: ");
    const TIMELINE: &str = "SET consistency = timeline; SELECT v FROM t;";
    eventually(|| nodes.gateway(back).run(TIMELINE).is_ok_and(|found| found == "1"));

    // It is a follower again, and a gateway: writes go on when the third node is lost.
    nodes.crash(other);
    let write = "UPSERT INTO t (k, v) VALUES ('a', 2); SELECT v FROM t;";
    eventually(|| nodes.gateway(back).run(write).is_ok_and(|found| found == "2"));
    let refused = nodes.gateway(back).must_fail("CREATE TABLE u (k text PRIMARY KEY);");
    assert!(refused.contains("58030"), "{refused}");

    // Nobody leads after the end of all, until there is somebody to elect by.
    nodes.crash_all();
    for number in 1..=3 {
        nodes.spawn(number);
    }
    for number in 1..=3 {
        nodes.wait_page(number, 503, "no coordinator yet: ");
    }
    eventually(|| nodes.gateway(back).run(TIMELINE).is_ok());
    nodes.zookeeper.restart();
    for number in 1..=3 {
        nodes.wait_ready(number);
    }
    story::all_agree(&mut nodes);
    for number in 1..=3 {
        nodes.wait_page(number, 200, "ready");
        assert_eq!(nodes.gateway(number).must("SELECT v FROM t;"), "2");
    }
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to that");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The node that leads the only range.
fn leader(nodes: &mut Nodes) -> usize {
    let status = nodes.status().text;
    let line = status.lines().find(|line| line.contains(" leader ")).expect("it has a leader");
    line.trim_start()
        .trim_start_matches('n')
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a node")
}
