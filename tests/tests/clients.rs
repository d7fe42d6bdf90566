//! Real clients at a demo: each does what applications do with it, and checks what it gets (docs/clients.md).

use std::path::PathBuf;
use std::process::{Command, Output};

use spinnaker_tests::cluster::demo::Demo;
use spinnaker_tests::cluster::provision;

/// Exact versions, so that a run of today is one of tomorrow.
const PYTHON_PACKAGES: [&str; 5] = [
    "psycopg[binary]==3.3.9",
    "psycopg2-binary==2.9.13",
    "asyncpg==0.32.0",
    "pg8000==1.31.6",
    "sqlalchemy==2.1.9",
];
const NODE_PACKAGES: [&str; 2] = ["pg@8.23.1", "postgres@3.4.9"];

/// Scripts, and of those that do not end well yet what they say. (That one ends well now is told, and no failure.)
const SCRIPTS: [(&str, Option<&str>); 8] = [
    ("psycopg3.py", None),
    ("psycopg2.py", None),
    ("asyncpg_client.py", Some("WITH is not supported")),
    ("pg8000_client.py", None),
    ("sqlalchemy_client.py", Some("CREATE TABLE in a transaction block is not supported")),
    ("node_postgres.js", None),
    ("postgres_js.js", None),
    ("Jdbc.java", Some("not all of the metadata")),
];

#[test]
fn drivers_do_what_their_scripts_ask() {
    let demo = Demo::start(None);
    let url = format!("postgres://root@127.0.0.1:{}/spinnaker", demo.port);
    let mut wrong = Vec::new();
    for (script, refused) in SCRIPTS {
        let output = run(script, &url);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        match refused {
            known if output.status.success() && said.starts_with("ok ") => {
                known.iter().for_each(|reason| println!("{script} ends well now: strike off {reason:?}"));
            }
            Some(reason) if said.contains(reason) => {}
            _ => wrong.push(format!("{script}:\n{said}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every line of `psql.sql`, most of them backslash commands; `! ` begins one that fails yet.
#[test]
fn psql_s_commands_have_answers() {
    let demo = Demo::start(None);
    let text = std::fs::read_to_string(scripts().join("psql.sql")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut script = String::new();
    for (number, line) in lines.iter().enumerate() {
        let line = line.strip_prefix("! ").unwrap_or(line);
        let end = if line.contains('\\') { "" } else { ";" };
        script += &format!("\\warn line {number}\n{line}{end}\n");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let mut psql = Command::new(provision::program("psql", "postgresql-client"));
    let url = format!("postgres://root@127.0.0.1:{}/spinnaker", demo.port);
    let output = psql.args(["-X", "-q", "-o", "/dev/null", &url, "-f"]).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut failed = vec![String::new(); lines.len()];
    let mut number = 0;
    for line in said.lines() {
        match line.strip_prefix("line ").and_then(|text| text.parse::<usize>().ok()) {
            Some(at) => number = at,
            None if line.contains("ERROR: ") || line.contains("FATAL: ") => failed[number] += line,
            None => {}
        }
    }
    assert_eq!(number, lines.len() - 1, "psql ended early: {said}");
    let mut wrong = Vec::new();
    for (line, failed) in lines.iter().zip(&failed) {
        match (line.starts_with("! "), failed.is_empty()) {
            (true, true) => println!("{line} works now: strike off the !"),
            (false, false) => wrong.push(format!("{line}: {failed}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pgbench_reads_and_writes() {
    let demo = Demo::start(None);
    demo_rows(&demo);
    let script = tempfile::NamedTempFile::new().unwrap();
    let text = "\\set id random(1, 100)\nupdate bench set n = n + 1 where id = :id;\nselect n from bench where id = :id;\n";
    std::fs::write(script.path(), text).unwrap();
    for mode in ["simple", "extended", "prepared"] {
        let port = demo.port.to_string();
        let mut pgbench = Command::new(provision::program("pgbench", "postgresql-contrib"));
        pgbench.args(["-n", "-c", "4", "-t", "25", "-M", mode, "-h", "127.0.0.1", "-p", &port, "-U", "root"]);
        let output = pgbench.arg("-f").arg(script.path()).arg("spinnaker").output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("100/100"), "{mode}: {said}");
    }
}

fn demo_rows(demo: &Demo) {
    use spinnaker_tests::cluster::Cluster;
    let rows: Vec<String> = (1..=100).map(|id| format!("({id}, 0)")).collect();
    let sql = "create table bench (id int4 primary key, n int4); insert into bench values ";
    demo.gateway(1).must(&format!("{sql}{};", rows.join(", ")));
}

fn run(script: &str, url: &str) -> Output {
    let file = scripts().join(script);
    let mut command = if script.ends_with(".py") {
        // Of its own directory Python would take our psycopg2.py for the package.
        let mut python = Command::new(provision::python_with("python-clients", &PYTHON_PACKAGES));
        python.arg("-P");
        python
    } else if script.ends_with(".java") {
        // Java compiles a file that it is given, if a JDK is there.
        provision::program("javac", "default-jdk-headless");
        let mut java = Command::new("java");
        java.arg("-cp").arg(provision::jdbc());
        java
    } else {
        let modules = provision::node_with("node-clients", &NODE_PACKAGES).join("node_modules");
        let mut node = Command::new(provision::program("node", "nodejs"));
        node.env("NODE_PATH", modules);
        node
    };
    command.arg(file).arg(url).output().unwrap()
}

fn scripts() -> PathBuf {
    provision::workspace().join("tests/clients")
}
