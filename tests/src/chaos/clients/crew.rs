//! All clients of a trial: begun, ended, and what they found compared with what is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::shared::{Found, LETTERS, Shared, from_home};
use super::{counters, kv, probes, registers, rows, sessions, sql};
use crate::chaos::site::NODES;

/// The clients of a trial while they work.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<Found>,
}

impl Clients {
    /// Makes the tables; once for a site.
    ///
    /// # Errors
    ///
    /// One line.
    pub async fn make_tables() -> Result<(), String> {
        kv::make_table().await?;
        let script = "CREATE TABLE chaos_rows (k text PRIMARY KEY, v int8) SPLIT AT VALUES (('h'), ('q'));
                      CREATE TABLE chaos_counters (k text PRIMARY KEY, n int8, m int8) SPLIT AT VALUES (('h'), ('q'));";
        sql::run(script).await
    }

    /// Starts all clients. Probes go to the nodes that nothing is done to.
    pub fn start(shared: &Arc<Shared>, untouched: &[usize]) -> Clients {
        let mut tasks = JoinSet::new();
        for client in 0..6 {
            tasks.spawn(registers::work(Arc::clone(shared), client));
        }
        for client in 6..9 {
            tasks.spawn(sessions::work(Arc::clone(shared), client));
        }
        for home in NODES {
            tasks.spawn(rows::work(Arc::clone(shared), home));
            tasks.spawn(counters::work(Arc::clone(shared), home));
        }
        for range in 0..LETTERS.len() {
            tasks.spawn(probes::work(Arc::clone(shared), range, untouched.to_vec()));
        }
        Clients { shared: Arc::clone(shared), tasks }
    }

    /// Ends all clients.
    pub async fn stop(mut self) -> Found {
        self.shared.stop();
        let mut found = Found::default();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(one) => found.add(one),
                Err(error) => found.violations.push(format!("a client failed: {error}")),
            }
        }
        found
    }
}

impl Found {
    /// Compares what was acknowledged with what is there now, and adds what the checkers say.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub async fn conclude(mut self, shared: &Shared) -> Result<Vec<String>, String> {
        self.violations.extend(shared.record.check().iter().map(ToString::to_string));
        self.violations.extend(rows::compare(shared.trial, &self.rows).await?);
        self.violations.extend(counters::compare(shared.trial, &self.counts).await?);
        Ok(self.violations)
    }
}

/// The node that leads each range of the key-value table, as the first node that knows says.
///
/// # Errors
///
/// No node knows all leaders.
pub async fn leaders() -> Result<Vec<usize>, String> {
    let mut why = String::new();
    for attempt in 0..40 {
        match kv::leaders(from_home(0, attempt)).await {
            Ok(leaders) if leaders.iter().all(|leader| NODES.contains(leader)) => return Ok(leaders),
            Ok(leaders) => why = format!("leaders are {leaders:?}"),
            Err(error) => why = error,
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(format!("the ranges have no leaders: {why}"))
}
