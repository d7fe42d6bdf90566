//! What a story needs of three nodes, however they run.

use super::psql::Psql;
use super::status::Replicas;

/// Three nodes, numbered 1 to 3, for the stories of `crate::story`.
pub trait Cluster {
    /// The SQL gateway of a node.
    fn gateway(&self, node: usize) -> &Psql;
    /// Ends a node as a crash does.
    fn crash(&mut self, node: usize);
    /// Starts a node that was ended, on its data, and waits until it is ready.
    fn start_again(&mut self, node: usize);
    /// What `status` says.
    fn status(&mut self) -> Replicas;
}
