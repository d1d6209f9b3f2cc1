//! Publishing, at the publisher's shard: what is checked before a publication crosses to its owner,
//! and what its answer is for.

use std::rc::Rc;
use std::sync::Arc;

use super::message::Message;
use super::{Pending, Shard};
use crate::config::TopicOptions;
use crate::fault::Refusal;
use crate::ids::{ConnectionId, RequestId, ShardIndex};
use crate::limits::PUBLICATION_OVERHEAD_BYTES;
use crate::protocol::{Draft, Publish, Published, Reply};
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
        let settings = Rc::clone(&self.settings);
        let options = policy::named(&settings, topic)?;
        let Some(connection) = self.connections.get(id) else {
            return Ok(());
        };
        let Some(session) = connection.session() else {
            return Ok(());
        };
        let local = self.local.find(topic);
        let subscribed = local.filter(|local| session.subscription(*local).is_some());
        let info = Arc::clone(session.info_in(subscribed));
        policy::may_publish(&settings, options, &info.user, subscribed.is_some())?;
        let data = connection.adapter.payload(data.unwrap_or_default());
        policy::check_data(options, &data)?;
        if !stream {
            return Err(Refusal::PermissionDenied);
        }
        let draft = Draft {
            data,
            info: Some(info),
            tags: Arc::clone(&self.no_tags),
            skip_history: false,
            delta: false,
        };
        let publish = Publish { topic: self.local.name(local, topic), draft, once: None };
        let owner = self.owner(topic);
        self.check_publish(&publish.draft, options, owner)?;
        let ticket = self.reserve(id)?;
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
    pub(super) fn check_publish(
        &self,
        draft: &Draft,
        options: &TopicOptions,
        owner: ShardIndex,
    ) -> Result<(), Refusal> {
        let bytes = if options.allow_delta {
            draft.encoded_bytes_max_any_form()
        } else {
            draft.encoded_bytes_max()
        };
        let bytes = bytes + PUBLICATION_OVERHEAD_BYTES;
        if bytes > self.settings.client.outbox_bytes_max {
            return Err(Refusal::BadRequest);
        }
        if self.lanes.overloaded(owner) || self.requests_full() {
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
