//! Publishing, at the publisher's shard: what is checked before a publication crosses to its owner,
//! and what its answer is for.

use std::sync::Arc;

use super::message::Message;
use super::{Pending, Shard};
use crate::fault::Refusal;
use crate::ids::{ConnectionId, RequestId};
use crate::limits::PUBLICATION_OVERHEAD_BYTES;
use crate::protocol::{Draft, Publish, Published, Reply, payload};
use crate::session::policy;

impl Shard {
    /// A client's publish: checked here, then sent to the owner.
    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        command: u32,
        topic: &str,
        data: Option<&[u8]>,
        stream: bool,
    ) -> Result<(), Refusal> {
        policy::check_name(topic)?;
        let Some(session) = self.connections.get(id).and_then(|found| found.session()) else {
            return Ok(());
        };
        let subscribed = self.subscription(id, topic).is_some();
        let options = policy::may_publish(&self.settings, &session.user, topic, subscribed)?;
        policy::check_data(options, data)?;
        if !stream {
            return Err(Refusal::PermissionDenied);
        }
        let draft = Draft {
            data: payload(data.unwrap_or_default()),
            info: Some(session.info()),
            tags: Arc::clone(&self.no_tags),
            skip_history: false,
        };
        let publish = Publish { topic: self.local.name(topic), draft };
        self.check_publish(&publish)?;
        let Some(ticket) = self.connections.get_mut(id).and_then(|found| found.reserve()) else {
            return Err(Refusal::Overloaded);
        };
        let owner = self.owner(topic);
        let request = self.ask(Pending::Publish { connection: id, ticket, id: command })?;
        self.lanes.send(owner, Message::Publish { publish, request });
        Ok(())
    }

    /// What can be said of a publication before it crosses to its owner.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadRequest`] if it is so large that no connection could ever be sent it,
    /// [`Refusal::Overloaded`] if the way to the owner is full.
    pub(super) fn check_publish(&self, publish: &Publish) -> Result<(), Refusal> {
        let bytes = publish.draft.encoded_bytes_max() + PUBLICATION_OVERHEAD_BYTES;
        if bytes > self.settings.client.outbox_bytes_max {
            return Err(Refusal::BadRequest);
        }
        if self.lanes.overloaded(self.owner(&publish.topic)) || self.requests_full() {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// The owner's answer to a publish.
    pub(super) fn published(&mut self, request: RequestId, outcome: Published) {
        match self.requests.remove(request) {
            Some(Pending::Publish { connection, ticket, id }) => {
                let reply = match outcome {
                    Ok(_) => Reply::Published,
                    Err(refusal) => Reply::Refused(refusal),
                };
                self.fill(connection, ticket, id, &reply);
            }
            Some(Pending::CallPublish { call, operation, item }) => {
                self.call_published(call, operation, item, outcome);
            }
            _ => debug_assert!(false, "an answer to a publish that nobody awaits"),
        }
    }
}
