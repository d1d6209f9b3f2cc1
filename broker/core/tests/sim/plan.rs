//! What a run is like: drawn from the seed before anything happens. Every run stresses something
//! else, since what happens often in one hardly happens in another.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fanwire_core::config::{
    ClientSettings, HistorySettings, NodeInfo, Settings, TokenSettings, TopicOptions,
};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use crate::topics::Topic;
use crate::users::USERS;

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
    (Action::Time, 12),
    (Action::Drop, 12),
    (Action::Leave, 4),
    (Action::Misbehave, 1),
];

/// What the clients and the checks need to know of it.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) topics: Vec<Topic>,
    pub(crate) topics_max: usize,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) small_outbox: bool,
    /// Bytes that the histories of one shard may hold.
    pub(crate) history_bytes_max: usize,
    /// Publications that one subscribe may recover.
    pub(crate) recovery_max: u64,
    /// Publications that a client may be told at a time.
    pub(crate) history_max: u64,
    /// Only subscribers may publish.
    pub(crate) subscribers_publish: bool,
    /// Users that clients may be; the first one is nobody.
    pub(crate) users: usize,
    pub(crate) ping_interval_ms: u64,
    /// Subscribers that a publication reaches at a time.
    pub(crate) fanout_slice: usize,
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
        self.topics.iter().position(|topic| topic.name == name).unwrap_or(usize::MAX)
    }

    /// The name of a topic.
    pub(crate) fn name(&self, topic: usize) -> &str {
        &self.topics[topic].name
    }

    /// Whether a publication of somebody is larger than any outbox. His name may be spelled long.
    pub(crate) fn too_big(&self, data: &str, user: &str) -> bool {
        data.len() + 6 * user.len() + OVERHEAD_BYTES > self.outbox_bytes_max
    }

    /// Whether publications take offsets that clients see.
    pub(crate) fn keeps(&self, topic: usize) -> bool {
        self.topics[topic].keeps()
    }

    /// Longest time for which anything of a topic may be kept after its last use.
    pub(crate) fn meta_ms_max(&self) -> u64 {
        self.topics.iter().map(Topic::meta_ms).max().unwrap_or(0)
    }
}

/// A run before it begins.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) steps: usize,
    pub(crate) rules: Rules,
    pub(crate) settings: Rc<Settings>,
    pub(crate) node: Arc<NodeInfo>,
    /// Percent of the writes that the socket takes whole.
    pub(crate) whole_writes: u32,
    /// Percent of the pings that are answered at once.
    pub(crate) pongs: u32,
    /// Percent of the connects that may name topics.
    pub(crate) connect_wishes: u32,
    weights: Vec<(Action, u32)>,
}

impl Plan {
    pub(crate) fn new(random: &mut StdRng) -> Self {
        let topics = random.random_range(1..=4);
        let small_outbox = random.random_ratio(1, 4);
        let subscribers_publish = random.random_ratio(1, 6);
        // Nothing goes but by the size of a history, so that it is known what must be there.
        let exact = random.random_ratio(1, 3);
        let small_histories = !exact && random.random_ratio(1, 4);
        let rules = Rules {
            topics: (0..topics)
                .map(|index| Topic::draw(index, subscribers_publish, exact, random))
                .collect(),
            topics_max: if random.random_ratio(1, 4) { random.random_range(1..=topics) } else { 9 },
            outbox_bytes_max: if small_outbox {
                OVERHEAD_BYTES + random.random_range(100..3000)
            } else {
                1 << 20
            },
            small_outbox,
            history_bytes_max: if small_histories {
                random.random_range(300..9_000)
            } else {
                1 << 28
            },
            recovery_max: if random.random_ratio(1, 5) { random.random_range(1..8) } else { 300 },
            history_max: if random.random_ratio(1, 5) { random.random_range(1..8) } else { 300 },
            subscribers_publish,
            users: if random.random() { 1 } else { USERS },
            ping_interval_ms: random.random_range(10_000..=70_000),
            fanout_slice: if random.random() { random.random_range(1..=3) } else { 4096 },
            drain: Drain::No,
        };
        Self::by(rules, random)
    }

    /// Outboxes that hold everything.
    pub(crate) fn roomy(random: &mut StdRng) -> Self {
        Self::uniform(1, 1 << 30, random)
    }

    /// So many topics that what one client missed of them does not fit into its outbox.
    pub(crate) fn broad(random: &mut StdRng) -> Self {
        Self::uniform(20, 64 * 1024, random)
    }

    fn uniform(topics: usize, outbox_bytes_max: usize, random: &mut StdRng) -> Self {
        let options = TopicOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: true,
            allow_publish_for_anonymous: true,
            history_size: 10,
            history_ttl: Duration::from_secs(60),
            history_meta_ttl: Duration::from_secs(60),
            allow_recovery: true,
            ..TopicOptions::default()
        };
        let rules = Rules {
            topics: (0..topics).map(|index| Topic::new(index, options.clone())).collect(),
            topics_max: topics,
            outbox_bytes_max,
            small_outbox: outbox_bytes_max < 1 << 20,
            history_bytes_max: 1 << 28,
            recovery_max: 300,
            history_max: 300,
            subscribers_publish: false,
            users: 1,
            ping_interval_ms: 25_000,
            fanout_slice: 4096,
            drain: Drain::No,
        };
        Self { connect_wishes: 0, ..Self::by(rules, random) }
    }

    fn by(rules: Rules, random: &mut StdRng) -> Self {
        let settings = Rc::new(settings(&rules));
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
            connect_wishes: 25,
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
    let client = ClientSettings {
        anonymous: true,
        outbox_bytes_max: rules.outbox_bytes_max,
        message_bytes_max: 1 << 20,
        topics_max: rules.topics_max,
        recovery_publications_max: rules.recovery_max as usize,
        history_publications_max: rules.history_max as usize,
        position_check_interval: Duration::from_secs(5),
        ping_interval: Duration::from_millis(rules.ping_interval_ms),
        token: TokenSettings { allow_without_exp: true, ..TokenSettings::default() },
        ..ClientSettings::default()
    };
    let namespaces = rules.topics.iter().enumerate();
    Settings {
        client,
        namespaces: namespaces
            .map(|(index, topic)| (Topic::namespace(index), topic.options.clone()))
            .collect(),
        history: HistorySettings { shard_bytes_max: rules.history_bytes_max },
        ..Settings::default()
    }
}
