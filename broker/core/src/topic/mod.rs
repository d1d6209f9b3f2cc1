//! Topics, from both sides: the owner's (unit of order) and that of a shard with subscribers.

mod delta;
mod filter;
mod flow;
mod history;
mod local;
mod named;
mod once;
mod owned;
mod presence;

pub(crate) use delta::{Boundaries, delta};
pub(crate) use filter::Filter;
pub(crate) use flow::Flow;
pub(crate) use history::{Bounds, cost};
pub(crate) use local::{Local, LocalTopics, Subscriber};
pub(crate) use once::Answers;
pub(crate) use owned::OwnedTopics;

#[cfg(test)]
mod tests {
    use super::local::Local;
    use super::owned::OwnedTopic;

    /// A node may have as many topics as connections, each at its owner and at its subscribers.
    #[test]
    fn what_every_topic_has_is_small() {
        assert!(size_of::<Local>() <= 64, "{} bytes", size_of::<Local>());
        assert!(size_of::<OwnedTopic>() <= 64, "{} bytes", size_of::<OwnedTopic>());
    }
}
