//! Who may speak to whom: how a node introduces itself on a new stream, and what the other side checks.
//!
//! Both sides check: that they speak the same version of the protocol, that they belong to one cluster, that the one
//! who answers is the one who was meant, and that the speaker's disk is the one that has the node's number now. What
//! follows on the stream is then from exactly that replica, in exactly that incarnation [members-fixed].

use wal::{Incarnation, NodeId, ReplicaId};

use super::wire::proto::Hello;

/// Version of the protocol between nodes. It changes with the form or the meaning of any message; nodes of different
/// versions refuse each other.
pub(crate) const VERSION: u32 = 2;

/// Why two nodes must not speak, as said to both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

/// How `me` of `cluster` introduces itself to `to`.
pub(crate) fn hello(me: ReplicaId, cluster: &str, to: NodeId) -> Hello {
    Hello {
        version: VERSION,
        cluster: cluster.to_owned(),
        node: me.node.0,
        incarnation: me.incarnation.0,
        to: to.0,
    }
}

/// Who introduced itself, if it may speak to `me` of `cluster` at all. `disk` says which disk has a node's number now,
/// if that is known.
pub(crate) fn check(
    hello: &Hello,
    me: ReplicaId,
    cluster: &str,
    disk: impl FnOnce(NodeId) -> Option<Incarnation>,
) -> Result<ReplicaId, Refusal> {
    if hello.version != VERSION {
        let older = if hello.version < VERSION { "it" } else { "this node" };
        return Err(Refusal(format!(
            "speaks version {} of the protocol between nodes, this node speaks version {VERSION}: upgrade {older}, so \
             that all nodes of the cluster run the same release",
            hello.version
        )));
    }
    if hello.cluster != cluster {
        return Err(Refusal(format!(
            "belongs to cluster \"{}\", this node belongs to \"{cluster}\"",
            hello.cluster
        )));
    }
    if hello.to != me.node.0 {
        return Err(Refusal(format!(
            "looks for node {}, this is node {}: check the addresses that nodes advertise",
            NodeId(hello.to),
            me.node
        )));
    }
    if hello.node == me.node.0 {
        return Err(Refusal(format!("calls itself node {}, as this node does", me.node)));
    }
    let from = ReplicaId { node: NodeId(hello.node), incarnation: Incarnation(hello.incarnation) };
    match disk(from.node) {
        Some(disk) if disk != from.incarnation => Err(Refusal(format!(
            "is {} on another disk ({}) than the one that has the number now ({disk})",
            from.node, from.incarnation
        ))),
        Some(_) | None => Ok(from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ReplicaId = ReplicaId { node: NodeId(1), incarnation: Incarnation(10) };
    const PEER: ReplicaId = ReplicaId { node: NodeId(2), incarnation: Incarnation(20) };

    fn checked(change: impl FnOnce(&mut Hello)) -> Result<ReplicaId, Refusal> {
        let mut hello = hello(PEER, "c", ME.node);
        change(&mut hello);
        check(&hello, ME, "c", |_| Some(PEER.incarnation))
    }

    #[test]
    fn a_peer_of_the_same_release_and_cluster_may_speak() {
        assert_eq!(checked(|_| ()), Ok(PEER));
    }

    #[test]
    fn an_older_and_a_newer_version_are_refused_with_both_versions_and_the_remedy() {
        let older = checked(|hello| hello.version = VERSION - 1);
        assert_eq!(
            older,
            Err(Refusal(
                "speaks version 1 of the protocol between nodes, this node speaks version 2: upgrade it, so that all \
                 nodes of the cluster run the same release"
                    .to_owned()
            ))
        );
        let newer = checked(|hello| hello.version = VERSION + 1);
        assert_eq!(
            newer,
            Err(Refusal(
                "speaks version 3 of the protocol between nodes, this node speaks version 2: upgrade this node, so \
                 that all nodes of the cluster run the same release"
                    .to_owned()
            ))
        );
    }

    #[test]
    fn another_cluster_node_or_disk_is_refused() {
        for (change, expected) in [
            ((|hello| hello.cluster = "d".to_owned()) as fn(&mut Hello), "belongs to cluster \"d\""),
            (|hello| hello.to = 3, "looks for node n3, this is node n1"),
            (|hello| hello.node = 1, "calls itself node n1"),
            (|hello| hello.incarnation = 21, "on another disk"),
        ] {
            let Err(Refusal(reason)) = checked(change) else { panic!("must be refused: {expected}") };
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
