//! Topics, from both sides: the owner's (unit of order) and that of a shard with subscribers.

mod delta;
mod filter;
mod flow;
mod history;
mod local;
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
