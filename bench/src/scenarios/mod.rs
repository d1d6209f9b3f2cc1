//! What a run does, step by step, and the processes it does it with.

pub(crate) mod churn;
pub(crate) mod course;
pub(crate) mod crew;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod inbound;
pub(crate) mod mixed;
pub(crate) mod pairs;
pub(crate) mod plan;
pub(crate) mod slow;
pub(crate) mod storm;
pub(crate) mod sweep;
