//! What a run does, step by step, and the processes it does it with.

pub(crate) mod crew;
pub(crate) mod fanout;
pub(crate) mod plan;
