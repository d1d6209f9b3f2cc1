//! Topics, from both sides: the owner's (unit of order) and that of a shard with subscribers.

#[cfg_attr(not(test), expect(dead_code, reason = "comes with histories"))]
mod delta;
#[cfg_attr(not(test), expect(dead_code, reason = "comes with subscriptions that filter"))]
mod filter;
mod local;
mod owned;

pub(crate) use local::LocalTopics;
pub(crate) use owned::OwnedTopics;
