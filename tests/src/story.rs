//! The main job on real input: a word list loaded, read and written while a node crashes and comes back.
//!
//! Written once, for any [`Cluster`]: `tests/demo.rs` and `tests/cluster.rs` run it, each on a cluster of its own kind.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::psql::Psql;
use crate::cluster::{Cluster, provision};

/// How long a state may take to come about on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(180);
/// Words spread over all three ranges.
const SAMPLE: [&str; 6] = ["aardvark", "house", "queen", "zebra", "hedgehog", "paper"];

/// The word list, each word with its rank in the file.
pub struct Words {
    dir: TempDir,
    /// Number of words.
    pub count: u64,
    ranks: Vec<(&'static str, u64)>,
}

impl Words {
    /// Reads Debian's list and writes it as `word <tab> rank`.
    pub fn load() -> Words {
        let path = provision::word_list();
        let list = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut text = String::new();
        let mut ranks = Vec::new();
        let mut count = 0;
        for word in list.lines() {
            count += 1;
            writeln!(text, "{word}\t{count}").expect("strings grow");
            ranks.extend(SAMPLE.iter().find(|sample| **sample == word).map(|sample| (*sample, count)));
        }
        assert!(count > 300_000 && ranks.len() == SAMPLE.len(), "{count} words, {ranks:?}");
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("words.tsv"), text).expect("own directory");
        Words { dir, count, ranks }
    }
}

/// Makes the table, loads the list through node 1 and reads it through every gateway.
pub fn load_words(cluster: &mut dyn Cluster, words: &Words) {
    let file = words.dir.path().join("words.tsv");
    cluster.gateway(1).must(&format!(
        "CREATE TABLE words (word text PRIMARY KEY, rank int8 NOT NULL) SPLIT AT VALUES (('h'), ('q'));\n\
         \\copy words FROM '{}'\n",
        file.display()
    ));
    for node in 1..=3 {
        let counted = cluster.gateway(node).must("SELECT count(*) FROM words;");
        assert_eq!(counted, words.count.to_string(), "through node {node}");
        for (word, rank) in &words.ranks {
            let read = format!("SELECT rank FROM words WHERE word = '{word}';");
            let strong = cluster.gateway(node).must(&format!("SET consistency = strong; {read}"));
            assert_eq!(strong, rank.to_string(), "{word} through node {node}");
            eventually(&format!("{word} timeline through node {node}"), || {
                let script = format!("SET consistency = timeline; {read}");
                (cluster.gateway(node).must(&script) == rank.to_string()).then_some(())
            });
        }
    }
    assert_eq!(cluster.status().ranges("words"), 3);
}

/// A strong read sees at once what was written through another gateway.
pub fn upsert_some(cluster: &dyn Cluster) {
    for (number, word) in SAMPLE.iter().enumerate() {
        let (writer, reader) = (number % 3 + 1, (number + 1) % 3 + 1);
        cluster
            .gateway(writer)
            .must(&format!("UPSERT INTO words (word, rank) VALUES ('{word}', -{number});"));
        let read = cluster.gateway(reader).must(&format!("SELECT rank FROM words WHERE word = '{word}';"));
        assert_eq!(read, (-(i64::try_from(number).expect("small"))).to_string(), "{word} through {reader}");
    }
}

/// Node 2 crashes while `psql` at node 1 writes and reads: not one statement fails. Then it comes back, and all
/// replicas come to hold the same.
pub fn crash_and_come_back(cluster: &mut dyn Cluster, words: &Words) {
    let writer = Writer::start(cluster.gateway(1), "before");
    writer.wait_for(50);
    cluster.crash(2);
    let at_crash = writer.acknowledged();
    writer.wait_for(at_crash + 200);
    let other = cluster.gateway(3).must("SELECT rank FROM words WHERE word = 'before-a-1';");
    assert_eq!(other, "1", "through the other survivor");
    cluster.start_again(2);
    let at_return = writer.acknowledged();
    writer.wait_for(at_return + 50);
    let written = writer.stop();

    all_agree(cluster);
    for node in 1..=3 {
        let counted = cluster.gateway(node).must("SELECT count(*) FROM words;");
        assert_eq!(counted, (words.count + 3 * written).to_string(), "through node {node}");
    }
    let last = cluster.gateway(2).must(&format!("SELECT rank FROM words WHERE word = 'before-z-{written}';"));
    assert_eq!(last, written.to_string(), "through the node that was away");
}

/// Waits until all replicas of each range hold the same.
pub fn all_agree(cluster: &mut dyn Cluster) {
    let mut last = String::new();
    let deadline = Instant::now() + WAIT_MAX;
    while Instant::now() < deadline {
        let status = cluster.status();
        if status.agree() {
            return;
        }
        last = status.text;
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("replicas do not come to agree:\n{last}");
}

/// Tries again until there is an answer.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One `psql` session that writes a row in each range and reads it back, round after round, each round only when
/// the last was answered. An error ends `psql`, and so the test.
struct Writer {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(gateway: &Psql, name: &'static str) -> Writer {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut session = gateway.start(&format!("writer {name}"));
        let (stopping, count) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            for round in 1.. {
                let seen = session.lines_seen();
                let asked = Instant::now();
                for start in ["a", "m", "z"] {
                    let key = format!("{name}-{start}-{round}");
                    session.type_line(&format!("UPSERT INTO words (word, rank) VALUES ('{key}', {round});"));
                }
                session.type_line(&format!("SELECT rank FROM words WHERE word = '{name}-m-{round}';"));
                let is_answer = |line: &str| (!line.is_empty()).then(|| line.to_string());
                let answer = session.wait_line_after(seen, WAIT_MAX, "answer", is_answer);
                assert_eq!(answer, round.to_string(), "a strong read of what was just written");
                longest = longest.max(asked.elapsed());
                count.store(round, Ordering::SeqCst);
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
            }
            println!("longest round of the writer, crash included: {longest:?}");
        });
        Writer { stop, rounds, thread }
    }

    fn acknowledged(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    fn wait_for(&self, rounds: u64) {
        eventually(&format!("{rounds} rounds of writing"), || {
            assert!(!self.thread.is_finished(), "the writer failed");
            (self.acknowledged() >= rounds).then_some(())
        });
    }

    /// Ends the session and returns the number of rounds, each of three rows.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("no statement of the writer failed");
        self.rounds.load(Ordering::SeqCst)
    }
}
