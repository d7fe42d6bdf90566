//! Who may speak to whom: how a node introduces itself on a new stream, and what the other side checks.
//!
//! Both sides check: that they have a version in common of the protocol, that they belong to one cluster, that the one
//! who answers is the one who was meant, and that the speaker's disk is the one that has the node's number now. What
//! follows on the stream is then from exactly that replica, in exactly that incarnation [members-fixed].

use std::ops::RangeInclusive;

use wal::{Incarnation, NodeId, ReplicaId};

use super::wire::proto::Hello;

/// Versions of the protocol between nodes that this program speaks. The newest grows with the form or the meaning of a
/// message that the other side must know; a stream has the newest version that both sides speak, and sides that have none in
/// common refuse each other. A release speaks the newest version of the release before it, so that nodes can be upgraded one
/// after the other. Fields that may be absent need no new version.
pub(crate) const VERSIONS: RangeInclusive<u32> = 2..=2;

/// Why two nodes must not speak, as said to both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

/// How `me` of `cluster` introduces itself to `to`.
pub(crate) fn hello(me: ReplicaId, cluster: &str, to: NodeId) -> Hello {
    Hello {
        version: *VERSIONS.start(),
        newest_version: Some(*VERSIONS.end()),
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
    let theirs = hello.version..=hello.newest_version.unwrap_or(hello.version);
    common_version(&VERSIONS, &theirs).ok_or_else(|| {
        let older = if theirs.end() < VERSIONS.start() { "it" } else { "this node" };
        Refusal(format!(
            "speaks {} of the protocol between nodes, this node speaks {}: upgrade {older}, one release after the other",
            named(&theirs),
            named(&VERSIONS)
        ))
    })?;
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

/// The newest version that both speak.
fn common_version(ours: &RangeInclusive<u32>, theirs: &RangeInclusive<u32>) -> Option<u32> {
    let newest = *ours.end().min(theirs.end());
    (newest >= *ours.start().max(theirs.start())).then_some(newest)
}

fn named(versions: &RangeInclusive<u32>) -> String {
    match versions.start() == versions.end() {
        true => format!("version {}", versions.start()),
        false => format!("versions {} to {}", versions.start(), versions.end()),
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
    fn the_newest_common_version_is_spoken() {
        for (ours, theirs, common) in [
            (2..=2, 2..=2, Some(2)),
            (2..=3, 2..=2, Some(2)),
            (2..=3, 3..=4, Some(3)),
            (2..=3, 4..=5, None),
            (4..=5, 2..=3, None),
        ] {
            assert_eq!(common_version(&ours, &theirs), common, "{ours:?} and {theirs:?}");
        }
        // A node of the release before says one version only; one of the next speaks ours, too.
        assert_eq!(checked(|hello| hello.newest_version = None), Ok(PEER));
        assert_eq!(checked(|hello| hello.newest_version = Some(3)), Ok(PEER));
    }

    #[test]
    fn an_older_and_a_newer_version_are_refused_with_both_versions_and_the_remedy() {
        let older = checked(|hello| (hello.version, hello.newest_version) = (1, None));
        assert_eq!(
            older,
            Err(Refusal(
                "speaks version 1 of the protocol between nodes, this node speaks version 2: upgrade it, one release \
                 after the other"
                    .to_owned()
            ))
        );
        let newer = checked(|hello| (hello.version, hello.newest_version) = (3, Some(4)));
        assert_eq!(
            newer,
            Err(Refusal(
                "speaks versions 3 to 4 of the protocol between nodes, this node speaks version 2: upgrade this node, \
                 one release after the other"
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
