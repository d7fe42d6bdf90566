//! What a node's own disk says of the cluster, so that a coordinator that was emptied, or is another's, is recognised, and
//! what it held can be written anew:
//!
//! ```text
//! <data-dir>/CLUSTER        id of the cluster that the node belongs to: one line of text
//! <data-dir>/REBUILD        the directory takes the place of a lost one (`--rebuild`), and has not done so yet
//! <data-dir>/NODES          where the nodes were reached last, for a start without a coordinator: lines of text
//! <data-dir>/OBJECTS        the catalog's objects, and the number of the newest change: lines of text
//! <data-dir>/r-<id>/range   the range's descriptor, its table with its schema, the cluster's id
//!
//! range:  magic "SPNKRANG" | CRC32C u32 LE of the rest | version u32 LE | cluster u128 LE | version of the range's znode
//!         | descriptor | table number | table      (numbers LEB128, texts with their length, as they stand in the znodes)
//! ```
//!
//! All are written aside, forced, renamed and their directory forced, so a crash leaves the old one or the new one.

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, BufMut, Bytes};
use wal::disk::Disk;
use wal::{CohortId, NodeId};

use super::layout::{ClusterId, RangeDescriptor, TableDescriptor, decode_object, encode_object, hex, unhex};
use crate::encoding::{put_number, put_string, take_number, take_string};
use crate::request::{Table, TableId};

const CLUSTER: &str = "CLUSTER";
const NODES: &str = "NODES";
const OBJECTS: &str = "OBJECTS";
/// First words of `OBJECTS`.
const OBJECTS_HEAD: &str = "spinnaker-objects 1";
const REBUILD: &str = "REBUILD";
const RANGE: &str = "range";
/// First line of `NODES`.
const NODES_HEAD: &str = "spinnaker-nodes 1";
const MAGIC: &[u8; 8] = b"SPNKRANG";
/// Version of the range files that this program writes and reads.
const VERSION: u32 = 1;
/// Longest file that is read: a table's texts fit into one request to the coordinator.
const BYTES_MAX: u64 = 16 << 20;

/// A range as its replica's directory describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptRange {
    /// The cluster that it belongs to.
    pub(crate) cluster: ClusterId,
    /// Version of the range's znode with this descriptor: the larger one is the newer one.
    pub(crate) version: u32,
    /// As in the range's znode.
    pub(crate) descriptor: RangeDescriptor,
    /// As in the table's znode.
    pub(crate) table: TableDescriptor,
}

impl KeptRange {
    /// Reads what the range's directory `dir` holds; `None` if there is none, an error if it cannot be understood.
    pub(crate) fn read(disk: &dyn Disk, dir: &str, id: CohortId) -> io::Result<Option<KeptRange>> {
        let path = format!("{dir}/{RANGE}");
        let Some(bytes) = read(disk, &path)? else { return Ok(None) };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{path} is damaged"));
        KeptRange::decode(id, bytes).map(Some).ok_or_else(damaged)
    }

    /// Keeps it in the range's directory `dir`, which stands.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &str) -> io::Result<()> {
        replace(disk, dir, RANGE, &self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = VERSION.to_le_bytes().to_vec();
        body.put_u128_le(self.cluster.0);
        put_number(&mut body, self.version.into());
        put_string(&mut body, &self.descriptor.encode());
        put_number(&mut body, self.table.table.id.0);
        put_string(&mut body, &self.table.encode());
        let mut bytes = MAGIC.to_vec();
        bytes.put_u32_le(crc32c::crc32c(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    pub(crate) fn decode(id: CohortId, mut bytes: Bytes) -> Option<KeptRange> {
        if bytes.len() < MAGIC.len() + 8 || &bytes.split_to(MAGIC.len())[..] != MAGIC {
            return None;
        }
        if bytes.get_u32_le() != crc32c::crc32c(&bytes) || bytes.get_u32_le() != VERSION {
            return None;
        }
        let cluster = ClusterId(bytes.try_get_u128_le().ok()?);
        let version = u32::try_from(take_number(&mut bytes)?).ok()?;
        let descriptor = RangeDescriptor::decode(id, &take_string(&mut bytes)?)?;
        let table = TableId(take_number(&mut bytes)?);
        let table = TableDescriptor::decode(table, &take_string(&mut bytes)?)?;
        bytes.is_empty().then_some(KeptRange { cluster, version, descriptor, table })
    }
}

/// The objects of the catalog as a node's disk keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptObjects {
    /// The newest change of the catalog that is in it: of two, the larger one counts.
    pub(crate) change: u64,
    /// In the order of their numbers.
    pub(crate) objects: Vec<Table>,
}

impl KeptObjects {
    /// Reads what the disk holds: nothing, if it never kept any. An error if it cannot be understood.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<KeptObjects> {
        let Some(bytes) = read(disk, OBJECTS)? else { return Ok(KeptObjects::default()) };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{OBJECTS} is damaged"));
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        KeptObjects::parse(text).ok_or_else(damaged)
    }

    /// Keeps them.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        replace(disk, "", OBJECTS, self.to_text().as_bytes())
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{OBJECTS_HEAD} {}\n", self.change);
        for object in &self.objects {
            text += &format!("{} {}\n", object.id.0, hex(&encode_object(object)));
        }
        text += &format!("end {:08x}\n", crc32c::crc32c(text.as_bytes()));
        text
    }

    pub(crate) fn parse(text: &str) -> Option<KeptObjects> {
        let (body, end) = text.split_at(text.rfind("end ")?);
        if end != format!("end {:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return None;
        }
        let mut lines = body.lines();
        let change = lines.next()?.strip_prefix(OBJECTS_HEAD)?.trim().parse().ok()?;
        let object = |line: &str| {
            let (id, bytes) = line.split_once(' ')?;
            decode_object(TableId(id.parse().ok()?), &unhex(bytes)?)
        };
        Some(KeptObjects { change, objects: lines.map(object).collect::<Option<_>>()? })
    }
}

/// The cluster that the data directory belongs to; `None` if it has not joined one yet, or not since there are ids.
pub(crate) fn read_cluster(disk: &dyn Disk) -> io::Result<Option<ClusterId>> {
    let Some(bytes) = read(disk, CLUSTER)? else { return Ok(None) };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{CLUSTER} is damaged"));
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    parse_cluster(text).map(Some).ok_or_else(damaged)
}

/// Whether a start with `--rebuild` was cut off before the directory had taken its place: the next start goes on with it.
pub(crate) fn is_rebuilding(disk: &dyn Disk) -> io::Result<bool> {
    Ok(read(disk, REBUILD)?.is_some())
}

/// Notes that the directory is about to take a lost one's place, or that it has.
pub(crate) fn note_rebuilding(disk: &dyn Disk, rebuilding: bool) -> io::Result<()> {
    if rebuilding {
        return replace(disk, "", REBUILD, b"spinnaker-rebuild 1\n");
    }
    match disk.remove(REBUILD) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => disk.sync_dir(""),
    }
}

/// From now on the data directory belongs to this cluster.
pub(crate) fn write_cluster(disk: &dyn Disk, cluster: ClusterId) -> io::Result<()> {
    let words = format!("spinnaker-cluster 1 {cluster}");
    let text = format!("{words} {:08x}\n", crc32c::crc32c(words.as_bytes()));
    replace(disk, "", CLUSTER, text.as_bytes())
}

fn parse_cluster(text: &str) -> Option<ClusterId> {
    let (words, crc) = text.trim_end().rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(words.as_bytes()) {
        return None;
    }
    words.strip_prefix("spinnaker-cluster 1 ")?.parse().ok()
}

/// The gRPC addresses that were kept; none if there are none, or the file is damaged: they are hints.
pub(crate) fn read_nodes(disk: &dyn Disk) -> io::Result<BTreeMap<NodeId, String>> {
    let Some(bytes) = read(disk, NODES)? else { return Ok(BTreeMap::new()) };
    let nodes = std::str::from_utf8(&bytes).ok().and_then(parse_nodes);
    if nodes.is_none() {
        tracing::warn!("{NODES} is damaged: other nodes are found when the coordinator is there");
    }
    Ok(nodes.unwrap_or_default())
}

/// Keeps the gRPC addresses.
pub(crate) fn write_nodes(disk: &dyn Disk, nodes: &BTreeMap<NodeId, String>) -> io::Result<()> {
    let mut text = NODES_HEAD.to_owned() + "\n";
    for (node, address) in nodes {
        text += &format!("{} {address}\n", node.0);
    }
    text += &format!("end {:08x}\n", crc32c::crc32c(text.as_bytes()));
    replace(disk, "", NODES, text.as_bytes())
}

fn parse_nodes(text: &str) -> Option<BTreeMap<NodeId, String>> {
    let (body, end) = text.split_at(text.rfind("end ")?);
    if end != format!("end {:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next() != Some(NODES_HEAD) {
        return None;
    }
    let node = |line: &str| {
        let (node, address) = line.split_once(' ')?;
        Some((NodeId(node.parse().ok()?), address.to_owned()))
    };
    lines.map(node).collect()
}

fn read(disk: &dyn Disk, path: &str) -> io::Result<Option<Bytes>> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let len = file.len()?;
    if len > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} is too long")));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes.into()))
}

fn replace(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
    let aside = format!("{path}.new");
    // A leftover of a crash.
    match disk.remove(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(&aside)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&aside, &path)?;
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use wal::{Incarnation, ReplicaId};

    use super::*;
    use crate::request::Table;

    #[test]
    fn addresses_come_back_and_a_damaged_list_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let disk = wal::disk::FileDisk::open(directory.path()).unwrap();
        assert_eq!(read_nodes(&disk).unwrap(), BTreeMap::new());
        let nodes = BTreeMap::from([(NodeId(1), "h:1".to_owned()), (NodeId(3), "end:2".to_owned())]);
        write_nodes(&disk, &nodes).unwrap();
        assert_eq!(read_nodes(&disk).unwrap(), nodes);
        let text = std::fs::read_to_string(directory.path().join(NODES)).unwrap();
        for at in 0..text.len() {
            assert_eq!(parse_nodes(&text[..at]), None, "{at} bytes");
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 1;
            assert_ne!(
                String::from_utf8(flipped).ok().and_then(|text| parse_nodes(&text)),
                Some(nodes.clone())
            );
        }
    }

    #[test]
    fn what_was_kept_comes_back_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let disk = wal::disk::FileDisk::open(directory.path()).unwrap();
        assert_eq!(read_cluster(&disk).unwrap(), None);
        for id in [7, u128::MAX] {
            write_cluster(&disk, ClusterId(id)).unwrap();
            assert_eq!(read_cluster(&disk).unwrap(), Some(ClusterId(id)));
        }
        let member = ReplicaId { node: NodeId(1), incarnation: Incarnation(9) };
        let id = CohortId(5);
        let table = Table { id: TableId(3), name: "t".into(), schema: Bytes::from_static(b"s\n\0") };
        let (start, end) = (Bytes::new(), Some(Bytes::from_static(b"\xff")));
        let rebuilt = Vec::new();
        let descriptor =
            RangeDescriptor { id, table: TableId(3), start, end, members: vec![member], rebuilt };
        let table = TableDescriptor { table, ranges: vec![id] };
        let kept = KeptRange { cluster: ClusterId(7), version: 4, descriptor, table };
        disk.create_dir("r").unwrap();
        assert_eq!(KeptRange::read(&disk, "r", id).unwrap(), None);
        kept.write(&disk, "r").unwrap();
        kept.write(&disk, "r").unwrap();
        assert_eq!(KeptRange::read(&disk, "r", id).unwrap(), Some(kept.clone()));
        let bytes = kept.encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(KeptRange::decode(id, flipped.into()), None, "byte {at}");
            assert_eq!(KeptRange::decode(id, Bytes::copy_from_slice(&bytes[..at])), None, "length {at}");
        }
    }
}
