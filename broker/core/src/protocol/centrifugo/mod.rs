//! The Centrifugo client protocol; `docs/protocols/centrifugo.md` says what of it is spoken. Here
//! is what its two forms have in common.

pub(super) mod json;
pub(super) mod protobuf;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod twins;
#[cfg(test)]
mod wire;

use std::borrow::Cow;

use crate::protocol::{Malformed, Position, Since};

/// Bit of a subscribe's `flag`: refuse instead of answering `recovered: false` (section 5).
const FLAG_MUST_RECOVER: i64 = 2;

/// A required topic: its absence ends the connection (section 6).
fn named(channel: Cow<'_, str>) -> Result<Cow<'_, str>, Malformed> {
    if channel.is_empty() { Err(Malformed("command without a channel")) } else { Ok(channel) }
}

/// The position that a recovery starts from, if one is asked for.
fn recovery(recover: bool, epoch: String, offset: u64) -> Option<Since> {
    recover.then_some(Since { epoch, offset })
}

/// Whether a subscribe wants deltas. A kind that nobody knows ends the connection (section 6).
fn wants_delta(delta: &str) -> Result<bool, Malformed> {
    match delta {
        "" => Ok(false),
        FOSSIL => Ok(true),
        _ => Err(Malformed("subscribe with an unknown delta type")),
    }
}

/// The one kind of delta that there is.
const FOSSIL: &str = "fossil";

/// Where a publication is told (section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Push,
    Reply,
}

impl Within {
    /// The first publication of an epoch announces it, but in replies, which name it anyway.
    fn tells_epoch(self, position: Position) -> bool {
        self == Self::Push && position.offset == 1
    }
}
