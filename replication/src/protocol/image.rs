//! Brings a follower level that the log no longer reaches: an image of the leader's tables, part by part (design 4.5).
//!
//! The follower pulls: the leader offers, the follower asks for part 0, 1, .. and says what its own tables hold; each part
//! is kept by its store before it asks for the next, so one part at a time is on its way and a lost one is asked for
//! again. With the last part the store puts the image in force by one manifest edit. From then on the follower's log
//! begins at the image's LSN, which is in the leader's log by construction: it is matched there, and catches up from the
//! log. Nothing is ever skipped on this path (rule 4): what the image replaces is void because the image has it.

use wal::planted::{Bug, planted};
use wal::{Lsn, Member as Peer, NodeId};

use super::effect::Effect;
use super::event::Received;
use super::follower::Follower;
use super::leader::Leader;
use super::member::Member;
use super::message::{ImagePart, Message};
use super::progress::{Imaging, Stage};

/// An image on its way here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiving {
    image: u64,
    /// The part that is asked for next.
    part: u64,
    /// The store is keeping a part.
    busy: bool,
}

impl Member<Leader> {
    /// Offers an image of the tables.
    pub(crate) fn offer_image(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let image = self.next_stamp().0;
        if let Some(progress) = self.role.progress.get_mut(&to) {
            progress.stage = Stage::Imaging(Imaging { image, sent: None, reading: false });
            // One image at a time: it repairs as well, and a part that is still being read is of no use any more.
            progress.repair = None;
        }
        self.common.send(to, Message::OfferImage { epoch: self.role.epoch, image }, out);
    }

    /// Says again what was said last, if it may be lost.
    pub(crate) fn repeat_image(&self, to: NodeId, imaging: &Imaging, out: &mut Vec<Effect>) {
        let (epoch, image) = (self.role.epoch, imaging.image);
        let message = match &imaging.sent {
            None => Message::OfferImage { epoch, image },
            Some(part) => Message::Image { epoch, image, part: part.clone() },
        };
        self.common.send(to, message, out);
    }

    /// The follower asks for a part.
    pub(crate) fn take_image(
        &mut self,
        from: Peer,
        image: u64,
        part: u64,
        tables: Lsn,
        out: &mut Vec<Effect>,
    ) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.heard = Some(now);
        let Some(imaging) = progress.imaging() else { return };
        if imaging.image != image || imaging.reading {
            return;
        }
        let next = imaging.sent.as_ref().map_or(0, |sent| sent.number + 1);
        if part == next {
            imaging.reading = true;
            out.push(Effect::ReadImage { to: from.node, image, part, tables });
        } else if part + 1 == next {
            let imaging = imaging.clone();
            self.repeat_image(from.node, &imaging, out);
        } else {
            // It has lost what it had: from the start.
            self.offer_again(from.node, out);
        }
    }

    /// The store has read a part.
    pub(crate) fn image_read(
        &mut self,
        to: NodeId,
        image: u64,
        part: Option<ImagePart>,
        out: &mut Vec<Effect>,
    ) {
        let Some(progress) = self.role.progress.get_mut(&to) else { return };
        let Some(imaging) = progress.imaging() else { return };
        if imaging.image != image {
            return;
        }
        imaging.reading = false;
        match part {
            Some(part) => {
                imaging.sent = Some(part);
                let imaging = imaging.clone();
                self.repeat_image(to, &imaging, out);
            }
            None => {
                let text = format!("an image for {to} could not be read");
                self.common.alarm(text, out);
                self.offer_again(to, out);
            }
        }
    }

    fn offer_again(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        match self.role.progress.get_mut(&to) {
            Some(progress) if !matches!(progress.stage, Stage::Imaging(_)) => progress.repair = None,
            _ => self.offer_image(to, out),
        }
    }

    /// The follower's tables are damaged, and it asks until they are not. Ours must reach as far as they did: what it has
    /// applied since is in its memory.
    pub(crate) fn need_image(&mut self, from: Peer, tables: Lsn, out: &mut Vec<Effect>) {
        let (now, ours) = (self.common.now, self.common.tables());
        if !self.role.is_open() || self.common.damaged {
            return;
        }
        let image = self.next_stamp().0;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.heard = Some(now);
        if matches!(progress.stage, Stage::Imaging(_)) {
            return;
        }
        if ours.seq < tables.seq {
            return out.push(Effect::WantFlush);
        }
        let imaging = progress.repair.get_or_insert(Imaging { image, sent: None, reading: false });
        let message = Message::OfferImage { epoch: self.role.epoch, image: imaging.image };
        if !imaging.reading {
            self.common.send(from.node, message, out);
        }
    }
}

impl Member<Follower> {
    /// The leader's log does not reach back to ours.
    pub(crate) fn image_offered(&mut self, from: Peer, image: u64, out: &mut Vec<Effect>) {
        if self.bound() != Some(from) {
            return;
        }
        if self.role.receiving.is_none_or(|receiving| receiving.image < image) {
            self.role.receiving = Some(Receiving { image, part: 0, busy: false });
        }
        self.ask_for_image(from, out);
    }

    /// Asks for whole tables, if those here are damaged.
    pub(crate) fn ask_for_repair(&self, to: Peer, out: &mut Vec<Effect>) {
        let busy = self.common.installing || self.role.receiving.is_some_and(|receiving| receiving.busy);
        if self.common.damaged && !busy {
            let (epoch, tables) = (self.common.promise.epoch, self.common.tables());
            self.common.send(to.node, Message::NeedImage { epoch, tables }, out);
        }
    }

    fn ask_for_image(&self, to: Peer, out: &mut Vec<Effect>) {
        let Some(Receiving { image, part, busy: false }) = self.role.receiving else { return };
        let tables = match planted(Bug::ImageAboveApplied) {
            true => self.common.log.last(),
            // What is in damaged tables does not count.
            false if self.common.damaged => Lsn::ZERO,
            false => self.common.tables(),
        };
        let epoch = self.common.promise.epoch;
        self.common.send(to.node, Message::TakeImage { epoch, image, part, tables }, out);
    }

    /// A part arrives.
    pub(crate) fn image_part(&mut self, from: Peer, image: u64, part: ImagePart, out: &mut Vec<Effect>) {
        if self.bound() != Some(from) {
            return;
        }
        let Some(receiving) = self.role.receiving.as_mut().filter(|receiving| receiving.image >= image)
        else {
            // We have restarted since, or missed the offer: from the start.
            return self.image_offered(from, image, out);
        };
        if receiving.image != image || receiving.busy || self.common.installing {
            return;
        }
        if receiving.part == part.number {
            receiving.busy = true;
            self.common.installing = part.last;
            out.push(Effect::ReceiveImage { image, part });
        } else {
            self.ask_for_image(from, out);
        }
    }

    /// The store has kept a part, or the whole image is in force.
    pub(crate) fn image_received(&mut self, image: u64, part: u64, outcome: Received, out: &mut Vec<Effect>) {
        self.common.installing = false;
        let leader = self.bound();
        let current = self.role.receiving.as_mut().filter(|one| one.image == image && one.part == part);
        match outcome {
            Received::More => {
                if let Some(receiving) = current {
                    (receiving.part, receiving.busy) = (part + 1, false);
                    if let Some(leader) = leader {
                        self.ask_for_image(leader, out);
                    }
                }
            }
            Received::Failed(text) => {
                if current.is_some() {
                    self.role.receiving = None;
                }
                self.common.alarm(format!("an image could not be taken: {text}"), out);
            }
            Received::Installed { base, base_chain } => {
                // Whoever leads now: the store has it.
                let same_leader = current.is_some();
                self.role.receiving = None;
                if base.seq < self.common.log.applied().seq {
                    // Damaged tables were repaired under what is applied: the log goes on as it was.
                    return self.common.checkpointed(base, base_chain, out);
                }
                out.push(Effect::Imaged { base, base_chain });
                self.common.imaged(base, base_chain, out);
                if self.role.matched.is_some_and(|matched| matched.seq < base.seq) {
                    self.role.matched = None;
                }
                // What the leader of this epoch has sent is of its log.
                if let Some(leader) = leader
                    && same_leader
                {
                    self.role.matched = Some(self.common.log.last());
                    self.ack(leader, out);
                }
            }
        }
    }
}
