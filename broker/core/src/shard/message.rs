//! All that crosses from one shard to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{NodeCounts, Query, TopicQuery};
use crate::fault::Refusal;
use crate::ids::{ConnectionId, RequestId, TopicRef};
use crate::protocol::{ClientInfo, Position, Publication, Publish, Published, Recovery, Since};
use crate::topic::Flow;

/// What one shard has for another at the end of a turn, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) messages: Vec<Message>,
    /// Bytes of payload in it.
    pub(super) bytes: usize,
}

/// One message of a lane. Requests carry the number by which the asker finds what it is for.
#[derive(Debug)]
pub(crate) enum Message {
    /// To the owner: send me this topic's publications under this name, from your answer on.
    Join { name: Arc<str>, topic: TopicRef, request: RequestId, wants: Option<Box<Wants>> },
    /// To the owner: send them no more.
    Part { name: Arc<str>, topic: TopicRef },
    /// To the owner: a subscriber of whom you know is gone.
    Leave { name: Arc<str>, flow: Flow, info: Arc<ClientInfo> },
    /// To the owner: a subscriber that is present says something else of itself.
    Renew { name: Arc<str>, info: Arc<ClientInfo> },
    /// To the owner: sequence this.
    Publish { publish: Publish, request: RequestId },
    /// To the owner: tell me this of the topic.
    AskOwner { name: Arc<str>, query: TopicQuery, asker: Asker, request: RequestId },
    /// To the owner: is this where the topic stands?
    Check { name: Arc<str>, topic: TopicRef },
    /// To every shard.
    Ask { query: Arc<Query>, request: RequestId },
    /// To the shard that counts a user's connections: here is one more.
    Attend { user: Arc<str>, connection: ConnectionId, request: RequestId },
    /// To the same: it is gone.
    Absent { user: Arc<str>, connection: ConnectionId },
    /// The owner's answer to a join. A subscription begins where this stands in the lane.
    Joined { request: RequestId, outcome: Result<Welcome, Refusal> },
    /// The owner's answer to a publish.
    Published { request: RequestId, outcome: Published },
    /// The owner's answer to a question.
    Told { request: RequestId, told: Box<Result<Told, Refusal>> },
    /// The owner's answer to a check; `None` = it does not know the topic.
    Checked { topic: TopicRef, position: Option<Position> },
    /// To an interested shard.
    Deliver { topic: TopicRef, publication: Arc<Publication> },
    /// To an interested shard: somebody came or went.
    Announce { topic: TopicRef, news: News, info: Arc<ClientInfo> },
    /// A shard's answer to a question.
    Found { request: RequestId, found: Box<Found> },
    /// The answer to [`Message::Attend`]: whether the user may have one more connection.
    Attended { request: RequestId, admitted: bool },
    /// A newer connection of its user takes this one's place.
    Supersede { connection: ConnectionId },
}

/// What a join wants beside the publications.
#[derive(Debug)]
pub(crate) struct Wants {
    pub(crate) flow: Flow,
    /// The subscriber, if the owner shall know it.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// What was published since then.
    pub(crate) recover: Option<Since>,
    /// Refuse if that cannot be.
    pub(crate) must_recover: bool,
}

/// What the owner says of a topic to one who joins.
#[derive(Debug)]
pub(crate) struct Welcome {
    /// Where the topic stands.
    pub(crate) position: Position,
    pub(crate) recovered: Option<Box<Recovered>>,
}

/// What a subscriber missed.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) publications: Vec<Arc<Publication>>,
    /// The last publication of the topic, if it is kept.
    pub(crate) newest: Option<Arc<Publication>>,
}

/// Who asks a question about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The bounds of clients count.
    Client,
    /// They do not.
    Backend,
}

/// The answer to it.
#[derive(Debug)]
pub(crate) enum Told {
    Presence(Vec<Arc<ClientInfo>>),
    PresenceStats { clients: u32, users: u32 },
    History { publications: Vec<Arc<Publication>>, position: Position },
    HistoryRemoved,
}

/// What became of somebody else's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Join,
    Leave,
}

impl Message {
    /// Roughly what it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        let payload = match self {
            Self::Publish { publish, .. } => publish.draft.bytes(),
            Self::Deliver { publication, .. } => publication.draft.bytes(),
            Self::Joined { outcome: Ok(Welcome { recovered: Some(recovered), .. }), .. } => {
                // They are shared with the history.
                recovered.publications.len() * size_of::<Arc<Publication>>()
            }
            _ => 0,
        };
        size_of::<Self>() + payload
    }
}

/// One shard's part of the answer to a [`Query`], and the sum of such parts.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) counts: NodeCounts,
    /// Sorted, each once.
    pub(crate) users: Vec<Arc<str>>,
    pub(crate) topics: BTreeMap<Arc<str>, usize>,
}

impl Found {
    /// Adds the part of another shard.
    pub(crate) fn add(&mut self, other: Self) {
        self.counts.clients += other.counts.clients;
        self.counts.subscriptions += other.counts.subscriptions;
        self.counts.topics += other.counts.topics;
        self.users.extend(other.users);
        self.users.sort_unstable();
        self.users.dedup();
        for (name, clients) in other.topics {
            *self.topics.entry(name).or_default() += clients;
        }
    }
}
