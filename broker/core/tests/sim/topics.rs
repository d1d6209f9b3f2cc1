//! The topics of a run and their options: each has a namespace of its own, so that one run may have
//! topics with histories of several kinds beside some without.

use std::time::Duration;

use fanwire_core::config::{RecoveryMode, TopicOptions};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// One topic, as its namespace is configured.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) options: TopicOptions,
}

/// What a subscriber asks for beside the publications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) positioned: bool,
    pub(crate) recoverable: bool,
    pub(crate) join_leave: bool,
    pub(crate) recover: Option<Since>,
    /// A recovery that fails is to be refused (flag 2).
    pub(crate) must_recover: bool,
}

/// Where a client wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    /// It is where the client was, and until this time at least the topic was in use; `None` = it
    /// is made up.
    pub(crate) held_ms: Option<u64>,
}

/// What a subscription is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) positioned: bool,
    pub(crate) recoverable: bool,
    /// It is told what it missed, or that this cannot be.
    pub(crate) recovering: bool,
    pub(crate) hears_joins: bool,
}

impl Topic {
    /// The namespace's name; topics of one run differ in it.
    pub(crate) fn namespace(index: usize) -> String {
        format!("n{index}")
    }

    pub(crate) fn new(index: usize, options: TopicOptions) -> Self {
        Self { name: format!("{}:t{index}", Self::namespace(index)), options }
    }

    pub(crate) fn keeps(&self) -> bool {
        self.options.keeps_history()
    }

    pub(crate) fn is_cache(&self) -> bool {
        self.options.force_recovery_mode == RecoveryMode::Cache
    }

    /// How long its position outlives its last use, in milliseconds.
    pub(crate) fn meta_ms(&self) -> u64 {
        self.options.history_meta_ttl.max(self.options.history_ttl).as_millis() as u64
    }

    pub(crate) fn ttl_ms(&self) -> u64 {
        self.options.history_ttl.as_millis() as u64
    }

    /// What the wish must be granted, by the rules of the protocol (specification, sections 10, 11
    /// and 14).
    pub(crate) fn granted(&self, wish: &Wish) -> Granted {
        let options = &self.options;
        let reads_history = options.allow_history_for_client;
        let recoverable = self.keeps()
            && (options.force_recovery
                || wish.recoverable && (options.allow_recovery || reads_history));
        let positioned = recoverable
            || self.keeps()
                && (options.force_positioning
                    || wish.positioned && (options.allow_positioning || reads_history));
        let told = options.join_leave && options.allow_presence_for_client && wish.join_leave;
        let asks = wish.recover.is_some() || self.is_cache() && options.auto_cache_recover;
        Granted {
            positioned,
            recoverable,
            recovering: recoverable && asks,
            hears_joins: options.force_push_join_leave || told,
        }
    }

    /// Some options.
    pub(crate) fn draw(
        index: usize,
        subscribers_publish: bool,
        exact: bool,
        random: &mut StdRng,
    ) -> Self {
        let mut options = TopicOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: !subscribers_publish,
            allow_publish_for_subscriber: true,
            allow_publish_for_anonymous: true,
            allow_history_for_anonymous: true,
            allow_presence_for_anonymous: true,
            presence: random.random_ratio(2, 3),
            join_leave: random.random(),
            allow_presence_for_client: random.random_ratio(3, 4),
            ..TopicOptions::default()
        };
        options.force_push_join_leave = options.join_leave && random.random();
        if random.random_ratio(4, 5) {
            history(&mut options, exact, random);
        }
        Self::new(index, options)
    }
}

fn history(options: &mut TopicOptions, exact: bool, random: &mut StdRng) {
    options.history_size = match random.random_range(0..4) {
        0 => random.random_range(1..=3),
        1 | 2 => random.random_range(3..=12),
        _ => 100,
    };
    let seconds = |random: &mut StdRng, choice: [u64; 4]| {
        Duration::from_secs(choice[random.random_range(0..choice.len())])
    };
    (options.history_ttl, options.history_meta_ttl) = if exact {
        (Duration::from_secs(3600), Duration::from_secs(7200))
    } else {
        (seconds(random, [1, 3, 10, 60]), seconds(random, [1, 4, 15, 90]))
    };
    options.allow_history_for_client = random.random_ratio(3, 4);
    options.allow_positioning = random.random();
    options.force_positioning = random.random_ratio(1, 5);
    options.allow_recovery = random.random_ratio(3, 4);
    options.force_recovery = random.random();
    if random.random_ratio(1, 5) {
        options.force_recovery_mode = RecoveryMode::Cache;
        options.auto_cache_recover = options.force_recovery && random.random();
    }
}
