//! A SQL client (tokio-postgres) that connects again when its connection broke, to the next node.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::shared::{ANSWER_MAX, from_home};
use crate::chaos::site::{NODES, machine};

/// A session at some node.
pub(super) struct Sql {
    home: usize,
    attempt: usize,
    client: Option<Client>,
}

/// How a statement ended badly.
pub(super) enum Failure {
    /// The server says, in its answer, that nothing was done.
    NotDone(String),
    /// Perhaps done.
    Unknown(String),
}

impl Sql {
    /// At home at a node.
    pub(super) fn at(home: usize) -> Sql {
        Sql { home, attempt: 0, client: None }
    }

    /// Runs a statement; the number of rows that it touched.
    pub(super) async fn execute(&mut self, statement: &str) -> Result<u64, Failure> {
        let client = self.connected().await.map_err(Failure::NotDone)?;
        let answer = tokio::time::timeout(ANSWER_MAX, client.batch_count(statement)).await;
        let error = match answer {
            Ok(Ok(count)) => return Ok(count),
            Ok(Err(error)) => error,
            Err(_) => {
                self.client = None;
                return Err(Failure::Unknown("no answer from the node".into()));
            }
        };
        match error.as_db_error() {
            // Statement completion unknown, and sessions that are ended, say nothing of the statement.
            Some(said) if !["40003", "57P01", "XX000"].contains(&said.code().code()) => {
                Err(Failure::NotDone(format!("{} {}", said.code().code(), said.message())))
            }
            _ => {
                self.client = None;
                Err(Failure::Unknown(error.to_string()))
            }
        }
    }

    /// All rows of a query, as text.
    pub(super) async fn query(&mut self, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let client = self.connected().await?;
        let messages = tokio::time::timeout(6 * ANSWER_MAX, client.simple_query(query)).await;
        let messages = messages.map_err(|_| format!("no answer to {query}"))?.map_err(|error| match error
            .as_db_error()
        {
            Some(said) => format!("{query}: {said}"),
            None => format!("{query}: {error}"),
        })?;
        let row = |message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    async fn connected(&mut self) -> Result<&Client, String> {
        let usable = self.client.as_ref().is_some_and(|client| !client.is_closed());
        if !usable {
            let node = from_home(self.home, self.attempt);
            self.attempt += 1;
            let url = format!("host={} port=5432 user=root dbname=spinnaker", machine(node).address());
            let connect = tokio::time::timeout(Duration::from_secs(2), tokio_postgres::connect(&url, NoTls));
            let connected = match connect.await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return Err(format!("node {node}: {error}")),
                Err(_) => return Err(format!("node {node}: no connection within 2 s")),
            };
            let (client, connection) = connected;
            // It ends when the client is dropped or the connection breaks, which the client's next call tells.
            tokio::spawn(async move { drop(connection.await) });
            self.client = Some(client);
        }
        Ok(self.client.as_ref().expect("just connected"))
    }
}

/// Runs a script at whatever node answers.
pub(super) async fn run(script: &str) -> Result<(), String> {
    match Sql::at(NODES[0]).execute(script).await {
        Ok(_) => Ok(()),
        Err(Failure::NotDone(why) | Failure::Unknown(why)) => Err(why),
    }
}

/// Counts rows touched by a simple query.
trait BatchCount {
    async fn batch_count(&self, statement: &str) -> Result<u64, tokio_postgres::Error>;
}

impl BatchCount for Client {
    async fn batch_count(&self, statement: &str) -> Result<u64, tokio_postgres::Error> {
        let messages = self.simple_query(statement).await?;
        let count = |message: &tokio_postgres::SimpleQueryMessage| match message {
            tokio_postgres::SimpleQueryMessage::CommandComplete(rows) => *rows,
            _ => 0,
        };
        Ok(messages.iter().map(count).sum())
    }
}
