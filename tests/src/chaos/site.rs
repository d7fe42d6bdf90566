//! The site under test: three nodes (real `spinnaker start` processes), each on a machine of its own, and the ensemble.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::chaos::disk::{SlowDisk, SmallDisk};
use crate::chaos::ensemble::Ensemble;
use crate::chaos::network::{Machine, Network};
use crate::chaos::znodes::Tree;
use crate::cluster::process::Process;
use crate::cluster::status::Replicas;

/// How long a node may take to start or stop on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Nodes of the site; node `n` is machine `n`.
pub const NODES: [usize; 3] = [1, 2, 3];
/// Size of a node's disk: room for the log that is kept, for tables and for their compaction.
const DISK_MIB: u64 = 640;
/// Where the cluster's znodes are.
const CHROOT: &str = "/chaos";

/// Everything that runs. Dropped in this order: nodes, ensemble, network.
pub struct Site {
    nodes: Vec<Node>,
    /// The coordinator.
    pub ensemble: Ensemble,
    /// What connects the machines.
    pub network: Network,
    /// Makes syncs slow.
    pub slow: SlowDisk,
    /// The program that asks nodes for their status and mends the coordinator: that of the newest release.
    binary: PathBuf,
}

struct Node {
    process: Option<Process>,
    /// The program that it is started with.
    binary: PathBuf,
    /// What it said in earlier lives, the newest last.
    said: Vec<String>,
    disk: SmallDisk,
    data: PathBuf,
}

impl Site {
    /// Starts all: network, ensemble, three nodes of the program `nodes`, with their data below `dir`. What is asked of
    /// them is asked by the program `asking`.
    ///
    /// # Errors
    ///
    /// One line: what is missing on this machine.
    pub fn start(dir: &Path, nodes: &Path, asking: &Path) -> Result<Site, String> {
        let machines = [1, 2, 3, 11, 12, 13].map(Machine);
        let network = Network::new(&machines)?;
        let slow = SlowDisk::new(dir)?;
        let ensemble = Ensemble::start(dir.to_owned(), &network);
        let program = nodes;
        let node = |number: usize| {
            let root = dir.join(format!("disk-{number}"));
            let disk = SmallDisk::mount(root.clone(), DISK_MIB)?;
            let (binary, data) = (program.to_owned(), root.join("data"));
            Ok(Node { process: None, binary, said: Vec::new(), disk, data })
        };
        let nodes = NODES.into_iter().map(node).collect::<Result<_, String>>()?;
        let mut site = Site { nodes, ensemble, network, slow, binary: asking.to_owned() };
        NODES.into_iter().for_each(|number| site.spawn(number, &[]));
        NODES.into_iter().for_each(|number| site.wait_ready(number));
        Ok(site)
    }

    /// A node is started with this program from now on.
    pub fn use_binary(&mut self, number: usize, binary: &Path) {
        binary.clone_into(&mut self.node_mut(number).binary);
    }

    /// Starts a node with further flags; it need not become ready.
    pub fn spawn(&mut self, number: usize, flags: &[&str]) {
        let mut program = Command::new(&self.node(number).binary);
        let address = machine(number).address();
        program
            .args(["start", "--node-id", &number.to_string(), "--data-dir"])
            .arg(&self.node(number).data)
            .args(["--zookeeper", &format!("{}{CHROOT}", self.ensemble.addresses())])
            .args(["--listen", &format!("{address}:7401"), "--http-listen", &format!("{address}:8401")])
            .args(["--pg-listen", &format!("{address}:5432"), "--log-retention-mib", "128"])
            .args(flags);
        self.slow.attach(number, &mut program);
        let mut command = self.network.command_on(machine(number), &program);
        let process = Process::spawn(&format!("node {number}"), &mut command);
        self.node_mut(number).process = Some(process);
    }

    /// Waits until a node says that it is ready.
    pub fn wait_ready(&self, number: usize) {
        let process = self.node(number).process.as_ref().expect("just started");
        process.wait_line(WAIT_MAX, "ready", |line| (line == "ready").then_some(()));
    }

    /// Starts a node and waits until it is ready.
    pub fn start_again(&mut self, number: usize) {
        self.spawn(number, &[]);
        self.wait_ready(number);
    }

    /// Starts a node and waits until it is ready, or has ended.
    ///
    /// # Errors
    ///
    /// It has ended, with code 1: everything that it said.
    pub fn start_unless_refused(&mut self, number: usize) -> Result<(), String> {
        self.spawn(number, &[]);
        let deadline = Instant::now() + WAIT_MAX;
        let node = self.node_mut(number);
        let process = node.process.as_mut().expect("just started");
        while process.is_running() {
            if process.said().lines().any(|line| line == "ready") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("it is neither ready nor ended after {WAIT_MAX:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let (code, said) = (process.wait_exit(WAIT_MAX).code(), process.said());
        node.process = None;
        node.said.push(said.clone());
        Err(if code == Some(1) { said } else { format!("{said}\nit ended with {code:?}") })
    }

    /// Throws the data of a stopped node away, and starts it with `--rebuild`.
    ///
    /// # Errors
    ///
    /// What the file system said.
    pub fn rebuild(&mut self, number: usize) -> Result<(), String> {
        let data = self.data(number);
        std::fs::remove_dir_all(data).map_err(|error| format!("{}: {error}", data.display()))?;
        self.spawn(number, &["--rebuild"]);
        self.wait_ready(number);
        Ok(())
    }

    /// Ends a node with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        let node = self.node_mut(number);
        if let Some(mut process) = node.process.take() {
            process.kill();
            node.said.push(process.said());
        }
    }

    /// Asks a node to stop with SIGTERM and waits for its end.
    ///
    /// # Errors
    ///
    /// It ended with another code than 0.
    pub fn stop(&mut self, number: usize) -> Result<(), String> {
        let node = self.node_mut(number);
        let mut process = node.process.take().expect("it runs");
        process.terminate();
        let status = process.wait_exit(WAIT_MAX);
        node.said.push(process.said());
        status.success().then_some(()).ok_or_else(|| format!("node {number}: {status} after SIGTERM"))
    }

    /// The cluster's znodes.
    pub fn tree(&self) -> Tree {
        Tree::new(&self.ensemble.addresses(), CHROOT)
    }

    /// Writes the cluster's znodes anew; all nodes must have been stopped.
    ///
    /// # Errors
    ///
    /// What the command said.
    pub fn recover_metadata(&self) -> Result<(), String> {
        let mut command = Command::new(&self.binary);
        command.args(["recover-metadata", "--zookeeper", &format!("{}{CHROOT}", self.ensemble.addresses())]);
        command.args(NODES.map(|node| self.data(node).to_owned()));
        let output = command.output().map_err(|error| format!("recover-metadata: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        output.status.success().then_some(()).ok_or_else(|| format!("recover-metadata: {}", said.trim()))
    }

    /// The process of a node that runs.
    pub fn process(&self, number: usize) -> &Process {
        self.node(number).process.as_ref().expect("it runs")
    }

    /// Nodes whose process has ended though nobody killed it.
    pub fn ended(&mut self) -> Vec<usize> {
        let ended = |number: &usize| {
            self.nodes[number - 1].process.as_mut().is_some_and(|process| !process.is_running())
        };
        NODES.into_iter().filter(ended).collect()
    }

    /// A node's data directory.
    pub fn data(&self, number: usize) -> &Path {
        &self.node(number).data
    }

    /// A node's disk.
    pub fn disk(&self, number: usize) -> &SmallDisk {
        &self.node(number).disk
    }

    /// Everything that a node said in all its lives.
    pub fn said(&self, number: usize) -> String {
        let node = self.node(number);
        let now = node.process.as_ref().map(Process::said).unwrap_or_default();
        [&node.said[..], &[now]].concat().join("\n--- started again ---\n")
    }

    /// Cuts a machine from all others of the site, in the directions asked for.
    pub fn isolate(&self, number: usize, outgoing: bool, incoming: bool) -> Result<(), String> {
        let one = machine(number);
        for other in self.network.others(one) {
            if outgoing {
                self.network.cut(one, other)?;
            }
            if incoming {
                self.network.cut(other, one)?;
            }
        }
        Ok(())
    }

    /// Mends all cuts of a machine.
    pub fn join(&self, number: usize) -> Result<(), String> {
        let one = machine(number);
        self.network.others(one).try_for_each(|other| {
            self.network.mend(one, other)?;
            self.network.mend(other, one)
        })
    }

    /// Waits until all replicas of all ranges hold the same and each range has a leader.
    ///
    /// # Errors
    ///
    /// The last status, if that does not come about in time.
    pub fn wait_level(&self, wait_max: Duration) -> Result<(), String> {
        let deadline = Instant::now() + wait_max;
        loop {
            let text = match self.status() {
                Ok(status) if status.agree() => return Ok(()),
                Ok(status) => status.text,
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Err(format!("replicas do not come to agree within {wait_max:?}:\n{text}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn status(&self) -> Result<Replicas, String> {
        let node =
            NODES.into_iter().find(|number| self.node(*number).process.is_some()).ok_or("no node runs")?;
        let mut command = Command::new(&self.binary);
        command.args(["status", "--checksums", "--node", &format!("{}:7401", machine(node).address())]);
        let output = command.output().map_err(|error| format!("status: {error}"))?;
        match output.status.success() {
            true => Ok(Replicas::parse(String::from_utf8_lossy(&output.stdout).lines())),
            false => Err(format!("status: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }
}

/// The machine of a node.
pub fn machine(node: usize) -> Machine {
    Machine(u8::try_from(node).expect("three nodes"))
}
