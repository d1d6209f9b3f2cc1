//! What the operator's configuration means. The shell parses files, environment and flags into
//! these types and checks them; core only reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;

/// All settings that core acts on. Shared by the shards, never changed in place.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `[client]`
    pub client: ClientSettings,
    /// `[topics]`: options of topics outside every namespace.
    pub topics: TopicOptions,
    /// `[namespaces.NAME]`: options of topics named `NAME:…`.
    pub namespaces: BTreeMap<String, TopicOptions>,
    /// `[history]`
    pub history: HistorySettings,
}

/// What all topics share.
#[derive(Clone, Debug)]
pub struct HistorySettings {
    /// Bytes that the histories of all topics of one shard may hold together; above it, the oldest
    /// publications go first.
    pub shard_bytes_max: usize,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { shard_bytes_max: 256 * 1024 * 1024 }
    }
}

/// What every client may do and must keep to.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Clients may connect without a token; their user is the empty string.
    pub anonymous: bool,
    /// No permission is checked for any client. Features must still be switched on per topic.
    pub insecure: bool,
    /// Time between two pings. The first one comes after half of it to all of it.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping; less than `ping_interval`.
    pub pong_timeout: Duration,
    /// How long a socket may stay without a successful `connect`.
    pub connect_timeout: Duration,
    /// Largest message from a client, in bytes of payload after reassembly of its fragments.
    pub message_bytes_max: usize,
    /// Frames that one message may come in.
    pub fragments_max: usize,
    /// Clients may compress, and are sent compressed what they offer to read (RFC 7692).
    pub compression: bool,
    /// Shorter messages are sent as they are, in bytes of payload.
    pub compression_min_bytes: usize,
    /// Bytes that may wait for one connection whose socket takes no more; above it, it counts as
    /// slow (close 3008). Twice as much may come together before the socket is offered it.
    pub outbox_bytes_max: usize,
    /// Topics one connection may be subscribed to.
    pub topics_max: usize,
    /// Publications that one history command may return.
    pub history_publications_max: usize,
    /// Publications that one subscribe may recover; if more were missed, none is.
    pub recovery_publications_max: usize,
    /// Members of a topic up to which their list can be asked for.
    pub presence_members_max: usize,
    /// How often the position of the subscriptions of a topic is compared with the topic's.
    pub position_check_interval: Duration,
    /// Connections that one user may have on the node; 0 = any number.
    pub user_connections_max: usize,
    /// Every user is subscribed to a topic of its own.
    pub personal_topic: Option<PersonalTopic>,
    /// The connect reply tells the server's time.
    pub connect_time: bool,
    /// The call `ping` is answered by nothing.
    pub rpc_ping: bool,
    /// What connection tokens must say beside being signed.
    pub token: TokenSettings,
    /// The same for subscription tokens; `None` = what holds for connection tokens.
    pub subscription_token: Option<TokenSettings>,
    /// Connection tokens must name a user (close 3507 otherwise).
    pub disallow_anonymous_connection_tokens: bool,
    /// How long a connection outlives its token without a refresh.
    pub expired_close_delay: Duration,
    /// How long a subscription outlives its token without a refresh.
    pub expired_sub_close_delay: Duration,
}

/// `[client.personal_topic]`: the topic of a user is `#USER`, or `NAMESPACE:#USER`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonalTopic {
    /// The namespace; empty = none.
    pub namespace: String,
    /// A user's new connection ends the one before (3504).
    pub single_connection: bool,
}

impl ClientSettings {
    /// What subscription tokens must say.
    pub fn subscription_token(&self) -> &TokenSettings {
        self.subscription_token.as_ref().unwrap_or(&self.token)
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            anonymous: false,
            insecure: false,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(10),
            message_bytes_max: 64 * 1024,
            fragments_max: 1024,
            compression: false,
            compression_min_bytes: 128,
            outbox_bytes_max: 1024 * 1024,
            topics_max: 1024,
            history_publications_max: 300,
            recovery_publications_max: 300,
            presence_members_max: 1000,
            position_check_interval: Duration::from_secs(40),
            user_connections_max: 0,
            personal_topic: None,
            connect_time: false,
            rpc_ping: false,
            token: TokenSettings::default(),
            subscription_token: None,
            disallow_anonymous_connection_tokens: false,
            expired_close_delay: Duration::from_secs(25),
            expired_sub_close_delay: Duration::from_secs(25),
        }
    }
}

/// What a token must say beside being signed (specification, section 9).
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// What `aud`, or one entry of it, must be; `None` = `aud` does not matter.
    pub audience: Option<Match>,
    /// What `iss` must be; `None` = `iss` does not matter.
    pub issuer: Option<Match>,
    /// The claim that names the user.
    pub user_id_claim: String,
    /// Tokens without `exp`, which never expire, are good.
    pub allow_without_exp: bool,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            audience: None,
            issuer: None,
            user_id_claim: "sub".to_owned(),
            allow_without_exp: false,
        }
    }
}

/// What a text must be.
#[derive(Clone, Debug)]
pub enum Match {
    /// Exactly this.
    Exact(String),
    /// Something that this matches from its first to its last character: [`Match::pattern`].
    Pattern(Regex),
}

impl Match {
    /// A regular expression for the whole text: a part that fits is not enough, for then
    /// `example.com` would let in `example.com.elsewhere`.
    ///
    /// # Errors
    ///
    /// It is no regular expression, or too large a one.
    pub fn pattern(text: &str) -> Result<Self, regex::Error> {
        // By itself first, so that no bracket of it can close ours.
        Regex::new(text)?;
        Regex::new(&format!(r"\A(?:{text})\z")).map(Self::Pattern)
    }

    /// Whether the text is what it must be.
    pub fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// Options of the topics of one namespace (specification, section 10).
#[derive(Clone, Debug, Default)]
pub struct TopicOptions {
    /// Clients with a user id may subscribe.
    pub allow_subscribe_for_client: bool,
    /// `allow_subscribe_for_client` counts for clients without a user id too.
    pub allow_subscribe_for_anonymous: bool,
    /// Clients with a user id may publish.
    pub allow_publish_for_client: bool,
    /// Clients that are subscribed to the topic may publish.
    pub allow_publish_for_subscriber: bool,
    /// The two above count for clients without a user id too.
    pub allow_publish_for_anonymous: bool,
    /// A topic `…#user1,user2` admits exactly the users after its last `#`.
    pub allow_user_limited_channels: bool,
    /// What the data of a publication must be.
    pub publication_data_format: DataFormat,
    /// Names after `NAMESPACE:` must match it; without one they are printable ASCII. Personal
    /// topics are exempt.
    pub channel_regex: Option<Regex>,
    /// Publications to keep per topic; 0 = no history.
    pub history_size: usize,
    /// How long to keep the publications of a topic after the last of them; zero = no history.
    pub history_ttl: Duration,
    /// How long the position of a topic outlives its last use.
    pub history_meta_ttl: Duration,
    /// Clients with a user id may read history.
    pub allow_history_for_client: bool,
    /// Clients that are subscribed to the topic may read history.
    pub allow_history_for_subscriber: bool,
    /// The two above count for clients without a user id too.
    pub allow_history_for_anonymous: bool,
    /// Clients may ask that their position is watched over.
    pub allow_positioning: bool,
    /// The position of every subscription is watched over.
    pub force_positioning: bool,
    /// Clients may ask for what they missed.
    pub allow_recovery: bool,
    /// Every subscription can recover.
    pub force_recovery: bool,
    /// What a recovery brings.
    pub force_recovery_mode: RecoveryMode,
    /// Every subscribe brings the newest publication, as if the client had asked to recover.
    pub auto_cache_recover: bool,
    /// Who is subscribed is known.
    pub presence: bool,
    /// Who joins and leaves is told to those who ask.
    pub join_leave: bool,
    /// Who joins and leaves is told to all subscribers.
    pub force_push_join_leave: bool,
    /// Clients with a user id may ask who is subscribed.
    pub allow_presence_for_client: bool,
    /// Clients that are subscribed to the topic may ask who else is.
    pub allow_presence_for_subscriber: bool,
    /// The two above count for clients without a user id too.
    pub allow_presence_for_anonymous: bool,
    /// Clients may ask for deltas (fossil).
    pub allow_delta: bool,
    /// Every publication is sent as a delta to those who asked for deltas.
    pub delta_publish: bool,
    /// Clients may ask for publications with certain tags only.
    pub allow_tags_filter: bool,
}

/// `force_recovery_mode` of a namespace (specification, section 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// All that was missed, or nothing.
    #[default]
    Stream,
    /// The newest publication.
    Cache,
}

impl TopicOptions {
    /// Whether publications are kept, and their positions told.
    pub fn keeps_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero()
    }
}

/// `publication_data_format` of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataFormat {
    /// Any data, but there must be some.
    #[default]
    Any,
    /// A JSON value.
    Json,
    /// A JSON object.
    JsonObject,
    /// Any bytes, none included.
    Binary,
}

/// What a node says about itself.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// UUIDv4 of this process.
    pub id: uuid::Uuid,
    /// For people: host name and port.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::Match;

    #[test]
    fn a_pattern_fits_the_whole_text_or_not_at_all() {
        for (pattern, good, bad) in [
            ("example", "example", "example.com"),
            ("^a|b$", "a", "ax"),
            ("a|b", "b", "xb"),
            (r"https://\w+\.example\.com", "https://a.example.com", "https://a.example.com.evil"),
            (".*", "", "a\nb"),
        ] {
            let pattern = Match::pattern(pattern).unwrap();
            assert!(pattern.accepts(good) && !pattern.accepts(bad), "{pattern:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_leave_its_brackets() {
        for pattern in ["a)|(?:b", "(", "(?x)a # b"] {
            assert!(Match::pattern(pattern).is_err(), "{pattern}");
        }
    }
}
