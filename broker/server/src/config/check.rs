//! From what is written to what it means: ranges, and relations between keys. Every number that
//! becomes a limit is checked here, once, so that nobody has to doubt it later.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use std::{fmt, iter};

use fanwire_core::config::{ClientSettings, Settings, TopicOptions};
use fanwire_core::limits::PUBLICATION_OVERHEAD_BYTES;

use super::raw::{RawClient, RawConfig, RawTopicOptions};
use super::text::{spelled_duration, spelled_size};
use super::{Config, token};
use crate::log;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const SHARDS_MAX: usize = 1024;
/// Shorter keys can be guessed over the network.
const API_KEY_BYTES_MIN: usize = 8;
const BODY_BYTES: RangeInclusive<usize> = KIB..=256 * MIB;
const MESSAGE_BYTES: RangeInclusive<usize> = KIB..=64 * MIB;
const FRAGMENTS: RangeInclusive<usize> = 1..=16 * MIB;
const COMPRESSION_MIN_BYTES: RangeInclusive<usize> = 0..=64 * MIB;
const OUTBOX_BYTES: RangeInclusive<usize> = KIB + PUBLICATION_OVERHEAD_BYTES..=1024 * MIB;
/// A session finds its subscriptions by walking them.
const TOPICS: RangeInclusive<usize> = 1..=65_536;
const HISTORY_SIZE_MAX: usize = 1_000_000;
/// Clients are told the interval in whole seconds, and 0 would mean no pings.
const PING_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Timers tick at 32 ms and an idle shard wakes on a grid of 128 ms: less could not be kept.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// How much longer than its token something may live.
const EXPIRED_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
const TTL_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// A value, or values together, that cannot be used.
#[derive(Debug)]
pub(super) struct Violation {
    /// The keys that are at odds; the first one of them that was given is the place to mend.
    pub(super) keys: Vec<String>,
    pub(super) cause: String,
    pub(super) remedy: String,
}

/// What is allowed, but probably not what the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// Options that are known and switched on, and that this version does not act on yet.
    WithoutEffect(Vec<String>),
    /// Sections that ask for history, of which this version keeps nothing.
    NothingKept(Vec<String>),
    /// No client can be admitted.
    NobodyMayConnect,
    /// Keys in `[client.subscription_token]`, which is not switched on.
    SubscriptionKeysOff,
    /// The section fetches its keys over a network without TLS.
    KeysInTheClear(&'static str),
    /// No backend can be admitted.
    NoApiKey,
    /// `client.insecure` on an address that others can reach.
    InsecureBeyondLoopback(SocketAddr),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutEffect(keys) => {
                let verb = if keys.len() == 1 { "has" } else { "have" };
                write!(f, "{} {verb} no effect in this version", keys.join(", "))
            }
            Self::NothingKept(sections) => write!(
                f,
                "history_size and history_ttl in {}: nothing is kept in this version, they only \
                 make offset and epoch visible",
                sections.join(", ")
            ),
            Self::NobodyMayConnect => f.write_str(
                "no client may connect, for there is no key for tokens: give one in \
                 [client.token], as in hmac_secret_key, or set client.anonymous = true",
            ),
            Self::SubscriptionKeysOff => f.write_str(
                "the keys of [client.subscription_token] have no effect: set \
                 client.subscription_token.enabled = true",
            ),
            Self::KeysInTheClear(section) => write!(
                f,
                "{section}.jwks_public_endpoint fetches keys without TLS: whoever is between can \
                 put in a key and be any user"
            ),
            Self::NoApiKey => {
                f.write_str("no backend may publish, for there is no API key: set api.keys")
            }
            Self::InsecureBeyondLoopback(address) => write!(
                f,
                "client.insecure lets everybody who reaches {address} do everything in every topic"
            ),
        }
    }
}

/// What the written configuration means.
pub(super) fn check(raw: &RawConfig) -> Result<Config, Violation> {
    check_addresses(raw)?;
    within_max("server.shards", raw.server.shards, SHARDS_MAX)?;
    raw.api.keys.iter().try_for_each(|key| check_api_key(key))?;
    within("api.body_bytes_max", raw.api.body_bytes_max, &BODY_BYTES, spelled_size)?;
    raw.client.allowed_origins.iter().try_for_each(|origin| check_origin(origin))?;
    log::filter(&raw.log.level).map_err(|error| Violation {
        keys: vec!["log.level".to_owned()],
        cause: error.to_string(),
        remedy: "write off, error, warn, info, debug, trace, or as in \"info,fanwire=debug\""
            .to_owned(),
    })?;
    Ok(Config {
        server: raw.server.clone(),
        admin: raw.admin.clone(),
        api: raw.api.clone(),
        allowed_origins: raw.client.allowed_origins.clone(),
        settings: settings(raw)?,
        tokens: token::keys(&raw.client)?,
        log: raw.log.clone(),
        echo_path: None,
    })
}

/// What the operator should know about a configuration that can be used.
pub(super) fn warnings(raw: &RawConfig) -> Vec<Warning> {
    let (mut without_effect, mut nothing_kept) = (Vec::new(), Vec::new());
    let namespaces = raw.namespaces.iter();
    let namespaces = namespaces.map(|(name, options)| (format!("namespaces.{name}"), options));
    for (section, options) in iter::once(("topics".to_owned(), &raw.topics)).chain(namespaces) {
        without_effect.extend(options_without_effect(&section, options));
        nothing_kept.extend((options.history_size > 0).then(|| format!("[{section}]")));
    }
    let mut warnings = Vec::new();
    if !without_effect.is_empty() {
        warnings.push(Warning::WithoutEffect(without_effect));
    }
    if !nothing_kept.is_empty() {
        warnings.push(Warning::NothingKept(nothing_kept));
    }
    if !raw.client.anonymous && !raw.client.insecure && !raw.client.token.has_keys() {
        warnings.push(Warning::NobodyMayConnect);
    }
    let subscription = raw.client.subscription_token.token();
    if subscription.has_keys() && !raw.client.subscription_token.enabled {
        warnings.push(Warning::SubscriptionKeysOff);
    }
    let sections =
        [("client.token", &raw.client.token), ("client.subscription_token", &subscription)];
    let in_the_clear = sections.into_iter().filter(|(_, section)| section.fetches_in_the_clear());
    warnings.extend(in_the_clear.map(|(name, _)| Warning::KeysInTheClear(name)));
    if raw.api.keys.is_empty() {
        warnings.push(Warning::NoApiKey);
    }
    if raw.client.insecure && !raw.server.address.ip().is_loopback() {
        warnings.push(Warning::InsecureBeyondLoopback(raw.server.address));
    }
    warnings
}

fn settings(raw: &RawConfig) -> Result<Settings, Violation> {
    let mut settings = Settings {
        client: client_settings(&raw.client)?,
        topics: topic_options("topics", &raw.topics)?,
        ..Settings::default()
    };
    for (name, options) in &raw.namespaces {
        let section = format!("namespaces.{name}");
        if !is_namespace_name(name) {
            return Err(Violation {
                keys: vec![section],
                cause: format!("{name:?} is no name for a namespace"),
                remedy: "use two or more of A-Z, a-z, 0-9, - and _".to_owned(),
            });
        }
        settings.namespaces.insert(name.clone(), topic_options(&section, options)?);
    }
    Ok(settings)
}

/// Pattern of the specification, section 10: `^[-a-zA-Z0-9_]{2,}$`.
fn is_namespace_name(name: &str) -> bool {
    name.len() >= 2 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn client_settings(raw: &RawClient) -> Result<ClientSettings, Violation> {
    within("client.ping_interval", raw.ping_interval, &PING_INTERVAL, spelled_duration)?;
    within("client.pong_timeout", raw.pong_timeout, &TIMEOUT, spelled_duration)?;
    within("client.connect_timeout", raw.connect_timeout, &TIMEOUT, spelled_duration)?;
    within("client.message_bytes_max", raw.message_bytes_max, &MESSAGE_BYTES, spelled_size)?;
    within("client.fragments_max", raw.fragments_max, &FRAGMENTS, |count| count.to_string())?;
    let (key, bytes) = ("client.compression_min_bytes", raw.compression_min_bytes);
    within(key, bytes, &COMPRESSION_MIN_BYTES, spelled_size)?;
    within("client.outbox_bytes_max", raw.outbox_bytes_max, &OUTBOX_BYTES, spelled_size)?;
    within("client.topics_max", raw.topics_max, &TOPICS, |count| count.to_string())?;
    for (key, delay) in [
        ("client.expired_close_delay", raw.expired_close_delay),
        ("client.expired_sub_close_delay", raw.expired_sub_close_delay),
    ] {
        within(key, delay, &EXPIRED_DELAY, spelled_duration)?;
    }
    if raw.pong_timeout >= raw.ping_interval {
        return Err(Violation {
            keys: ["client.pong_timeout", "client.ping_interval"].map(str::to_owned).to_vec(),
            cause: format!(
                "client.pong_timeout ({}) must be shorter than client.ping_interval ({})",
                spelled_duration(raw.pong_timeout),
                spelled_duration(raw.ping_interval)
            ),
            remedy: "a client must have answered one ping before the next one goes out".to_owned(),
        });
    }
    let outbox_bytes_min = raw.message_bytes_max + PUBLICATION_OVERHEAD_BYTES;
    if raw.outbox_bytes_max < outbox_bytes_min {
        return Err(Violation {
            keys: ["client.outbox_bytes_max", "client.message_bytes_max"]
                .map(str::to_owned)
                .to_vec(),
            cause: format!(
                "client.outbox_bytes_max ({}) must be larger than client.message_bytes_max ({}) \
                 by at least {}",
                spelled_size(raw.outbox_bytes_max),
                spelled_size(raw.message_bytes_max),
                spelled_size(PUBLICATION_OVERHEAD_BYTES)
            ),
            remedy: format!(
                "an outbox must hold the largest message and what is written around it: set \
                 client.outbox_bytes_max to {} or more",
                spelled_size(outbox_bytes_min)
            ),
        });
    }
    let (token, subscription_token) = token::settings(raw)?;
    Ok(ClientSettings {
        anonymous: raw.anonymous,
        insecure: raw.insecure,
        ping_interval: raw.ping_interval,
        pong_timeout: raw.pong_timeout,
        connect_timeout: raw.connect_timeout,
        message_bytes_max: raw.message_bytes_max,
        fragments_max: raw.fragments_max,
        compression: raw.compression,
        compression_min_bytes: raw.compression_min_bytes,
        outbox_bytes_max: raw.outbox_bytes_max,
        topics_max: raw.topics_max,
        token,
        subscription_token,
        disallow_anonymous_connection_tokens: raw.disallow_anonymous_connection_tokens,
        expired_close_delay: raw.expired_close_delay,
        expired_sub_close_delay: raw.expired_sub_close_delay,
    })
}

fn topic_options(section: &str, raw: &RawTopicOptions) -> Result<TopicOptions, Violation> {
    let key = |name: &str| format!("{section}.{name}");
    within_max(&key("history_size"), raw.history_size, HISTORY_SIZE_MAX)?;
    let ttls = Duration::ZERO..=TTL_MAX;
    within(&key("history_ttl"), raw.history_ttl, &ttls, spelled_duration)?;
    within(&key("history_meta_ttl"), raw.history_meta_ttl, &ttls, spelled_duration)?;
    let violation = |names: &[&str], cause: &str, remedy: &str| {
        let keys = names.iter().map(|name| key(name)).collect();
        Err(Violation { keys, cause: format!("{section}: {cause}"), remedy: remedy.to_owned() })
    };
    if (raw.history_size > 0) == raw.history_ttl.is_zero() {
        return violation(
            &["history_size", "history_ttl"],
            "history_size and history_ttl go together",
            "set both, as in history_size = 100 and history_ttl = \"10m\", or neither",
        );
    }
    if (raw.allow_recovery || raw.force_recovery) && raw.history_size == 0 {
        return violation(
            &["force_recovery", "allow_recovery"],
            "recovery needs history",
            "set history_size and history_ttl too",
        );
    }
    if raw.history_meta_ttl < raw.history_ttl {
        return violation(
            &["history_meta_ttl", "history_ttl"],
            "history_meta_ttl must not be shorter than history_ttl",
            "positions must outlive the publications they count",
        );
    }
    Ok(TopicOptions {
        allow_subscribe_for_client: raw.allow_subscribe_for_client,
        allow_subscribe_for_anonymous: raw.allow_subscribe_for_anonymous,
        allow_publish_for_client: raw.allow_publish_for_client,
        allow_publish_for_subscriber: raw.allow_publish_for_subscriber,
        allow_publish_for_anonymous: raw.allow_publish_for_anonymous,
        allow_user_limited_channels: raw.allow_user_limited_channels,
        publication_data_format: raw.publication_data_format.into(),
        history_size: raw.history_size,
        history_ttl: raw.history_ttl,
    })
}

fn options_without_effect(section: &str, raw: &RawTopicOptions) -> Vec<String> {
    let defaults = RawTopicOptions::default();
    let changed = [
        ("history_meta_ttl", raw.history_meta_ttl != defaults.history_meta_ttl),
        ("allow_history_for_client", raw.allow_history_for_client),
        ("allow_history_for_subscriber", raw.allow_history_for_subscriber),
        ("allow_history_for_anonymous", raw.allow_history_for_anonymous),
        ("allow_positioning", raw.allow_positioning),
        ("force_positioning", raw.force_positioning),
        ("allow_recovery", raw.allow_recovery),
        ("force_recovery", raw.force_recovery),
        ("presence", raw.presence),
        ("join_leave", raw.join_leave),
        ("force_push_join_leave", raw.force_push_join_leave),
        ("allow_presence_for_client", raw.allow_presence_for_client),
        ("allow_presence_for_subscriber", raw.allow_presence_for_subscriber),
        ("allow_presence_for_anonymous", raw.allow_presence_for_anonymous),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| format!("{section}.{name}")).collect()
}

fn check_addresses(raw: &RawConfig) -> Result<(), Violation> {
    let (server, admin) = (raw.server.address, raw.admin.address);
    // Port 0 is a free port of the system's choice, which is never the same twice.
    let same_port = server.port() == admin.port() && server.port() != 0;
    let overlapping =
        server.ip() == admin.ip() || server.ip().is_unspecified() || admin.ip().is_unspecified();
    if !(same_port && overlapping) {
        return Ok(());
    }
    Err(Violation {
        keys: ["admin.address", "server.address"].map(str::to_owned).to_vec(),
        cause: format!("server.address ({server}) and admin.address ({admin}) collide"),
        remedy: "give them different ports".to_owned(),
    })
}

fn check_api_key(key: &str) -> Result<(), Violation> {
    let violation = |cause: String, remedy: &str| {
        Err(Violation { keys: vec!["api.keys".to_owned()], cause, remedy: remedy.to_owned() })
    };
    if key.len() < API_KEY_BYTES_MIN {
        let cause = format!("a key is shorter than {API_KEY_BYTES_MIN} characters");
        return violation(cause, "make one that cannot be guessed, as with `openssl rand -hex 16`");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let cause = "a key has a character that an HTTP header cannot carry".to_owned();
        return violation(cause, "use visible ASCII characters, without spaces");
    }
    Ok(())
}

/// An origin is scheme, host and port; a pattern has a `*` somewhere.
fn check_origin(origin: &str) -> Result<(), Violation> {
    let is_origin = match origin.split_once("://") {
        Some((scheme, host)) => !scheme.is_empty() && !host.is_empty() && !host.contains('/'),
        None => origin == "null" || origin.contains('*'),
    };
    if is_origin {
        return Ok(());
    }
    Err(Violation {
        keys: vec!["client.allowed_origins".to_owned()],
        cause: format!("{origin:?} can be no page's origin"),
        remedy: "write scheme and host without a path, as in \"https://example.com\", a pattern \
                 as in \"https://*.example.com\", or \"*\" for all"
            .to_owned(),
    })
}

fn within_max(key: &str, value: usize, max: usize) -> Result<(), Violation> {
    within(key, value, &(0..=max), |count| count.to_string())
}

pub(super) fn within<T: PartialOrd + Copy>(
    key: &str,
    value: T,
    range: &RangeInclusive<T>,
    spell: impl Fn(T) -> String,
) -> Result<(), Violation> {
    if range.contains(&value) {
        return Ok(());
    }
    let (min, max) = (spell(*range.start()), spell(*range.end()));
    Err(Violation {
        keys: vec![key.to_owned()],
        cause: format!("{} is out of range", spell(value)),
        remedy: format!("the range is {min} to {max}"),
    })
}
