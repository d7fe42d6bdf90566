//! The peer of the SQL figures: PostgreSQL with two quorum synchronous standbys, all on this machine.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A primary and two standbys in a directory of their own; stopped on drop.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    bin: PathBuf,
    /// Port of the primary, on loopback.
    pub port: u16,
}

impl Postgres {
    /// Makes and starts the three servers on `port..port+3` (`synchronous_standby_names = 'ANY 1 (s1, s2)'`, so
    /// a commit waits for the force of the primary and of one standby, as a cohort of three waits for two).
    pub fn start(dir: &Path, port: u16) -> Result<Postgres, Box<dyn Error>> {
        let bin = newest_bin_dir()?;
        let postgres = Postgres { dir: dir.to_owned(), bin, port };
        std::fs::create_dir_all(dir)?;
        postgres.shell(&format!("chown nobody {}", dir.display()), false)?;
        let primary = dir.join("primary");
        postgres.run(&format!(
            "initdb -D {} -U root --auth=trust -E UTF8 --locale=C >/dev/null",
            primary.display()
        ))?;
        std::fs::write(primary.join("postgresql.auto.conf"), settings(port))?;
        let hba = primary.join("pg_hba.conf");
        std::fs::write(
            &hba,
            "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n",
        )?;
        postgres.control("start", "primary")?;
        for number in [1, 2] {
            let standby = dir.join(format!("standby{number}"));
            postgres.run(&format!(
                "pg_basebackup -h 127.0.0.1 -p {port} -U root -D {} -R -c fast -X stream",
                standby.display()
            ))?;
            let mut text = std::fs::read_to_string(standby.join("postgresql.auto.conf"))?
                .lines()
                .filter(|line| !line.starts_with("port") && !line.starts_with("synchronous_standby_names"))
                .collect::<Vec<_>>()
                .join("\n");
            text = text.replace("user=root", &format!("user=root application_name=s{number}"));
            text.push_str(&format!("\nport = {}\n", port + number));
            std::fs::write(standby.join("postgresql.auto.conf"), text)?;
            postgres.control("start", &format!("standby{number}"))?;
        }
        postgres.run(&format!(
            "psql -qX -h 127.0.0.1 -p {port} -U root postgres -c \"alter system set synchronous_standby_names = 'ANY 1 (s1, s2)'\" -c 'select pg_reload_conf()' -c 'create database spinnaker' >/dev/null"
        ))?;
        Ok(postgres)
    }

    fn control(&self, verb: &str, name: &str) -> Result<(), Box<dyn Error>> {
        let dir = self.dir.join(name);
        self.run(&format!("pg_ctl -D {0} -w -l {0}/log -m immediate {verb} >/dev/null", dir.display()))
    }

    /// Runs one of PostgreSQL's programs; as `nobody` if we are root, since it refuses to run as root.
    fn run(&self, command: &str) -> Result<(), Box<dyn Error>> {
        self.shell(&format!("PATH={}:$PATH {command}", self.bin.display()), true)
    }

    fn shell(&self, command: &str, demote: bool) -> Result<(), Box<dyn Error>> {
        let root =
            std::env::var("USER").is_ok_and(|user| user == "root") || Path::new("/root").read_dir().is_ok();
        let mut process = if root && demote {
            let mut process = Command::new("setpriv");
            process.args(["--reuid=nobody", "--clear-groups", "--", "sh", "-c", command]);
            process
        } else {
            let mut process = Command::new("sh");
            process.args(["-c", command]);
            process
        };
        let status = process.current_dir("/tmp").stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("failed ({status}): {command}").into()) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for name in ["primary", "standby1", "standby2"] {
            if let Err(error) = self.control("stop", name) {
                eprintln!("stopping PostgreSQL {name}: {error}");
            }
        }
    }
}

fn settings(port: u16) -> String {
    format!(
        "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 200\nshared_buffers = '128MB'\nwal_level = replica\nmax_wal_senders = 8\nsynchronous_commit = on\nfsync = on\nautovacuum = off\n"
    )
}

fn newest_bin_dir() -> Result<PathBuf, Box<dyn Error>> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map_err(|_| "no PostgreSQL server in /usr/lib/postgresql (apt-get install postgresql)")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|dir| dir.join("initdb").exists())
        .collect();
    dirs.sort();
    dirs.pop().ok_or_else(|| "no initdb below /usr/lib/postgresql".into())
}
