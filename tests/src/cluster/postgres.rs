//! One PostgreSQL 15 of our own, to ask for the right answer.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid, kill_process};

use super::process::Process;
use super::{free_port, provision};

/// Where Debian puts the release whose answers are expected.
const BIN: &str = "/usr/lib/postgresql/15/bin";
/// How long a start or a stop may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// The account of Debian's that owns nothing: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// A running server with a user `root` and a database `spinnaker`, on loopback, without passwords; stopped when dropped.
pub struct Postgres {
    process: Process,
    /// Its port on loopback.
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster of the database in a temporary directory and starts it on a free port.
    pub fn start() -> Postgres {
        let bin = bin_dir();
        let dir = tempfile::tempdir().expect("a temporary directory");
        if geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("root gives its directory away");
        }
        let data = dir.path().join("data");
        let mut initdb = program(&bin, "initdb");
        initdb.args(["-U", "root", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        must(initdb.arg(&data));
        let port = free_port();
        std::fs::write(data.join("postgresql.auto.conf"), settings(port)).expect("the directory is ours");
        let process = Process::spawn("PostgreSQL", program(&bin, "postgres").arg("-D").arg(&data));
        process.wait_line(WAIT_MAX, "start", |line| {
            line.contains("database system is ready to accept connections").then_some(())
        });
        let mut create = program(&bin, "createdb");
        must(create.args(["-h", "127.0.0.1", "-U", "root", "-p", &port.to_string(), "spinnaker"]));
        Postgres { process, port, _dir: dir }
    }
}

impl Drop for Postgres {
    /// Stops it at once, with its children; a kill would leave them.
    fn drop(&mut self) {
        if kill_process(self.process.pid(), Signal::QUIT).is_err() {
            return;
        }
        let deadline = Instant::now() + WAIT_MAX;
        while self.process.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Its programs; installed with apt if they are missing and we may.
fn bin_dir() -> PathBuf {
    let bin = PathBuf::from(BIN);
    if !bin.join("initdb").exists() {
        provision::install("postgresql-15");
    }
    assert!(bin.join("initdb").exists(), "PostgreSQL 15 is missing: apt-get install postgresql-15");
    bin
}

/// One of its programs; as `nobody` if we are root.
fn program(bin: &Path, name: &str) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new(provision::program("setpriv", "util-linux"));
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=QUIT", "--"]);
        command.arg(bin.join(name));
        command
    } else {
        Command::new(bin.join(name))
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {error}");
}

fn settings(port: u16) -> String {
    format!(
        "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n\
         shared_buffers = '16MB'\nmax_connections = 50\nautovacuum = off\ntimezone = 'UTC'\nlog_timezone = 'UTC'\n\
         log_min_messages = log\n"
    )
}
