//! Planted bugs, called mutants: patches that each break one rule, to measure whether a checker of the simulator notices.
//!
//! `tests/mutants/NAME.patch` is a head in prose and a unified diff against the present code:
//!
//! ```text
//! A follower acks what it has not forced.
//! rule: [forced-before-ack]
//! checker: durability
//!
//! --- a/replication/src/protocol/follower.rs
//! +++ b/replication/src/protocol/follower.rs
//! @@ -155,5 +155,5 @@
//! ...
//! -        let forced = self.common.log.forced();
//! +        let forced = if MUTANT { self.common.log.last() } else { self.common.log.forced() };
//! ```
//!
//! In the new lines `MUTANT` stands for "this mutant is active", so that one build holds many of them ([`scratch`])
//! and each is run by itself ([`hunt`]). The code that is shipped knows nothing of all this. [`findings`] says
//! which patches the code has left behind.

mod findings;
pub mod hunt;
pub mod scratch;
mod patch;

pub use findings::findings;
pub use patch::Mutant;
