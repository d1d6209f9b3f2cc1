//! Two kinds of no. A [`Refusal`] is an answer and the connection lives on; a [`Disconnect`] ends
//! it. Both stand here in one table with their spelling on the wire (specification, section 8).

/// A command was refused. The connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})", message = self.message(), code = self.code())]
pub enum Refusal {
    /// The topic's namespace is not configured.
    UnknownTopic,
    /// The session may not do this to this topic.
    PermissionDenied,
    /// No such method, or no such thing.
    NotFound,
    /// The session is subscribed to the topic already.
    AlreadySubscribed,
    /// The connection is subscribed to as many topics as it may be.
    LimitExceeded,
    /// Well framed, but a value is missing or out of range.
    BadRequest,
    /// The feature is off for this topic, or not part of this version.
    NotAvailable,
    /// Too much is waiting for an answer; the same command may succeed a moment later.
    Overloaded,
}

impl Refusal {
    /// The number on the wire (section 8.1).
    pub const fn code(self) -> u32 {
        match self {
            Self::UnknownTopic => 102,
            Self::PermissionDenied => 103,
            Self::NotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::Overloaded => 111,
        }
    }

    /// The text on the wire to clients (section 8.1).
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::NotFound => "not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::Overloaded => "too many requests",
        }
    }

    /// Whether the same command may succeed later, so that the client should retry.
    pub const fn temporary(self) -> bool {
        matches!(self, Self::Overloaded)
    }
}

/// The end of a connection, as the WebSocket close code and reason say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The close code.
    pub code: u16,
    /// At most 123 bytes, so that it fits a control frame (RFC 6455, section 5.5).
    pub reason: std::borrow::Cow<'static, str>,
}

impl Disconnect {
    /// Longest reason that fits a close frame.
    pub const REASON_BYTES_MAX: usize = 123;

    const fn new(code: u16, reason: &'static str) -> Self {
        assert!(reason.len() <= Self::REASON_BYTES_MAX);
        Self { code, reason: std::borrow::Cow::Borrowed(reason) }
    }

    /// The node is going down; reconnect.
    pub const SHUTDOWN: Self = Self::new(3001, "shutdown");
    /// More waits for this connection than `outbox_bytes_max`.
    pub const SLOW: Self = Self::new(3008, "slow");
    /// A ping stayed without an answer.
    pub const NO_PONG: Self = Self::new(3012, "no pong");
    /// The connection token cannot be accepted.
    pub const INVALID_TOKEN: Self = Self::new(3500, "invalid token");
    /// A message that is malformed, or out of order.
    pub const BAD_REQUEST: Self = Self::new(3501, "bad request");
    /// No successful `connect` within `connect_timeout`.
    pub const STALE: Self = Self::new(3502, "stale");
    /// A backend asked for it.
    pub const FORCE: Self = Self::new(3503, "force disconnect");
    /// A feature that is not configured at all was used without a way to answer.
    pub const NOT_AVAILABLE: Self = Self::new(3508, "not available");

    /// RFC 6455, section 7.4.1: the peer broke the framing.
    pub const PROTOCOL_ERROR: Self = Self::new(1002, "");
    /// RFC 6455, section 7.4.1: a text message that is not UTF-8.
    pub const INVALID_UTF8: Self = Self::new(1007, "");
    /// RFC 6455, section 7.4.1: a message above `message_bytes_max`.
    pub const TOO_BIG: Self = Self::new(1009, "");
}

#[cfg(test)]
mod tests {
    use super::{Disconnect, Refusal};

    #[test]
    fn codes_are_those_of_the_protocol() {
        let table = [
            (Refusal::UnknownTopic, 102, "unknown channel"),
            (Refusal::PermissionDenied, 103, "permission denied"),
            (Refusal::NotFound, 104, "not found"),
            (Refusal::AlreadySubscribed, 105, "already subscribed"),
            (Refusal::LimitExceeded, 106, "limit exceeded"),
            (Refusal::BadRequest, 107, "bad request"),
            (Refusal::NotAvailable, 108, "not available"),
            (Refusal::Overloaded, 111, "too many requests"),
        ];
        for (refusal, code, message) in table {
            assert_eq!((refusal.code(), refusal.message()), (code, message));
        }
        assert!(Refusal::Overloaded.temporary());
        assert!(!Refusal::PermissionDenied.temporary());
        assert_eq!(Disconnect::NO_PONG.code, 3012);
    }
}
