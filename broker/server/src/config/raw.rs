//! The configuration as it is written: sections and keys by their names in the file. The names are
//! a contract with the operator. What the values mean and which of them fit together is `check`.

use std::collections::BTreeMap;
use std::time::Duration;

use fanwire_core::config::{ClientSettings, DataFormat, HistorySettings, RecoveryMode};
use serde::{Deserialize, Serialize};

use super::text::{count, duration, list, size};
use super::token::{RawSubscriptionToken, RawToken};
use super::{AdminConfig, ApiConfig, LogConfig, ServerConfig};

/// Shown in the place of a secret.
pub(super) const SECRET: &str = "***";

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "sections")]
pub(super) struct RawConfig {
    pub(super) server: ServerConfig,
    pub(super) admin: AdminConfig,
    pub(super) api: ApiConfig,
    pub(super) client: RawClient,
    pub(super) history: RawHistory,
    pub(super) log: LogConfig,
    pub(super) topics: RawTopicOptions,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) namespaces: BTreeMap<String, RawTopicOptions>,
}

/// `[client]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [client]")]
pub(super) struct RawClient {
    pub(super) anonymous: bool,
    pub(super) insecure: bool,
    #[serde(with = "list")]
    pub(super) allowed_origins: Vec<String>,
    #[serde(with = "duration")]
    pub(super) ping_interval: Duration,
    #[serde(with = "duration")]
    pub(super) pong_timeout: Duration,
    #[serde(with = "duration")]
    pub(super) connect_timeout: Duration,
    #[serde(with = "size")]
    pub(super) message_bytes_max: usize,
    #[serde(with = "count")]
    pub(super) fragments_max: usize,
    pub(super) compression: bool,
    #[serde(with = "size")]
    pub(super) compression_min_bytes: usize,
    #[serde(with = "size")]
    pub(super) outbox_bytes_max: usize,
    #[serde(with = "count")]
    pub(super) topics_max: usize,
    #[serde(with = "count")]
    pub(super) user_connections_max: usize,
    #[serde(with = "count")]
    pub(super) history_publications_max: usize,
    #[serde(with = "count")]
    pub(super) recovery_publications_max: usize,
    #[serde(with = "count")]
    pub(super) presence_members_max: usize,
    #[serde(with = "duration")]
    pub(super) position_check_interval: Duration,
    pub(super) connect_time: bool,
    pub(super) rpc_ping: bool,
    pub(super) personal_topic: RawPersonalTopic,
    pub(super) disallow_anonymous_connection_tokens: bool,
    #[serde(with = "duration")]
    pub(super) expired_close_delay: Duration,
    #[serde(with = "duration")]
    pub(super) expired_sub_close_delay: Duration,
    pub(super) token: RawToken,
    pub(super) subscription_token: RawSubscriptionToken,
}

/// `[client.personal_topic]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [client.personal_topic]")]
pub(super) struct RawPersonalTopic {
    pub(super) enabled: bool,
    pub(super) namespace: String,
    pub(super) single_connection: bool,
}

/// `[history]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [history]")]
pub(super) struct RawHistory {
    #[serde(with = "size")]
    pub(super) shard_bytes_max: usize,
}

/// `[topics]` and `[namespaces.NAME]`: option names of the specification, section 10.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a section of topic options")]
pub(super) struct RawTopicOptions {
    pub(super) allow_subscribe_for_client: bool,
    pub(super) allow_subscribe_for_anonymous: bool,
    pub(super) allow_publish_for_client: bool,
    pub(super) allow_publish_for_subscriber: bool,
    pub(super) allow_publish_for_anonymous: bool,
    pub(super) allow_user_limited_channels: bool,
    pub(super) publication_data_format: RawDataFormat,
    pub(super) channel_regex: String,
    #[serde(with = "count")]
    pub(super) history_size: usize,
    #[serde(with = "duration")]
    pub(super) history_ttl: Duration,
    #[serde(with = "duration")]
    pub(super) history_meta_ttl: Duration,
    pub(super) allow_history_for_client: bool,
    pub(super) allow_history_for_subscriber: bool,
    pub(super) allow_history_for_anonymous: bool,
    pub(super) allow_positioning: bool,
    pub(super) force_positioning: bool,
    pub(super) allow_recovery: bool,
    pub(super) force_recovery: bool,
    pub(super) force_recovery_mode: RawRecoveryMode,
    pub(super) auto_cache_recover: bool,
    pub(super) presence: bool,
    pub(super) join_leave: bool,
    pub(super) force_push_join_leave: bool,
    pub(super) allow_presence_for_client: bool,
    pub(super) allow_presence_for_subscriber: bool,
    pub(super) allow_presence_for_anonymous: bool,
    #[serde(with = "list")]
    pub(super) allowed_delta_types: Vec<String>,
    pub(super) delta_publish: bool,
    pub(super) allow_tags_filter: bool,
}

/// `publication_data_format`
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawDataFormat {
    #[serde(rename = "")]
    Any,
    Json,
    JsonObject,
    Binary,
}

/// `force_recovery_mode`
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawRecoveryMode {
    #[serde(alias = "")]
    Stream,
    Cache,
}

impl RawConfig {
    /// The same, with `***` in the place of every secret.
    pub(super) fn without_secrets(mut self) -> Self {
        self.api.keys.iter_mut().for_each(|key| SECRET.clone_into(key));
        self
    }
}

impl Default for RawClient {
    fn default() -> Self {
        let client = ClientSettings::default();
        Self {
            anonymous: client.anonymous,
            insecure: client.insecure,
            allowed_origins: Vec::new(),
            ping_interval: client.ping_interval,
            pong_timeout: client.pong_timeout,
            connect_timeout: client.connect_timeout,
            message_bytes_max: client.message_bytes_max,
            fragments_max: client.fragments_max,
            compression: client.compression,
            compression_min_bytes: client.compression_min_bytes,
            outbox_bytes_max: client.outbox_bytes_max,
            topics_max: client.topics_max,
            user_connections_max: client.user_connections_max,
            history_publications_max: client.history_publications_max,
            recovery_publications_max: client.recovery_publications_max,
            presence_members_max: client.presence_members_max,
            position_check_interval: client.position_check_interval,
            connect_time: client.connect_time,
            rpc_ping: client.rpc_ping,
            personal_topic: RawPersonalTopic::default(),
            disallow_anonymous_connection_tokens: client.disallow_anonymous_connection_tokens,
            expired_close_delay: client.expired_close_delay,
            expired_sub_close_delay: client.expired_sub_close_delay,
            token: RawToken::default(),
            subscription_token: RawSubscriptionToken::default(),
        }
    }
}

impl Default for RawHistory {
    fn default() -> Self {
        Self { shard_bytes_max: HistorySettings::default().shard_bytes_max }
    }
}

impl Default for RawTopicOptions {
    fn default() -> Self {
        Self {
            allow_subscribe_for_client: false,
            allow_subscribe_for_anonymous: false,
            allow_publish_for_client: false,
            allow_publish_for_subscriber: false,
            allow_publish_for_anonymous: false,
            allow_user_limited_channels: false,
            publication_data_format: RawDataFormat::Any,
            channel_regex: String::new(),
            history_size: 0,
            history_ttl: Duration::ZERO,
            history_meta_ttl: Duration::from_hours(720),
            allow_history_for_client: false,
            allow_history_for_subscriber: false,
            allow_history_for_anonymous: false,
            allow_positioning: false,
            force_positioning: false,
            allow_recovery: false,
            force_recovery: false,
            force_recovery_mode: RawRecoveryMode::Stream,
            auto_cache_recover: false,
            presence: false,
            join_leave: false,
            force_push_join_leave: false,
            allow_presence_for_client: false,
            allow_presence_for_subscriber: false,
            allow_presence_for_anonymous: false,
            allowed_delta_types: Vec::new(),
            delta_publish: false,
            allow_tags_filter: false,
        }
    }
}

impl From<RawDataFormat> for DataFormat {
    fn from(raw: RawDataFormat) -> Self {
        match raw {
            RawDataFormat::Any => Self::Any,
            RawDataFormat::Json => Self::Json,
            RawDataFormat::JsonObject => Self::JsonObject,
            RawDataFormat::Binary => Self::Binary,
        }
    }
}

impl From<RawRecoveryMode> for RecoveryMode {
    fn from(raw: RawRecoveryMode) -> Self {
        match raw {
            RawRecoveryMode::Stream => Self::Stream,
            RawRecoveryMode::Cache => Self::Cache,
        }
    }
}
