//! Clients of one cohort: what they put into its inbox, and how each gets its answer.
//!
//! To the cohort a client is a token. It may go away at any time: then its answer finds nobody, and that is all; what
//! it asked for goes on. The one rule that matters here is which error is told: "nothing was done" only if that is
//! certain, otherwise "unknown" (design 4.6).

use std::collections::HashMap;

use tokio::sync::oneshot;
use wal::{Lsn, NodeId};

use super::answer::{ReplicaError, WriteReply};
use crate::protocol::effect::Reply;
use crate::protocol::event::{Event, Token};
use crate::store::Store;

/// Where the answer of a write goes.
pub type WriteSender<S> = oneshot::Sender<Result<WriteReply<<S as Store>::Answer>, ReplicaError>>;
/// Where the answer of a read or a transfer goes.
pub type DoneSender = oneshot::Sender<Result<(), ReplicaError>>;

/// What is put into a cohort's inbox.
pub enum Input<S: Store> {
    /// For the protocol.
    Event(Event),
    /// A client's write.
    Write {
        /// What the store shall decide.
        request: S::Request,
        /// Where its answer goes.
        sender: WriteSender<S>,
    },
    /// A strong read that found no lease.
    Read {
        /// Not before this LSN is committed and applied.
        after: Lsn,
        /// Answered when the store may be read.
        sender: DoneSender,
    },
    /// A hand-over of the leadership.
    Transfer {
        /// To whom; `None`: to the follower that is furthest.
        target: Option<NodeId>,
        /// Answered with how it ended.
        sender: DoneSender,
    },
}

impl<S: Store> Input<S> {
    /// The replica has ended before this was looked at: its client is told that nothing was done.
    pub(crate) fn refuse(self) {
        match self {
            Input::Event(_) => (),
            Input::Write { sender, .. } => drop(sender.send(Err(ReplicaError::Closed))),
            Input::Read { sender, .. } | Input::Transfer { sender, .. } => {
                drop(sender.send(Err(ReplicaError::Closed)));
            }
        }
    }
}

/// A client that waits for an answer of the cohort.
pub(crate) enum Waiting<S: Store> {
    /// Decided, not yet given an LSN. With a refusal: what is logged is that the write was refused.
    Proposing { request: S::Request, refusal: Option<S::Answer>, sender: WriteSender<S> },
    /// In the log; the store knows the request as pending.
    Pending { refusal: Option<S::Answer>, sender: WriteSender<S> },
    /// The same write is in the log as `lsn`.
    Joining { lsn: Lsn, refusal: Option<S::Answer>, sender: WriteSender<S> },
    /// Refused by the store; answered once that is certain.
    Refusing { answer: S::Answer, sender: WriteSender<S> },
    /// A strong read without a lease.
    Reading { sender: DoneSender },
    /// A transfer of the leadership.
    Transferring { sender: DoneSender },
}

/// All clients that wait for one cohort.
pub(crate) struct Clients<S: Store> {
    waiting: HashMap<Token, Waiting<S>>,
    last: Token,
}

impl<S: Store> Clients<S> {
    pub(crate) fn new() -> Clients<S> {
        Clients { waiting: HashMap::new(), last: Token(0) }
    }

    /// Keeps a client under a new token.
    pub(crate) fn wait(&mut self, waiting: Waiting<S>) -> Token {
        self.last.0 += 1;
        self.waiting.insert(self.last, waiting);
        self.last
    }

    /// The write of this token has an LSN: its request, for the store. `None` if no write waits for one.
    pub(crate) fn proposed(&mut self, token: Token) -> Option<S::Request> {
        // The sender must move from one variant to the other, so the client is taken out and put back.
        match self.waiting.remove(&token)? {
            Waiting::Proposing { request, refusal, sender } => {
                self.waiting.insert(token, Waiting::Pending { refusal, sender });
                Some(request)
            }
            other => {
                self.waiting.insert(token, other);
                None
            }
        }
    }

    /// Tells a client how its request ended. One that has left, or was told before, is no error.
    pub(crate) fn answer(&mut self, token: Token, reply: Reply) {
        let Some(waiting) = self.waiting.remove(&token) else { return };
        // Sending fails if the client has left.
        match waiting {
            Waiting::Proposing { refusal, sender, .. } | Waiting::Pending { refusal, sender } => {
                let _ = sender.send(match reply {
                    Reply::Written(lsn) => Ok(logged(lsn, refusal)),
                    other => Err(ReplicaError::from_reply(other)),
                });
            }
            Waiting::Joining { lsn, refusal, sender } => {
                let _ = sender.send(match reply {
                    Reply::ReadReady => Ok(logged(lsn, refusal)),
                    // Whatever hinders the answer: the write is in the log, and may commit.
                    Reply::Written(_)
                    | Reply::Transferred
                    | Reply::NotLeader { .. }
                    | Reply::Unavailable(_)
                    | Reply::Unknown => Err(ReplicaError::Unknown),
                });
            }
            Waiting::Refusing { answer, sender } => {
                let _ = sender.send(match reply {
                    Reply::ReadReady => Ok(WriteReply::Refused(answer)),
                    other => Err(ReplicaError::from_reply(other)),
                });
            }
            Waiting::Reading { sender } => {
                let _ = sender.send(match reply {
                    Reply::ReadReady => Ok(()),
                    other => Err(ReplicaError::from_reply(other)),
                });
            }
            Waiting::Transferring { sender } => {
                let _ = sender.send(match reply {
                    Reply::Transferred => Ok(()),
                    other => Err(ReplicaError::from_reply(other)),
                });
            }
        }
    }

    /// The leadership has ended, and the step that ended it has answered whom it could. Whoever waits for a write or
    /// a read of it still would wait forever. Transfers go on: their end may just be coming.
    pub(crate) fn leadership_lost(&mut self) {
        let lost = self.waiting.extract_if(|_, waiting| !matches!(waiting, Waiting::Transferring { .. }));
        for (_, waiting) in lost {
            match waiting {
                Waiting::Pending { sender, .. } | Waiting::Joining { sender, .. } => {
                    let _ = sender.send(Err(ReplicaError::Unknown));
                }
                Waiting::Proposing { sender, .. } | Waiting::Refusing { sender, .. } => {
                    let _ = sender.send(Err(ReplicaError::NotLeader { hint: None }));
                }
                Waiting::Reading { sender } => {
                    let _ = sender.send(Err(ReplicaError::NotLeader { hint: None }));
                }
                Waiting::Transferring { .. } => (),
            }
        }
    }

    /// The replica has ended. A write that is under way may or may not commit; nothing else was done.
    pub(crate) fn end(&mut self) {
        self.leadership_lost();
        for (_, waiting) in self.waiting.drain() {
            if let Waiting::Transferring { sender } = waiting {
                let _ = sender.send(Err(ReplicaError::Closed));
            }
        }
    }
}

/// The end of a write that is committed as this LSN, or of its refusal.
fn logged<A>(lsn: Lsn, refusal: Option<A>) -> WriteReply<A> {
    match refusal {
        None => WriteReply::Written(lsn),
        Some(answer) => WriteReply::RefusedAt(lsn, answer),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wal::Entry;

    use super::*;
    use crate::protocol::effect::Unavailable;
    use crate::protocol::event::Received;
    use crate::protocol::message::SnapshotPart;
    use crate::store::Decision;

    struct Nothing;

    impl Store for Nothing {
        type Request = u8;
        type Answer = u8;

        fn decide(&self, _: &u8) -> Decision<u8> {
            Decision::Propose(Bytes::new())
        }
        fn pending(&self, _: Lsn, _: u8) {}
        fn apply(&self, _: &[Entry]) {}
        fn applied(&self) -> Lsn {
            Lsn::ZERO
        }

        fn read_snapshot(&self, _: NodeId, _: u64, _: Lsn) -> Result<SnapshotPart, String> {
            Err("nothing to read".to_owned())
        }
        fn receive_snapshot(&self, _: SnapshotPart) -> Received {
            Received::Failed("nowhere to keep it".to_owned())
        }
        fn damaged(&self) -> bool {
            false
        }

        fn request_flush(&self) {}

        fn clear(&self) -> Result<(), String> {
            Ok(())
        }

        fn closed(&self) {}
    }

    const LSN: Lsn = Lsn::new(2, 22);

    /// What a client is told that waits in this way, when `end` happens.
    fn answer_of(
        waiting: fn(WriteSender<Nothing>) -> Waiting<Nothing>,
        end: impl FnOnce(&mut Clients<Nothing>, Token),
    ) -> Result<WriteReply<u8>, ReplicaError> {
        let (sender, mut receiver) = oneshot::channel();
        let mut clients = Clients::new();
        let token = clients.wait(waiting(sender));
        end(&mut clients, token);
        receiver.try_recv().expect("an answer")
    }

    fn proposing(sender: WriteSender<Nothing>) -> Waiting<Nothing> {
        Waiting::Proposing { request: 7, refusal: None, sender }
    }

    fn pending(sender: WriteSender<Nothing>) -> Waiting<Nothing> {
        Waiting::Pending { refusal: None, sender }
    }

    fn joining(sender: WriteSender<Nothing>) -> Waiting<Nothing> {
        Waiting::Joining { lsn: LSN, refusal: None, sender }
    }

    fn refusing(sender: WriteSender<Nothing>) -> Waiting<Nothing> {
        Waiting::Refusing { answer: 9, sender }
    }

    #[test]
    fn each_gets_the_answer_that_it_waits_for() {
        assert_eq!(
            answer_of(pending, |all, token| all.answer(token, Reply::Written(LSN))),
            Ok(WriteReply::Written(LSN))
        );
        assert_eq!(
            answer_of(joining, |all, token| all.answer(token, Reply::ReadReady)),
            Ok(WriteReply::Written(LSN))
        );
        assert_eq!(
            answer_of(refusing, |all, token| all.answer(token, Reply::ReadReady)),
            Ok(WriteReply::Refused(9))
        );
        let refused = |sender| Waiting::Joining { lsn: LSN, refusal: Some(5), sender };
        assert_eq!(
            answer_of(refused, |all, token| all.answer(token, Reply::ReadReady)),
            Ok(WriteReply::RefusedAt(LSN, 5))
        );
        let refused = |sender| Waiting::Pending { refusal: Some(5), sender };
        assert_eq!(
            answer_of(refused, |all, token| all.answer(token, Reply::Written(LSN))),
            Ok(WriteReply::RefusedAt(LSN, 5))
        );
        let full = Reply::Unavailable(Unavailable::DiskFull);
        let error = Err(ReplicaError::Unavailable(Unavailable::DiskFull));
        assert_eq!(answer_of(proposing, |all, token| all.answer(token, full)), error);
    }

    #[test]
    fn what_is_in_the_log_is_never_said_to_be_undone() {
        let lost = |all: &mut Clients<Nothing>, token| all.answer(token, Reply::NotLeader { hint: None });
        assert_eq!(answer_of(joining, lost), Err(ReplicaError::Unknown));
        assert_eq!(answer_of(joining, |all, _| all.leadership_lost()), Err(ReplicaError::Unknown));
        assert_eq!(answer_of(pending, |all, _| all.leadership_lost()), Err(ReplicaError::Unknown));
        assert_eq!(answer_of(pending, |all, _| all.end()), Err(ReplicaError::Unknown));
        let proposed = |all: &mut Clients<Nothing>, token| {
            assert_eq!(all.proposed(token), Some(7));
            assert_eq!(all.proposed(token), None);
            all.leadership_lost();
        };
        assert_eq!(answer_of(proposing, proposed), Err(ReplicaError::Unknown));
    }

    #[test]
    fn a_transfer_outlives_the_leadership() {
        let (sender, mut receiver) = oneshot::channel();
        let mut clients = Clients::<Nothing>::new();
        let token = clients.wait(Waiting::Transferring { sender });
        clients.leadership_lost();
        clients.answer(token, Reply::Transferred);
        assert_eq!(receiver.try_recv().expect("an answer"), Ok(()));
    }

    #[test]
    fn a_client_that_left_is_no_error() {
        let (sender, receiver) = oneshot::channel();
        let mut clients = Clients::<Nothing>::new();
        let token = clients.wait(pending(sender));
        drop(receiver);
        clients.answer(token, Reply::Written(LSN));
        clients.answer(token, Reply::Written(LSN));
    }
}
