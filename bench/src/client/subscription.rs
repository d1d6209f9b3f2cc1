//! One topic on one connection, from the wish to the end.

use crate::dialect::Position;
use crate::sequence::Windows;

/// How far a subscription is. Numbers are those of the request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// To be asked for as soon as the connection allows.
    Wanted,
    /// Asked for.
    Asked(u32),
    /// It stands.
    Live,
    /// Its end is asked for; publications under way may still come.
    Leaving(u32),
}

/// A topic that a connection hears, or is about to.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Index of the topic.
    pub(crate) topic: u32,
    /// How far it is.
    pub(crate) standing: Standing,
    /// What has been heard.
    pub(crate) windows: Windows,
    /// Where it stands in the topic's past, if that is tracked.
    pub(crate) position: Option<Box<Position>>,
}

impl Subscription {
    /// One that nobody has asked for yet.
    pub(crate) fn new(topic: u32) -> Self {
        Self { topic, standing: Standing::Wanted, windows: Windows::default(), position: None }
    }

    /// The request whose answer it waits for.
    pub(crate) fn request(&self) -> Option<u32> {
        match self.standing {
            Standing::Asked(request) | Standing::Leaving(request) => Some(request),
            Standing::Wanted | Standing::Live => None,
        }
    }

    /// Whether it is on its way to be live.
    pub(crate) fn is_unsettled(&self) -> bool {
        matches!(self.standing, Standing::Wanted | Standing::Asked(_))
    }

    /// Remembers where the server says it stands. What has been heard beyond that counts, unless
    /// the past was lost.
    pub(crate) fn settle(&mut self, told: Position, is_recovered: Option<bool>) {
        let heard = self.position.as_ref().filter(|_| is_recovered == Some(true));
        let offset = told.offset.max(heard.map_or(0, |position| position.offset));
        self.position = Some(Box::new(Position { offset, ..told }));
    }

    /// The publication with this offset was heard.
    pub(crate) fn advance(&mut self, offset: u64) {
        if let Some(position) = &mut self.position {
            position.offset = position.offset.max(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.to_owned(), offset }
    }

    #[test]
    fn a_position_follows_what_was_heard_and_starts_anew_when_the_past_is_lost() {
        let mut subscription = Subscription::new(1);
        subscription.advance(3);
        assert_eq!(subscription.position, None);
        subscription.settle(position("a", 5), None);
        subscription.advance(7);
        subscription.advance(6);
        assert_eq!(**subscription.position.as_ref().unwrap(), position("a", 7));
        // The answer to a recovery repeats the offset that was asked for.
        subscription.settle(position("a", 5), Some(true));
        assert_eq!(**subscription.position.as_ref().unwrap(), position("a", 7));
        subscription.settle(position("b", 2), Some(false));
        assert_eq!(**subscription.position.as_ref().unwrap(), position("b", 2));
    }
}
