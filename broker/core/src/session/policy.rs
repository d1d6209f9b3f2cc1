//! May this session do this to this topic? Pure functions of settings, user and name
//! (specification, section 10).

use crate::config::{DataFormat, Settings, TopicOptions};
use crate::fault::Refusal;
use crate::limits::TOPIC_NAME_BYTES_MAX;
use crate::protocol::{Overrides, Payload};
use crate::topic::Flow;

/// The options of a topic whose name may name one: not empty, not too long, no control characters,
/// and what its namespace wants of it.
///
/// # Errors
///
/// [`Refusal::BadRequest`], [`Refusal::UnknownTopic`].
pub(crate) fn named<'a>(settings: &'a Settings, topic: &str) -> Result<&'a TopicOptions, Refusal> {
    check_length(topic)?;
    if topic.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Refusal::BadRequest);
    }
    let options = options(settings, topic)?;
    // The topic of a user bears the user's id, in whatever script that is.
    if !is_personal(settings, topic) {
        fits(options, topic)?;
    }
    Ok(options)
}

/// Whether this is the name of a topic that some user has of its own.
fn is_personal(settings: &Settings, topic: &str) -> bool {
    settings.client.personal_topic.as_ref().is_some_and(|personal| {
        let inner = match personal.namespace.as_str() {
            "" => Some(topic),
            namespace => topic.strip_prefix(namespace).and_then(|rest| rest.strip_prefix(':')),
        };
        inner.is_some_and(|inner| inner.starts_with('#'))
    })
}

/// The first of these checks, which a subscribe makes before all others.
///
/// # Errors
///
/// [`Refusal::BadRequest`].
pub(crate) fn check_length(topic: &str) -> Result<(), Refusal> {
    let bad = topic.is_empty() || topic.len() > TOPIC_NAME_BYTES_MAX;
    if bad { Err(Refusal::BadRequest) } else { Ok(()) }
}

/// The options of a topic: those of the namespace before its first `:`.
///
/// # Errors
///
/// [`Refusal::UnknownTopic`] if that namespace is not configured.
pub(crate) fn options<'a>(
    settings: &'a Settings,
    topic: &str,
) -> Result<&'a TopicOptions, Refusal> {
    let public = topic.strip_prefix('$').unwrap_or(topic);
    match public.split_once(':') {
        None => Ok(&settings.topics),
        // The colon is one of the user's id; no namespace begins with `#`.
        Some(_) if topic.starts_with('#') && is_personal(settings, topic) => Ok(&settings.topics),
        Some((namespace, _)) => settings.namespaces.get(namespace).ok_or(Refusal::UnknownTopic),
    }
}

/// Checks the part of a name that its namespace decides on.
fn fits(options: &TopicOptions, topic: &str) -> Result<(), Refusal> {
    let inner = topic.split_once(':').map_or(topic, |(_, inner)| inner);
    match &options.channel_regex {
        Some(regex) if !regex.is_match(inner) => Err(Refusal::BadRequest),
        None if !topic.is_ascii() => Err(Refusal::BadRequest),
        _ => Ok(()),
    }
}

/// Decides on a subscribe without a token.
///
/// # Errors
///
/// The refusal to answer.
pub(crate) fn may_subscribe(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    topic: &str,
) -> Result<(), Refusal> {
    if topic.starts_with('$') {
        return Err(Refusal::PermissionDenied);
    }
    let limited = topic.rsplit_once('#').filter(|_| options.allow_user_limited_channels);
    let (by_kind, anonymous) = match limited {
        Some((_, users)) => (users.split(',').any(|listed| listed == user), false),
        None => (options.allow_subscribe_for_client, options.allow_subscribe_for_anonymous),
    };
    allow(permitted(settings, user, by_kind, anonymous))
}

/// What a subscriber asks for, of which not all need be granted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OptIns {
    pub(crate) positioned: bool,
    pub(crate) recoverable: bool,
    pub(crate) join_leave: bool,
    pub(crate) delta: bool,
    pub(crate) filtered: bool,
}

/// What a subscription that may be gets (specification, section 10).
pub(crate) fn flow(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    overrides: &Overrides,
    asked: OptIns,
) -> Flow {
    let reads_history = may_read_history(settings, options, user, true);
    let reads_presence = may_read_presence(settings, options, user, true);
    let force_recovery = overrides.force_recovery.unwrap_or(options.force_recovery);
    let force_positioning = overrides.force_positioning.unwrap_or(options.force_positioning);
    let recoverable = options.keeps_history()
        && (force_recovery || (asked.recoverable && (options.allow_recovery || reads_history)));
    let positioned = options.keeps_history()
        && (recoverable
            || force_positioning
            || (asked.positioned && (options.allow_positioning || reads_history)));
    let announced = overrides.join_leave.unwrap_or(options.join_leave);
    let forced = overrides.force_push_join_leave.unwrap_or(options.force_push_join_leave);
    let mut flow = Flow::empty();
    flow.set(Flow::RECOVERABLE, recoverable);
    flow.set(Flow::POSITIONED, positioned);
    flow.set(Flow::PRESENCE, overrides.presence.unwrap_or(options.presence));
    flow.set(Flow::ANNOUNCED, announced);
    flow.set(Flow::HEARS_JOINS, forced || (asked.join_leave && announced && reads_presence));
    // A delta is made against the publication before, which a filter may have held back.
    flow.set(Flow::DELTA, asked.delta && options.allow_delta && !asked.filtered);
    flow.set(Flow::FILTERED, asked.filtered);
    flow
}

fn may_read_history(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    subscribed: bool,
) -> bool {
    let by_kind =
        options.allow_history_for_client || (options.allow_history_for_subscriber && subscribed);
    permitted(settings, user, by_kind, options.allow_history_for_anonymous)
}

fn may_read_presence(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    subscribed: bool,
) -> bool {
    let by_kind =
        options.allow_presence_for_client || (options.allow_presence_for_subscriber && subscribed);
    permitted(settings, user, by_kind, options.allow_presence_for_anonymous)
}

/// Whether a user may what clients of its kind may; without a user id only if `anonymous` ones may.
fn permitted(settings: &Settings, user: &str, by_kind: bool, anonymous: bool) -> bool {
    settings.client.insecure || (by_kind && (!user.is_empty() || anonymous))
}

fn allow(allowed: bool) -> Result<(), Refusal> {
    if allowed { Ok(()) } else { Err(Refusal::PermissionDenied) }
}

/// Decides on a client's question for the history of a topic.
///
/// # Errors
///
/// The refusal to answer.
pub(crate) fn check_history(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    subscribed: bool,
) -> Result<(), Refusal> {
    if !options.keeps_history() {
        return Err(Refusal::NotAvailable);
    }
    allow(may_read_history(settings, options, user, subscribed))
}

/// The same for its presence.
///
/// # Errors
///
/// The refusal to answer.
pub(crate) fn check_presence(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    subscribed: bool,
) -> Result<(), Refusal> {
    if !options.presence {
        return Err(Refusal::NotAvailable);
    }
    allow(may_read_presence(settings, options, user, subscribed))
}

/// Decides on a publish of a client.
///
/// # Errors
///
/// The refusal to answer.
pub(crate) fn may_publish(
    settings: &Settings,
    options: &TopicOptions,
    user: &str,
    subscribed: bool,
) -> Result<(), Refusal> {
    let by_kind =
        options.allow_publish_for_client || (options.allow_publish_for_subscriber && subscribed);
    allow(permitted(settings, user, by_kind, options.allow_publish_for_anonymous))
}

/// Checks the payload of a publication against the topic's `publication_data_format`.
/// Absent data is empty.
///
/// # Errors
///
/// [`Refusal::BadRequest`].
pub(crate) fn check_data(options: &TopicOptions, data: &Payload) -> Result<(), Refusal> {
    let acceptable = match options.publication_data_format {
        DataFormat::Any => data.len() > 0,
        DataFormat::Binary => true,
        DataFormat::Json => data.is_json(),
        DataFormat::JsonObject => {
            data.is_json() && data.bytes().trim_ascii_start().starts_with(b"{")
        }
    };
    if acceptable { Ok(()) } else { Err(Refusal::BadRequest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let open = TopicOptions {
            allow_subscribe_for_client: true,
            allow_publish_for_subscriber: true,
            ..TopicOptions::default()
        };
        let limited = TopicOptions { allow_user_limited_channels: true, ..open.clone() };
        let anonymous = TopicOptions { allow_subscribe_for_anonymous: true, ..open.clone() };
        Settings {
            namespaces: [("open", open), ("limited", limited), ("anonymous", anonymous)]
                .map(|(name, options)| (name.to_owned(), options))
                .into(),
            ..Settings::default()
        }
    }

    fn subscribe(settings: &Settings, user: &str, topic: &str) -> Result<(), Refusal> {
        may_subscribe(settings, named(settings, topic)?, user, topic)
    }

    #[test]
    fn names_are_printable_ascii_of_bounded_length_unless_a_regex_says_otherwise() {
        let regex = Some(regex::Regex::new("^[a-z\u{e4}]+$").unwrap());
        let free = TopicOptions { channel_regex: regex, ..TopicOptions::default() };
        let namespaces = [("free".to_owned(), free)].into();
        let settings = Settings { namespaces, ..Settings::default() };
        for good in ["a", "news 1/2", &"x".repeat(255), "free:\u{e4}b"] {
            assert!(named(&settings, good).is_ok(), "{good}");
        }
        for bad in ["", "a\n", "\u{7f}", "\u{e4}", &"x".repeat(256), "free:1", "free:a\tb"] {
            assert_eq!(named(&settings, bad).err(), Some(Refusal::BadRequest), "{bad:?}");
        }
        assert_eq!(named(&settings, "none:a").err(), Some(Refusal::UnknownTopic));
    }

    #[test]
    fn subscribe_follows_section_10() {
        let settings = settings();
        assert_eq!(subscribe(&settings, "u", "open:a"), Ok(()));
        assert_eq!(subscribe(&settings, "", "open:a"), Err(Refusal::PermissionDenied));
        assert_eq!(subscribe(&settings, "", "anonymous:a"), Ok(()));
        assert_eq!(subscribe(&settings, "u", "none:a"), Err(Refusal::UnknownTopic));
        assert_eq!(subscribe(&settings, "u", "a"), Err(Refusal::PermissionDenied));
        assert_eq!(subscribe(&settings, "u", "$open:a"), Err(Refusal::PermissionDenied));
    }

    #[test]
    fn user_limited_topics_admit_the_listed_users_and_never_the_empty_one() {
        let settings = settings();
        assert_eq!(subscribe(&settings, "42", "limited:a#41,42"), Ok(()));
        assert_eq!(subscribe(&settings, "4", "limited:a#41,42"), Err(Refusal::PermissionDenied));
        assert_eq!(subscribe(&settings, "", "limited:a#"), Err(Refusal::PermissionDenied));
        assert_eq!(subscribe(&settings, "9", "limited:a"), Ok(()));
    }

    #[test]
    fn publish_for_subscriber_needs_the_subscription() {
        let settings = settings();
        let options = named(&settings, "open:a").unwrap();
        assert_eq!(may_publish(&settings, options, "u", true), Ok(()));
        let denied = Err(Refusal::PermissionDenied);
        assert_eq!(may_publish(&settings, options, "u", false), denied);
    }

    #[test]
    fn what_history_is_needed_for_is_not_granted_without() {
        let settings = Settings::default();
        let asked = OptIns { positioned: true, recoverable: true, ..OptIns::default() };
        let forced = TopicOptions {
            force_recovery: true,
            force_positioning: true,
            ..TopicOptions::default()
        };
        let kept = TopicOptions {
            history_size: 1,
            history_ttl: std::time::Duration::from_secs(1),
            ..forced.clone()
        };
        let granted = |options: &TopicOptions, overrides: &Overrides, asked| {
            let watched = Flow::POSITIONED | Flow::RECOVERABLE;
            flow(&settings, options, "u", overrides, asked) & watched
        };
        assert!(granted(&forced, &Overrides::default(), asked).is_empty());
        let all = Flow::POSITIONED | Flow::RECOVERABLE;
        assert_eq!(granted(&kept, &Overrides::default(), OptIns::default()), all);
        let not_forced = Overrides {
            force_recovery: Some(false),
            force_positioning: Some(false),
            ..Overrides::default()
        };
        assert!(granted(&kept, &not_forced, asked).is_empty());
    }
}
