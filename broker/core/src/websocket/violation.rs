//! How a peer can break the framing, and what answers it.

use crate::fault::Disconnect;

/// How a peer broke RFC 6455, RFC 7692 or a limit. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.cause())]
pub(crate) enum Violation {
    /// The framing is broken; the text says how.
    Protocol(&'static str),
    /// A text message or close reason that is not UTF-8.
    InvalidUtf8,
    /// A message above a limit; the text says which.
    TooBig(&'static str),
}

impl Violation {
    /// More payload than a message may have, counted after inflation.
    pub(super) const MESSAGE_TOO_BIG: Self = Self::TooBig("message over message_bytes_max");

    /// What the peer did, for the log.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Protocol(cause) | Self::TooBig(cause) => cause,
            Self::InvalidUtf8 => "text that is not UTF-8",
        }
    }

    /// The close code that answers it (RFC 6455, section 7.4.1).
    pub(crate) const fn disconnect(self) -> Disconnect {
        match self {
            Self::Protocol(_) => Disconnect::PROTOCOL_ERROR,
            Self::InvalidUtf8 => Disconnect::INVALID_UTF8,
            Self::TooBig(_) => Disconnect::TOO_BIG,
        }
    }
}
