//! WebSocket framing in the server's role (RFC 6455) with permessage-deflate (RFC 7692): bytes to
//! whole messages, and final frames.

mod assembler;
mod deflate;
mod extension;
mod frame;
mod utf8;
mod violation;

pub use deflate::Compression;
pub use extension::{Agreement, negotiate};

pub(crate) use assembler::{Assembler, Bounds, Event, Payload};
pub(crate) use deflate::{Deflater, Inflater};
pub(crate) use frame::{append_close, append_frame, framed_compressed};
pub(crate) use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
pub(crate) use violation::Violation;
