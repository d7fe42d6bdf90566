//! SQL point reads and upserts with `pgbench`: the demo's gateways, and PostgreSQL as the peer.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::median::median;
use super::postgres::Postgres;

/// Clients at the same time.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Rows in the table.
const ROWS: usize = 100_000;

/// What is measured: a name, and pgbench's script for it.
const WORKLOADS: [(&str, &str, Session); 4] = [
    ("read, strong, leader's gateway or not", READ, Session::Strong),
    ("read, timeline", READ, Session::Timeline),
    ("upsert", UPSERT, Session::Strong),
    ("update of the same row set, one column", UPDATE, Session::Strong),
];
const READ: &str = "\\set k random(1, 100000)\nSELECT v FROM bench WHERE k = :k;\n";
const UPSERT: &str = "\\set k random(1, 100000)\nINSERT INTO bench (k, v) VALUES (:k, 'upserted') ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v;\n";
const UPDATE: &str = "\\set k random(1, 100000)\nUPDATE bench SET v = 'updated' WHERE k = :k;\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Strong,
    Timeline,
}

/// How the suite is run.
#[derive(Debug)]
pub struct Options {
    /// The `spinnaker` binary (release build).
    pub spinnaker: PathBuf,
    /// Where data goes.
    pub dir: PathBuf,
    /// Rounds; the median is printed.
    pub rounds: usize,
    /// Seconds of one round.
    pub seconds: u32,
    /// Measure PostgreSQL too.
    pub postgres: bool,
    /// First port to use.
    pub port: u16,
}

/// Runs the suite and prints a table.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let demo = Demo::start(&options.spinnaker, &options.dir.join("demo"), options.port)?;
    let postgres = if options.postgres {
        Some(Postgres::start(&options.dir.join("postgres"), options.port + 10)?)
    } else {
        None
    };
    load(
        options,
        demo.port,
        "CREATE TABLE bench (k int8 PRIMARY KEY, v text) SPLIT AT VALUES ((33334), (66667))",
    )?;
    if let Some(postgres) = &postgres {
        load(options, postgres.port, "CREATE TABLE bench (k int8 PRIMARY KEY, v text)")?;
    }
    println!(
        "{:<40} {:>7} {:>12} {:>12} {:>7}",
        "pgbench -M prepared", "clients", "spinnaker/s", "postgres/s", "ratio"
    );
    for (name, script, session) in WORKLOADS {
        for clients in CLIENTS {
            let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..options.rounds {
                let rate = pgbench(options, demo.port, script, session, clients)?;
                ours.push(rate);
                if let Some(postgres) = &postgres {
                    let peer = pgbench(options, postgres.port, script, Session::Strong, clients)?;
                    theirs.push(peer);
                    ratios.push(rate / peer);
                }
            }
            println!(
                "{name:<40} {clients:>7} {:>12.0} {:>12.0} {:>7.2}",
                median(&mut ours),
                median(&mut theirs),
                median(&mut ratios)
            );
        }
    }
    demo.quit()
}

fn load(options: &Options, port: u16, create: &str) -> Result<(), Box<dyn Error>> {
    let file = options.dir.join("rows.tsv");
    let rows: String = (1..=ROWS).map(|row| format!("{row}\tvalue of row {row}\n")).collect();
    std::fs::write(&file, rows)?;
    let copy = format!("\\copy bench from '{}'", file.display());
    let status = Command::new("psql")
        .args(["-qX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "root", "-p", &port.to_string()])
        .args(["-c", create, "-c", &copy, "spinnaker"])
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("loading through port {port} failed").into()) }
}

/// Transactions per second of one run.
fn pgbench(
    options: &Options,
    port: u16,
    script: &str,
    session: Session,
    clients: usize,
) -> Result<f64, Box<dyn Error>> {
    let file = options.dir.join("script.sql");
    std::fs::write(&file, script)?;
    let mut command = Command::new("pgbench");
    if session == Session::Timeline {
        command.env("PGOPTIONS", "-c consistency=timeline");
    }
    let output = command
        .args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "root", "-p", &port.to_string()])
        .args([
            "-c",
            &clients.to_string(),
            "-j",
            &clients.min(2).to_string(),
            "-T",
            &options.seconds.to_string(),
        ])
        .args(["-f", &file.display().to_string(), "spinnaker"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = || format!("pgbench: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(failed().into());
    }
    let line = text.lines().find(|line| line.starts_with("tps = ")).ok_or_else(failed)?;
    Ok(line.split_whitespace().nth(2).and_then(|figure| figure.parse().ok()).ok_or_else(failed)?)
}

/// A running `spinnaker demo`, killed on drop.
struct Demo {
    child: Child,
    stdin: ChildStdin,
    port: u16,
}

impl Demo {
    fn start(binary: &Path, dir: &Path, port: u16) -> Result<Demo, Box<dyn Error>> {
        let mut child = Command::new(binary)
            .args(["demo", "--pg-port", &port.to_string(), "--data-dir"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error} (cargo build --release first)", binary.display()))?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        for line in BufReader::new(stdout).lines() {
            if line? == "ready" {
                return Ok(Demo { child, stdin, port });
            }
        }
        Err(format!("the demo ended: {}", child.wait()?).into())
    }

    fn quit(mut self) -> Result<(), Box<dyn Error>> {
        self.stdin.write_all(b"quit\n")?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
