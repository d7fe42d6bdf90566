//! Who a data directory belongs to: cluster, node and incarnation, in one small checksummed file.
//!
//! ```text
//! file "IDENTITY":  one line of text, "spinnaker 2 <cluster> <node> <incarnation> <crc32c of the words before>"
//! ```
//! The number behind the name is the format's version. In version 2 the log beside it keeps an EXTENT file; a file of
//! version 1 says nothing of that, and is replaced once the log is open ([`note_log`]). Written aside, forced, renamed and its directory forced, so it is whole or absent.

use std::io;

use crate::disk::Disk;
use crate::lsn::{Incarnation, NodeId};
use crate::random::random;

const FILE: &str = "IDENTITY";
const ASIDE: &str = "IDENTITY.new";
/// Version of the file's format, and the one before, which is read, too.
const VERSION: &str = "2";
const WITHOUT_EXTENT: &str = "1";

/// The owner of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's number.
    pub node: NodeId,
    /// This disk's life.
    pub incarnation: Incarnation,
    /// Whether the directory was empty and the identity has just been made.
    pub fresh: bool,
    /// Whether there has been a log with an EXTENT file here [lost-log-is-seen].
    pub log_noted: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It belongs to someone else.
    #[error(
        "the data directory belongs to {what} {found}, not {wanted}: start with the right one, or use an empty directory"
    )]
    Foreign {
        /// "cluster" or "node".
        what: &'static str,
        /// As found.
        found: String,
        /// As asked for.
        wanted: String,
    },
    /// The identity file is damaged.
    #[error(
        "the data directory's IDENTITY file is damaged: restore IDENTITY from a copy of this very directory; if there is \
         none, give the node an empty data directory and start it once with --rebuild (the other replicas refill it)"
    )]
    Damaged,
    /// It was made by an older or newer program.
    #[error(
        "the data directory's IDENTITY file has version {found}, this program reads versions {WITHOUT_EXTENT} and {VERSION} only: start the \
         program that made it, or give the node an empty data directory and start it with --rebuild"
    )]
    Version {
        /// As found.
        found: String,
    },
    /// There is data of a node, but its identity is lost.
    #[error(
        "the data directory's IDENTITY file is missing, though {found} is there, so nobody can say whose data this is: \
         restore IDENTITY from a copy of this very directory; if there is none, give the node an empty data directory and \
         start it once with --rebuild (the other replicas refill it)"
    )]
    Missing {
        /// A file or directory of a node that is there.
        found: String,
    },
    /// There is something else.
    #[error(
        "the data directory holds files but no IDENTITY: it is not a SpinnakerDB data directory; use an empty one"
    )]
    NotOurs,
    /// The disk refused.
    #[error("data directory: {0}")]
    Io(#[from] io::Error),
}

/// Reads the identity of a data directory and checks it; makes it if the directory is empty.
pub fn open_or_create(disk: &dyn Disk, cluster: &str, node: NodeId) -> Result<Identity, IdentityError> {
    if disk.list("")?.iter().any(|name| name == FILE) {
        let identity = read(disk)?;
        if identity.cluster != cluster {
            return Err(IdentityError::Foreign {
                what: "cluster",
                found: identity.cluster,
                wanted: cluster.into(),
            });
        }
        if identity.node != node {
            let (found, wanted) = (identity.node.0.to_string(), node.0.to_string());
            return Err(IdentityError::Foreign { what: "node", found, wanted });
        }
        return Ok(identity);
    }
    let known = |name: &String| name == "LOCK" || name == ASIDE || name == "lost+found";
    let ours = |name: &String| name == "wal" || name.starts_with("r-") || name.starts_with("EXTENT");
    let mut others = disk.list_dirs()?;
    others.extend(disk.list("")?);
    others.retain(|name| !known(name));
    if let Some(found) = others.iter().find(|name| ours(name)) {
        return Err(IdentityError::Missing { found: found.clone() });
    }
    if !others.is_empty() {
        return Err(IdentityError::NotOurs);
    }
    let identity = Identity {
        cluster: cluster.to_owned(),
        node,
        incarnation: Incarnation(u64::from_le_bytes(random())),
        fresh: true,
        log_noted: false,
    };
    write(disk, &identity)?;
    Ok(identity)
}

/// The log is open, and its EXTENT file stands: from now on both must be there [lost-log-is-seen].
pub fn note_log(disk: &dyn Disk, identity: &Identity) -> Result<(), IdentityError> {
    if identity.log_noted {
        return Ok(());
    }
    Ok(write(disk, &Identity { log_noted: true, ..identity.clone() })?)
}

fn write(disk: &dyn Disk, identity: &Identity) -> io::Result<()> {
    let version = if identity.log_noted { VERSION } else { WITHOUT_EXTENT };
    let words =
        format!("spinnaker {version} {} {} {}", identity.cluster, identity.node.0, identity.incarnation);
    let text = format!("{words} {:08x}\n", crc32c::crc32c(words.as_bytes()));
    if disk.list("")?.iter().any(|name| name == ASIDE) {
        disk.remove(ASIDE)?;
    }
    let file = disk.create(ASIDE)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(ASIDE, FILE)?;
    disk.sync_dir("")
}

/// Reads the identity of a data directory that has one.
pub fn read(disk: &dyn Disk) -> Result<Identity, IdentityError> {
    let file = disk.open(FILE)?;
    let length = file.len()?;
    if length > 4096 {
        return Err(IdentityError::Damaged);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let text = String::from_utf8(bytes).map_err(|_| IdentityError::Damaged)?;
    parse(text.trim_end())
}

fn parse(text: &str) -> Result<Identity, IdentityError> {
    let (words, crc) = text.rsplit_once(' ').ok_or(IdentityError::Damaged)?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(words.as_bytes())) {
        return Err(IdentityError::Damaged);
    }
    let words: Vec<&str> = words.split(' ').collect();
    match words[..] {
        ["spinnaker", version @ (VERSION | WITHOUT_EXTENT), cluster, node, incarnation] => {
            let node = node.parse().map(NodeId).map_err(|_| IdentityError::Damaged)?;
            let incarnation = incarnation.parse().map_err(|_| IdentityError::Damaged)?;
            let cluster = cluster.to_owned();
            Ok(Identity { cluster, node, incarnation, fresh: false, log_noted: version == VERSION })
        }
        ["spinnaker", found, ..] if found != VERSION && found != WITHOUT_EXTENT => {
            Err(IdentityError::Version { found: found.to_owned() })
        }
        _ => Err(IdentityError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Identity, IdentityError> {
        parse(&format!("{words} {:08x}", crc32c::crc32c(words.as_bytes())))
    }

    #[test]
    fn another_version_is_refused_with_both_versions_and_the_remedy() {
        for (words, log_noted) in
            [("spinnaker 1 c 2 00000000000000ff", false), ("spinnaker 2 c 2 00000000000000ff", true)]
        {
            let identity = read(words).expect("this version");
            assert_eq!((identity.node, identity.incarnation), (NodeId(2), Incarnation(255)));
            assert_eq!(identity.log_noted, log_noted);
        }
        for found in ["0", "3"] {
            let error =
                read(&format!("spinnaker {found} something else")).expect_err("another version").to_string();
            let expected = format!(
                "has version {found}, this program reads versions 1 and 2 only: start the program that made it"
            );
            assert!(error.contains(&expected), "{error}");
        }
        assert!(matches!(read("spinnaker 1 c"), Err(IdentityError::Damaged)));
    }

    #[test]
    fn a_lost_identity_is_refused_and_an_empty_directory_gets_one() {
        let disk = crate::disk::MemoryDisk::new();
        let identity = open_or_create(&disk, "c", NodeId(1)).expect("an empty directory");
        assert!(identity.fresh && !identity.log_noted);
        let again = open_or_create(&disk, "c", NodeId(1)).expect("the same one");
        assert_eq!(again, Identity { fresh: false, ..identity });
        note_log(&disk, &again).expect("notes");
        let noted = open_or_create(&disk, "c", NodeId(1)).expect("the same one");
        assert_eq!(noted, Identity { log_noted: true, ..again });
        disk.create_dir("wal").expect("makes");
        disk.remove(FILE).expect("removes");
        let error = open_or_create(&disk, "c", NodeId(1)).expect_err("refused").to_string();
        assert!(error.contains("IDENTITY file is missing, though wal is there"), "{error}");
    }
}
