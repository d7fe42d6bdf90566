//! `spinnaker recover --unsafe` as an operator uses it: two of three disks are lost, and the range serves again.

use std::process::Command;
use std::time::{Duration, Instant};

use spinnaker_tests::cluster::Cluster;
use spinnaker_tests::cluster::nodes::Nodes;
use spinnaker_tests::cluster::provision;
use spinnaker_tests::story;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs the command over the directories of nodes 1 and 2; its exit code and all that it said.
fn recover(nodes: &Nodes, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(provision::binary("spinnaker"));
    command.args(["recover", "--unsafe", "--zookeeper", &nodes.coordinator()]).args(more);
    let output = command.args([1, 2].map(|number| nodes.data_dir(number))).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said.into_owned())
}

#[test]
fn two_of_three_disks_are_lost_and_what_is_left_serves_again() {
    let mut nodes = Nodes::start();
    nodes.gateway(1).must(
        "CREATE TABLE t (k text PRIMARY KEY, v int4); INSERT INTO t SELECT 'k' || n, n FROM generate_series(1, 50) n;",
    );
    story::all_agree(&mut nodes);
    let running = recover(&nodes, &[]);
    assert!(
        running.0 == Some(1) && running.1.contains("another process uses this data directory"),
        "{running:?}"
    );
    nodes.crash_all();
    let lost = nodes.data_dir(3).with_extension("lost");
    std::fs::rename(nodes.data_dir(3), &lost).expect("it does not run");
    nodes.lose_disk(2);
    nodes.rebuild(2);
    nodes.stop(2);

    // The sessions of those that were killed have to end first.
    let deadline = Instant::now() + WAIT_MAX;
    let dry = loop {
        let dry = recover(&nodes, &[]);
        if !dry.1.contains("has been killed some seconds ago") {
            break dry;
        }
        assert!(dry.0 == Some(1) && Instant::now() < deadline, "{dry:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let parts =
        ["t [start, end) (range ", "n1 is left, last LSN ", "n2 gets a copy of n1's replica", "n3 (disk "];
    let told = parts.iter().chain(&["may be lost: ", "nothing was done: add --yes to do it"]);
    assert!(dry.0 == Some(0) && told.clone().all(|part| dry.1.contains(part)), "{dry:?}");
    assert_eq!(recover(&nodes, &[]), dry, "it has changed nothing");

    let done = recover(&nodes, &["--yes"]);
    assert!(done.0 == Some(0) && done.1.contains("done: start the nodes"), "{done:?}");
    let again = recover(&nodes, &["--yes"]);
    assert!(again.0 == Some(1) && again.1.contains("there is nothing to recover"), "{again:?}");
    for number in [1, 2] {
        nodes.spawn(number);
    }
    for number in [1, 2] {
        nodes.wait_ready(number);
        nodes.wait_page(number, 200, "ready");
        assert_eq!(nodes.gateway(number).must("SELECT count(*), sum(v) FROM t;"), "50|1275");
    }
    nodes.gateway(2).must("UPSERT INTO t (k, v) VALUES ('k1', 1001);");

    // The lost disk does not come back, its node does.
    std::fs::rename(&lost, nodes.data_dir(3)).expect("it was there");
    let refused = nodes.start_command(3).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("another disk"), "{said}");
    nodes.lose_disk(3);
    nodes.rebuild(3);
    story::all_agree(&mut nodes);
    nodes.crash(1);
    assert_eq!(nodes.gateway(3).must("SELECT count(*), sum(v) FROM t;"), "50|2275");
}
