//! Whether a topic was heard without a gap, and what follows if not (ADR 5). The lanes are without
//! loss, so a gap is a fault; those who rely on there being none are told.

use std::sync::Arc;

use super::Shard;
use super::message::Message;
use crate::fault::{Disconnect, Ended};
use crate::ids::TopicRef;
use crate::protocol::{Position, Publication};
use crate::topic::Flow;

impl Shard {
    /// Notes how far a topic was heard.
    pub(super) fn advance(&mut self, topic: TopicRef, publication: &Publication) {
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        let position = publication.position;
        let follows = local.heard.get().is_none_or(|heard| {
            heard.epoch == position.epoch && heard.offset + 1 == position.offset
        });
        local.heard = Some(position).into();
        if !follows {
            self.insufficient_state(topic, Some(position));
        }
    }

    /// The owner's answer to a check of the position.
    pub(super) fn checked(&mut self, topic: TopicRef, position: Option<Position>) {
        let heard = self.local.topic(topic).and_then(|local| local.heard.get());
        if heard.is_some() && heard != position {
            self.insufficient_state(topic, position);
        }
    }

    /// Compares the positions of watched topics with their owners'.
    pub(super) fn check_positions(&mut self) {
        let watched = self.local.iter().filter(|(_, local)| {
            local.special.as_ref().is_some_and(|special| special.positioned > 0)
        });
        let watched: Vec<_> =
            watched.map(|(topic, local)| (topic, Arc::clone(&local.name))).collect();
        for (topic, name) in watched {
            let owner = self.owner(&name);
            self.lanes.send(owner, Message::Check { name, topic });
        }
    }

    /// Something of a topic was missed: those who rely on its continuity must begin anew.
    fn insufficient_state(&mut self, topic: TopicRef, position: Option<Position>) {
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        tracing::warn!(topic = &*local.name, "a gap in a topic; its subscribers recover");
        local.heard = position.into();
        let watched: Vec<_> = local
            .subscribers
            .iter()
            .filter(|subscriber| subscriber.flow.contains(Flow::POSITIONED))
            .map(|subscriber| (subscriber.connection, subscriber.flow))
            .collect();
        for (id, flow) in watched {
            if flow.contains(Flow::SERVER_SIDE) {
                self.disconnect(id, &Disconnect::INSUFFICIENT_STATE, "a gap in a topic");
            } else {
                self.unsubscribe_unasked(id, topic, Ended::INSUFFICIENT_STATE);
            }
        }
    }
}
