//! What a run is like: drawn from the seed before anything happens. Every run stresses something
//! else, since what happens often in one hardly happens in another.

use std::sync::Arc;
use std::time::Duration;

use fanwire_core::config::{ClientSettings, NodeInfo, Settings, TopicOptions};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// Bytes that core keeps free in an outbox beside the payload of a publication.
const OVERHEAD_BYTES: usize = fanwire_core::limits::PUBLICATION_OVERHEAD_BYTES;

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open,
    Command,
    /// Subscribe, unsubscribe and subscribe again, in one message.
    Flap,
    Uplink,
    Lane,
    Turn,
    Call,
    Writable,
    LaneFull,
    LaneReady,
    Time,
    Drop,
    Leave,
    Misbehave,
}

/// How likely each action is, at most.
const ACTIONS: [(Action, u32); 14] = [
    (Action::Open, 20),
    (Action::Command, 100),
    (Action::Flap, 20),
    (Action::Uplink, 120),
    (Action::Lane, 150),
    (Action::Turn, 100),
    (Action::Call, 50),
    (Action::Writable, 20),
    (Action::LaneFull, 10),
    (Action::LaneReady, 15),
    (Action::Time, 8),
    (Action::Drop, 4),
    (Action::Leave, 4),
    (Action::Misbehave, 1),
];

/// What the clients and the checks need to know of it.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) topics: usize,
    pub(crate) topics_max: usize,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) small_outbox: bool,
    /// Only subscribers may publish.
    pub(crate) subscribers_publish: bool,
    pub(crate) ping_interval_ms: u64,
    pub(crate) drain: Drain,
}

/// How far the node has gone down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// It serves.
    No,
    /// Some shards, or all, read no commands any more.
    Begun,
    /// Everybody was told to go, after what was in hand was done.
    Done,
    /// Everybody was told to go, whatever was in hand.
    CutShort,
}

impl Rules {
    /// The index of a topic; one that does not exist if the name is not one of these.
    pub(crate) fn topic(&self, name: &str) -> usize {
        name.strip_prefix('t').and_then(|index| index.parse().ok()).unwrap_or(usize::MAX)
    }

    /// Whether a publication is larger than any outbox.
    pub(crate) fn too_big(&self, data: &str) -> bool {
        data.len() + OVERHEAD_BYTES > self.outbox_bytes_max
    }
}

/// A run before it begins.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) steps: usize,
    pub(crate) rules: Rules,
    pub(crate) settings: Arc<Settings>,
    pub(crate) node: Arc<NodeInfo>,
    /// Percent of the writes that the socket takes whole.
    pub(crate) whole_writes: u32,
    /// Percent of the pings that are answered at once.
    pub(crate) pongs: u32,
    weights: Vec<(Action, u32)>,
}

impl Plan {
    pub(crate) fn new(random: &mut StdRng) -> Self {
        let topics = random.random_range(1..=4);
        let small_outbox = random.random_ratio(1, 4);
        let rules = Rules {
            topics,
            topics_max: if random.random_ratio(1, 4) { random.random_range(1..=topics) } else { 9 },
            outbox_bytes_max: if small_outbox {
                OVERHEAD_BYTES + random.random_range(100..3000)
            } else {
                1 << 20
            },
            small_outbox,
            subscribers_publish: random.random_ratio(1, 6),
            ping_interval_ms: random.random_range(10_000..=70_000),
            drain: Drain::No,
        };
        Self::by(rules, random)
    }

    /// Outboxes that hold everything.
    pub(crate) fn roomy(random: &mut StdRng) -> Self {
        let rules = Rules {
            topics: 1,
            topics_max: 1,
            outbox_bytes_max: 1 << 30,
            small_outbox: false,
            subscribers_publish: false,
            ping_interval_ms: 25_000,
            drain: Drain::No,
        };
        Self::by(rules, random)
    }

    fn by(rules: Rules, random: &mut StdRng) -> Self {
        let settings = Arc::new(settings(&rules));
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        let id = uuid::Builder::from_random_bytes(id).into_uuid();
        let node = NodeInfo { id, name: "node".to_owned(), version: "0".to_owned() };
        let weights = ACTIONS.map(|(action, most)| (action, random.random_range(0..=most)));
        Self {
            clients: random.random_range(1..=6),
            steps: random.random_range(100..=500),
            rules,
            settings,
            node: Arc::new(node),
            whole_writes: random.random_range(30..=100),
            pongs: random.random_range(80..=100),
            weights: weights.into(),
        }
    }

    /// What happens next.
    pub(crate) fn draw(&self, random: &mut StdRng) -> Action {
        let sum = self.weights.iter().map(|(_, weight)| weight).sum::<u32>().max(1);
        let mut left = random.random_range(0..sum);
        for (action, weight) in &self.weights {
            if left < *weight {
                return *action;
            }
            left -= weight;
        }
        Action::Turn
    }
}

fn settings(rules: &Rules) -> Settings {
    let topics = TopicOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: !rules.subscribers_publish,
        allow_publish_for_subscriber: true,
        allow_publish_for_anonymous: true,
        history_size: 10,
        history_ttl: Duration::from_secs(60),
        ..TopicOptions::default()
    };
    let client = ClientSettings {
        anonymous: true,
        outbox_bytes_max: rules.outbox_bytes_max,
        message_bytes_max: 1 << 20,
        topics_max: rules.topics_max,
        ping_interval: Duration::from_millis(rules.ping_interval_ms),
        ..ClientSettings::default()
    };
    Settings { client, topics, ..Settings::default() }
}
