//! The key-value service without SQL, as a stranger's client and its own small client see it.

use std::process::Command;

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
