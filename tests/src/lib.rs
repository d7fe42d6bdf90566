//! The whole system under test: real binaries, real ZooKeeper, real clients.
//!
//! | suite | promise |
//! |---|---|
//! | `tests/tidy.rs` | the code keeps its own rules of style ([`tidy`]) |
//! | `tests/mutants.rs` | each planted bug can still be planted ([`mutants`]) |
//! | `tests/coordination.rs` | a real ZooKeeper keeps the contract of `replication::coordination` |
//! | `tests/demo.rs` | one process, three nodes: a real word list, `psql`, a crash under load, no error |
//! | `tests/cluster.rs` | three processes and ZooKeeper: the same story with `kill -9` |
//! | `tests/kv.rs` | the gRPC service as a stranger's client sees it, through reflection |
//! | `tests/differential.rs` | SQL answers as PostgreSQL 15 does, but for what is listed ([`differential`]) |
//! | `tests/recover.rs` | two of three disks are lost, and `recover --unsafe` brings back what is left |
//! | `tests/bad_input.rs` | what bad input gets: SQLSTATEs, one clear line, exit codes |
//!
//! What the suites need (a JVM and ZooKeeper, `psql`, a word list, Python's gRPC) they fetch themselves into
//! `target/spinnaker-tests` and fail with a remedy if they cannot ([`cluster::provision`]). Nothing is skipped.

#[cfg(feature = "system")]
pub mod tidy;
pub mod mutants;
#[cfg(feature = "chaos")]
pub mod chaos;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "system")]
pub mod differential;
#[cfg(feature = "system")]
pub mod bench;
#[cfg(feature = "system")]
pub mod story;
#[cfg(feature = "system")]
pub mod cluster;
