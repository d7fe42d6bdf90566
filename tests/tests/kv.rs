//! The key-value service without SQL, as a stranger's client and its own small client see it.

use std::process::Command;

use spinnaker_tests::cluster::Cluster;
use spinnaker_tests::cluster::nodes::Nodes;
use spinnaker_tests::cluster::provision;

#[test]
fn a_client_that_is_not_ours_uses_the_service_through_reflection() {
    let nodes = Nodes::start_kv();
    let script = provision::workspace().join("tests/scripts/kv_client.py");
    let mut python = Command::new(provision::python());
    let output = python.arg(script).args([nodes.listen(1), nodes.listen(2)]).output().expect("python runs");
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim() == "ok", "{said}\n{error}");
}

#[test]
fn the_small_client_does_what_it_says() {
    let nodes = Nodes::start_kv();
    let kv = |node: usize, args: &[&str]| {
        let (verb, rest) = args.split_first().expect("a verb");
        let mut command = Command::new(provision::binary("spinnaker-kv"));
        command.args([verb, "--node", nodes.listen(node)]).args(rest);
        let output = command.output().expect("spinnaker-kv runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let must = |node: usize, args: &[&str]| {
        let (code, said, error) = kv(node, args);
        assert_eq!(code, Some(0), "{args:?}: {said}{error}");
        said
    };
    must(1, &["tables", "--create", "t", "--split", "h"]);
    assert_eq!(must(2, &["tables"]).trim(), "t");
    must(1, &["put", "t", "apple", "color=green", "taste=sour"]);
    must(2, &["put", "t", "plum", "color=blue"]);
    let cells = |said: String| -> Vec<String> {
        said.lines().map(|line| line.split('\t').take(3).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(cells(must(3, &["get", "t", "apple"])), ["apple color green", "apple taste sour"]);
    must(3, &["delete", "t", "apple", "taste"]);
    assert_eq!(cells(must(1, &["scan", "t"])), ["apple color green", "plum color blue"]);
    assert_eq!(cells(must(1, &["scan", "t", "--reverse", "--limit", "1"])), ["plum color blue"]);
    must(2, &["delete", "t", "apple"]);
    let (code, _, error) = kv(1, &["get", "t", "apple"]);
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(must(2, &["status"]).contains("CHECKSUM"));
    must(1, &["tables", "--drop", "t"]);
    assert_eq!(must(3, &["tables"]).trim(), "");
}

/// What SQL could not read is not let into its tables, and its statements go on as before.
#[test]
fn a_key_that_is_none_of_sql_does_not_come_into_its_table() {
    let nodes = Nodes::start();
    nodes
        .gateway(1)
        .must("CREATE TABLE t (k text PRIMARY KEY, n int4); UPSERT INTO t (k, n) VALUES ('a', 1);");
    let kv = |args: &[&str]| {
        let mut command = Command::new(provision::binary("spinnaker-kv"));
        let output = command.args([args[0], "--node", nodes.listen(2)]).args(&args[1..]).output();
        let output = output.expect("spinnaker-kv runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (args, why) in [
        (&["put", "t", "moose", "n=1"][..], "the key \\x6d6f6f7365 is no key of table \"t\""),
        (&["put", "t", "", "n=1"], "is no key of table \"t\""),
        (&["delete", "t", "moose", "n"], "is no key of table \"t\""),
    ] {
        let (code, said) = kv(args);
        assert!(code == Some(1) && said.contains(why), "{args:?}: {code:?} {said}");
    }
    assert_eq!(kv(&["delete", "t", "moose"]).0, Some(0), "what is no row may be deleted");
    assert_eq!(nodes.gateway(3).must("SELECT * FROM t;").trim(), "a|1");
}
