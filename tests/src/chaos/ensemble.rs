//! A ZooKeeper ensemble of three, each member on a machine of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::chaos::network::{Machine, Network};
use crate::cluster::process::Process;
use crate::cluster::zookeeper;

/// How long an ensemble may take to serve on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Members.
pub const MEMBERS: [Machine; 3] = [Machine(11), Machine(12), Machine(13)];
const CLIENT_PORT: u16 = 2181;

/// The ensemble; its members are killed when it is dropped.
pub struct Ensemble {
    dir: PathBuf,
    members: Vec<Option<Process>>,
}

impl Ensemble {
    /// Starts all members, with their data below `dir`, and waits until they serve.
    pub fn start(dir: PathBuf, network: &Network) -> Ensemble {
        let mut ensemble = Ensemble { dir, members: vec![None, None, None] };
        for member in 0..MEMBERS.len() {
            ensemble.start_member(member, network);
        }
        ensemble.wait_serving();
        ensemble
    }

    /// `HOST:PORT,..` of all members, for a connect string.
    pub fn addresses(&self) -> String {
        MEMBERS.map(|member| format!("{}:{CLIENT_PORT}", member.address())).join(",")
    }

    /// Kills a member; its data stays.
    pub fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }

    /// Keeps a copy of what all members hold, for [`Ensemble::roll_back`]. All must have been killed.
    ///
    /// # Errors
    ///
    /// One line: the file and what is wrong with it.
    pub fn keep(&self) -> Result<(), String> {
        self.each_data(|data, kept| {
            let _ = fs::remove_dir_all(kept);
            copy(data, kept)
        })
    }

    /// Puts back what [`Ensemble::keep`] kept, as from an old backup. All must have been killed.
    ///
    /// # Errors
    ///
    /// One line: the file and what is wrong with it.
    pub fn roll_back(&self) -> Result<(), String> {
        self.each_data(|data, kept| {
            fs::remove_dir_all(data)?;
            copy(kept, data)
        })
    }

    fn each_data(&self, act: impl Fn(&Path, &Path) -> io::Result<()>) -> Result<(), String> {
        (1..=MEMBERS.len()).try_for_each(|number| {
            let data = self.dir.join(format!("zookeeper-{number}")).join("data");
            act(&data, &data.with_extension("kept")).map_err(|error| format!("{}: {error}", data.display()))
        })
    }

    /// Starts a member that was killed.
    pub fn start_member(&mut self, member: usize, network: &Network) {
        let dir = self.dir.join(format!("zookeeper-{}", member + 1));
        let data = dir.join("data");
        fs::create_dir_all(&data).expect("own directory");
        fs::write(data.join("myid"), (member + 1).to_string()).expect("own directory");
        let servers: String = MEMBERS
            .iter()
            .enumerate()
            .map(|(at, machine)| format!("server.{}={}:2888:3888\n", at + 1, machine.address()))
            .collect();
        let config = format!(
            "tickTime=200\ninitLimit=50\nsyncLimit=10\ndataDir={}\nclientPort={CLIENT_PORT}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nminSessionTimeout=200\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n{servers}",
            data.display()
        );
        let command = zookeeper::server_command(&dir, &config);
        let name = format!("zookeeper {}", member + 1);
        let process = Process::spawn(&name, &mut network.command_on(MEMBERS[member], &command));
        self.members[member] = Some(process);
    }

    /// Waits until each member that runs is leader or follower.
    pub fn wait_serving(&self) {
        let deadline = Instant::now() + WAIT_MAX;
        for (member, process) in self.members.iter().enumerate() {
            let Some(process) = process else { continue };
            let address = format!("{}:{CLIENT_PORT}", MEMBERS[member].address());
            while !zookeeper::serves(&address) {
                assert!(Instant::now() < deadline, "{address} does not serve:\n{}", process.said());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}
