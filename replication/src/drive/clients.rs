//! Clients of one cohort: what they put into its inbox, and how each gets its answer.
//!
//! To the cohort a client is a token. It may go away at any time: then its answer finds nobody, and that is all; what
//! it asked for goes on. The one rule that matters here is which error it gets: "nothing was done" only if that is
//! certain, otherwise "unknown" [exactly-once].

use std::collections::HashMap;

use tokio::sync::oneshot;
use wal::{Lsn, NodeId};

use super::answer::{ReplicaError, WriteResult};
use crate::protocol::effect::Reply;
use crate::protocol::event::{Event, Token};
use crate::store::{LoggedWrite, Store};

/// Where the answer of a write goes.
pub type WriteSender<S> = oneshot::Sender<WriteResult<<S as Store>::Refusal>>;
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
    /// A transfer of the leadership.
    Transfer {
        /// To whom; `None`: to the follower that is furthest.
        target: Option<NodeId>,
        /// Answered with how it ended.
        sender: DoneSender,
    },
}

impl<S: Store> Input<S> {
    /// The replica has ended before this was looked at: its client learns that nothing was done.
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
pub(crate) enum Client<S: Store> {
    /// It wants to write, and the store has decided.
    Write { decided: Decided<S>, sender: WriteSender<S> },
    /// It wants to read strongly, and there is no lease.
    Read { sender: DoneSender },
    /// It wants the leadership transferred.
    Transfer { sender: DoneSender },
}

/// What the store has decided of a client's write.
pub(crate) enum Decided<S: Store> {
    /// To be logged, perhaps as a refusal. `pending` is there until the write has its LSN, and is in the log.
    Proposed { pending: Option<S::Pending>, refused: bool },
    /// It is in the log already, with this outcome.
    Joined(LoggedWrite),
    /// It is refused, and nothing is logged.
    Refused(S::Refusal),
}

impl<S: Store> Client<S> {
    /// Passes the cohort's reply on. Sending fails if the client has left, which is no error.
    fn answer(self, reply: Reply) {
        match self {
            Client::Write { decided, sender } => drop(sender.send(decided.answer(reply))),
            Client::Read { sender } => drop(sender.send(match reply {
                Reply::ReadReady => Ok(()),
                other => Err(ReplicaError::from_reply(other)),
            })),
            Client::Transfer { sender } => drop(sender.send(match reply {
                Reply::Transferred => Ok(()),
                other => Err(ReplicaError::from_reply(other)),
            })),
        }
    }

    /// The leadership has ended without a reply: a write that is in the log may still commit, nothing else was done.
    fn lose(self) {
        let error = match &self {
            Client::Write { decided, .. } if decided.is_in_log() => ReplicaError::Unknown,
            Client::Write { .. } | Client::Read { .. } => ReplicaError::NotLeader { hint: None },
            Client::Transfer { .. } => ReplicaError::Closed,
        };
        match self {
            Client::Write { sender, .. } => drop(sender.send(Err(error))),
            Client::Read { sender } | Client::Transfer { sender } => drop(sender.send(Err(error))),
        }
    }
}

impl<S: Store> Decided<S> {
    fn is_in_log(&self) -> bool {
        match self {
            Decided::Proposed { pending, .. } => pending.is_none(),
            Decided::Joined(_) => true,
            Decided::Refused(_) => false,
        }
    }

    fn answer(self, reply: Reply) -> WriteResult<S::Refusal> {
        match (self, reply) {
            (Decided::Proposed { refused, .. }, Reply::Written(lsn)) => Ok(Ok(LoggedWrite { lsn, refused })),
            (Decided::Joined(outcome), Reply::ReadReady) => Ok(Ok(outcome)),
            // Whatever hinders the answer: the write is in the log, and may commit.
            (Decided::Joined(_), _) => Err(ReplicaError::Unknown),
            (Decided::Refused(refusal), Reply::ReadReady) => Ok(Err(refusal)),
            (Decided::Proposed { .. } | Decided::Refused(_), other) => Err(ReplicaError::from_reply(other)),
        }
    }
}

/// All clients that wait for one cohort.
pub(crate) struct Clients<S: Store> {
    waiting: HashMap<Token, Client<S>>,
    last: Token,
}

impl<S: Store> Clients<S> {
    pub(crate) fn new() -> Clients<S> {
        Clients { waiting: HashMap::new(), last: Token(0) }
    }

    /// Keeps a client under a new token.
    pub(crate) fn wait(&mut self, client: Client<S>) -> Token {
        self.last.0 += 1;
        self.waiting.insert(self.last, client);
        self.last
    }

    /// The write of this token has this LSN: what the store is to keep of it, and its outcome. `None` if no write waits
    /// for an LSN under this token.
    pub(crate) fn proposed(&mut self, token: Token, lsn: Lsn) -> Option<(LoggedWrite, S::Pending)> {
        match self.waiting.get_mut(&token)? {
            Client::Write { decided: Decided::Proposed { pending, refused }, .. } => {
                Some((LoggedWrite { lsn, refused: *refused }, pending.take()?))
            }
            Client::Write { .. } | Client::Read { .. } | Client::Transfer { .. } => None,
        }
    }

    /// Forgets clients that have left, and of whom nothing is in the log that would still have to be put into the store:
    /// those who wait to read. Returns their tokens.
    pub(crate) fn leave(&mut self) -> Vec<Token> {
        let left = self.waiting.extract_if(|_, client| match client {
            Client::Read { sender } => sender.is_closed(),
            Client::Write { decided: Decided::Joined(_) | Decided::Refused(_), sender } => sender.is_closed(),
            Client::Write { .. } | Client::Transfer { .. } => false,
        });
        left.map(|(token, _)| token).collect()
    }

    /// Answers a client. One that was answered before is no error.
    pub(crate) fn answer(&mut self, token: Token, reply: Reply) {
        if let Some(client) = self.waiting.remove(&token) {
            client.answer(reply);
        }
    }

    /// The leadership has ended, and the step that ended it has answered whom it could. Whoever waits for a write or
    /// a read of it still would wait forever. Transfers go on: their end may just be coming.
    pub(crate) fn leadership_lost(&mut self) {
        let lost = self.waiting.extract_if(|_, client| !matches!(client, Client::Transfer { .. }));
        lost.for_each(|(_, client)| client.lose());
    }

    /// The replica has ended. A write that is under way may or may not commit; nothing else was done.
    pub(crate) fn end(&mut self) {
        self.waiting.drain().for_each(|(_, client)| client.lose());
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
        type Pending = u8;
        type Refusal = u8;

        fn decide(&self, pending: u8) -> Decision<u8, u8> {
            Decision::Propose { payload: Bytes::new(), pending, refused: false }
        }
        fn pending(&self, _: LoggedWrite, _: u8) {}
        fn apply(&self, _: &[Entry]) {}
        fn applied(&self) -> Lsn {
            Lsn::ZERO
        }

        fn read_snapshot(&self, _: NodeId, _: u64, _: u64, _: Lsn) -> Result<SnapshotPart, String> {
            Err("nothing to read".to_owned())
        }
        fn receive_snapshot(&self, _: SnapshotPart) -> Received {
            Received::Failed("nowhere to keep it".to_owned())
        }
        fn damaged(&self) -> bool {
            false
        }

        fn request_flush(&self) {}

        fn wipe(&self) -> Result<(), String> {
            Ok(())
        }

        fn closed(&self) {}
    }

    const LSN: Lsn = Lsn::new(2, 22);

    /// What a client gets whose write was decided so, when `end` happens.
    fn answer_of(
        decided: Decided<Nothing>,
        end: impl FnOnce(&mut Clients<Nothing>, Token),
    ) -> WriteResult<u8> {
        let (sender, mut receiver) = oneshot::channel();
        let mut clients = Clients::new();
        let token = clients.wait(Client::Write { decided, sender });
        end(&mut clients, token);
        receiver.try_recv().expect("an answer")
    }

    /// Not in the log yet.
    fn proposed() -> Decided<Nothing> {
        Decided::Proposed { pending: Some(7), refused: false }
    }

    fn pending() -> Decided<Nothing> {
        Decided::Proposed { pending: None, refused: false }
    }

    fn joined() -> Decided<Nothing> {
        Decided::Joined(LoggedWrite { lsn: LSN, refused: false })
    }

    #[test]
    fn each_gets_the_answer_that_it_waits_for() {
        let logged = |refused| Ok(Ok(LoggedWrite { lsn: LSN, refused }));
        let written = |all: &mut Clients<Nothing>, token| all.answer(token, Reply::Written(LSN));
        let ready = |all: &mut Clients<Nothing>, token| all.answer(token, Reply::ReadReady);
        assert_eq!(answer_of(pending(), written), logged(false));
        assert_eq!(answer_of(joined(), ready), logged(false));
        assert_eq!(answer_of(Decided::Refused(9), ready), Ok(Err(9)));
        assert_eq!(answer_of(Decided::Joined(LoggedWrite { lsn: LSN, refused: true }), ready), logged(true));
        assert_eq!(answer_of(Decided::Proposed { pending: None, refused: true }, written), logged(true));
        let full = Reply::Unavailable(Unavailable::DiskFull);
        let error = Err(ReplicaError::Unavailable(Unavailable::DiskFull));
        assert_eq!(answer_of(proposed(), |all, token| all.answer(token, full)), error);
    }

    #[test]
    fn what_is_in_the_log_is_never_said_to_be_undone() {
        let refused = |all: &mut Clients<Nothing>, token| all.answer(token, Reply::NotLeader { hint: None });
        assert_eq!(answer_of(joined(), refused), Err(ReplicaError::Unknown));
        assert_eq!(answer_of(joined(), |all, _| all.leadership_lost()), Err(ReplicaError::Unknown));
        assert_eq!(answer_of(pending(), |all, _| all.leadership_lost()), Err(ReplicaError::Unknown));
        assert_eq!(answer_of(pending(), |all, _| all.end()), Err(ReplicaError::Unknown));
        let nothing_done = Err(ReplicaError::NotLeader { hint: None });
        assert_eq!(answer_of(proposed(), |all, _| all.leadership_lost()), nothing_done);
        assert_eq!(answer_of(Decided::Refused(9), |all, _| all.leadership_lost()), nothing_done);
        let now_in_log = |all: &mut Clients<Nothing>, token| {
            assert_eq!(all.proposed(token, LSN), Some((LoggedWrite { lsn: LSN, refused: false }, 7)));
            assert_eq!(all.proposed(token, LSN), None);
            all.leadership_lost();
        };
        assert_eq!(answer_of(proposed(), now_in_log), Err(ReplicaError::Unknown));
    }

    #[test]
    fn a_transfer_outlives_the_leadership() {
        let (sender, mut receiver) = oneshot::channel();
        let mut clients = Clients::<Nothing>::new();
        let token = clients.wait(Client::Transfer { sender });
        clients.leadership_lost();
        clients.answer(token, Reply::Transferred);
        assert_eq!(receiver.try_recv().expect("an answer"), Ok(()));
    }

    #[test]
    fn whoever_waits_to_read_and_leaves_is_forgotten() {
        let mut clients = Clients::<Nothing>::new();
        let (sender, stays) = oneshot::channel();
        clients.wait(Client::Read { sender });
        let (sender, leaves) = oneshot::channel();
        let reads = clients.wait(Client::Read { sender });
        let write = |decided, clients: &mut Clients<Nothing>| {
            let (sender, leaves) = oneshot::channel();
            drop(leaves);
            clients.wait(Client::Write { decided, sender })
        };
        let joined = write(joined(), &mut clients);
        let refused = write(Decided::Refused(9), &mut clients);
        let logged = write(pending(), &mut clients);
        let proposed = write(proposed(), &mut clients);
        assert_eq!(clients.leave().len(), 2);
        drop(leaves);
        assert_eq!(clients.leave(), [reads]);
        assert!(!clients.waiting.contains_key(&joined) && !clients.waiting.contains_key(&refused));
        assert!(clients.waiting.contains_key(&logged) && clients.waiting.contains_key(&proposed));
        assert_eq!(clients.waiting.len(), 3);
        drop(stays);
    }

    #[test]
    fn a_client_that_left_is_no_error() {
        let (sender, receiver) = oneshot::channel();
        let mut clients = Clients::<Nothing>::new();
        let token = clients.wait(Client::Write { decided: pending(), sender });
        drop(receiver);
        clients.answer(token, Reply::Written(LSN));
        clients.answer(token, Reply::Written(LSN));
    }
}
