//! Three `spinnaker start` (or `spinnaker-kv start`) processes and a real ZooKeeper.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::psql::Psql;
use super::status::Replicas;
use super::zookeeper::ZooKeeperServer;
use super::{Cluster, free_port, provision};

/// How long a debug build may take to do one thing on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Three nodes, each a process of its own; all killed when dropped.
pub struct Nodes {
    /// `spinnaker` or `spinnaker-kv`.
    binary: &'static str,
    /// Most files that a node may have open, and flags that all of them get.
    files_max: Option<u32>,
    flags: Vec<String>,
    nodes: Vec<Node>,
    /// The election service; dropped after the nodes.
    pub zookeeper: ZooKeeperServer,
    dir: TempDir,
}

struct Node {
    listen: String,
    pg_listen: String,
    http_listen: String,
    gateway: Psql,
    process: Option<Process>,
}

impl Nodes {
    /// Starts ZooKeeper and three nodes with SQL gateways, and waits until all are ready.
    pub fn start() -> Nodes {
        Nodes::start_binary("spinnaker", None, &[])
    }

    /// The same, with a limit of open files (`ulimit -n`) and more flags for each node.
    pub fn start_limited(files_max: u32, flags: &[&str]) -> Nodes {
        Nodes::start_binary("spinnaker", Some(files_max), flags)
    }

    /// The same without SQL.
    pub fn start_kv() -> Nodes {
        Nodes::start_binary("spinnaker-kv", None, &[])
    }

    /// Three nodes that have not been started, with SQL gateways.
    pub fn prepared() -> Nodes {
        Nodes::prepare("spinnaker", None, &[])
    }

    fn start_binary(binary: &'static str, files_max: Option<u32>, flags: &[&str]) -> Nodes {
        let mut nodes = Nodes::prepare(binary, files_max, flags);
        nodes.start_all();
        nodes
    }

    fn prepare(binary: &'static str, files_max: Option<u32>, flags: &[&str]) -> Nodes {
        let local = || format!("127.0.0.1:{}", free_port());
        let node = || {
            let pg_listen = local();
            let gateway = Psql::new(format!("postgres://root@{pg_listen}/spinnaker"));
            Node { listen: local(), pg_listen, http_listen: local(), gateway, process: None }
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        let nodes = vec![node(), node(), node()];
        let flags = flags.iter().map(ToString::to_string).collect();
        Nodes { binary, files_max, flags, nodes, zookeeper: ZooKeeperServer::start(), dir }
    }

    /// Starts all nodes at once and waits until they are ready.
    pub fn start_all(&mut self) {
        for number in 1..=self.nodes.len() {
            self.spawn(number);
        }
        for number in 1..=self.nodes.len() {
            self.wait_ready(number);
        }
    }

    /// Ends all nodes with SIGKILL.
    pub fn crash_all(&mut self) {
        for node in &mut self.nodes {
            node.process = None;
        }
    }

    /// Asks a node to stop with SIGTERM; it must end by itself with exit code 0.
    pub fn stop(&mut self, number: usize) {
        let mut process = self.nodes[number - 1].process.take().expect("it runs");
        process.terminate();
        let status = process.wait_exit(WAIT_MAX);
        assert!(status.success(), "{status}; it said:\n{}", process.said());
    }

    /// Address of a node's SQL gateway.
    pub fn pg_listen(&self, number: usize) -> &str {
        &self.nodes[number - 1].pg_listen
    }

    /// A node's process.
    pub fn process(&mut self, number: usize) -> &mut Process {
        self.nodes[number - 1].process.as_mut().expect("it runs")
    }

    /// gRPC address of a node.
    pub fn listen(&self, number: usize) -> &str {
        &self.nodes[number - 1].listen
    }

    /// The command that starts a node, as an operator would type it.
    pub fn start_command(&self, number: usize) -> Command {
        let node = &self.nodes[number - 1];
        let binary = provision::binary(self.binary);
        let mut command = match self.files_max {
            None => Command::new(binary),
            Some(files_max) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {files_max}; exec \"$0\" \"$@\"")]).arg(binary);
                shell
            }
        };
        command
            .args(["start", "--node-id", &number.to_string()])
            .arg("--data-dir")
            .arg(self.data_dir(number))
            .args(["--zookeeper", &self.coordinator()])
            .args(["--listen", &node.listen, "--http-listen", &node.http_listen])
            .args(&self.flags);
        if self.binary == "spinnaker" {
            command.args(["--pg-listen", &node.pg_listen]);
        }
        command
    }

    /// Data directory of a node.
    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    /// Where the nodes find ZooKeeper.
    pub fn coordinator(&self) -> String {
        format!("{}/spinnaker-e2e", self.zookeeper.address())
    }

    /// The disk of a node that does not run is lost.
    pub fn lose_disk(&self, number: usize) {
        std::fs::remove_dir_all(self.data_dir(number)).expect("its directory");
    }

    /// Starts a node whose disk was lost, as an operator does.
    pub fn rebuild(&mut self, number: usize) {
        self.spawn_with(number, &["--rebuild"]);
        self.wait_ready(number);
    }

    /// Starts a node's process.
    pub fn spawn(&mut self, number: usize) {
        self.spawn_with(number, &[]);
    }

    fn spawn_with(&mut self, number: usize, more: &[&str]) {
        let command = &mut self.start_command(number);
        let process = Process::spawn(&format!("node {number}"), command.args(more));
        self.nodes[number - 1].process = Some(process);
    }

    /// What a node's HTTP listener answers: the status and the body; none while it does not listen.
    pub fn page(&self, number: usize, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.nodes[number - 1].http_listen).ok()?;
        stream.set_read_timeout(Some(WAIT_MAX)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.trim_end().to_owned()))
    }

    /// Waits until `/ready` of a node answers so.
    pub fn wait_page(&self, number: usize, status: u16, begins: &str) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let answer = self.page(number, "/ready");
            if answer.as_ref().is_some_and(|(found, body)| *found == status && body.starts_with(begins)) {
                return;
            }
            assert!(Instant::now() < deadline, "node {number} answers {answer:?}, not {status} {begins:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a node says that it is ready.
    pub fn wait_ready(&self, number: usize) {
        let process = self.nodes[number - 1].process.as_ref().expect("just started");
        process.wait_line(WAIT_MAX, "ready", |line| (line == "ready").then_some(()));
    }
}

impl Cluster for Nodes {
    fn gateway(&self, node: usize) -> &Psql {
        &self.nodes[node - 1].gateway
    }

    fn crash(&mut self, node: usize) {
        self.nodes[node - 1].process = None;
    }

    fn start_again(&mut self, node: usize) {
        self.spawn(node);
        self.wait_ready(node);
    }

    fn status(&mut self) -> Replicas {
        let running = self.nodes.iter().find(|node| node.process.is_some()).expect("a node runs");
        let mut command = Command::new(provision::binary(self.binary));
        let output = command.args(["status", "--checksums", "--node", &running.listen]).output();
        let output = output.expect("status runs");
        let error = String::from_utf8_lossy(&output.stderr);
        // 3: it has answered, and a range has no leader yet.
        assert!(matches!(output.status.code(), Some(0 | 3)), "status failed: {error}");
        Replicas::parse(String::from_utf8_lossy(&output.stdout).lines())
    }
}
