//! How to reach a ZooKeeper ensemble: addresses, waiting times, and what access lists our znodes get.

use std::time::Duration;

use zookeeper_client::{Acls, CreateOptions};

use crate::coordination::coordinator::{CoordinationError, CreateMode, Result};

/// How to reach an ensemble and how patient to be with it.
#[derive(Clone, Debug)]
pub struct ZooKeeperOptions {
    /// `HOST:PORT[,HOST:PORT..][/chroot]`. The chroot is made if missing.
    pub servers: String,
    /// After this time without contact the service ends the session (it may negotiate another value). Fail-over
    /// does not wait for it [pre-vote]; a short one expires on every hiccup. Default 6 s.
    pub session_timeout: Duration,
    /// No call waits longer. Default 5 s.
    pub request_timeout: Duration,
    /// How long `ZooKeeper::connect` tries. Default 5 s.
    pub connect_timeout: Duration,
    /// User and password of digest authentication; what is created is then this user's alone.
    pub digest: Option<(String, String)>,
}

impl ZooKeeperOptions {
    /// The defaults for these servers.
    pub fn new(servers: impl Into<String>) -> ZooKeeperOptions {
        ZooKeeperOptions {
            servers: servers.into(),
            session_timeout: Duration::from_secs(6),
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            digest: None,
        }
    }

    /// How plain directories are made.
    pub(super) fn directory(&self) -> CreateOptions<'static> {
        zookeeper_client::CreateMode::Persistent.with_acls(self.acls())
    }

    fn acls(&self) -> Acls<'static> {
        if self.digest.is_some() { Acls::creator_all() } else { Acls::anyone_all() }
    }

    pub(super) fn mode(&self, mode: CreateMode) -> CreateOptions<'static> {
        match mode {
            CreateMode::Persistent => zookeeper_client::CreateMode::Persistent,
            CreateMode::Ephemeral => zookeeper_client::CreateMode::Ephemeral,
            CreateMode::EphemeralSequential => zookeeper_client::CreateMode::EphemeralSequential,
        }
        .with_acls(self.acls())
    }
}

/// A connect string in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectString {
    /// `HOST:PORT`, comma-separated.
    pub(super) hosts: String,
    /// Absolute path, `/` if none is given.
    pub(super) chroot: String,
}

impl ConnectString {
    pub(super) fn parse(text: &str) -> Result<ConnectString> {
        let bad = |why: &str| {
            let form = "expected HOST:PORT[,HOST:PORT..][/chroot]";
            CoordinationError::Refused(format!("ZooKeeper address {text:?}: {why}, {form}"))
        };
        let (hosts, chroot) = match text.find('/') {
            Some(at) => (&text[..at], text[at..].trim_end_matches('/')),
            None => (text, ""),
        };
        for host in hosts.split(',') {
            let (name, port) = host.rsplit_once(':').ok_or_else(|| bad("no port"))?;
            if name.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
                return Err(bad("no host or a bad port"));
            }
        }
        if chroot.contains("//") {
            return Err(bad("bad chroot"));
        }
        let chroot = if chroot.is_empty() { "/" } else { chroot };
        Ok(ConnectString { hosts: hosts.to_string(), chroot: chroot.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings() {
        let parsed = ConnectString::parse("a:1,b:2/x/y/").unwrap();
        assert_eq!((parsed.hosts.as_str(), parsed.chroot.as_str()), ("a:1,b:2", "/x/y"));
        assert_eq!(ConnectString::parse("[::1]:2181").unwrap().chroot, "/");
        assert_eq!(ConnectString::parse("a:1/").unwrap().chroot, "/");
        for bad in ["", "a", "a:", "a:x", "a:0", ":2181", "a:1,", "a:1//x", "/x"] {
            assert!(matches!(ConnectString::parse(bad), Err(CoordinationError::Refused(_))), "{bad:?}");
        }
    }
}
