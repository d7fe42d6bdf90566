//! Who a data directory belongs to: cluster, node and incarnation, in one small checksummed file.
//!
//! ```text
//! file "IDENTITY":  one line of text, "spinnaker 1 <cluster> <node> <incarnation> <crc32c of the words before>"
//! ```
//! The number behind the name is the format's version. Written aside, forced, renamed and its directory forced, so it is whole or absent.

use std::io;

use crate::disk::Disk;
use crate::lsn::{Incarnation, NodeId};
use crate::random::random;

const FILE: &str = "IDENTITY";
const ASIDE: &str = "IDENTITY.new";
/// Version of the file's format, and the only one read.
const VERSION: &str = "1";

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
        "the data directory's IDENTITY file is damaged: restore it, or start the node once with an empty directory and --rebuild"
    )]
    Damaged,
    /// It was made by an older or newer program.
    #[error(
        "the data directory's IDENTITY file has version {found}, this program reads version {VERSION} only: start the \
         program that made it, or give the node an empty data directory and start it with --rebuild"
    )]
    Version {
        /// As found.
        found: String,
    },
    /// There is data but no identity.
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
    if !disk.list_dirs()?.iter().all(known) || !disk.list("")?.iter().all(known) {
        return Err(IdentityError::NotOurs);
    }
    let identity = Identity {
        cluster: cluster.to_owned(),
        node,
        incarnation: Incarnation(u64::from_le_bytes(random())),
        fresh: true,
    };
    write(disk, &identity)?;
    Ok(identity)
}

fn write(disk: &dyn Disk, identity: &Identity) -> io::Result<()> {
    let words =
        format!("spinnaker {VERSION} {} {} {}", identity.cluster, identity.node.0, identity.incarnation);
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

fn read(disk: &dyn Disk) -> Result<Identity, IdentityError> {
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
        ["spinnaker", VERSION, cluster, node, incarnation] => {
            let node = node.parse().map(NodeId).map_err(|_| IdentityError::Damaged)?;
            let incarnation = incarnation.parse().map_err(|_| IdentityError::Damaged)?;
            Ok(Identity { cluster: cluster.to_owned(), node, incarnation, fresh: false })
        }
        ["spinnaker", found, ..] if found != VERSION => {
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
        let identity = read("spinnaker 1 c 2 00000000000000ff").expect("this version");
        assert_eq!((identity.node, identity.incarnation), (NodeId(2), Incarnation(255)));
        for found in ["0", "2"] {
            let error =
                read(&format!("spinnaker {found} something else")).expect_err("another version").to_string();
            let expected = format!(
                "has version {found}, this program reads version 1 only: start the program that made it"
            );
            assert!(error.contains(&expected), "{error}");
        }
        assert!(matches!(read("spinnaker 1 c"), Err(IdentityError::Damaged)));
    }
}
