//! `spinnaker demo`: a cluster in one process, driven through its standard input.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::psql::Psql;
use super::status::Replicas;
use super::{Cluster, free_ports, provision};

/// How long a debug build may take to do one thing on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// A running demo with three nodes; killed when dropped.
pub struct Demo {
    process: Process,
    gateways: Vec<Psql>,
    /// Port of the first node's gateway, on loopback.
    pub port: u16,
    /// Where its temporary directory is made; a demo that is killed cannot remove it.
    _temporary: TempDir,
}

impl Demo {
    /// Starts a demo on free ports and waits until it is ready. Without a directory it keeps its data in a temporary one.
    pub fn start(data_dir: Option<&Path>) -> Demo {
        let port = free_ports(3);
        let mut command = Command::new(provision::binary("spinnaker"));
        command.args(["demo", "--nodes", "3", "--pg-port", &port.to_string()]);
        let temporary = tempfile::tempdir().expect("a temporary directory");
        command.env("TMPDIR", temporary.path());
        if let Some(dir) = data_dir {
            command.arg("--data-dir").arg(dir);
        }
        let process = Process::spawn("demo", &mut command);
        process.wait_line(WAIT_MAX, "ready", |line| (line == "ready").then_some(()));
        let gateways = (1..=3).map(|node| {
            let prefix = format!("node {node}  ");
            let url = |line: &str| line.strip_prefix(&prefix).map(str::to_string);
            let url = process.wait_line(Duration::ZERO, "gateway", url);
            let expected = format!("postgres://root@127.0.0.1:{}/spinnaker", port + node - 1);
            assert_eq!(url, expected);
            Psql::new(url)
        });
        Demo { gateways: gateways.collect(), process, port, _temporary: temporary }
    }

    /// Types `quit`; the demo must end by itself with exit code 0.
    pub fn quit(mut self) {
        self.process.type_line("quit");
        let status = self.process.wait_exit(WAIT_MAX);
        assert!(status.success(), "{status}; it said:\n{}", self.process.said());
    }

    /// Types a command and waits for its answer.
    fn command(&mut self, command: &str, answer: &str) {
        let seen = self.process.lines_seen();
        self.process.type_line(command);
        self.process.wait_line_after(seen, WAIT_MAX, answer, |line| (line == answer).then_some(()));
    }
}

impl Cluster for Demo {
    fn gateway(&self, node: usize) -> &Psql {
        &self.gateways[node - 1]
    }

    fn crash(&mut self, node: usize) {
        self.command(&format!("kill {node}"), &format!("node {node} killed"));
    }

    fn start_again(&mut self, node: usize) {
        self.command(&format!("start {node}"), &format!("node {node} started"));
    }

    fn status(&mut self) -> Replicas {
        let seen = self.process.lines_seen();
        self.process.type_line("status");
        // What it does not know marks the end of what came before.
        self.process.type_line("end-of-status");
        let is_end = |line: &str| line.starts_with("unknown command: end-of-status").then_some(());
        self.process.wait_line_after(seen, WAIT_MAX, "status", is_end);
        Replicas::parse(self.process.said().lines().skip(seen))
    }
}
