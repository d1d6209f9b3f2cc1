//! Questions of clients about a topic: its presence and history, which its owner answers.

use std::rc::Rc;

use super::message::{Asker, Message, Told};
use super::{Pending, Shard};
use crate::api::TopicQuery;
use crate::fault::Refusal;
use crate::ids::{ConnectionId, RequestId};
use crate::protocol::Reply;
use crate::session::policy;
use crate::topic::cost;

impl Shard {
    /// A client's question: checked here, then sent to the owner.
    pub(super) fn query(
        &mut self,
        id: ConnectionId,
        command: u32,
        name: &str,
        query: TopicQuery,
    ) -> Result<(), Refusal> {
        let settings = Rc::clone(&self.settings);
        let options = policy::named(&settings, name)?;
        let Some(session) = self.connections.session(id) else {
            return Ok(());
        };
        let topic = self.local.find(name);
        let subscribed = topic.is_some_and(|topic| session.subscription(topic).is_some());
        match query {
            TopicQuery::History(_) => {
                policy::check_history(&settings, options, session.user(), subscribed)?;
            }
            _ => policy::check_presence(&settings, options, session.user(), subscribed)?,
        }
        let ticket = self.reserve(id)?;
        let request = self.ask(Pending::Query { connection: id, ticket, id: command })?;
        let (owner, asker) = (self.owner(name), Asker::Client);
        let name = self.local.name(topic, name);
        self.lanes.send(owner, Message::AskOwner { name, query, asker, request });
        Ok(())
    }

    /// The owner's answer to a question.
    pub(super) fn told(&mut self, request: RequestId, told: Result<Told, Refusal>) {
        match self.requests.remove(request) {
            Some(Pending::Query { connection, ticket, id }) => {
                let reply = match &told {
                    // As for a subscribe: it may ask again when it has read what waits.
                    Ok(Told::History { publications, .. })
                        if publications.len() > 1
                            && !self.fits(
                                connection,
                                publications.iter().map(|one| cost(one)).sum(),
                            ) =>
                    {
                        Reply::Refused(Refusal::Overloaded)
                    }
                    Err(refusal) => Reply::Refused(*refusal),
                    Ok(Told::Presence(members)) => Reply::Presence(members),
                    Ok(Told::PresenceStats { clients, users }) => {
                        Reply::PresenceStats { clients: *clients, users: *users }
                    }
                    Ok(Told::History { publications, position }) => {
                        Reply::History { publications, position: *position }
                    }
                    // Backends alone ask for that.
                    Ok(Told::HistoryRemoved) => Reply::Called,
                };
                self.fill(connection, ticket, id, &reply);
            }
            Some(Pending::CallTold { call, operation }) => self.call_told(call, operation, told),
            _ => debug_assert!(false, "an answer to a question that nobody asked"),
        }
    }
}
