//! Its Protobuf form: messages behind their lengths, payloads as the bytes that they are.

mod decode;
mod encode;
mod messages;

pub(crate) use decode::next;
pub(crate) use encode::{append_push, append_reply};
