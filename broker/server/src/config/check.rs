//! From what is written to what it means: ranges, and relations between keys. Every number that
//! becomes a limit is checked here, once, so that nobody has to doubt it later.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use fanwire_core::config::{ClientSettings, HistorySettings, PersonalTopic, Settings};
use fanwire_core::limits::PUBLICATION_OVERHEAD_BYTES;

use super::raw::{RawClient, RawConfig};
use super::text::{spelled_duration, spelled_size};
use super::{Config, tls, token, topics};
use crate::log;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const TIB: usize = 1024 * 1024 * MIB;

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
const HISTORY_BYTES: RangeInclusive<usize> = MIB..=TIB;
/// Publications that one reply may hold.
const REPLY_PUBLICATIONS_MAX: usize = 100_000;
const PRESENCE_MEMBERS: RangeInclusive<usize> = 1..=1_000_000;
const USER_CONNECTIONS_MAX: usize = 1_000_000;
const POSITION_CHECK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Clients are told the interval in whole seconds, and 0 would mean no pings.
const PING_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Timers tick at 32 ms and an idle shard wakes on a grid of 128 ms: less could not be kept.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// How much longer than its token something may live.
const EXPIRED_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

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
        tls: tls::identity(&raw.server.tls)?,
        log: raw.log.clone(),
        echo_path: None,
    })
}

/// What the operator should know about a configuration that can be used.
pub(super) fn warnings(raw: &RawConfig) -> Vec<Warning> {
    let mut warnings = Vec::new();
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
        topics: topics::options("topics", &raw.topics)?,
        namespaces: BTreeMap::new(),
        history: HistorySettings { shard_bytes_max: raw.history.shard_bytes_max },
    };
    let spell = spelled_size;
    within("history.shard_bytes_max", raw.history.shard_bytes_max, &HISTORY_BYTES, spell)?;
    for (name, options) in &raw.namespaces {
        let section = format!("namespaces.{name}");
        if !is_namespace_name(name) {
            return Err(Violation {
                keys: vec![section],
                cause: format!("{name:?} is no name for a namespace"),
                remedy: "use two or more of A-Z, a-z, 0-9, - and _".to_owned(),
            });
        }
        settings.namespaces.insert(name.clone(), topics::options(&section, options)?);
    }
    if let Some(PersonalTopic { namespace, .. }) = &settings.client.personal_topic
        && !namespace.is_empty()
        && !settings.namespaces.contains_key(namespace)
    {
        return Err(Violation {
            keys: vec!["client.personal_topic.namespace".to_owned()],
            cause: format!("there is no namespace {namespace:?}"),
            remedy: "add its section [namespaces.NAME], or write \"\" for topics outside every \
                     namespace"
                .to_owned(),
        });
    }
    Ok(settings)
}

/// Pattern of the specification, section 10: `^[-a-zA-Z0-9_]{2,}$`.
fn is_namespace_name(name: &str) -> bool {
    name.len() >= 2 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn client_settings(raw: &RawClient) -> Result<ClientSettings, Violation> {
    check_client_ranges(raw)?;
    check_client_relations(raw)?;
    let (token, subscription_token) = token::settings(raw)?;
    let personal_topic = raw.personal_topic.enabled.then(|| PersonalTopic {
        namespace: raw.personal_topic.namespace.clone(),
        single_connection: raw.personal_topic.single_connection,
    });
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
        history_publications_max: raw.history_publications_max,
        recovery_publications_max: raw.recovery_publications_max,
        presence_members_max: raw.presence_members_max,
        position_check_interval: raw.position_check_interval,
        user_connections_max: raw.user_connections_max,
        personal_topic,
        connect_time: raw.connect_time,
        rpc_ping: raw.rpc_ping,
        token,
        subscription_token,
        disallow_anonymous_connection_tokens: raw.disallow_anonymous_connection_tokens,
        expired_close_delay: raw.expired_close_delay,
        expired_sub_close_delay: raw.expired_sub_close_delay,
    })
}

fn check_client_ranges(raw: &RawClient) -> Result<(), Violation> {
    within("client.ping_interval", raw.ping_interval, &PING_INTERVAL, spelled_duration)?;
    within("client.pong_timeout", raw.pong_timeout, &TIMEOUT, spelled_duration)?;
    within("client.connect_timeout", raw.connect_timeout, &TIMEOUT, spelled_duration)?;
    within("client.message_bytes_max", raw.message_bytes_max, &MESSAGE_BYTES, spelled_size)?;
    within("client.fragments_max", raw.fragments_max, &FRAGMENTS, |count| count.to_string())?;
    let (key, bytes) = ("client.compression_min_bytes", raw.compression_min_bytes);
    within(key, bytes, &COMPRESSION_MIN_BYTES, spelled_size)?;
    within("client.outbox_bytes_max", raw.outbox_bytes_max, &OUTBOX_BYTES, spelled_size)?;
    within("client.topics_max", raw.topics_max, &TOPICS, spelled_count)?;
    let (key, count) = ("client.user_connections_max", raw.user_connections_max);
    within_max(key, count, USER_CONNECTIONS_MAX)?;
    let (key, count) = ("client.history_publications_max", raw.history_publications_max);
    within_max(key, count, REPLY_PUBLICATIONS_MAX)?;
    let (key, count) = ("client.recovery_publications_max", raw.recovery_publications_max);
    within_max(key, count, REPLY_PUBLICATIONS_MAX)?;
    let (key, count) = ("client.presence_members_max", raw.presence_members_max);
    within(key, count, &PRESENCE_MEMBERS, spelled_count)?;
    let (key, interval) = ("client.position_check_interval", raw.position_check_interval);
    within(key, interval, &POSITION_CHECK, spelled_duration)?;
    for (key, delay) in [
        ("client.expired_close_delay", raw.expired_close_delay),
        ("client.expired_sub_close_delay", raw.expired_sub_close_delay),
    ] {
        within(key, delay, &EXPIRED_DELAY, spelled_duration)?;
    }
    Ok(())
}

fn check_client_relations(raw: &RawClient) -> Result<(), Violation> {
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
    Ok(())
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

pub(super) fn within_max(key: &str, value: usize, max: usize) -> Result<(), Violation> {
    within(key, value, &(0..=max), spelled_count)
}

fn spelled_count(count: usize) -> String {
    count.to_string()
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
