//! What `status` prints, read back: for every range, each replica and a checksum of what it holds.
//!
//! ```text
//! words [start, 'h')  range 00c0ffee..
//!   NODE  ROLE       CMT  LST  APPLIED  LAG  STALE  CHECKSUM
//!   n1    leader     1.5  1.5  1.5      0    -      00c0ffee00c0ffee at 1.5 rows 0badcafe0badcafe
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// The replicas of every range, by the range's line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// What was printed.
    pub text: String,
    ranges: BTreeMap<String, Vec<Replica>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Replica {
    node: String,
    role: String,
    /// Hash of all cells and its LSN; none if the replica did not give one.
    checksum: Option<String>,
    /// Hash of all rows' versions; none from a node of an earlier release.
    rows: Option<String>,
}

impl Replicas {
    /// Reads the lines of a status.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Replicas {
        let mut replicas = Replicas::default();
        let mut range = None;
        for line in lines {
            replicas.text.push_str(line);
            replicas.text.push('\n');
            if line.contains("  range ") {
                range = Some(line.to_string());
            } else if let (Some(range), true) = (&range, line.starts_with("  n")) {
                replicas.ranges.entry(range.clone()).or_default().push(Replica::parse(line));
            }
        }
        replicas
    }

    /// Number of ranges of a table.
    pub fn ranges(&self, table: &str) -> usize {
        let prefix = format!("{table} [");
        self.ranges.keys().filter(|range| range.starts_with(&prefix)).count()
    }

    /// Whether every range has three replicas, one of them the leader, with the same content at the same LSN.
    pub fn agree(&self) -> bool {
        !self.ranges.is_empty() && self.ranges.values().all(|replicas| all_equal(replicas))
    }
}

fn all_equal(replicas: &[Replica]) -> bool {
    let leaders = replicas.iter().filter(|replica| replica.role == "leader").count();
    let first = replicas.first().and_then(|replica| replica.checksum.as_ref());
    let rows: BTreeSet<&String> = replicas.iter().filter_map(|replica| replica.rows.as_ref()).collect();
    replicas.len() == 3
        && leaders == 1
        && first.is_some()
        && rows.len() <= 1
        && replicas.iter().all(|replica| replica.checksum.as_ref() == first)
}

impl Replica {
    fn parse(line: &str) -> Replica {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (checksum, rows) = match words[..] {
            [.., hash, "at", lsn, "rows", rows] => (Some(format!("{hash} at {lsn}")), Some(rows.to_owned())),
            [.., hash, "at", lsn] => (Some(format!("{hash} at {lsn}")), None),
            _ => (None, None),
        };
        let word = |at: usize| words.get(at).copied().unwrap_or_default().to_string();
        Replica { node: word(0), role: word(1), checksum, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGREED: &str = "\
NODE  GRPC
n1    127.0.0.1:1

words [start, 'h')  range 01
  NODE  ROLE       CMT   LST   APPLIED  LAG  STALE  CHECKSUM
  n1    leader     1.5   1.5   1.5      0    -      0a at 1.5 rows 7c
  n2    follower   1.5   1.5   1.5      0    3 ms   0a at 1.5 rows 7c
  n3    follower   1.5   1.5   1.5      0    5 ms   0a at 1.5
";

    #[test]
    fn replicas_agree_or_not() {
        let replicas = Replicas::parse(AGREED.lines());
        assert_eq!((replicas.ranges("words"), replicas.ranges("word")), (1, 0));
        assert!(replicas.agree());
        for (from, to) in [
            ("3 ms   0a at", "3 ms   0b at"),
            ("5 ms   0a at 1.5", "5 ms   0a at 1.4"),
            ("5 ms   0a at 1.5", "5 ms   -"),
            ("3 ms   0a at 1.5 rows 7c", "3 ms   0a at 1.5 rows 7d"),
            ("leader", "follower"),
        ] {
            assert!(!Replicas::parse(AGREED.replace(from, to).lines()).agree(), "{to}");
        }
        assert!(!Replicas::parse(AGREED.lines().take(7)).agree(), "a replica is missing");
        assert!(!Replicas::parse("".lines()).agree(), "no range is no agreement");
    }
}
