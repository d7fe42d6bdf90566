//! What a wrong command line or an unfit machine gets: one clear line, exit code 1 or 2, never a panic.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use spinnaker_tests::cluster::nodes::Nodes;
use spinnaker_tests::cluster::process::Process;
use spinnaker_tests::cluster::{Cluster, free_port, provision};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs a command that must fail by itself with one clear line; returns the line.
fn refused(command: &mut Command) -> String {
    let mut process = Process::spawn("refused", command);
    let code = process.wait_exit(WAIT_MAX).code();
    // The output is read on threads of its own.
    let line = process.wait_line(WAIT_MAX, "reason", |line| (!line.is_empty()).then(|| line.to_string()));
    let said = process.said();
    assert!(matches!(code, Some(1 | 2)), "exit code {code:?}; it said:\n{said}");
    assert!(!said.contains("panicked") && said.trim().lines().count() == 1, "not one clear line:\n{said}");
    line
}

fn spinnaker(args: &[&str]) -> Command {
    program("spinnaker", args)
}

fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(provision::binary(name));
    command.args(args);
    command
}

#[test]
fn a_wrong_command_line_gets_one_line() {
    for (args, expected) in [
        (vec!["demo", "--nonsense"], "--nonsense"),
        (vec!["demo", "--pg-port", "none"], "none"),
        (vec!["start"], "node-id"),
        (
            vec!["start", "--node-id", "0", "--data-dir", "/tmp/x", "--zookeeper", "a:1", "--listen", "b:1"],
            "node-id",
        ),
        (vec!["status", "--node", "127.0.0.1:1"], "127.0.0.1:1"),
        (vec!["nonsense"], "nonsense"),
    ] {
        let line = refused(&mut spinnaker(&args));
        assert!(line.contains(expected), "{args:?}: {line}");
    }
}

#[test]
fn both_programs_refuse_and_explain_alike() {
    let start =
        ["start", "--node-id", "1", "--data-dir", "/tmp/x", "--zookeeper", "a:1", "--listen", "127.0.0.1:1"];
    let said = |name: &str, args: &[&str]| {
        let output = program(name, args).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let [sql, kv] = ["spinnaker", "spinnaker-kv"].map(|name| {
        let lines = [&["start"][..], &["status", "--node", "127.0.0.1:1"], &["start", "--nonsense"]]
            .map(|args| refused(&mut program(name, args)).replacen(name, "PROGRAM", 1));
        let log = refused(program(name, &start).env("SPINNAKER_LOG", "loud=loudly"));
        assert!(log.contains("SPINNAKER_LOG"), "{log}");
        let missing = refused(&mut program(name, &[]));
        assert!(missing.contains("a command is missing: start"), "{missing}");
        let help = said(name, &["start", "--help"]);
        assert!(help.contains("SPINNAKER_LOG") && help.contains("in ms [default: 500]"), "{help}");
        let checked = said(name, &[&start[..], &["--check-config"]].concat());
        assert!(checked.contains("zookeeper: a:1"), "{checked}");
        let flags = |help: &str| -> Vec<String> {
            let lines = help.lines().map(str::trim).filter(|line| line.starts_with("--"));
            lines.filter(|line| !line.starts_with("--pg-")).map(str::to_string).collect()
        };
        (lines, flags(&help), flags(&said(name, &["status", "--help"])))
    });
    assert_eq!(sql, kv);
    assert!(sql.1.len() > 10 && sql.2.len() == 3, "{sql:?}");
}

#[test]
fn a_port_in_use_or_an_unusable_directory_gets_one_line() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let line = refused(&mut spinnaker(&["demo", "--pg-port", &port]));
    assert!(line.contains(&port) && line.contains("in use"), "{line}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let free = free_port().to_string();
    let line = refused(&mut spinnaker(&["demo", "--pg-port", &free, "--data-dir", file]));
    assert!(line.contains(file), "{line}");
}

#[test]
fn what_is_no_address_of_zookeeper_gets_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let [listen, pg] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    for wrong in ["zk1", "zk1:x", "zk1:2181//x", ":2181"] {
        let mut command = spinnaker(&["start", "--node-id", "1", "--zookeeper", wrong, "--listen", &listen]);
        let line = refused(command.args(["--pg-listen", &pg]).arg("--data-dir").arg(dir.path()));
        assert!(line.contains("--zookeeper") && line.contains(wrong), "{line}");
    }
}

#[test]
fn a_directory_of_another_node_or_in_use_gets_one_line() {
    let mut nodes = Nodes::start();
    let in_use = refused(&mut nodes.start_command(1));
    assert!(in_use.contains("in use"), "{in_use}");
    nodes.crash(1);
    // Node 2's flags with node 1's directory: its ports are free again after the crash.
    let mut command = nodes.start_command(1);
    command.args(["--node-id", "2"]);
    let mut given: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    given.drain(1..3);
    let args: Vec<&str> = given.iter().map(String::as_str).collect();
    let line = refused(&mut spinnaker(&args));
    assert!(line.contains("node"), "{line}");
}
