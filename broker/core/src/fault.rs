//! Two kinds of no. A [`Refusal`] is an answer and the connection lives on; a [`Disconnect`] ends
//! it. Between them, what ends one subscription. All stand here in one table with their spelling on
//! the wire (specification, section 8).

/// A command was refused. The connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})", message = self.message(), code = self.code())]
pub enum Refusal {
    /// Something that the answer needs cannot be had at the moment.
    Internal,
    /// The topic's namespace is not configured.
    UnknownTopic,
    /// The session may not do this to this topic.
    PermissionDenied,
    /// No such method, or no such thing.
    NotFound,
    /// No such method, in a client's call.
    MethodNotFound,
    /// The session is subscribed to the topic already.
    AlreadySubscribed,
    /// The connection is subscribed to as many topics as it may be.
    LimitExceeded,
    /// More members than `presence_members_max`; their number can be asked for.
    TooManyMembers,
    /// Well framed, but a value is missing or out of range.
    BadRequest,
    /// The feature is off for this topic, or there is none.
    NotAvailable,
    /// The token was valid, but is so no more.
    TokenExpired,
    /// What was asked for ended in the past already.
    Expired,
    /// Too much is waiting for an answer; the same command may succeed a moment later.
    Overloaded,
    /// What came after this position cannot be told without a gap.
    Unrecoverable,
    /// The idempotency key was used with other data.
    Conflict,
}

impl Refusal {
    /// The number on the wire (section 8.1).
    pub const fn code(self) -> u32 {
        match self {
            Self::Internal => 100,
            Self::UnknownTopic => 102,
            Self::PermissionDenied => 103,
            Self::NotFound | Self::MethodNotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded | Self::TooManyMembers => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
            Self::Expired => 110,
            Self::Overloaded => 111,
            Self::Unrecoverable => 112,
            Self::Conflict => 113,
        }
    }

    /// The text on the wire to clients (section 8.1).
    pub const fn message(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::UnknownTopic => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::NotFound => "not found",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::TooManyMembers => {
                "limit exceeded: more members than presence_members_max, ask for presence_stats"
            }
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::Expired => "expired",
            Self::Overloaded => "too many requests",
            Self::Unrecoverable => "unrecoverable position",
            Self::Conflict => "conflict: the idempotency key was used with other data",
        }
    }

    /// The HTTP status that says the same to backends (section 18).
    pub const fn status(self) -> u16 {
        match self {
            Self::Internal => 500,
            Self::PermissionDenied => 403,
            Self::UnknownTopic | Self::NotFound | Self::MethodNotFound => 404,
            Self::AlreadySubscribed | Self::Conflict => 409,
            Self::LimitExceeded
            | Self::TooManyMembers
            | Self::BadRequest
            | Self::NotAvailable
            | Self::TokenExpired
            | Self::Expired => 400,
            Self::Overloaded => 429,
            Self::Unrecoverable => 416,
        }
    }

    /// Whether the same command may succeed later, so that the client should retry.
    pub const fn temporary(self) -> bool {
        matches!(self, Self::Internal | Self::Overloaded)
    }
}

/// Why a subscription ends, as its client is told (section 8.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) code: u32,
    pub(crate) reason: &'static str,
}

impl Ended {
    /// A backend asked for it.
    pub(crate) const BY_SERVER: Self = Self { code: 2000, reason: "server unsubscribe" };
    /// Something was missed that cannot be told any more; the client subscribes again.
    pub(crate) const INSUFFICIENT_STATE: Self = Self { code: 2500, reason: "insufficient state" };
    /// Its token was not renewed; the client subscribes again.
    pub(crate) const EXPIRED: Self = Self { code: 2501, reason: "subscription expired" };
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
    /// Something that is not the client's fault; reconnect.
    pub const INTERNAL: Self = Self::new(3004, "internal server error");
    /// The connection's token was not renewed in time.
    pub const EXPIRED: Self = Self::new(3005, "connection expired");
    /// The token of a server-side subscription was not renewed in time.
    pub const SUBSCRIPTION_EXPIRED: Self = Self::new(3006, "subscription expired");
    /// More waits for this connection than `outbox_bytes_max`.
    pub const SLOW: Self = Self::new(3008, "slow");
    /// What a server-side subscription has missed cannot be told, or its token says something else
    /// now; reconnect.
    pub const INSUFFICIENT_STATE: Self = Self::new(3010, "insufficient state");
    /// A ping stayed without an answer.
    pub const NO_PONG: Self = Self::new(3012, "no pong");
    /// The token cannot be accepted.
    pub const INVALID_TOKEN: Self = Self::new(3500, "invalid token");
    /// A message that is malformed, or out of order.
    pub const BAD_REQUEST: Self = Self::new(3501, "bad request");
    /// No successful `connect` within `connect_timeout`.
    pub const STALE: Self = Self::new(3502, "stale");
    /// A backend asked for it.
    pub const FORCE: Self = Self::new(3503, "force disconnect");
    /// More connections of this user than `user_connections_max`, or a newer one where only one is
    /// allowed.
    pub const CONNECTION_LIMIT: Self = Self::new(3504, "connection limit");
    /// More server-side subscriptions than `topics_max`.
    pub const TOPIC_LIMIT: Self = Self::new(3505, "channel limit");
    /// A token without a user, where those are not admitted.
    pub const PERMISSION_DENIED: Self = Self::new(3507, "permission denied");
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
            (Refusal::Internal, 100, "internal server error"),
            (Refusal::UnknownTopic, 102, "unknown channel"),
            (Refusal::PermissionDenied, 103, "permission denied"),
            (Refusal::NotFound, 104, "not found"),
            (Refusal::MethodNotFound, 104, "method not found"),
            (Refusal::AlreadySubscribed, 105, "already subscribed"),
            (Refusal::LimitExceeded, 106, "limit exceeded"),
            (Refusal::BadRequest, 107, "bad request"),
            (Refusal::NotAvailable, 108, "not available"),
            (Refusal::TokenExpired, 109, "token expired"),
            (Refusal::Expired, 110, "expired"),
            (Refusal::Overloaded, 111, "too many requests"),
            (Refusal::Unrecoverable, 112, "unrecoverable position"),
        ];
        for (refusal, code, message) in table {
            assert_eq!((refusal.code(), refusal.message()), (code, message));
        }
        assert!(Refusal::Overloaded.temporary());
        assert!(!Refusal::PermissionDenied.temporary());
        assert_eq!(Disconnect::NO_PONG.code, 3012);
    }
}
