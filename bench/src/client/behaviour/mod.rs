//! What the clients of a generator process do once they are connected.
//!
//! A scenario whose clients do more than listen adds one file here with its [`Behaviour`], and one
//! variant with its parameters to [`Role`]. A behaviour acts through [`Fleet`] only; the worker
//! (`client`) calls its hooks, sends what they said, and rings at the moment they ask for.

pub(crate) mod chat;
pub(crate) mod churn;
pub(crate) mod publish;
pub(crate) mod slow;
pub(crate) mod storm;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::client::control::{Assignment, Times};
use crate::client::fleet::Fleet;
use crate::client::tally::Tally;
use crate::error::BenchError;
use crate::payload::Stamp;

/// Counted when something was due that the generator did not come to before the end.
pub(crate) const LATE: &str = "due, but not begun before the end";

/// What the clients of an assignment do; crosses the pipe.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Role {
    /// They listen.
    Listen,
    /// They publish on a schedule.
    Publish(publish::Parameters),
    /// They subscribe and unsubscribe.
    Churn(churn::Parameters),
    /// They chat.
    Chat(chat::Parameters),
    /// Some stop reading.
    Slow(slow::Parameters),
    /// They all leave and come back.
    Storm(storm::Parameters),
}

/// What is special about one client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Size of its socket's receive buffer, in bytes; `None` = whatever the kernel thinks best.
    pub(crate) receive_buffer_bytes: Option<u32>,
    /// If nothing is to be expected of it: its deliveries are not counted, and the loss of its
    /// connection is no fault, but counted under this name with the reason.
    pub(crate) excuse: Option<&'static str>,
}

/// What a behaviour hears of. `slot` is a connection's index within the process.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// The way to the server is open: the upgrade is answered, the client speaks.
    Opened {
        /// Which client.
        slot: u32,
    },
    /// A client has joined and all its subscriptions stand: at first, and each time it has become
    /// complete again.
    Live {
        /// Which client.
        slot: u32,
    },
    /// A subscription stands.
    Subscribed {
        /// Which client.
        slot: u32,
        /// Index of the topic.
        topic: u32,
        /// Whether all that was missed came; `None` when nothing was to be recovered.
        is_recovered: Option<bool>,
    },
    /// A subscription has ended as asked.
    Unsubscribed {
        /// Which client.
        slot: u32,
        /// Index of the topic.
        topic: u32,
    },
    /// A connection was lost (not dropped by the behaviour); it has been counted. The client comes
    /// back when the behaviour connects it.
    Lost {
        /// Which client.
        slot: u32,
    },
    /// A publication of this run has come. Only told to who [`Behaviour::wants_deliveries`].
    Delivered {
        /// Which client.
        slot: u32,
        /// What it says about itself.
        stamp: Stamp,
    },
}

/// What clients do. Every hook has a default that does nothing.
pub(crate) trait Behaviour: Debug {
    /// Appends the topics that client `client` (over all processes) subscribes to when it is
    /// opened. By default topic `client` mod `topics`, or none when there are no topics.
    fn topics(&self, client: u32, assignment: &Assignment, into: &mut Vec<u32>) {
        if let Some(topic) = client.checked_rem(assignment.topics) {
            into.push(topic);
        }
    }

    /// What is special about client `client` (over all processes).
    fn manners(&self, _client: u32) -> Manners {
        Manners::default()
    }

    /// Whether it wants to hear of every delivery. They are counted anyway; hearing of them costs
    /// some 20 ns each.
    fn wants_deliveries(&self) -> bool {
        false
    }

    /// The run is about to begin; all clients are live.
    fn start(&mut self, _times: Times, _fleet: &mut Fleet) {}

    /// Something has happened, in the run or before it.
    fn on_happening(&mut self, _what: Happening, _fleet: &mut Fleet) {}

    /// The next moment at which [`Behaviour::on_timer`] shall be called, CLOCK_MONOTONIC in
    /// nanoseconds; one that has passed means at once.
    fn due_ns(&self) -> Option<u64> {
        None
    }

    /// Does what is due at `now_ns`.
    ///
    /// # Errors
    /// What makes the whole run impossible.
    fn on_timer(&mut self, _now_ns: u64, _fleet: &mut Fleet) -> Result<(), BenchError> {
        Ok(())
    }

    /// Nothing new shall happen from here on.
    ///
    /// # Errors
    /// What makes the whole run impossible.
    fn stop(&mut self, _fleet: &mut Fleet) -> Result<(), BenchError> {
        Ok(())
    }

    /// Adds what only it knows to what is about to be told. That happens more than once: it sets
    /// counts rather than adding to them.
    fn count(&self, _tally: &mut Tally) {}

    /// Whether what it has begun is done (its clients are back, say). Unanswered publications
    /// need no mention: they are waited for anyway.
    fn is_over(&self, _fleet: &Fleet) -> bool {
        true
    }
}

/// Clients that listen.
#[derive(Debug)]
struct Listen;

impl Behaviour for Listen {}

impl Role {
    /// The behaviour of the clients of `assignment`.
    ///
    /// # Errors
    /// When its parameters are impossible.
    pub(crate) fn behaviour(
        &self,
        assignment: &Assignment,
    ) -> Result<Box<dyn Behaviour>, BenchError> {
        Ok(match self {
            Self::Listen => Box::new(Listen),
            Self::Churn(parameters) => Box::new(churn::Churn::new(parameters, assignment)),
            Self::Chat(parameters) => Box::new(chat::Chat::new(parameters, assignment)?),
            Self::Publish(parameters) => Box::new(publish::Publish::new(parameters, assignment)?),
            Self::Slow(parameters) => Box::new(slow::Slow::new(parameters)),
            Self::Storm(parameters) => Box::new(storm::Storm::new(parameters, assignment)),
        })
    }
}
