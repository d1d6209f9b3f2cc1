//! Topics, from both sides: the owner's (unit of order) and that of a shard with subscribers.

mod local;
mod owned;

pub(crate) use local::LocalTopics;
pub(crate) use owned::OwnedTopics;
