//! The command line: what may be written, and nothing of what it does.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::DEFAULT_URL;
use crate::config::Override;
use crate::token::Algorithm;

const EXAMPLES: &str = "\
Examples:
  fanwire dev                                   try it: no configuration needed
  fanwire sub news                              print what is published in the topic `news`
  fanwire pub news '{\"hello\":1}'                publish in it
  fanwire config default > fanwire.toml         a file with every key and its default
  fanwire config check --config fanwire.toml    is it right?
  fanwire serve --config fanwire.toml           run it

Every key of the configuration can be given in the environment too, as in
FANWIRE_SERVER_ADDRESS=0.0.0.0:8000, and with --set, as in --set server.shards=2.";

const TOKEN_EXAMPLES: &str = "\
Examples:
  fanwire token --config fanwire.toml --user 42     a user's token, for an hour
  fanwire token --user 42 --channels news,chat      subscribed to both from the start
  fanwire token --user 42 --channel '$private'      for one subscription
  fanwire token --user 42 --exp 1                   expired long ago
  fanwire token --user 42 --key private.pem         signed with RSA, ECDSA or Ed25519
  FANWIRE_TOKEN=$(fanwire token --user 42) fanwire sub news    connect with it

A token has the `aud` and `iss` that the configuration asks for. A secret to try with:
export FANWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY=$(openssl rand -hex 32), for the broker as well.";

/// A real-time message broker: backends publish into topics, clients subscribe and hear every
/// message at once and in order.
///
/// Clients connect by WebSocket with any SDK of the Centrifugo protocol (npm `centrifuge`, for
/// example); backends publish by HTTP. Start with `fanwire dev`.
#[derive(Debug, Parser)]
#[command(name = "fanwire", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker to try things with: no configuration, everybody may subscribe and publish
    ///
    /// Listens on the loopback interface, makes an API key, and prints lines that can be pasted
    /// into a terminal or a browser. Not for production.
    Dev(DevArgs),
    /// Run the broker as configured
    Serve(ServeArgs),
    /// Look at the configuration without running anything
    Config {
        /// What to look at.
        #[command(subcommand)]
        action: ConfigCommand,
    },
    /// Make a token, as a backend would for its user, and print it
    ///
    /// For trying things: a backend makes its own with any JWT library. Signed with the secret of
    /// the configuration in force (client.token.hmac_secret_key) if no key is named.
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArgs),
    /// Publish in a topic
    Pub(PubArgs),
    /// Subscribe to topics and print what is published, a line each: topic, tab, data
    Sub(SubArgs),
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check file, environment and flags, as `serve` would; exit status 1 when something is wrong
    Check(ServeArgs),
    /// Print what is in force, file, environment and flags together, as TOML; secrets as ***
    Show(ServeArgs),
    /// Print a configuration file with every key, its default and what it is for
    Default,
}

/// `fanwire serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file [default: $FANWIRE_CONFIG, or else the built-in defaults]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
}

/// `fanwire dev`
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// API key for backends; without it one is made
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Answer every WebSocket message at this path by itself, for tests of WebSocket clients
    ///
    /// Framing and compression are those of the broker. Unless set otherwise, messages may have
    /// 64 MiB and 1048576 fragments there and everywhere, and clients may compress.
    #[arg(long, value_name = "PATH", value_parser = echo_path)]
    pub(crate) echo: Option<String>,
    #[command(flatten)]
    flags: SettingFlags,
}

/// A path that is nobody else's.
fn echo_path(path: &str) -> Result<String, NoEchoPath> {
    let taken = path == "/" || path == "/connection/websocket" || path.starts_with("/api/");
    let usable = path.starts_with('/') && !path.contains(['?', '#', ' ']);
    if usable && !taken { Ok(path.to_owned()) } else { Err(NoEchoPath) }
}

/// `--echo` with something that is no path, or is somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("write a path that is not in use, as in /echo")]
struct NoEchoPath;

/// Flags that set a key of the configuration.
#[derive(Debug, Args)]
struct SettingFlags {
    /// Where clients and backends connect (server.address); port 0 = a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Number of shards (server.shards); 0 = one per usable core
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Speak TLS where clients and backends connect, with this certificate (server.tls.cert_file)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The certificate's private key (server.tls.key_file)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Least severe events to log (log.level): off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How the log looks (log.format): text, json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set any key of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<KeyValue>,
}

/// `fanwire token`
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Whose it is; '' = an anonymous user's
    #[arg(long, value_name = "ID")]
    pub(crate) user: String,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// Until when it is good, in Unix seconds
    #[arg(long, value_name = "UNIX", conflicts_with = "ttl")]
    pub(crate) exp: Option<u64>,
    /// It never expires
    #[arg(long, conflicts_with_all = ["ttl", "exp"])]
    pub(crate) without_exp: bool,
    /// What others are told about the user, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) info: Option<String>,
    /// Make a subscription token, for this topic
    #[arg(long, value_name = "TOPIC")]
    pub(crate) channel: Option<String>,
    /// Topics that the broker subscribes the connection to; comma separated
    #[arg(long, value_name = "TOPICS", value_delimiter = ',', conflicts_with = "channel")]
    pub(crate) channels: Vec<String>,
    /// More claims, as a JSON object; they win over all others
    #[arg(long, value_name = "JSON")]
    pub(crate) claims: Option<String>,
    /// Sign with the secret in this file
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) hmac_secret_file: Option<PathBuf>,
    /// Sign with the private key in this file, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Name of the key, for brokers that fetch keys
    #[arg(long, value_name = "NAME")]
    pub(crate) kid: Option<String>,
    /// How to sign [default: HS256, RS256, or the one that the curve has]
    #[arg(long, value_name = "NAME", value_enum, ignore_case = true)]
    pub(crate) algorithm: Option<Algorithm>,
    /// Configuration file [default: $FANWIRE_CONFIG, or else the built-in defaults]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set any key of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<KeyValue>,
}

/// `fanwire pub`
#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    /// The broker
    #[arg(long, default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// Connect with this token, as from `fanwire token` [default: $FANWIRE_TOKEN, or none]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Publish as a backend, by HTTP, with this API key
    #[arg(long, value_name = "KEY", conflicts_with = "token")]
    pub(crate) api_key: Option<String>,
    /// Topic to publish in
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// JSON; anything else is sent as a JSON string; `-` = read it from stdin
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    pub(crate) data: String,
}

/// `fanwire sub`
#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    /// The broker
    #[arg(long, default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// Connect with this token, as from `fanwire token` [default: $FANWIRE_TOKEN, or none]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Subscribe with this token, as from `fanwire token --channel TOPIC`; it is for that one topic
    #[arg(long, value_name = "TOKEN")]
    pub(crate) topic_token: Option<String>,
    /// Print the whole push, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// End after this many publications
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End when the connection is lost, rather than connect again
    #[arg(long)]
    pub(crate) once: bool,
    /// Topics to subscribe to
    #[arg(value_name = "TOPIC", required = true)]
    pub(crate) topics: Vec<String>,
}

/// The value of `--set`.
#[derive(Clone, Debug)]
struct KeyValue {
    key: String,
    value: String,
}

/// `--set` without a `=`.
#[derive(Debug, thiserror::Error)]
#[error("write it as KEY=VALUE, as in client.ping_interval=10s")]
struct NoKeyValue;

impl FromStr for KeyValue {
    type Err = NoKeyValue;

    fn from_str(text: &str) -> Result<Self, NoKeyValue> {
        let (key, value) = text.split_once('=').ok_or(NoKeyValue)?;
        Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
    }
}

impl ServeArgs {
    /// The flags that set a key.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        self.flags.overrides()
    }
}

impl TokenArgs {
    /// The flags that set a key.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        self.set.iter().map(KeyValue::setting).collect()
    }
}

impl KeyValue {
    /// The value is not part of the name that messages show: it may be a secret.
    fn setting(&self) -> Override {
        let Self { key, value } = self;
        Override { flag: format!("--set {key}"), key: key.clone(), value: value.clone() }
    }
}

impl DevArgs {
    /// The flags that set a key.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let mut overrides = self.flags.overrides();
        overrides.extend(setting("--api-key", "api.keys", self.api_key.as_ref()));
        overrides
    }
}

impl SettingFlags {
    /// General ones first: `--listen` wins over `--set server.address=…`.
    fn overrides(&self) -> Vec<Override> {
        let general = self.set.iter().map(KeyValue::setting);
        let special = [
            setting("--listen", "server.address", self.listen.as_ref()),
            setting("--shards", "server.shards", self.shards.as_ref()),
            setting("--tls-cert", "server.tls.cert_file", self.tls_cert.as_ref()),
            setting("--tls-key", "server.tls.key_file", self.tls_key.as_ref()),
            setting("--log-level", "log.level", self.log_level.as_ref()),
            setting("--log-format", "log.format", self.log_format.as_ref()),
        ];
        general.chain(special.into_iter().flatten()).collect()
    }
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

fn setting(flag: &str, key: &str, value: Option<&String>) -> Option<Override> {
    let value = value?.clone();
    Some(Override { flag: flag.to_owned(), key: key.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_echo_has_a_path_of_its_own_and_belongs_to_dev_only() {
        let parsed = |arguments: [&str; 4]| Cli::try_parse_from(arguments).is_ok();
        assert!(parsed(["fanwire", "dev", "--echo", "/echo"]));
        assert!(!parsed(["fanwire", "serve", "--echo", "/echo"]));
        for path in ["", "echo", "/", "/connection/websocket", "/api/publish", "/a?b"] {
            assert!(!parsed(["fanwire", "dev", "--echo", path]), "{path}");
        }
    }

    #[test]
    fn no_message_shows_the_value_of_a_flag() {
        let arguments = ["fanwire", "serve", "--set", "api.keys=secret", "--listen", "x"];
        let cli = Cli::try_parse_from(arguments).unwrap();
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        let flags: Vec<_> = serve.overrides().into_iter().map(|given| given.flag).collect();
        assert_eq!(flags, ["--set api.keys", "--listen"]);
    }
}
