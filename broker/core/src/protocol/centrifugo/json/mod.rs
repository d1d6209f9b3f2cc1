//! Its JSON form: one object per line, raw JSON payloads embedded as they are.

mod decode;
mod encode;

pub(crate) use decode::next;
pub(crate) use encode::{append_push, append_reply};
