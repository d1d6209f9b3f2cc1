//! May this session do this to this topic? Pure functions of settings, user and name
//! (specification, section 10).

use crate::config::{DataFormat, Settings, TopicOptions};
use crate::fault::Refusal;
use crate::limits::TOPIC_NAME_BYTES_MAX;

/// Checks that a name may name a topic: not empty, not too long, printable ASCII.
///
/// # Errors
///
/// [`Refusal::BadRequest`].
pub(crate) fn check_name(topic: &str) -> Result<(), Refusal> {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    if topic.is_empty() || topic.len() > TOPIC_NAME_BYTES_MAX || !topic.bytes().all(printable) {
        return Err(Refusal::BadRequest);
    }
    Ok(())
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
        Some((namespace, _)) => settings.namespaces.get(namespace).ok_or(Refusal::UnknownTopic),
    }
}

/// What is asked of a topic, where more than the name counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscribeAsked {
    pub(crate) token: bool,
    pub(crate) stream: bool,
    pub(crate) filtered: bool,
}

/// Decides on a subscribe of a valid name.
///
/// # Errors
///
/// The refusal to answer.
pub(crate) fn may_subscribe(
    settings: &Settings,
    user: &str,
    topic: &str,
    asked: SubscribeAsked,
) -> Result<(), Refusal> {
    let options = options(settings, topic)?;
    // This version has no keys to check a token with, so no token proves anything.
    if asked.token || !asked.stream {
        return Err(Refusal::PermissionDenied);
    }
    if topic.starts_with('$') {
        return Err(Refusal::PermissionDenied);
    }
    let limited = topic.rsplit_once('#').filter(|_| options.allow_user_limited_channels);
    let allowed = match limited {
        Some((_, users)) => !user.is_empty() && users.split(',').any(|listed| listed == user),
        None => {
            options.allow_subscribe_for_client
                && (!user.is_empty() || options.allow_subscribe_for_anonymous)
        }
    };
    if !allowed && !settings.client.insecure {
        return Err(Refusal::PermissionDenied);
    }
    if asked.filtered {
        return Err(Refusal::BadRequest);
    }
    Ok(())
}

/// Decides on a publish of a client into a valid name.
///
/// # Errors
///
/// The refusal to answer.
pub(crate) fn may_publish<'a>(
    settings: &'a Settings,
    user: &str,
    topic: &str,
    subscribed: bool,
) -> Result<&'a TopicOptions, Refusal> {
    let options = options(settings, topic)?;
    let by_kind =
        options.allow_publish_for_client || (options.allow_publish_for_subscriber && subscribed);
    let allowed = by_kind && (!user.is_empty() || options.allow_publish_for_anonymous);
    if allowed || settings.client.insecure { Ok(options) } else { Err(Refusal::PermissionDenied) }
}

/// Checks the payload of a publication against the topic's `publication_data_format`. `data` is
/// JSON text already; `None` = absent.
///
/// # Errors
///
/// [`Refusal::BadRequest`].
pub(crate) fn check_data(options: &TopicOptions, data: Option<&[u8]>) -> Result<(), Refusal> {
    let Some(data) = data else {
        return Err(Refusal::BadRequest);
    };
    match options.publication_data_format {
        DataFormat::Any | DataFormat::Json | DataFormat::Binary => Ok(()),
        DataFormat::JsonObject if data.trim_ascii_start().starts_with(b"{") => Ok(()),
        DataFormat::JsonObject => Err(Refusal::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SubscribeAsked = SubscribeAsked { token: false, stream: true, filtered: false };

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

    #[test]
    fn names_are_printable_ascii_of_bounded_length() {
        for good in ["a", "news 1/2", &"x".repeat(255)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "a\n", "\u{7f}", "\u{e4}", &"x".repeat(256)] {
            assert_eq!(check_name(bad), Err(Refusal::BadRequest));
        }
    }

    #[test]
    fn subscribe_follows_section_10() {
        let settings = settings();
        let decide = |user, topic, asked| may_subscribe(&settings, user, topic, asked);
        assert_eq!(decide("u", "open:a", PLAIN), Ok(()));
        assert_eq!(decide("", "open:a", PLAIN), Err(Refusal::PermissionDenied));
        assert_eq!(decide("", "anonymous:a", PLAIN), Ok(()));
        assert_eq!(decide("u", "none:a", PLAIN), Err(Refusal::UnknownTopic));
        assert_eq!(decide("u", "a", PLAIN), Err(Refusal::PermissionDenied));
        assert_eq!(decide("u", "$open:a", PLAIN), Err(Refusal::PermissionDenied));
        let token = SubscribeAsked { token: true, ..PLAIN };
        assert_eq!(decide("u", "open:a", token), Err(Refusal::PermissionDenied));
        let filtered = SubscribeAsked { filtered: true, ..PLAIN };
        assert_eq!(decide("u", "open:a", filtered), Err(Refusal::BadRequest));
        let map = SubscribeAsked { stream: false, ..PLAIN };
        assert_eq!(decide("u", "open:a", map), Err(Refusal::PermissionDenied));
    }

    #[test]
    fn user_limited_topics_admit_the_listed_users_and_never_the_empty_one() {
        let settings = settings();
        let decide = |user, topic| may_subscribe(&settings, user, topic, PLAIN);
        assert_eq!(decide("42", "limited:a#41,42"), Ok(()));
        assert_eq!(decide("4", "limited:a#41,42"), Err(Refusal::PermissionDenied));
        assert_eq!(decide("", "limited:a#"), Err(Refusal::PermissionDenied));
        assert_eq!(decide("9", "limited:a"), Ok(()));
    }

    #[test]
    fn publish_for_subscriber_needs_the_subscription() {
        let settings = settings();
        let decide = |subscribed| may_publish(&settings, "u", "open:a", subscribed).map(|_| ());
        assert_eq!(decide(true), Ok(()));
        assert_eq!(decide(false), Err(Refusal::PermissionDenied));
    }
}
