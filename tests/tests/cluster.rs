//! Three processes and a real ZooKeeper: the word list, `psql` and `kill -9`.

use spinnaker_tests::cluster::Cluster;
use spinnaker_tests::cluster::nodes::Nodes;
use spinnaker_tests::story;

#[test]
fn the_word_list_survives_kill_9_without_an_error() {
    let words = story::Words::load();
    let mut nodes = Nodes::start();
    story::load_words(&mut nodes, &words);
    story::upsert_some(&nodes);
    story::crash_and_come_back(&mut nodes, &words);
}

#[test]
fn everything_acknowledged_survives_kill_9_of_all_and_a_restart_of_zookeeper() {
    let mut nodes = Nodes::start();
    nodes.gateway(1).must("CREATE TABLE t (k text PRIMARY KEY, v int4) SPLIT AT VALUES (('h'), ('q'));");
    let rows = |from: u32, to: u32| -> String {
        (from..to)
            .map(|n| {
                format!("UPSERT INTO t (k, v) VALUES ('{}{n}', {n});\n", ["a", "m", "z"][n as usize % 3])
            })
            .collect()
    };
    nodes.gateway(2).must(&rows(0, 300));
    nodes.crash_all();
    nodes.zookeeper.restart();
    nodes.start_all();
    assert_eq!(nodes.gateway(3).must("SELECT count(*) FROM t;"), "300");
    // Leaders go on without their election service.
    nodes.gateway(1).must(&rows(300, 310));
    nodes.zookeeper.stop();
    nodes.gateway(3).must(&rows(310, 400));
    assert_eq!(nodes.gateway(2).must("SELECT count(*) FROM t;"), "400");
    nodes.zookeeper.restart();
    // A polite stop loses nothing and needs no fail-over.
    nodes.stop(1);
    nodes.gateway(2).must(&rows(400, 500));
    nodes.start_again(1);
    story::all_agree(&mut nodes);
    assert_eq!(nodes.gateway(1).must("SELECT count(*), sum(v) FROM t;"), "500|124750");
}

#[test]
fn a_node_that_lost_its_disk_is_rebuilt() {
    let mut nodes = Nodes::start();
    nodes.gateway(1).must("CREATE TABLE t (k text PRIMARY KEY, v int4) SPLIT AT VALUES (('h'), ('q'));");
    let row = |key: &str, value: u32| format!("UPSERT INTO t (k, v) VALUES ('{key}', {value});\n");
    nodes.gateway(1).must(&["a", "m", "z"].map(|key| row(key, 1)).concat());
    nodes.crash(2);
    nodes.lose_disk(2);
    nodes.gateway(1).must(&["b", "n", "y"].map(|key| row(key, 2)).concat());

    let refused = nodes.start_command(2).output().expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("start it once with an empty directory and --rebuild"),
        "{said}"
    );
    nodes.rebuild(2);
    story::all_agree(&mut nodes);

    // It has everything and counts: with one other it is a majority of each range. The flag is for once.
    nodes.crash(3);
    nodes.gateway(2).must(&["c", "o", "x"].map(|key| row(key, 3)).concat());
    nodes.crash(2);
    nodes.start_again(2);
    nodes.start_again(3);
    story::all_agree(&mut nodes);
    for node in 1..=3 {
        assert_eq!(
            nodes.gateway(node).must("SELECT count(*), sum(v) FROM t;"),
            "9|18",
            "through node {node}"
        );
    }
}

/// The killed process left its ephemeral nodes behind; they stand until its session ends, seconds later.
#[test]
fn a_node_starts_again_right_after_kill_9() {
    let mut nodes = Nodes::start();
    nodes
        .gateway(1)
        .must("CREATE TABLE t (k text PRIMARY KEY, v int4); UPSERT INTO t (k, v) VALUES ('a', 0);");
    for round in 1..=3 {
        nodes.crash(round);
        nodes.start_again(round);
        let script = format!("UPSERT INTO t (k, v) VALUES ('a', {round}); SELECT v FROM t WHERE k = 'a';");
        assert_eq!(nodes.gateway(round).must(&script), round.to_string(), "through the node that came back");
    }
    story::all_agree(&mut nodes);
}
