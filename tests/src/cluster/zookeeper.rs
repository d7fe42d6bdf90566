//! A real ZooKeeper server (Debian's), one process without installation, ready in a third of a second.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::{free_port, provision};

/// How long the server may take to serve on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A standalone server on a loopback port, with its data in a temporary directory.
pub struct ZooKeeperServer {
    dir: TempDir,
    port: u16,
    process: Option<Process>,
}

impl ZooKeeperServer {
    /// Starts a server and waits until it serves.
    pub fn start() -> ZooKeeperServer {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut server = ZooKeeperServer { dir, port: free_port(), process: None };
        server.restart();
        server
    }

    /// `HOST:PORT`, for a connect string.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the server (its data stays).
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts the server again on its data and port, killing it first if it runs.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = server_command(self.dir.path(), &self.config());
        let mut process = Process::spawn("zookeeper", &mut command);
        let deadline = Instant::now() + WAIT_MAX;
        while !self.is_serving() {
            assert!(process.is_running(), "ZooKeeper ended:\n{}", process.said());
            assert!(Instant::now() < deadline, "ZooKeeper does not serve:\n{}", process.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = Some(process);
    }

    /// Stops the server's process with SIGSTOP: it keeps its connections but says nothing.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").pause();
    }

    /// Lets it go on after [`ZooKeeperServer::pause`].
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").resume();
    }

    fn config(&self) -> String {
        // Ticks of 100 ms allow session timeouts from 200 ms.
        format!(
            "tickTime=100\ninitLimit=50\nsyncLimit=30\ndataDir={}\nclientPortAddress=127.0.0.1\n\
             clientPort={}\nadmin.enableServer=false\n4lw.commands.whitelist=*\nminSessionTimeout=200\n\
             maxSessionTimeout=60000\nmaxClientCnxns=0\n",
            self.dir.path().join("data").display(),
            self.port
        )
    }

    fn is_serving(&self) -> bool {
        serves(&self.address())
    }
}

/// The command that runs a server with a configuration, which is written into `dir`.
pub fn server_command(dir: &Path, config: &str) -> Command {
    let config_file = dir.join("zoo.cfg");
    fs::write(&config_file, config).expect("own directory");
    let logging = dir.join("logging.properties");
    fs::write(&logging, "handlers=java.util.logging.ConsoleHandler\n.level=SEVERE\n").expect("own directory");
    let jars = provision::zookeeper_jars();
    let mut command = Command::new(provision::program("java", "default-jre-headless"));
    command
        .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dzookeeper.admin.enableServer=false", "-Dzookeeper.forceSync=no"])
        .arg(format!("-Djava.util.logging.config.file={}", logging.display()))
        .arg("-cp")
        .arg(jars.join("*"))
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(&config_file);
    command
}

/// Whether the server at `HOST:PORT` serves, alone or as a member of an ensemble.
pub fn serves(address: &str) -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"srvr")?;
        stream.read_to_string(&mut answer)
    });
    // "imok" comes too early, before the database is loaded.
    asked.is_ok() && answer.contains("Mode: ")
}
