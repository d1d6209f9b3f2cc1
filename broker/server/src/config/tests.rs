//! The configuration as a whole: what is written, wherever, and what comes of it.

use std::path::Path;
use std::time::Duration;

use fanwire_core::config::{DataFormat, PersonalTopic, RecoveryMode};

use super::check::Warning;
use super::layers::Layers;
use super::load::Loaded;
use super::raw::RawConfig;
use super::{ConfigError, DEFAULT_FILE, ErrorMode, LogFormat, Override, Sources, reader};

fn from_layers(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let flags = flags.iter().map(owned).map(|(key, value)| Override {
        flag: format!("--set {key}"),
        key,
        value,
    });
    let sources = Sources {
        environment: environment.iter().map(owned).collect(),
        flags: flags.collect(),
        ..Sources::default()
    };
    sources.load_over(Some((Path::new("f.toml"), file)))
}

/// Cause and remedy of a file that is refused.
#[track_caller]
fn refusal(file: &str) -> (String, String) {
    told(&from_layers(file, &[], &[]).unwrap_err())
}

fn told(error: &ConfigError) -> (String, String) {
    (error.to_string(), error.remedy())
}

#[track_caller]
fn assert_refused(file: &str, cause: &str, remedy: &str) {
    assert_eq!(refusal(file), (cause.to_owned(), remedy.to_owned()));
}

fn keys_of(table: &toml::Table, prefix: &str, keys: &mut Vec<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(table) => keys_of(table, &format!("{prefix}{name}."), keys),
            _ => keys.push(format!("{prefix}{name}")),
        }
    }
}

#[test]
fn the_default_file_says_exactly_the_defaults() {
    let mut layers = Layers::default();
    layers.add_file(Path::new("config/fanwire.toml"), DEFAULT_FILE).unwrap();
    assert_eq!(reader::read::<RawConfig>(&layers).unwrap(), RawConfig::default());

    let mut keys = Vec::new();
    keys_of(&toml::Table::try_from(RawConfig::default()).unwrap(), "", &mut keys);
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        assert!(layers.source(&key).is_some(), "{key} is missing in the default file");
    }
}

#[test]
fn the_page_of_the_documentation_names_every_key() {
    const PAGE: &str = include_str!("../../../../docs/configuration.md");
    let mut keys = Vec::new();
    keys_of(&toml::Table::try_from(RawConfig::default()).unwrap(), "", &mut keys);
    for key in keys {
        // Options of topics stand there without their section.
        // And the keys of subscription tokens are those of connection tokens.
        let same = key.replace("client.subscription_token.", "client.token.");
        let named = [key.as_str(), key.trim_start_matches("topics."), &same];
        let named = named.into_iter().any(|name| PAGE.contains(&format!("`{name}`")));
        assert!(named, "{key} is missing in docs/configuration.md");
    }
}

#[test]
fn the_namespace_that_the_default_file_shows_is_right() {
    let start = DEFAULT_FILE.find("# [namespaces.chat]").unwrap();
    let shown: Vec<_> =
        DEFAULT_FILE[start..].lines().map(|line| line.trim_start_matches("# ")).collect();
    let loaded = from_layers(&shown.join("\n"), &[], &[]).unwrap();
    let chat = &loaded.config.settings.namespaces["chat"];
    assert!(chat.allow_subscribe_for_client && chat.allow_publish_for_subscriber);
    assert_eq!(chat.history_ttl, Duration::from_mins(10));
}

#[test]
fn what_is_written_is_what_is_meant() {
    let file = r#"
        [server]
        address = "[::1]:9000"
        shards = 2
        [api]
        keys = ["first-key", "second-key"]
        [client]
        anonymous = true
        allowed_origins = ["https://*.example.com", "null"]
        ping_interval = "10s"
        message_bytes_max = 2048
        [log]
        format = "json"
        [namespaces.chat]
        publication_data_format = "json_object"
        history_size = 10
        history_ttl = "1m"
    "#;
    let config = from_layers(file, &[], &[]).unwrap().config;
    assert_eq!(config.server.address.to_string(), "[::1]:9000");
    assert_eq!(config.server.shards, 2);
    assert_eq!(config.api.keys, ["first-key", "second-key"]);
    assert_eq!(config.allowed_origins, ["https://*.example.com", "null"]);
    assert!(config.settings.client.anonymous);
    assert_eq!(config.settings.client.ping_interval, Duration::from_secs(10));
    assert_eq!(config.settings.client.message_bytes_max, 2048);
    assert_eq!(config.log.format, LogFormat::Json);
    let chat = &config.settings.namespaces["chat"];
    assert_eq!(chat.publication_data_format, DataFormat::JsonObject);
    assert_eq!((chat.history_size, chat.history_ttl), (10, Duration::from_mins(1)));
}

#[test]
fn every_option_of_a_topic_is_what_is_meant() {
    let mut given = String::from("[topics]\n");
    let defaults = toml::Table::try_from(RawConfig::default()).unwrap();
    for (name, value) in defaults["topics"].as_table().unwrap() {
        let changed = match (name.as_str(), value) {
            (_, toml::Value::Boolean(false)) => "true",
            ("history_size", _) => "7",
            ("history_ttl", _) => "\"7s\"",
            ("history_meta_ttl", _) => "\"7m\"",
            ("force_recovery_mode", _) => "\"cache\"",
            ("allowed_delta_types", _) => "[\"fossil\"]",
            ("channel_regex", _) => "'^\\d+$'",
            ("publication_data_format", _) => "\"binary\"",
            _ => panic!("no example for {name} = {value}"),
        };
        given.push_str(&format!("{name} = {changed}\n"));
    }
    let topics = from_layers(&given, &[], &[]).unwrap().config.settings.topics;
    let shown = format!("{topics:?}");
    assert!(!shown.contains("false") && !shown.contains("None"), "{shown}");
    assert_eq!((topics.history_size, topics.history_ttl), (7, Duration::from_secs(7)));
    assert_eq!(topics.history_meta_ttl, Duration::from_mins(7));
    assert_eq!(topics.force_recovery_mode, RecoveryMode::Cache);
    assert_eq!(topics.publication_data_format, DataFormat::Binary);
    let regex = topics.channel_regex.unwrap();
    assert!(regex.is_match("12") && !regex.is_match("1a"));
}

#[test]
fn what_shards_and_clients_are_allowed_is_what_is_meant() {
    let file = r#"
        [api]
        error_mode = "transport"
        [client]
        user_connections_max = 2
        history_publications_max = 3
        recovery_publications_max = 4
        presence_members_max = 5
        position_check_interval = "6s"
        connect_time = true
        rpc_ping = true
        [client.personal_topic]
        enabled = true
        single_connection = true
        [history]
        shard_bytes_max = "7MiB"
        [topics]
        force_recovery_mode = ""
    "#;
    let config = from_layers(file, &[], &[]).unwrap().config;
    assert_eq!(config.api.error_mode, ErrorMode::Transport);
    assert_eq!(config.settings.history.shard_bytes_max, 7 << 20);
    assert_eq!(config.settings.topics.force_recovery_mode, RecoveryMode::Stream);
    let client = config.settings.client;
    assert_eq!((client.user_connections_max, client.history_publications_max), (2, 3));
    assert_eq!((client.recovery_publications_max, client.presence_members_max), (4, 5));
    assert_eq!(client.position_check_interval, Duration::from_secs(6));
    assert!(client.connect_time && client.rpc_ping);
    let expected = PersonalTopic { namespace: String::new(), single_connection: true };
    assert_eq!(client.personal_topic, Some(expected));
    let disabled = "[client.personal_topic]\nsingle_connection = true";
    let disabled = from_layers(disabled, &[], &[]).unwrap().config;
    assert_eq!(disabled.settings.client.personal_topic, None);
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "[server]\nshards = 1\n[client]\ntopics_max = 1\nping_interval = \"20s\"\n";
    let environment =
        [("FANWIRE_SERVER_SHARDS", "2"), ("FANWIRE_CLIENT_TOPICS_MAX", "2"), ("PATH", "/bin")];
    let config = from_layers(file, &environment, &[("server.shards", "3")]).unwrap().config;
    assert_eq!(config.server.shards, 3);
    assert_eq!(config.settings.client.topics_max, 2);
    assert_eq!(config.settings.client.ping_interval, Duration::from_secs(20));
}

#[test]
fn the_environment_can_set_every_kind_of_value() {
    let environment = [
        ("FANWIRE_API_KEYS", "first-key, second-key"),
        ("FANWIRE_CLIENT_ANONYMOUS", "true"),
        ("FANWIRE_CLIENT_ALLOWED_ORIGINS", ""),
        ("FANWIRE_CLIENT_MESSAGE_BYTES_MAX", "512KiB"),
        ("FANWIRE_LOG_FORMAT", "json"),
        ("FANWIRE_NAMESPACES_CHAT_HISTORY_SIZE", "5"),
        ("FANWIRE_NAMESPACES_CHAT_HISTORY_TTL", "5s"),
        ("FANWIRE_NAMESPACES_CHAT_ALLOWED_DELTA_TYPES", "fossil"),
        ("FANWIRE_CLIENT_PERSONAL_TOPIC_ENABLED", "true"),
        ("FANWIRE_CLIENT_PERSONAL_TOPIC_NAMESPACE", "chat"),
        ("FANWIRE_CONFIG", ""),
        ("FANWIRE_TOKEN", "of-fanwire-pub-and-sub"),
    ];
    let config = from_layers("", &environment, &[]).unwrap().config;
    assert_eq!(config.api.keys, ["first-key", "second-key"]);
    assert!(config.settings.client.anonymous && config.allowed_origins.is_empty());
    assert_eq!(config.settings.client.message_bytes_max, 1 << 19);
    assert_eq!(config.log.format, LogFormat::Json);
    let chat = &config.settings.namespaces["chat"];
    assert!(chat.history_size == 5 && chat.allow_delta);
    assert_eq!(config.settings.client.personal_topic.unwrap().namespace, "chat");
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_key() {
    assert_refused(
        "[client]\nanonymous = true\nping_intervall = \"25s\"\n",
        "f.toml:3: unknown key `client.ping_intervall`",
        "did you mean `client.ping_interval`?",
    );
    assert_refused(
        "[client.personal_topic]\nenable = true\n",
        "f.toml:2: unknown key `client.personal_topic.enable`",
        "did you mean `client.personal_topic.enabled`?",
    );
    assert_refused("\n[sever]\n", "f.toml:2: unknown key `sever`", "did you mean `server`?");
    assert_refused(
        "[namespaces.chat]\npresense = true\n",
        "f.toml:2: unknown key `namespaces.chat.presense`",
        "did you mean `namespaces.chat.presence`?",
    );
    let error = from_layers("", &[("FANWIRE_API_KEY", "first-key")], &[]).unwrap_err();
    let cause = "environment variable FANWIRE_API_KEY: unknown key `api.key`";
    assert_eq!(told(&error), (cause.to_owned(), "did you mean FANWIRE_API_KEYS?".to_owned()));
    let variable = ("FANWIRE_CLIENT_PERSONAL_TOPIC_ENABLE", "true");
    let (_, remedy) = told(&from_layers("", &[variable], &[]).unwrap_err());
    assert_eq!(remedy, "did you mean FANWIRE_CLIENT_PERSONAL_TOPIC_ENABLED?");
    let error = from_layers("", &[], &[("log.levle", "info")]).unwrap_err();
    let cause = "--set log.levle: unknown key `log.levle`";
    assert_eq!(told(&error), (cause.to_owned(), "did you mean `log.level`?".to_owned()));
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_its_line() {
    let cause = |file| refusal(file).0;
    assert_eq!(
        cause("[client]\nanonymous = \"yes\""),
        "f.toml:2: `client.anonymous`: expected a boolean, found text"
    );
    assert_eq!(
        cause("[server]\nshards = -1"),
        "f.toml:2: `server.shards`: expected a whole number from 0, found -1"
    );
    assert_eq!(
        cause("[server]\nshards = 1.5"),
        "f.toml:2: `server.shards`: expected a whole number from 0, found a number with a fraction"
    );
    assert_eq!(
        cause("server = 3"),
        "f.toml:1: `server`: expected the section [server], found a number"
    );
    assert_eq!(
        cause("[client]\nping_interval = 25"),
        "f.toml:2: `client.ping_interval`: \"25\" is no duration"
    );
    assert_refused(
        "[log]\nformat = \"xml\"",
        "f.toml:2: `log.format`: unknown value \"xml\"",
        "write one of \"text\", \"json\"",
    );
    assert_refused(
        "[topics]\nforce_recovery_mode = \"all\"",
        "f.toml:2: `topics.force_recovery_mode`: unknown value \"all\"",
        "write one of \"\", \"stream\", \"cache\"",
    );
    let error = from_layers("", &[("FANWIRE_CLIENT_INSECURE", "1")], &[]).unwrap_err();
    let cause = "environment variable FANWIRE_CLIENT_INSECURE: `client.insecure`: \"1\" is \
                 neither true nor false";
    assert_eq!(error.to_string(), cause);
}

#[test]
fn a_secret_is_in_no_message_and_no_output() {
    for file in [
        "keys = \"hidden-key\"",
        "keys = [\"hidden\"]",
        "keys = [\"hidden key\"]",
        "keys = [[\"hidden\"]]",
    ] {
        let (cause, remedy) = refusal(&format!("[api]\n{file}\n"));
        assert!(cause.starts_with("f.toml:2: `api.keys`: "), "{cause}");
        assert!(!cause.contains("hidden") && !remedy.contains("hidden"), "{cause} {remedy}");
    }
    let loaded = from_layers("[api]\nkeys = [\"hidden-key\"]\n", &[], &[]).unwrap();
    assert!(!loaded.shown().contains("hidden") && !format!("{loaded:?}").contains("hidden"));
    assert!(loaded.shown().contains("keys = [\"***\"]"), "{}", loaded.shown());
}

#[test]
fn what_is_shown_means_the_same() {
    let file = "[namespaces.a-b]\nhistory_size = 3\nhistory_ttl = \"90s\"\n[server]\nshards = 4";
    let shown = from_layers(file, &[], &[]).unwrap().shown();
    assert!(shown.contains("history_ttl = \"90s\""), "{shown}");
    assert_eq!(from_layers(&shown, &[], &[]).unwrap().shown(), shown);
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let cause = |file| refusal(file).0;
    assert_eq!(
        cause("[client]\nping_interval = \"5s\""),
        "f.toml:2: client.pong_timeout (8s) must be shorter than client.ping_interval (5s)"
    );
    assert_eq!(
        cause("[client]\nmessage_bytes_max = \"2MiB\""),
        "f.toml:2: client.outbox_bytes_max (1MiB) must be larger than \
         client.message_bytes_max (2MiB) by at least 4KiB"
    );
    let (_, remedy) = refusal("[client]\noutbox_bytes_max = \"64KiB\"");
    assert!(remedy.ends_with("set client.outbox_bytes_max to 68KiB or more"), "{remedy}");
    assert!(from_layers("[client]\noutbox_bytes_max = \"68KiB\"", &[], &[]).is_ok());
    assert_eq!(
        cause("[topics]\nhistory_size = 1"),
        "f.toml:2: topics: history_size and history_ttl go together"
    );
    assert_eq!(
        cause("[namespaces.chat]\nforce_recovery = true"),
        "f.toml:2: namespaces.chat: recovery needs history"
    );
    assert_eq!(
        cause("[topics]\nhistory_size = 1\nhistory_ttl = \"2h\"\nhistory_meta_ttl = \"1h\""),
        "f.toml:4: topics: history_meta_ttl must not be shorter than history_ttl"
    );
    assert_eq!(
        cause("[topics]\nallow_positioning = true"),
        "f.toml:2: topics: positioning needs history"
    );
    let history = "[topics]\nhistory_size = 1\nhistory_ttl = \"1h\"\nauto_cache_recover = true\n";
    let auto = "f.toml:4: topics: auto_cache_recover needs recovery in cache mode";
    let (mode, recovery) = ("force_recovery_mode = \"cache\"\n", "force_recovery = true\n");
    for more in ["", mode, recovery] {
        assert_eq!(refusal(&format!("{history}{more}")).0, auto);
    }
    assert!(from_layers(&format!("{history}{mode}{recovery}"), &[], &[]).is_ok());
    let personal = "[client.personal_topic]\nenabled = true\nnamespace = \"own\"\n";
    assert_eq!(
        cause(personal),
        "f.toml:3: `client.personal_topic.namespace`: there is no namespace \"own\""
    );
    assert!(from_layers(&format!("{personal}[namespaces.own]"), &[], &[]).is_ok());
    for address in ["127.0.0.1:8001", "0.0.0.0:8001"] {
        let (cause, _) = refusal(&format!("[server]\naddress = {address:?}"));
        assert!(cause.starts_with("f.toml:2: server.address ("), "{cause}");
    }
    assert!(from_layers("[server]\naddress = \"10.0.0.1:8001\"", &[], &[]).is_ok());
    let free_ports = "[server]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"";
    assert!(from_layers(free_ports, &[], &[]).is_ok());
}

#[test]
fn values_out_of_range_are_refused() {
    for (section, value) in [
        ("server", "shards = 1025"),
        ("api", "body_bytes_max = 0"),
        ("api", "keys = [\"1234567\"]"),
        ("client", "ping_interval = \"999ms\""),
        ("client", "pong_timeout = \"99ms\""),
        ("client", "connect_timeout = \"99ms\""),
        ("client", "message_bytes_max = 1023"),
        ("client", "message_bytes_max = \"65MiB\""),
        ("client", "outbox_bytes_max = \"4KiB\""),
        ("client", "outbox_bytes_max = \"2GiB\""),
        ("client", "topics_max = 0"),
        ("client", "expired_close_delay = \"2h\""),
        ("client", "expired_sub_close_delay = \"61m\""),
        ("client", "allowed_origins = [\"example.com\"]"),
        ("client", "allowed_origins = [\"https://example.com/\"]"),
        ("client", "user_connections_max = 1000001"),
        ("client", "history_publications_max = 100001"),
        ("client", "recovery_publications_max = 100001"),
        ("client", "presence_members_max = 0"),
        ("client", "position_check_interval = \"999ms\""),
        ("history", "shard_bytes_max = \"1023KiB\""),
        ("history", "shard_bytes_max = \"2TiB\""),
        ("log", "level = \"inof\""),
        ("topics", "history_size = 1000001"),
        ("topics", "history_meta_ttl = \"87601h\""),
        ("topics", "channel_regex = '['"),
        ("topics", "allowed_delta_types = [\"xdelta\"]"),
    ] {
        let (name, _) = value.split_once(' ').unwrap();
        let (cause, remedy) = refusal(&format!("[{section}]\n{value}"));
        assert!(cause.starts_with(&format!("f.toml:2: `{section}.{name}`: ")), "{cause}");
        assert!(!remedy.is_empty(), "{cause}");
    }
    for name in ["a", "a b", "ä"] {
        let (cause, _) = refusal(&format!("\n[namespaces.{name:?}]"));
        assert!(cause.starts_with("f.toml:2: "), "{cause}");
    }
}

#[test]
fn an_expression_that_is_none_is_told_in_a_line() {
    assert_refused(
        "[topics]\nchannel_regex = 'a(b'",
        "f.toml:2: `topics.channel_regex`: \"a(b\" is no regular expression: unclosed group",
        "write one as in '^[a-z]+$', in single quotes if it has a backslash",
    );
}

#[test]
fn a_broker_that_admits_nobody_says_which_keys_to_set() {
    let warnings = from_layers("", &[], &[]).unwrap().warnings;
    assert_eq!(warnings, [Warning::NobodyMayConnect, Warning::NoApiKey]);
    let (clients, backends) = (warnings[0].to_string(), warnings[1].to_string());
    assert!(clients.contains("client.anonymous") && backends.contains("api.keys"));
    let open = [("FANWIRE_CLIENT_ANONYMOUS", "true"), ("FANWIRE_API_KEYS", "first-key")];
    assert_eq!(from_layers("", &open, &[]).unwrap().warnings, []);
}

#[test]
fn insecure_beyond_loopback_is_a_warning() {
    let file = "[client]\ninsecure = true\nanonymous = false\n";
    let insecure = |flags| from_layers(file, &[("FANWIRE_API_KEYS", "first-key")], flags).unwrap();
    assert_eq!(insecure(&[]).warnings, []);
    let beyond = insecure(&[("server.address", "0.0.0.0:8000")]).warnings;
    assert!(matches!(beyond[..], [Warning::InsecureBeyondLoopback(_)]), "{beyond:?}");
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_path() {
    let sources = Sources { file: Some("/nowhere/f.toml".into()), ..Sources::default() };
    let (cause, remedy) = told(&sources.load().unwrap_err());
    assert!(cause.starts_with("/nowhere/f.toml: cannot read the configuration: "), "{cause}");
    assert!(remedy.contains("fanwire config default"), "{remedy}");
}
