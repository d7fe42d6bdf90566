//! What a cluster's ranges lack, and what an operator can do about it: pure, from what the nodes have answered.

use std::collections::BTreeMap;

use crate::cluster::layout::span;
use crate::cluster::tables::REPLICAS;
use crate::proto::v1;

/// A range as all nodes that answered see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RangeDiagnosis<'a> {
    /// Any replica's word for what all agree on: table, span and members.
    pub(crate) about: &'a v1::ReplicaStatus,
    /// Each member's replica, by node.
    pub(crate) replicas: BTreeMap<u32, &'a v1::ReplicaStatus>,
    /// The leader that serves.
    pub(crate) leader: Option<u32>,
    /// What is wrong with it; empty: nothing.
    pub(crate) lacks: Vec<Lack>,
}

/// Something that a range lacks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Lack {
    /// For programs: `no_leader`, `no_majority`, `unreachable`, `few_members`, `learner`, `damaged`, `out_of_service`,
    /// `disk_full` or `trouble`.
    pub(crate) kind: &'static str,
    /// What it is.
    pub(crate) what: String,
    /// What can be done.
    pub(crate) advice: String,
}

impl Lack {
    fn new(kind: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Lack {
        Lack { kind, what: what.into(), advice: advice.into() }
    }
}

impl RangeDiagnosis<'_> {
    /// Whether it takes writes and strong reads.
    pub(crate) fn serves(&self) -> bool {
        self.leader.is_some()
    }

    /// Table and span, for people.
    pub(crate) fn name(&self) -> String {
        let table = if self.about.table.is_empty() { "?" } else { &self.about.table };
        span(table, &self.about.start, self.about.end.as_deref())
    }
}

/// All ranges that any of the nodes knows, in the order of tables and keys.
pub(crate) fn diagnose(nodes: &[v1::NodeStatus]) -> Vec<RangeDiagnosis<'_>> {
    let mut ranges: BTreeMap<_, BTreeMap<u32, &v1::ReplicaStatus>> = BTreeMap::new();
    for node in nodes {
        for replica in &node.replicas {
            let key = (&replica.table, &replica.start, &replica.range);
            ranges.entry(key).or_default().insert(node.node, replica);
        }
    }
    // A node that did not answer is known only from what others say of it.
    let silent = |node: &u32| {
        let status = nodes.iter().find(|status| status.node == *node);
        status.is_none_or(|status| {
            !status.error.is_empty() && status.replicas.iter().all(|replica| replica.role.is_empty())
        })
    };
    ranges.into_values().filter_map(|replicas| diagnose_range(replicas, silent)).collect()
}

fn diagnose_range<'a>(
    mut replicas: BTreeMap<u32, &'a v1::ReplicaStatus>,
    silent: impl Fn(&u32) -> bool,
) -> Option<RangeDiagnosis<'a>> {
    let about = *replicas.values().max_by_key(|replica| !replica.role.is_empty())?;
    replicas.retain(|node, _| !silent(node));
    let leads = |replica: &v1::ReplicaStatus| replica.role == "leader" && replica.open && !replica.suspended;
    let leader = replicas.iter().filter(|(_, replica)| leads(replica)).max_by_key(|(_, one)| one.epoch);
    let leader = leader.map(|(node, _)| *node);
    let unreachable: Vec<u32> =
        about.members.iter().copied().filter(|node| !replicas.contains_key(node)).collect();
    let mut lacks = Vec::new();
    if leader.is_none() {
        lacks.push(no_leader(about, &replicas, &unreachable));
    } else if !unreachable.is_empty() {
        let names = list(&unreachable, "and");
        let verb = if unreachable.len() == 1 { "does" } else { "do" };
        let what = format!("under-replicated: {names} {verb} not answer");
        lacks.push(Lack::new("unreachable", what, format!("start {names}")));
    }
    if about.members.len() < REPLICAS {
        let what = format!("under-replicated: made with {} of {REPLICAS} replicas", about.members.len());
        lacks.push(Lack::new("few_members", what, "copy the table into a new one while three nodes run"));
    }
    let newest = replicas.values().map(|replica| sequence(replica.last.as_ref())).max().unwrap_or(0);
    for (node, replica) in &replicas {
        lacks.extend(replica_lacks(*node, replica, newest));
    }
    Some(RangeDiagnosis { about, replicas, leader, lacks })
}

fn no_leader(
    about: &v1::ReplicaStatus,
    replicas: &BTreeMap<u32, &v1::ReplicaStatus>,
    unreachable: &[u32],
) -> Lack {
    let (all, reachable) = (about.members.len(), replicas.len());
    let majority = all / 2 + 1;
    let what = format!("no leader: {reachable} of {all} replicas reachable");
    if reachable < majority {
        let advice = match all - unreachable.len() + 1 == majority {
            true => format!("start {}", list(unreachable, "or")),
            false => format!("start {}", list(unreachable, "and")),
        };
        return Lack::new("no_majority", what, advice);
    }
    if let Some((node, _)) =
        replicas.iter().find(|(_, replica)| replica.role == "leader" && replica.suspended)
    {
        let what = format!("its leader n{node} hears no majority");
        return Lack::new("no_leader", what, "look at the network between the nodes");
    }
    let counting = replicas.values().filter(|one| one.refusal.is_empty() && !one.learner).count();
    if counting < majority {
        let what = format!("{what}, and only {counting} of them count");
        let learners = replicas.values().filter(|one| one.learner).count();
        // Each waits for the answers of all others, and takes none from another that waits.
        let advice = match learners > all - majority {
            true => {
                "learners wait for each other: bring back the disks that they had before; if those are lost for good, see \
                 `spinnaker recover --unsafe`"
            }
            false => "start all members: a learner needs the answers of all others",
        };
        return Lack::new("no_leader", what, advice);
    }
    Lack::new("no_leader", what, "wait for their election; if it stays, see whether they reach ZooKeeper")
}

fn replica_lacks(node: u32, replica: &v1::ReplicaStatus, newest: u64) -> Vec<Lack> {
    let mut lacks = Vec::new();
    if !replica.refusal.is_empty() {
        let what = format!("out of service on n{node}: {}", replica.refusal);
        lacks.push(Lack::new("out_of_service", what, "see the message in docs/operations.md"));
        return lacks;
    }
    if replica.disk_full {
        lacks.push(Lack::new("disk_full", format!("disk full on n{node}"), "free space there"));
    }
    if replica.learner {
        let have = sequence(replica.last.as_ref());
        let percent = (have.min(newest) * 100).checked_div(newest).unwrap_or(100);
        let what = format!("n{node} is a learner, catching up {percent} %");
        lacks.push(Lack::new("learner", what, "wait; all other replicas must answer for it to count again"));
    } else if replica.damaged {
        let what = format!("a table is damaged on n{node}, and is repaired from another replica");
        lacks.push(Lack::new("damaged", what, "look at its disk"));
    } else if !replica.trouble.is_empty() {
        let what = format!("n{node}: {}", replica.trouble);
        lacks.push(Lack::new("trouble", what, "see the message in docs/operations.md"));
    }
    lacks
}

/// `n1`, `n1 and n2`, `n1, n2 and n3`.
fn list(nodes: &[u32], last: &str) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
    match names.split_last() {
        Some((name, before)) if !before.is_empty() => format!("{} {last} {name}", before.join(", ")),
        Some((name, _)) => name.clone(),
        None => String::new(),
    }
}

/// The sequence number of an LSN; 0 if there is none.
pub(crate) fn sequence(lsn: Option<&v1::Lsn>) -> u64 {
    lsn.map_or(0, |lsn| lsn.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(role: &str) -> v1::ReplicaStatus {
        v1::ReplicaStatus {
            range: "0a".into(),
            table: "kv".into(),
            members: vec![1, 2, 3],
            role: role.into(),
            open: role == "leader",
            last: Some(v1::Lsn { epoch: 1, sequence: 10 }),
            ..v1::ReplicaStatus::default()
        }
    }

    fn node(node: u32, replica: v1::ReplicaStatus) -> v1::NodeStatus {
        v1::NodeStatus { node, replicas: vec![replica], ..v1::NodeStatus::default() }
    }

    fn silent(number: u32) -> v1::NodeStatus {
        let refusal = "its node does not answer".into();
        let known = v1::ReplicaStatus { refusal, ..replica("") };
        v1::NodeStatus { error: "no answer in time".into(), ..node(number, known) }
    }

    fn lacks(nodes: &[v1::NodeStatus]) -> Vec<String> {
        let ranges = diagnose(nodes);
        assert_eq!(ranges.len(), 1);
        ranges[0].lacks.iter().map(|lack| format!("{}; {}", lack.what, lack.advice)).collect()
    }

    #[test]
    fn what_a_range_lacks_and_what_to_do() {
        let leader = || node(1, replica("leader"));
        let follower = |number| node(number, replica("follower"));
        assert!(lacks(&[leader(), follower(2), follower(3)]).is_empty());
        assert_eq!(
            lacks(&[leader(), follower(2), silent(3)]),
            ["under-replicated: n3 does not answer; start n3"]
        );
        assert_eq!(
            lacks(&[follower(1), silent(2), silent(3)]),
            ["no leader: 1 of 3 replicas reachable; start n2 or n3"]
        );
        assert_eq!(
            lacks(&[silent(1), silent(2), silent(3)]),
            ["no leader: 0 of 3 replicas reachable; start n1, n2 and n3"]
        );
        let suspended = v1::ReplicaStatus { suspended: true, ..replica("leader") };
        assert_eq!(
            lacks(&[node(1, suspended), follower(2), follower(3)]),
            ["its leader n1 hears no majority; look at the network between the nodes"]
        );
        let learner = |number| node(number, v1::ReplicaStatus { learner: true, ..replica("follower") });
        let (one, two) = ([follower(1), learner(2), silent(3)], [learner(1), follower(2), learner(3)]);
        assert!(lacks(&one)[0].contains("only 1 of them count; start all members: a learner needs"));
        assert!(lacks(&two)[0].contains("only 1 of them count; learners wait for each other: bring back"));
        assert!(lacks(&two)[0].ends_with("see `spinnaker recover --unsafe`"));
        let few = v1::ReplicaStatus { members: vec![1], ..replica("leader") };
        assert_eq!(
            lacks(&[node(1, few)]),
            [
                "under-replicated: made with 1 of 3 replicas; copy the table into a new one while three nodes run"
            ]
        );
    }

    #[test]
    fn what_a_replica_lacks() {
        let last = Some(v1::Lsn { epoch: 1, sequence: 4 });
        let learner = v1::ReplicaStatus { learner: true, last, ..replica("follower") };
        let full = v1::ReplicaStatus { disk_full: true, ..replica("leader") };
        let damaged = v1::ReplicaStatus { damaged: true, ..replica("follower") };
        assert_eq!(
            lacks(&[node(1, full), node(2, learner), node(3, damaged)]),
            [
                "disk full on n1; free space there",
                "n2 is a learner, catching up 40 %; wait; all other replicas must answer for it to count again",
                "a table is damaged on n3, and is repaired from another replica; look at its disk",
            ]
        );
    }
}
