//! What stands in the znodes, as text that a human can read with any ZooKeeper client.
//!
//! ```text
//! /spinnaker/<cluster>/id                which cluster this is
//!                     /recovering        `recover-metadata` has not ended
//!                     /registry/<node>   incarnation of the disk that holds the node's log; stays
//!                     /nodes/<node>      addresses; ephemeral
//!                     /names/<name>      number of the table with that name (percent-encoded)
//!                     /tables            number of the newest table
//!                     /tables/<number>   name, ranges, schema
//!                     /ranges/<id>       table, key bounds, members (below it replication keeps epoch, leader, ..)
//!                     /dropped/<id>      members that still hold data of a dropped range; or nodes that have not seen a
//!                                        change of the catalog yet ([`barrier`])
//!                     /objects           number of the newest change of the catalog, and whose it was
//!                     /objects/<number>  name and content of an object: what has a name and no rows (a schema, a view), or
//!                                        what a table has in place of what was written when it was made
//! ```
//!
//! Every text is `word value` lines; a table's schema follows its lines as it is. Members are (node, incarnation), so
//! that an empty disk under a known node number is recognised ([rejoin-as-learner]).

use std::fmt::{self, Write};
use std::str::FromStr;

use bytes::Bytes;
use wal::{CohortId, Incarnation, NodeId, ReplicaId};

use crate::request::{Table, TableId};

/// The directories that everything hangs in.
pub(crate) const DIRS: [&str; 7] = ["registry", "nodes", "names", "tables", "ranges", "dropped", "objects"];

/// Paths below `/spinnaker/<cluster>`.
#[derive(Clone, Debug)]
pub struct Paths {
    pub(crate) root: String,
}

impl Paths {
    /// Those of a cluster.
    pub fn new(cluster: &str) -> Paths {
        Paths { root: format!("/spinnaker/{cluster}") }
    }

    pub(crate) fn dir(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    pub(crate) fn id(&self) -> String {
        self.dir("id")
    }

    pub(crate) fn recovering(&self) -> String {
        self.dir("recovering")
    }

    pub(crate) fn registry(&self, node: NodeId) -> String {
        format!("{}/registry/{}", self.root, node.0)
    }

    pub(crate) fn node(&self, node: NodeId) -> String {
        format!("{}/nodes/{}", self.root, node.0)
    }

    pub(crate) fn name(&self, table: &str) -> String {
        let mut path = format!("{}/names/", self.root);
        for byte in table.bytes() {
            // A dot is encoded, too: "." and ".." are no node names.
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => path.push(byte.into()),
                _ => write!(path, "%{byte:02x}").unwrap_or_default(),
            }
        }
        path
    }

    pub(crate) fn table(&self, table: TableId) -> String {
        format!("{}/tables/{}", self.root, table.0)
    }

    pub(crate) fn range(&self, range: CohortId) -> String {
        format!("{}/ranges/{range}", self.root)
    }

    pub(crate) fn dropped(&self, range: CohortId) -> String {
        format!("{}/dropped/{range}", self.root)
    }

    pub(crate) fn objects(&self) -> String {
        self.dir("objects")
    }

    pub(crate) fn object(&self, object: TableId) -> String {
        format!("{}/objects/{}", self.root, object.0)
    }
}

/// Which cluster: random, made with its first znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterId(pub(crate) u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ClusterId {
    type Err = ();

    fn from_str(text: &str) -> Result<ClusterId, ()> {
        match text.len() {
            32 => u128::from_str_radix(text, 16).map(ClusterId).map_err(|_| ()),
            _ => Err(()),
        }
    }
}

/// A range as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeDescriptor {
    pub(crate) id: CohortId,
    pub(crate) table: TableId,
    pub(crate) start: Bytes,
    pub(crate) end: Option<Bytes>,
    pub(crate) members: Vec<ReplicaId>,
    /// Members whose disk is not the one that they had when the range was made.
    pub(crate) rebuilt: Vec<NodeId>,
}

/// A table and its ranges in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableDescriptor {
    pub(crate) table: Table,
    pub(crate) ranges: Vec<CohortId>,
}

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Of its gRPC listener.
    pub grpc: String,
    /// Of its PostgreSQL listener.
    pub pg: Option<String>,
    /// Of its HTTP listener.
    pub http: Option<String>,
    /// The node's disk.
    pub disk: Option<Incarnation>,
}

/// A span of a table's keys, for people: `kv [start, 'm')`.
pub(crate) fn span(table: &str, start: &[u8], end: Option<&[u8]>) -> String {
    let start = if start.is_empty() { "start".to_owned() } else { printable(start) };
    let end = end.map_or("end".to_owned(), printable);
    format!("{table} [{start}, {end})")
}

/// A key for people.
fn printable(key: &[u8]) -> String {
    format!("'{}'", key.escape_ascii())
}

impl RangeDescriptor {
    /// Whether this member has another disk than this descriptor says.
    pub(crate) fn names_another_disk(&self, of: ReplicaId) -> bool {
        self.members.iter().any(|member| member.node == of.node && *member != of)
    }

    /// The table's name and the span of keys, for people: `kv [start, 'm')`.
    pub(crate) fn label(&self, table: &str) -> String {
        span(table, &self.start, self.end.as_deref())
    }

    /// Whether a key belongs to the range.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        *key >= *self.start && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// Nodes of the members.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|member| member.node)
    }

    /// Whether the node is a member, whatever its disk.
    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        self.nodes().any(|member| member == node)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut text = format!("table {}\nstart {}\n", self.table.0, hex(&self.start));
        if let Some(end) = &self.end {
            text += &format!("end {}\n", hex(end));
        }
        for member in &self.members {
            let rebuilt = if self.rebuilt.contains(&member.node) { " rebuilt" } else { "" };
            text += &format!("member {} {}{rebuilt}\n", member.node.0, member.incarnation);
        }
        text.into()
    }

    pub(crate) fn decode(id: CohortId, data: &[u8]) -> Option<RangeDescriptor> {
        let mut range = RangeDescriptor {
            id,
            table: TableId(0),
            start: Bytes::new(),
            end: None,
            members: Vec::new(),
            rebuilt: Vec::new(),
        };
        for line in std::str::from_utf8(data).ok()?.lines() {
            match line.split_once(' ')? {
                ("table", number) => range.table = TableId(number.parse().ok()?),
                ("start", key) => range.start = unhex(key)?,
                ("end", key) => range.end = Some(unhex(key)?),
                ("member", member) => {
                    let (node, disk) = member.split_once(' ')?;
                    let node = NodeId(node.parse().ok()?);
                    let incarnation = disk.strip_suffix(" rebuilt").unwrap_or(disk);
                    if incarnation != disk {
                        range.rebuilt.push(node);
                    }
                    range.members.push(ReplicaId { node, incarnation: incarnation.parse().ok()? });
                }
                _ => return None,
            }
        }
        (range.table != TableId(0) && !range.members.is_empty()).then_some(range)
    }
}

impl TableDescriptor {
    pub(crate) fn encode(&self) -> Bytes {
        // The name is hex, so that a newline in it cannot break the lines.
        let mut text = format!("name {}\n", hex(self.table.name.as_bytes()));
        for range in &self.ranges {
            text += &format!("range {range}\n");
        }
        text += &format!("schema {}\n", self.table.schema.len());
        let mut data = text.into_bytes();
        data.extend_from_slice(&self.table.schema);
        data.into()
    }

    pub(crate) fn decode(id: TableId, data: &Bytes) -> Option<TableDescriptor> {
        let (mut name, mut ranges, mut rest) = (None, Vec::new(), 0);
        loop {
            let len = data[rest..].iter().position(|byte| *byte == b'\n')?;
            let line = std::str::from_utf8(&data[rest..rest + len]).ok()?;
            rest += len + 1;
            match line.split_once(' ')? {
                ("name", text) => name = String::from_utf8(unhex(text)?.into()).ok(),
                ("range", id) => ranges.push(id.parse().ok()?),
                ("schema", len) => {
                    let schema = data.slice(rest..);
                    let table = Table { id, name: name?, schema };
                    return (len.parse() == Ok(table.schema.len()))
                        .then_some(TableDescriptor { table, ranges });
                }
                _ => return None,
            }
        }
    }
}

impl NodeAddresses {
    pub(crate) fn encode(&self) -> Bytes {
        let mut text = format!("grpc {}\n", self.grpc);
        if let Some(pg) = &self.pg {
            text += &format!("pg {pg}\n");
        }
        if let Some(http) = &self.http {
            text += &format!("http {http}\n");
        }
        if let Some(disk) = &self.disk {
            text += &format!("disk {disk}\n");
        }
        text.into()
    }

    pub(crate) fn decode(data: &[u8]) -> Option<NodeAddresses> {
        let mut addresses = NodeAddresses::default();
        for line in std::str::from_utf8(data).ok()?.lines() {
            match line.split_once(' ')? {
                ("grpc", address) => addresses.grpc = address.into(),
                ("pg", address) => addresses.pg = Some(address.into()),
                ("http", address) => addresses.http = Some(address.into()),
                ("disk", incarnation) => addresses.disk = incarnation.parse().ok(),
                _ => {}
            }
        }
        (!addresses.grpc.is_empty()).then_some(addresses)
    }
}

/// The upper half of a mark's number that is of no range: its nodes have not seen the change yet whose number the lower
/// half is. Numbers of ranges are random, so none of them begins so.
const BARRIER: u128 = u64::from_be_bytes(*b"\xffbarrier") as u128;

/// The mark in `dropped` of the nodes that have not seen a change of the catalog yet.
pub(crate) fn barrier(change: u64) -> CohortId {
    CohortId(BARRIER << 64 | u128::from(change))
}

/// The change that a mark in `dropped` is about; `None` if it is of a range.
pub(crate) fn barrier_of(mark: CohortId) -> Option<u64> {
    (mark.0 >> 64 == BARRIER).then_some(mark.0 as u64)
}

/// `objects`: the number of the newest change, and random words that tell whose it was.
pub(crate) fn encode_change(change: u64, whose: u64) -> Bytes {
    format!("change {change} {whose:016x}\n").into()
}

/// `objects`: the number of the newest change. None was made as long as it is empty.
pub(crate) fn decode_change(data: &[u8]) -> Option<u64> {
    match std::str::from_utf8(data).ok()?.trim() {
        "" => Some(0),
        text => text.strip_prefix("change ")?.split(' ').next()?.parse().ok(),
    }
}

/// `objects/<number>`.
pub(crate) fn encode_object(object: &Table) -> Bytes {
    TableDescriptor { table: object.clone(), ranges: Vec::new() }.encode()
}

/// `objects/<number>`.
pub(crate) fn decode_object(id: TableId, data: &Bytes) -> Option<Table> {
    TableDescriptor::decode(id, data).map(|descriptor| descriptor.table)
}

/// `id`.
pub(crate) fn encode_cluster(cluster: ClusterId) -> Bytes {
    format!("cluster {cluster}\n").into()
}

/// `id`.
pub(crate) fn decode_cluster(data: &[u8]) -> Option<ClusterId> {
    std::str::from_utf8(data).ok()?.strip_prefix("cluster ")?.trim().parse().ok()
}

/// `registry/<node>`.
pub(crate) fn encode_registration(incarnation: Incarnation) -> Bytes {
    format!("incarnation {incarnation}\n").into()
}

/// `registry/<node>`.
pub(crate) fn decode_registration(data: &[u8]) -> Option<Incarnation> {
    std::str::from_utf8(data).ok()?.strip_prefix("incarnation ")?.trim().parse().ok()
}

/// `dropped/<id>`: nodes that still hold data.
pub(crate) fn encode_nodes(nodes: impl Iterator<Item = NodeId>) -> Bytes {
    let mut text = String::new();
    for node in nodes {
        text += &format!("node {}\n", node.0);
    }
    text.into()
}

/// `dropped/<id>`.
pub(crate) fn decode_nodes(data: &[u8]) -> Option<Vec<NodeId>> {
    let lines = std::str::from_utf8(data).ok()?.lines();
    lines.map(|line| line.strip_prefix("node ")?.parse().ok().map(NodeId)).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Bytes> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// An operator, or another version, may have written anything there.
        #[test]
        fn no_bytes_make_the_decoders_panic(text in "[ -~\n\t]{0,80}", bytes: Vec<u8>) {
            for data in [text.into_bytes(), bytes] {
                let _ = RangeDescriptor::decode(CohortId(1), &data);
                let _ = TableDescriptor::decode(TableId(1), &Bytes::from(data.clone()));
                let _ = NodeAddresses::decode(&data);
                let _ = decode_registration(&data);
                let _ = decode_cluster(&data);
                let _ = decode_nodes(&data);
                let _ = decode_change(&data);
            }
        }
    }

    #[test]
    fn texts_come_back_as_they_were() {
        let member =
            |node, incarnation| ReplicaId { node: NodeId(node), incarnation: Incarnation(incarnation) };
        let range = RangeDescriptor {
            id: CohortId(5),
            table: TableId(3),
            start: Bytes::new(),
            end: Some(Bytes::from_static(b"\x00\xff")),
            members: vec![member(1, 0xabc), member(2, 7)],
            rebuilt: vec![NodeId(2)],
        };
        assert_eq!(RangeDescriptor::decode(CohortId(5), &range.encode()), Some(range));

        let table = Table { id: TableId(3), name: "a\nb/ü".into(), schema: Bytes::from_static(b"x\ny") };
        let table = TableDescriptor { table, ranges: vec![CohortId(5), CohortId(u128::MAX)] };
        assert_eq!(TableDescriptor::decode(TableId(3), &table.encode()), Some(table));

        let disk = Some(Incarnation(0xfed));
        let node = NodeAddresses { grpc: "h:1".into(), pg: None, http: Some("h:2".into()), disk };
        assert_eq!(NodeAddresses::decode(&node.encode()), Some(node));
        assert_eq!(decode_registration(&encode_registration(Incarnation(9))), Some(Incarnation(9)));
        assert_eq!(decode_cluster(&encode_cluster(ClusterId(77))), Some(ClusterId(77)));
        let nodes = vec![NodeId(1), NodeId(3)];
        assert_eq!(decode_nodes(&encode_nodes(nodes.iter().copied())), Some(nodes));
        assert_eq!((decode_change(b""), decode_change(&encode_change(7, 1))), (Some(0), Some(7)));
        let object = Table { id: TableId(4), name: "s.".into(), schema: Bytes::from_static(b"{}") };
        assert_eq!(decode_object(TableId(4), &encode_object(&object)), Some(object));
        assert_eq!((barrier_of(barrier(9)), barrier_of(CohortId(9))), (Some(9), None));
    }

    #[test]
    fn damaged_texts_are_refused() {
        assert_eq!(RangeDescriptor::decode(CohortId(5), b"table 3\nstart 0\nmember 1 a"), None);
        assert_eq!(RangeDescriptor::decode(CohortId(5), b""), None);
        assert_eq!(TableDescriptor::decode(TableId(1), &Bytes::from_static(b"name 61\nschema 4\nabc")), None);
    }

    #[test]
    fn names_are_safe_in_paths() {
        let paths = Paths::new("c");
        assert_eq!(paths.name("a/b.c"), "/spinnaker/c/names/a%2fb%2ec");
    }
}
