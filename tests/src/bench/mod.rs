//! Benchmarks: figures with the command that makes them, never tests with a clock.
//!
//! Machines are shared and noisy, so each suite measures against a peer *in the same run*, in short
//! alternating rounds, and prints the median ratio beside the absolute figures:
//!
//! * [`wal`]: group commit at 1, 16 and 64 appenders against a raw write + fdatasync loop;
//! * [`kv`]: put and get through a three-node cohort in one process;
//! * [`sql`]: point read and upsert with `pgbench` at 1, 16 and 64 clients against `spinnaker demo`, and
//!   with `--postgres` against PostgreSQL with two quorum synchronous standbys on the same machine.

pub mod kv;
pub mod sql;
pub mod wal;
pub mod postgres;
mod median;
