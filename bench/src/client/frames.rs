//! WebSocket frames (RFC 6455) as a client sees them: walking what the server sends, making what
//! the client sends.
//!
//! The walk copies nothing but fragments, because the generator shares its cores with the server
//! that it measures. The header codec is tungstenite's.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::error::ClientError;

/// No sane frame is longer; a longer one is a bug of the server, in bytes.
const FRAME_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The key that "masks" what is sent. Masking protects proxies from hostile pages; there is
/// neither here, so a constant does. It is not zero, so that the server has to undo it.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the walk finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameEvent<'a> {
    /// The payload of a text or binary message.
    Data(&'a [u8]),
    /// A WebSocket ping with its body, to be answered with the same body.
    Ping(&'a [u8]),
    /// The server closes, with this code.
    Close(Option<u16>),
}

/// A whole frame.
struct Frame<'a> {
    header: FrameHeader,
    payload: &'a [u8],
    /// Length with its header.
    bytes: usize,
}

/// Walks the whole frames at the start of `bytes` and returns their length. `fragments` keeps a
/// message whose last fragment has not come yet.
///
/// # Errors
/// `Malformed` for what a server may not send: masked frames, extension bits, unknown opcodes.
pub(crate) fn walk(
    bytes: &[u8],
    fragments: &mut Vec<u8>,
    mut on_event: impl FnMut(FrameEvent<'_>) -> Result<(), ClientError>,
) -> Result<usize, ClientError> {
    let mut walked = 0;
    while let Some(rest) = bytes.get(walked..).filter(|rest| !rest.is_empty()) {
        if let Some((payload, bytes)) = usual_message(rest) {
            on_event(FrameEvent::Data(payload))?;
            walked += bytes;
            continue;
        }
        let Some(frame) = next_frame(rest)? else { break };
        dispatch(&frame, fragments, &mut on_event)?;
        walked += frame.bytes;
    }
    Ok(walked)
}

/// Appends one masked frame to `output`.
pub(crate) fn append_frame(opcode: OpCode, payload: &[u8], output: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask: Some(MASK), ..FrameHeader::default() };
    // Writing to a Vec cannot fail.
    let _ = header.format(payload.len() as u64, output);
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key);
    output.extend(masked);
}

/// Appends the end of the conversation, "normal closure" (RFC 6455, section 7.4.1), to `output`.
pub(crate) fn append_close(output: &mut Vec<u8>) {
    append_frame(OpCode::Control(Control::Close), &1000_u16.to_be_bytes(), output);
}

/// Appends the answer to a WebSocket ping to `output`.
pub(crate) fn append_pong(body: &[u8], output: &mut Vec<u8>) {
    append_frame(OpCode::Control(Control::Pong), body, output);
}

/// Payload and length of a message in one whole frame below 64 KiB, which nearly all are. Others
/// are left to the codec, which costs several times as much.
fn usual_message(bytes: &[u8]) -> Option<(&[u8], usize)> {
    /// Final, and text or binary.
    const TEXT: u8 = 0x81;
    const BINARY: u8 = 0x82;
    let (start, length) = match bytes {
        [TEXT | BINARY, length @ 0..=125, ..] => (2, usize::from(*length)),
        [TEXT | BINARY, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return None,
    };
    let end = start + length;
    bytes.get(start..end).map(|payload| (payload, end))
}

/// The first frame of `bytes`, if it is whole.
fn next_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, ClientError> {
    let malformed = ClientError::Malformed { what: "frame" };
    let mut cursor = Cursor::new(bytes);
    let Ok(parsed) = FrameHeader::parse(&mut cursor) else { return Err(malformed) };
    let Some((header, payload_bytes)) = parsed else { return Ok(None) };
    let reserved = header.rsv1 || header.rsv2 || header.rsv3;
    if header.mask.is_some() || reserved || payload_bytes > FRAME_BYTES_MAX {
        return Err(malformed);
    }
    let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(payload_bytes).unwrap_or(usize::MAX));
    Ok(bytes.get(start..end).map(|payload| Frame { header, payload, bytes: end }))
}

fn dispatch(
    frame: &Frame<'_>,
    fragments: &mut Vec<u8>,
    on_event: &mut impl FnMut(FrameEvent<'_>) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let Frame { header, payload, .. } = frame;
    match header.opcode {
        OpCode::Data(Data::Text | Data::Binary) if header.is_final => {
            on_event(FrameEvent::Data(payload))
        }
        OpCode::Data(Data::Text | Data::Binary | Data::Continue) => {
            fragments.extend_from_slice(payload);
            if header.is_final {
                let message = std::mem::take(fragments);
                on_event(FrameEvent::Data(&message))?;
            }
            Ok(())
        }
        OpCode::Control(Control::Ping) => on_event(FrameEvent::Ping(payload)),
        OpCode::Control(Control::Pong) => Ok(()),
        OpCode::Control(Control::Close) => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            on_event(FrameEvent::Close(code))
        }
        _ => Err(ClientError::Malformed { what: "frame with an unexpected opcode" }),
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
