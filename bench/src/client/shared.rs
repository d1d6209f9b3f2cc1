//! What all connections of a generator process use together.

use std::collections::VecDeque;

use crate::client::behaviour::Happening;
use crate::client::control::{Assignment, FurtherTopics};
use crate::client::line::Wrapping;
use crate::client::tally::Tally;
use crate::client::target::Target;
use crate::client::tls::Tls;
use crate::client::upgrade::Upgrade;
use crate::dialect::{Capabilities, Dialect, Opening};
use crate::error::BenchError;
use crate::payload::StampReader;

/// The tools and the buffers.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is spoken.
    pub(crate) dialect: Box<dyn Dialect>,
    /// How a connection is opened in it.
    pub(crate) opening: Opening,
    /// What it can do.
    pub(crate) capabilities: Capabilities,
    /// How its messages are wrapped.
    pub(crate) wrapping: Wrapping,
    /// The WebSocket handshake.
    pub(crate) upgrade: Upgrade,
    /// What TLS needs; `None` = it is spoken to without.
    pub(crate) tls: Option<Tls>,
    /// Where the server is.
    pub(crate) target: Target,
    /// The one read buffer.
    pub(crate) scratch: Vec<u8>,
    /// The one buffer in which a message is made before it is wrapped.
    pub(crate) message: Vec<u8>,
    /// The one buffer in which a payload is made.
    pub(crate) payload: Vec<u8>,
    /// What is noted while bytes are being walked.
    pub(crate) senses: Senses,
}

/// What a connection notes while it walks the server's bytes.
#[derive(Debug)]
pub(crate) struct Senses {
    /// Finds the stamps.
    pub(crate) stamps: StampReader,
    /// What has been seen.
    pub(crate) tally: Tally,
    /// What the behaviour has yet to hear of, each with its moment (CLOCK_MONOTONIC in
    /// nanoseconds).
    pub(crate) happenings: VecDeque<(u64, Happening)>,
    /// Whether the behaviour wants to hear of deliveries.
    pub(crate) tells_deliveries: bool,
    /// Names of the topics: this, followed by their index.
    pub(crate) topic_prefix: String,
    /// Topics with other names.
    pub(crate) further_topics: Option<FurtherTopics>,
    /// Whether subscriptions keep track of their position.
    pub(crate) recovers: bool,
    /// The server's version, once a reply to connect has told it.
    pub(crate) server_version: String,
}

impl Shared {
    /// The tools for `assignment`.
    ///
    /// # Errors
    /// See [`Tally::new`] and [`Tls::new`].
    pub(crate) fn new(assignment: &Assignment, tells_deliveries: bool) -> Result<Self, BenchError> {
        let dialect = assignment.settings.dialect();
        let opening = dialect.opening();
        let target = assignment.target.clone();
        Ok(Self {
            opening,
            capabilities: dialect.capabilities(),
            wrapping: Wrapping::new(target.transport, dialect.as_ref()),
            upgrade: Upgrade::new(&target, opening.subprotocol),
            dialect,
            tls: Tls::new(&target)?,
            target,
            scratch: Vec::new(),
            message: Vec::new(),
            payload: Vec::new(),
            senses: Senses {
                stamps: StampReader::new(),
                tally: Tally::new(assignment.run)?,
                happenings: VecDeque::new(),
                tells_deliveries,
                topic_prefix: assignment.topic_prefix.clone(),
                further_topics: assignment.further_topics.clone(),
                recovers: assignment.recovers,
                server_version: String::new(),
            },
        })
    }
}

impl Senses {
    /// The name of topic `topic`.
    pub(crate) fn topic_name(&self, topic: u32) -> String {
        match &self.further_topics {
            Some(FurtherTopics { from, prefix }) if topic >= *from => {
                format!("{prefix}{}", topic - from)
            }
            _ => format!("{}{topic}", self.topic_prefix),
        }
    }

    /// The server has told its version, perhaps.
    pub(crate) fn learn_version(&mut self, version: Option<String>) {
        if let Some(version) = version.filter(|_| self.server_version.is_empty()) {
            self.server_version = version;
        }
    }

    /// The index of the topic with this name.
    pub(crate) fn topic_index(&self, name: &str) -> Option<u32> {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
        let further = self.further_topics.as_ref();
        let further = further.and_then(|topics| number(&topics.prefix)?.checked_add(topics.from));
        further.or_else(|| number(&self.topic_prefix))
    }
}
