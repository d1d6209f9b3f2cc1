//! How far each topic was heard, so that a subscription can go on where the last connection
//! ended (specification, section 11).

use std::collections::BTreeMap;

use super::wire::{Publication, Subscribe, Subscribed};

/// A place in the history of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    epoch: String,
    offset: u64,
    /// Whether the token brings the subscription, without a command of ours.
    is_by_token: bool,
}

/// Positions of the topics that the broker can recover.
#[derive(Debug, Default)]
pub(super) struct Positions {
    by_topic: BTreeMap<String, Position>,
}

impl Positions {
    /// What to ask for when subscribing to a topic.
    pub(super) fn request<'a>(&'a self, topic: &'a str) -> Subscribe<'a> {
        let asked = Subscribe { channel: topic, recoverable: true, ..Subscribe::default() };
        match self.by_topic.get(topic) {
            Some(Position { epoch, offset, .. }) => {
                Subscribe { recover: true, epoch, offset: *offset, ..asked }
            }
            None => asked,
        }
    }

    /// What to ask for when connecting, of the topics that the token brings.
    pub(super) fn requests_by_token(&self) -> BTreeMap<&str, Subscribe<'_>> {
        let by_token = self.by_topic.iter().filter(|(_, position)| position.is_by_token);
        by_token.map(|(topic, _)| (topic.as_str(), self.request(topic))).collect()
    }

    /// Takes up the subscription as the broker granted it, before its recovered publications.
    /// Gives whether there was a position and the broker could not go on from there.
    pub(super) fn begin(&mut self, topic: &str, granted: &Subscribed<'_>, by_token: bool) -> bool {
        let position = granted.recoverable.then(|| Position {
            epoch: granted.epoch.clone(),
            offset: granted.offset,
            is_by_token: by_token,
        });
        let before = match position {
            Some(position) => self.by_topic.insert(topic.to_owned(), position),
            None => self.by_topic.remove(topic),
        };
        // Without a position before, as in a cache on the first connection, nothing was missed.
        before.is_some() && granted.was_recovering && !granted.recovered
    }

    /// A publication of the topic was printed.
    pub(super) fn advance(&mut self, topic: &str, publication: &Publication<'_>) {
        let Some(position) = self.by_topic.get_mut(topic) else { return };
        // Without an offset it stands outside the history.
        if publication.offset > 0 {
            position.offset = publication.offset;
        }
        if !publication.epoch.is_empty() {
            position.epoch.clone_from(&publication.epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(json: &str) -> Subscribed<'_> {
        serde_json::from_str(json).unwrap()
    }

    fn asked(positions: &Positions) -> (bool, &str, u64) {
        let Subscribe { recover, epoch, offset, .. } = positions.request("news");
        (recover, epoch, offset)
    }

    #[test]
    fn a_position_advances_with_what_is_in_the_history() {
        let mut positions = Positions::default();
        assert_eq!(asked(&positions), (false, "", 0));
        positions.begin("news", &granted(r#"{"recoverable":true,"epoch":"a"}"#), false);
        assert_eq!(asked(&positions), (true, "a", 0));
        for (offset, epoch, position) in [(1, "b", 1), (2, "", 2), (0, "", 2)] {
            let publication = Publication { offset, epoch: epoch.to_owned(), data: None };
            positions.advance("news", &publication);
            assert_eq!(asked(&positions), (true, "b", position));
        }
    }

    #[test]
    fn what_cannot_be_recovered_is_told_once_and_only_with_a_position() {
        let mut positions = Positions::default();
        let lost = granted(r#"{"recoverable":true,"epoch":"a","offset":9,"was_recovering":true}"#);
        assert!(!positions.begin("news", &lost, false));
        assert!(positions.begin("news", &lost, false));
        assert_eq!(asked(&positions), (true, "a", 9));
        assert!(!positions.begin("news", &granted("{}"), false));
        assert_eq!(asked(&positions), (false, "", 0));
    }

    #[test]
    fn only_the_token_s_topics_are_asked_for_when_connecting() {
        let mut positions = Positions::default();
        let subscribed = granted(r#"{"recoverable":true,"epoch":"a"}"#);
        positions.begin("news", &subscribed, false);
        positions.begin("mine", &subscribed, true);
        assert_eq!(positions.requests_by_token().into_keys().collect::<Vec<_>>(), ["mine"]);
    }
}
