//! Settings of dialogues.

use std::time::Duration;

use fanwire_core::config::{
    ClientSettings, DataFormat, RecoveryMode, Settings, TokenSettings, TopicOptions,
};

/// Longer than any dialogue, so that nobody has to answer pings.
const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Everybody may do everything outside namespaces; `pos:` shows positions, `closed:` admits nobody.
pub(crate) fn open_settings() -> Settings {
    let open = open_topics();
    let positions =
        TopicOptions { history_size: 10, history_ttl: Duration::from_secs(60), ..open.clone() };
    Settings {
        client: ClientSettings { anonymous: true, topics_max: 4, ..ClientSettings::default() },
        topics: open,
        namespaces: [("pos".to_owned(), positions), ("closed".to_owned(), TopicOptions::default())]
            .into(),
        ..Settings::default()
    }
}

/// Topics that everybody may subscribe to and publish into.
pub(crate) fn open_topics() -> TopicOptions {
    TopicOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..TopicOptions::default()
    }
}

/// The same with a history of five publications for a minute, that everybody may read.
pub(crate) fn with_history() -> TopicOptions {
    TopicOptions {
        history_size: 5,
        history_ttl: Duration::from_secs(60),
        history_meta_ttl: Duration::from_secs(600),
        allow_history_for_client: true,
        allow_history_for_anonymous: true,
        ..open_topics()
    }
}

/// A namespace for each feature.
pub(crate) fn full_settings() -> Settings {
    let open = open_topics();
    let presence = TopicOptions {
        presence: true,
        join_leave: true,
        allow_presence_for_client: true,
        allow_presence_for_anonymous: true,
        ..open_topics()
    };
    let recovering = TopicOptions { force_recovery: true, ..with_history() };
    let cache = TopicOptions { force_recovery_mode: RecoveryMode::Cache, ..recovering.clone() };
    let format =
        |publication_data_format| TopicOptions { publication_data_format, ..open_topics() };
    let namespaces = [
        ("hist", with_history()),
        ("rec", recovering),
        ("auto", TopicOptions { auto_cache_recover: true, ..cache.clone() }),
        ("cache", cache),
        ("push", TopicOptions { force_push_join_leave: true, ..presence.clone() }),
        ("pres", presence),
        ("delta", TopicOptions { allow_delta: true, delta_publish: true, ..with_history() }),
        ("tags", TopicOptions { allow_tags_filter: true, allow_delta: true, ..with_history() }),
        ("lim", TopicOptions { allow_user_limited_channels: true, ..TopicOptions::default() }),
        ("closed", TopicOptions::default()),
        ("json", format(DataFormat::Json)),
        ("object", format(DataFormat::JsonObject)),
        ("binary", format(DataFormat::Binary)),
        (
            "regex",
            TopicOptions {
                channel_regex: Some(regex::Regex::new("^[a-zé]+$").unwrap()),
                ..open_topics()
            },
        ),
    ];
    Settings {
        client: ClientSettings {
            anonymous: true,
            topics_max: 16,
            ping_interval: LONG,
            token: TokenSettings { allow_without_exp: true, ..TokenSettings::default() },
            ..ClientSettings::default()
        },
        topics: open,
        namespaces: namespaces.map(|(name, options)| (name.to_owned(), options)).into(),
        ..Settings::default()
    }
}
