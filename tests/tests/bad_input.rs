//! What bad input gets: the SQLSTATE that PostgreSQL gives, a session that stays usable, and for the command
//! line one clear line with exit code 1 or 2.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use spinnaker_tests::cluster::demo::Demo;
use spinnaker_tests::cluster::nodes::Nodes;
use spinnaker_tests::cluster::process::Process;
use spinnaker_tests::cluster::{Cluster, free_port, provision};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_bad_statement_has_its_sqlstate_and_leaves_the_session_usable() {
    let demo = Demo::start(None);
    demo.gateway(1).must(
        "CREATE TABLE t (k text PRIMARY KEY, n int4, s varchar(3), b bool);
         UPSERT INTO t (k, n) VALUES ('a', 1);",
    );
    let huge = format!("UPSERT INTO t (k, s) VALUES ('big', '{}')", "x".repeat(1_500_000));
    let huge_row = format!("UPSERT INTO t (k, b) VALUES ('{}', true)", "k".repeat(100_000));
    let cases = [
        ("42P01", "SELECT * FROM nothing"),
        ("42P01", "DROP TABLE nothing"),
        ("42703", "SELECT nothing FROM t WHERE k = 'a'"),
        ("42703", "INSERT INTO t (k, nothing) VALUES ('b', 1)"),
        ("22P02", "INSERT INTO t (k, n) VALUES ('b', 'many')"),
        ("22P02", "SELECT * FROM t WHERE k = 'a' AND n = 'x'"),
        ("42804", "INSERT INTO t (k, n) VALUES ('b', true)"),
        ("22003", "INSERT INTO t (k, n) VALUES ('b', 99999999999)"),
        ("22001", "INSERT INTO t (k, s) VALUES ('b', 'four')"),
        ("23502", "INSERT INTO t (n) VALUES (1)"),
        ("23502", "UPSERT INTO t (k, n) VALUES (NULL, 1)"),
        ("23505", "INSERT INTO t (k, n) VALUES ('a', 2)"),
        ("0A000", "UPDATE t SET n = 2"),
        ("0A000", "DELETE FROM t"),
        ("0A000", "SELECT * FROM t JOIN t AS u ON t.k = u.k"),
        ("0A000", "CREATE INDEX i ON t (n)"),
        ("42P07", "CREATE TABLE t (k text PRIMARY KEY)"),
        ("42601", "SELEC 1"),
        ("42601", "SELECT * FROM t WHERE"),
        ("22023", "SET consistency = sometimes"),
        ("22023", "SET max_staleness = 'long'"),
        ("42704", "SET nonsense = 1"),
        ("42704", "SHOW nonsense"),
        ("54000", huge.as_str()),
        ("54000", huge_row.as_str()),
    ];
    let mut script = String::from("\\set ON_ERROR_STOP 0\n");
    for (number, (_, statement)) in cases.iter().enumerate() {
        script.push_str(&format!("{statement};\n\\echo {number} :SQLSTATE\n"));
        script.push_str(&format!("SELECT n FROM t WHERE k = 'a';\n\\echo {number} :SQLSTATE\n"));
    }
    let output = demo.gateway(1).must(&script);
    let mut wrong = Vec::new();
    for (number, (expected, statement)) in cases.iter().enumerate() {
        let prefix = format!("{number} ");
        let states: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        if states != [*expected, "00000"] {
            wrong.push(format!("{states:?}, expected {expected} then 00000: {statement:.100}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let kept = output.lines().filter(|line| *line == "1").count();
    assert_eq!(kept, cases.len(), "the row that stood is read after each failure");
}

#[test]
fn broken_utf_8_is_refused() {
    let demo = Demo::start(None);
    demo.gateway(1).must("CREATE TABLE t (k text PRIMARY KEY, v text);");
    // psql passes bytes on as they are.
    let script = b"\\set ON_ERROR_STOP 0\nUPSERT INTO t (k, v) VALUES ('a', '\xff\xfe');\n\\echo :SQLSTATE\nSELECT 1;\n";
    let output = demo.gateway(1).run_bytes(script.to_vec()).expect("the session goes on");
    assert_eq!(output, "22021\n1");
}

/// Runs a command that must fail by itself with one clear line; returns the line.
fn refused(command: &mut Command) -> String {
    let mut process = Process::spawn("refused", command);
    let code = process.wait_exit(PATIENCE).code();
    // The output is read on threads of its own.
    let line = process.wait_line(PATIENCE, "reason", |line| (!line.is_empty()).then(|| line.to_string()));
    let said = process.said();
    assert!(matches!(code, Some(1 | 2)), "exit code {code:?}; it said:\n{said}");
    assert!(!said.contains("panicked") && said.trim().lines().count() == 1, "not one clear line:\n{said}");
    line
}

fn spinnaker(args: &[&str]) -> Command {
    let mut command = Command::new(provision::binary("spinnaker"));
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
fn zookeeper_out_of_reach_gets_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let [zookeeper, listen, pg] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let mut command = spinnaker(&["start", "--node-id", "1", "--zookeeper", &zookeeper, "--listen", &listen]);
    let line = refused(command.args(["--pg-listen", &pg]).arg("--data-dir").arg(dir.path()));
    assert!(line.contains(&zookeeper), "{line}");
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
