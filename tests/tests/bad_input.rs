//! What bad SQL gets: the SQLSTATE that PostgreSQL gives, and a session that stays usable.

use spinnaker_tests::cluster::Cluster;
use spinnaker_tests::cluster::demo::Demo;

#[test]
fn every_bad_statement_has_its_sqlstate_and_leaves_the_session_usable() {
    let demo = Demo::start(None);
    demo.gateway(1).must(
        "CREATE TABLE t (k text PRIMARY KEY, n int4, s varchar(3), b bool, long text);
         UPSERT INTO t (k, n) VALUES ('a', 1);",
    );
    let huge = format!("UPSERT INTO t (k, long) VALUES ('big', '{}')", "x".repeat(1_500_000));
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
        ("0A000", "UPDATE t SET k = 'z'"),
        ("0A000", "LOCK TABLE t"),
        ("0A000", "SELECT * FROM t FOR UPDATE"),
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
