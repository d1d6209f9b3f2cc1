//! What can go wrong between a command-line client and the broker, with cause and remedy.

use std::{fmt, io};

use super::wire::WireError;

/// Why a command-line client gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// `--url` is no address of a broker.
    #[error("{0:?} is no address of a broker")]
    BadUrl(String),
    /// No TCP or TLS connection came about.
    #[error("cannot connect to {address}: {error}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The server answered the WebSocket handshake with an HTTP status.
    #[error("{url} does not accept clients: HTTP status {status}")]
    NotAccepted {
        /// The address that was asked.
        url: String,
        /// What it said.
        status: u16,
    },
    /// The connection ended with a close code.
    #[error("the broker closed the connection: {code} {reason}")]
    Closed {
        /// WebSocket close code.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The broker said nothing for too long, no ping either.
    #[error("the broker does not answer")]
    Silent,
    /// The broker refused a command.
    #[error("the broker refused to {action}: {code} {message}")]
    Refused {
        /// What was asked for.
        action: Action,
        /// Code of the error reply.
        code: u32,
        /// Its text.
        message: String,
    },
    /// The broker ended the subscription of a topic for good.
    #[error("the broker ended the subscription of {topic}: {code} {reason}")]
    Unsubscribed {
        /// The topic.
        topic: String,
        /// Code of the push.
        code: u32,
        /// Its text.
        reason: String,
    },
    /// The API answered with an HTTP status that is no success.
    #[error("the API answered with HTTP status {0}")]
    ApiStatus(u16),
    /// What came is not what the protocol says.
    #[error("the answer is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    /// Stdin cannot be read, or is no text.
    #[error("cannot read the data from stdin: {0}")]
    Input(io::Error),
    /// Stdout cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// What a client asks of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// To be let in.
    Connect,
    /// A subscription of this topic.
    Subscribe(String),
    /// A publication.
    Publish,
}

/// Completes "the broker refused to …".
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("admit this client"),
            Self::Subscribe(topic) => write!(f, "subscribe to {topic}"),
            Self::Publish => f.write_str("publish"),
        }
    }
}

impl ClientError {
    /// The broker's error reply to a command.
    pub(super) fn refused(action: Action, error: WireError) -> Self {
        Self::Refused { action, code: error.code, message: error.message }
    }

    /// What to do about it; empty when the cause says it all.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "write it as in ws://127.0.0.1:8000/connection/websocket",
            Self::Unreachable { error, .. } => match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "is fanwire running? start it with `fanwire dev`, or name another with --url"
                }
                io::ErrorKind::InvalidData => {
                    "is its certificate trusted here? a file of trusted ones can be named in \
                     SSL_CERT_FILE"
                }
                _ => "check host and port in --url",
            },
            Self::NotAccepted { status: 404, .. } => {
                "check the path in --url: clients connect to /connection/websocket"
            }
            Self::NotAccepted { status: 503, .. } => "the broker is full or stopping; try later",
            Self::NotAccepted { .. } => "check --url: is it a fanwire?",
            Self::Closed { code: 1009, .. } => {
                "the message is larger than the broker's client.message_bytes_max"
            }
            Self::Closed { code: 3500, .. } => {
                "the token must be signed with a key of the broker's [client.token], and that of a \
                 topic be for this topic and user: compare with `fanwire token --help`"
            }
            Self::Closed { code: 3501 | 3507, .. } => {
                "does the broker admit clients without a token? name one with --token, set \
                 client.anonymous = true there, or publish with --api-key"
            }
            Self::Closed { .. } | Self::Lost(_) | Self::Unsubscribed { .. } => "",
            Self::Silent => "check --url, and whether the broker is overloaded",
            Self::Refused { code: 102, .. } => {
                "the part before the `:` is a namespace: add it to the broker's [namespaces]"
            }
            Self::Refused { code: 103, action, .. } => permission_remedy(action),
            Self::Refused { code: 107, .. } => {
                "a name is at most 255 bytes of printable ASCII, or what its namespace's \
                 channel_regex wants; data what its publication_data_format wants"
            }
            Self::Refused { code: 109, .. } => "make a new token, as with `fanwire token`",
            Self::Refused { .. } => "",
            Self::ApiStatus(401) => "check --api-key: it must be one of the broker's api.keys",
            Self::ApiStatus(413) => "the data is larger than the broker's api.body_bytes_max",
            Self::ApiStatus(_) | Self::NotUnderstood(_) => "check --url: is it a fanwire?",
            Self::Input(_) => "data must be text in UTF-8",
            Self::Output(_) => "",
        }
    }

    /// Whether connecting again may help: the ranges of the specification, section 8.3.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Closed { code: 1009 | 3500..=3999 | 4500..=4999, .. } => false,
            Self::Closed { .. } | Self::Lost(_) | Self::Silent | Self::Unreachable { .. } => true,
            // Between two runs of the broker, a proxy in front of it answers.
            Self::NotAccepted { status, .. } => *status >= 500,
            Self::Refused { code, .. } => matches!(code, 100 | 111),
            _ => false,
        }
    }
}

fn permission_remedy(action: &Action) -> &'static str {
    match action {
        Action::Connect => "",
        Action::Subscribe(topic) if topic.starts_with('$') => {
            "a topic whose name begins with `$` needs --topic-token, as from `fanwire token \
             --channel TOPIC`, signed with a key of the broker's"
        }
        Action::Subscribe(_) => {
            "allow it with the topic's options, such as allow_subscribe_for_client and \
             allow_subscribe_for_anonymous"
        }
        Action::Publish => {
            "allow it with the topic's options, such as allow_publish_for_client and \
             allow_publish_for_anonymous, or publish with --api-key"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_codes_end_and_others_reconnect() {
        let closed = |code| ClientError::Closed { code, reason: String::new() }.is_passing();
        assert!([1001, 1006, 3001, 3012, 3499, 4000, 4499].into_iter().all(closed));
        assert!(![1009, 3500, 3501, 3999, 4500, 4999].into_iter().any(closed));
    }
}
