//! A network of this test alone: a namespace with a bridge (clients stand there), and one namespace for each machine.
//! Machines are cut from each other by wrong entries in their neighbour tables: packets are sent, and nobody gets them,
//! in one direction or in both, without an error at the sender.
//!
//! Needs root, `ip` and `tc` (Debian's iproute2), `nft` (nftables). All namespaces have the process's id in their names and go with it.

use std::process::{Command, ExitStatus};

use crate::cluster::provision;

/// Set in the process that runs inside of the bridge's namespace.
const INSIDE: &str = "SPINNAKER_CHAOS_HUB";
/// Nobody has this hardware address.
const NOBODY: &str = "02:00:00:00:00:ff";

/// One machine of the network; its address is `10.77.0.N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Machine(pub u8);

impl Machine {
    /// Its address.
    pub fn address(self) -> String {
        format!("10.77.0.{}", self.0)
    }

    fn hardware(self) -> String {
        format!("02:00:00:00:00:{:02x}", self.0)
    }
}

/// The network; its namespaces go when it is dropped.
pub struct Network {
    hub: String,
    machines: Vec<Machine>,
}

impl Drop for Network {
    fn drop(&mut self) {
        // What cannot be removed now goes with the hub's namespace.
        let _ = ip(&["link", "delete", "hub"]);
        for &machine in &self.machines {
            let _ = ip(&["netns", "delete", &self.namespace(machine)]);
            let _ = ip(&["link", "delete", &port(machine)]);
        }
    }
}

/// Runs this program again inside of a namespace of its own and returns how it ended; `None`: this is that process.
///
/// # Errors
///
/// One line: what is missing (root, `ip`).
pub fn enter_hub() -> Result<Option<ExitStatus>, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let hub = format!("spk-{}", std::process::id());
    provision::program("ip", "iproute2");
    ip(&["netns", "add", &hub])?;
    let exe = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let status = Command::new("ip")
        .args(["netns", "exec", &hub])
        .arg(exe)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, &hub)
        .status();
    remove_namespaces(&hub);
    status.map(Some).map_err(|error| format!("ip netns exec: {error}"))
}

impl Network {
    /// Makes the bridge and the machines' namespaces. To be called in the hub's namespace ([`enter_hub`]).
    ///
    /// # Errors
    ///
    /// One line: the command that failed and what it said.
    pub fn new(machines: &[Machine]) -> Result<Network, String> {
        let hub = std::env::var(INSIDE).map_err(|_| "not inside of the hub's namespace".to_string())?;
        let network = Network { hub, machines: machines.to_vec() };
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", "hub", "type", "bridge"])?;
        ip(&["addr", "add", "10.77.0.254/24", "dev", "hub"])?;
        ip(&["link", "set", "hub", "up"])?;
        for &machine in machines {
            network.add(machine)?;
        }
        Ok(network)
    }

    /// A command that runs on a machine. Its process id is that of the program, which ends with this process.
    pub fn command_on(&self, machine: Machine, program: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(machine), "setpriv", "--pdeathsig", "KILL"]);
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Nothing that `from` sends arrives at `to` any more; `from` is not told.
    pub fn cut(&self, from: Machine, to: Machine) -> Result<(), String> {
        self.neighbour(from, to, NOBODY)
    }

    /// Mends [`Network::cut`].
    pub fn mend(&self, from: Machine, to: Machine) -> Result<(), String> {
        self.neighbour(from, to, &to.hardware())
    }

    /// Of the packets that come to a machine, this many of 100 are lost.
    pub fn lose(&self, machine: Machine, percent: u32) -> Result<(), String> {
        let chain = "add chain inet chaos in { type filter hook input priority 0 ; }";
        let rule = format!("add rule inet chaos in iifname eth0 numgen random mod 100 < {percent} drop");
        ["add table inet chaos", chain, &rule].into_iter().try_for_each(|command| self.nft(machine, command))
    }

    /// Mends [`Network::lose`].
    pub fn lose_none(&self, machine: Machine) -> Result<(), String> {
        self.nft(machine, "delete table inet chaos")
    }

    /// What a machine sends waits for its turn on a slow link: up to 300 ms, and what would wait longer is lost.
    pub fn slow_link(&self, machine: Machine) -> Result<(), String> {
        let slow = ["root", "tbf", "rate", "2mbit", "burst", "8kb", "latency", "300ms"];
        self.tc(machine, &[&["add", "dev", "eth0"], &slow[..]].concat())
    }

    /// Mends [`Network::slow_link`].
    pub fn fast_link(&self, machine: Machine) -> Result<(), String> {
        self.tc(machine, &["delete", "dev", "eth0", "root"])
    }

    /// All other machines.
    pub fn others(&self, machine: Machine) -> impl Iterator<Item = Machine> + '_ {
        self.machines.iter().copied().filter(move |other| *other != machine)
    }

    fn add(&self, machine: Machine) -> Result<(), String> {
        let (namespace, inside, outside) = (self.namespace(machine), "eth0", port(machine));
        ip(&["netns", "add", &namespace])?;
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", inside, "netns", &namespace])?;
        ip(&["link", "set", &outside, "master", "hub", "up"])?;
        let on = |args: &[&str]| ip(&[&["-n", &namespace], args].concat());
        on(&["link", "set", inside, "address", &machine.hardware()])?;
        on(&["addr", "add", &format!("{}/24", machine.address()), "dev", inside])?;
        on(&["link", "set", inside, "up"])?;
        on(&["link", "set", "lo", "up"])?;
        self.others(machine).try_for_each(|other| self.mend(machine, other))
    }

    fn neighbour(&self, from: Machine, to: Machine, hardware: &str) -> Result<(), String> {
        let (namespace, to) = (self.namespace(from), to.address());
        let entry = ["neigh", "replace", &to, "lladdr", hardware, "nud", "permanent", "dev", "eth0"];
        ip(&[&["-n", &namespace[..]], &entry[..]].concat())
    }

    fn nft(&self, machine: Machine, command: &str) -> Result<(), String> {
        ip(&["netns", "exec", &self.namespace(machine), "nft", command])
    }

    fn tc(&self, machine: Machine, args: &[&str]) -> Result<(), String> {
        ip(&[&["netns", "exec", &self.namespace(machine), "tc", "qdisc"], args].concat())
    }

    fn namespace(&self, machine: Machine) -> String {
        format!("{}-{}", self.hub, machine.0)
    }
}

fn port(machine: Machine) -> String {
    format!("port{}", machine.0)
}

/// Removes a hub's namespace and those of its machines; what is not there is no error.
fn remove_namespaces(hub: &str) {
    let listed = Command::new("ip").args(["netns", "list"]).output();
    let listed =
        listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let machines = format!("{hub}-");
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        if name == hub || name.starts_with(&machines) {
            // One that stays is harmless: it holds no process and its name is not used again while this process lives.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}` failed (network namespaces need root): {}", args.join(" "), said.trim()))
}
