//! `[topics]` and `[namespaces.NAME]`: options of topics, and which of them need others.

use std::time::Duration;

use fanwire_core::config::TopicOptions;
use regex::Regex;

use super::check::{Violation, within, within_max};
use super::raw::{RawRecoveryMode, RawTopicOptions};
use super::text::spelled_duration;

const HISTORY_SIZE_MAX: usize = 1_000_000;
const TTL_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// What a section of options means.
pub(super) fn options(section: &str, raw: &RawTopicOptions) -> Result<TopicOptions, Violation> {
    check_relations(section, raw)?;
    Ok(TopicOptions {
        allow_subscribe_for_client: raw.allow_subscribe_for_client,
        allow_subscribe_for_anonymous: raw.allow_subscribe_for_anonymous,
        allow_publish_for_client: raw.allow_publish_for_client,
        allow_publish_for_subscriber: raw.allow_publish_for_subscriber,
        allow_publish_for_anonymous: raw.allow_publish_for_anonymous,
        allow_user_limited_channels: raw.allow_user_limited_channels,
        publication_data_format: raw.publication_data_format.into(),
        channel_regex: channel_regex(section, raw)?,
        history_size: raw.history_size,
        history_ttl: raw.history_ttl,
        history_meta_ttl: raw.history_meta_ttl,
        allow_history_for_client: raw.allow_history_for_client,
        allow_history_for_subscriber: raw.allow_history_for_subscriber,
        allow_history_for_anonymous: raw.allow_history_for_anonymous,
        allow_positioning: raw.allow_positioning,
        force_positioning: raw.force_positioning,
        allow_recovery: raw.allow_recovery,
        force_recovery: raw.force_recovery,
        force_recovery_mode: raw.force_recovery_mode.into(),
        auto_cache_recover: raw.auto_cache_recover,
        presence: raw.presence,
        join_leave: raw.join_leave,
        force_push_join_leave: raw.force_push_join_leave,
        allow_presence_for_client: raw.allow_presence_for_client,
        allow_presence_for_subscriber: raw.allow_presence_for_subscriber,
        allow_presence_for_anonymous: raw.allow_presence_for_anonymous,
        allow_delta: allow_delta(section, raw)?,
        delta_publish: raw.delta_publish,
        allow_tags_filter: raw.allow_tags_filter,
    })
}

fn check_relations(section: &str, raw: &RawTopicOptions) -> Result<(), Violation> {
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
    if (raw.allow_positioning || raw.force_positioning) && raw.history_size == 0 {
        return violation(
            &["force_positioning", "allow_positioning"],
            "positioning needs history",
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
    let forces_cache = raw.force_recovery && raw.force_recovery_mode == RawRecoveryMode::Cache;
    if raw.auto_cache_recover && !forces_cache {
        return violation(
            &["auto_cache_recover", "force_recovery_mode", "force_recovery"],
            "auto_cache_recover needs recovery in cache mode",
            "set force_recovery = true and force_recovery_mode = \"cache\" too",
        );
    }
    Ok(())
}

fn channel_regex(section: &str, raw: &RawTopicOptions) -> Result<Option<Regex>, Violation> {
    if raw.channel_regex.is_empty() {
        return Ok(None);
    }
    Regex::new(&raw.channel_regex).map(Some).map_err(|error| {
        let error = error.to_string();
        // The lines before it draw where in the expression it is.
        let cause = error.lines().last().unwrap_or_default();
        let cause = cause.trim_start_matches("error: ");
        Violation {
            keys: vec![format!("{section}.channel_regex")],
            cause: format!("{:?} is no regular expression: {cause}", raw.channel_regex),
            remedy: "write one as in '^[a-z]+$', in single quotes if it has a backslash".to_owned(),
        }
    })
}

/// Deltas have one format.
fn allow_delta(section: &str, raw: &RawTopicOptions) -> Result<bool, Violation> {
    match raw.allowed_delta_types.iter().find(|format| *format != "fossil") {
        None => Ok(!raw.allowed_delta_types.is_empty()),
        Some(format) => Err(Violation {
            keys: vec![format!("{section}.allowed_delta_types")],
            cause: format!("there are no deltas in the format {format:?}"),
            remedy: "write [\"fossil\"], or [] for none".to_owned(),
        }),
    }
}
