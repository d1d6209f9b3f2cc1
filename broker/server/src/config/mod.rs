//! What the operator configured, parsed and checked: the meaning, not the text.
//!
//! File, environment and flags are laid over each other (`layers`), read into the sections and
//! keys of the file (`reader`, `raw`, `text`) and checked (`check`, `token`, `topics`). What is
//! wrong on the way is told with its place (`error`). A section whose meaning is what is written
//! has one type, here; the others have a twin in `raw`.

mod check;
mod error;
mod layers;
mod load;
mod raw;
mod reader;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod token;
mod topics;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use fanwire_core::config::Settings;
use serde::{Deserialize, Serialize};

pub(crate) use error::ConfigError;
pub(crate) use layers::{FILE_VARIABLE, TOKEN_VARIABLE};
pub(crate) use load::{Loaded, Override, Sources, process_environment};
use text::{address, count, list, size};
use tls::{TlsFiles, TlsIdentity};
pub(crate) use token::{JwksSource, KeySource, TokenConfig};

/// `config/fanwire.toml`: every key with its default.
pub(crate) const DEFAULT_FILE: &str = include_str!("../../../../config/fanwire.toml");

/// The whole configuration of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// `[server]`
    pub(crate) server: ServerConfig,
    /// `[admin]`
    pub(crate) admin: AdminConfig,
    /// `[api]`
    pub(crate) api: ApiConfig,
    /// `client.allowed_origins`: origins whose pages may connect; `*` = all, globs otherwise.
    pub(crate) allowed_origins: Vec<String>,
    /// `[client]`, `[topics]` and `[namespaces.*]`: what core acts on.
    pub(crate) settings: Settings,
    /// `[client.token]` and `[client.subscription_token]`: keys. What tokens must say is in
    /// `settings`.
    pub(crate) tokens: TokenConfig,
    /// `[server.tls]`: what its files hold; `None` = the public port is plain.
    pub(crate) tls: Option<TlsIdentity>,
    /// `[log]`
    pub(crate) log: LogConfig,
    /// Where messages are answered by themselves (`fanwire dev --echo`); no key of the file.
    pub(crate) echo_path: Option<String>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [server]")]
pub(crate) struct ServerConfig {
    /// Where clients and backends connect.
    #[serde(with = "address")]
    pub(crate) address: SocketAddr,
    /// Number of shards; 0 = one per usable core.
    #[serde(with = "count")]
    pub(crate) shards: usize,
    /// `[server.tls]`
    pub(crate) tls: TlsFiles,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [admin]")]
pub(crate) struct AdminConfig {
    /// Where health and metrics are served.
    #[serde(with = "address")]
    pub(crate) address: SocketAddr,
    /// A port that is taken instead of the one above while it is free; no key of the file.
    #[serde(skip)]
    pub(crate) preferred_port: Option<u16>,
}

/// `[api]`
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [api]")]
pub(crate) struct ApiConfig {
    /// Keys that backends may present; empty = the API answers 401 to everybody.
    #[serde(with = "list")]
    pub(crate) keys: Vec<String>,
    /// Largest request body of the API, in bytes.
    #[serde(with = "size")]
    pub(crate) body_bytes_max: usize,
    /// How a refused call is answered whose request does not say it.
    pub(crate) error_mode: ErrorMode,
}

/// `api.error_mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ErrorMode {
    /// With 200 and an `error`.
    #[default]
    #[serde(rename = "")]
    Body,
    /// With an HTTP status of its own.
    Transport,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [log]")]
pub(crate) struct LogConfig {
    /// A level, or directives as in `info,fanwire=debug`.
    pub(crate) level: String,
    /// How a line looks.
    pub(crate) format: LogFormat,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
        Self { address, shards: 0, tls: TlsFiles::default() }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8001)), preferred_port: None }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        let body_bytes_max = 4 * 1024 * 1024;
        Self { keys: Vec::new(), body_bytes_max, error_mode: ErrorMode::default() }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Shows how many keys there are, not the keys: what is printed with `{:?}` ends in logs.
impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig")
            .field("keys", &format_args!("{} × ***", self.keys.len()))
            .field("body_bytes_max", &self.body_bytes_max)
            .field("error_mode", &self.error_mode)
            .finish()
    }
}
