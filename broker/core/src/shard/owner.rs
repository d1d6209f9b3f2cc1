//! The owner's side of a topic: who gets it, and in which order.

use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Shard;
use super::message::Message;
use crate::fault::Refusal;
use crate::ids::{RequestId, ShardIndex, TopicRef};
use crate::protocol::{Epoch, Position, Publication, Publish, Published};
use crate::session::policy;

impl Shard {
    /// A shard wants a topic. What is sequenced before this answer reaches it before, the rest
    /// after: one lane, first in, first out.
    pub(super) fn own_join(
        &mut self,
        from: ShardIndex,
        name: Arc<str>,
        topic: TopicRef,
        request: RequestId,
    ) {
        let random = &mut self.random;
        self.owned.join(name, from, topic, || epoch(random));
        self.lanes.send(from, Message::Joined { request });
    }

    /// Gives a publication its place and sends it to every shard with subscribers.
    pub(super) fn own_publish(&mut self, from: ShardIndex, publish: Publish, request: RequestId) {
        let outcome = self.sequence(publish);
        self.lanes.send(from, Message::Published { request, outcome });
    }

    fn sequence(&mut self, publish: Publish) -> Published {
        let Publish { topic: name, draft } = publish;
        let options = policy::options(&self.settings, &name)?;
        let visible = options.positions_visible() && !draft.skip_history;
        let Some(owned) = self.owned.find_mut(&name) else {
            // Nobody hears it and nothing is kept: the first of an epoch that ends here.
            let position = Position { epoch: epoch(&mut self.random), offset: 1 };
            self.counters.publications += 1;
            return Ok(visible.then_some(position));
        };
        // Before the offset is given it may be refused; after it, it must arrive.
        if owned.interested().iter().any(|(shard, _)| self.lanes.overloaded(*shard)) {
            return Err(Refusal::Overloaded);
        }
        let position = if draft.skip_history { owned.position() } else { owned.advance() };
        let publication = Arc::new(Publication { draft, position, position_visible: visible });
        for (shard, topic) in owned.interested() {
            let publication = Arc::clone(&publication);
            self.lanes.send(*shard, Message::Deliver { topic: *topic, publication });
        }
        self.counters.publications += 1;
        Ok(publication.visible_position())
    }
}

/// Eight random letters (specification, section 11).
fn epoch(random: &mut StdRng) -> Epoch {
    const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    Epoch(std::array::from_fn(|_| {
        LETTERS.get(random.random_range(0..LETTERS.len())).copied().unwrap_or(b'A')
    }))
}
