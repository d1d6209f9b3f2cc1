//! WebSocket framing in the server's role (RFC 6455): bytes to whole messages, and final frames.

mod assembler;
mod frame;

pub(crate) use assembler::{Assembler, Event, Payload, Violation};
pub(crate) use frame::{append_close, append_frame, framed};
pub(crate) use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
