//! Writes: each is one [`Call`], done exactly once over as many attempts as it takes.

use std::time::Instant;

use super::call::{self, Call, Identity};
use super::limits;
use super::routing::{Gateway, unexpected};
use crate::error::KvError;
use crate::operation::Answer;
use crate::request::{SessionToken, Write, WriteOutcome};

impl Gateway {
    /// Writes one row under the given identity, or a new one.
    pub(crate) async fn write_as(
        &self,
        write: Write,
        identity: Option<Identity>,
        deadline: Instant,
        session: Option<&SessionToken>,
    ) -> Result<WriteOutcome, KvError> {
        limits::check_write(&self.limits, &write.key, &write.mutations)?;
        let table = self.map.table(write.table).await?;
        let range = table.range_of(&write.key);
        let identity = identity.unwrap_or_else(|| Identity::New(self.new_request()));
        let call = Call::write(self.new_call(), range, write, identity, deadline);
        let answer = self.drive(range, call, deadline).await?;
        call::learn(&answer, range, session);
        match answer {
            Answer::Write(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }
}
