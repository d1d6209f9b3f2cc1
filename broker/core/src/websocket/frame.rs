//! One frame: its header, and the mask. The header codec is tungstenite's.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::Violation;
use super::deflate::{Compression, Deflater};
use crate::fault::Disconnect;

/// Longest header of a frame: two bytes, a 64-bit length, a mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// The header of a client's frame, checked as far as it can be without its context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) last: bool,
    /// RSV1: the message is compressed (RFC 7692, section 6).
    pub(super) compressed: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u64,
}

/// Reads a header from the start of `bytes`; with it, how many bytes it took. `None`: more bytes
/// are needed. `deflate`: messages may be compressed.
pub(super) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Header, usize)>, Violation> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor)
        .map_err(|_| Violation::Protocol("reserved opcode in a frame"))?;
    let Some((header, payload_bytes)) = parsed else {
        return Ok(None);
    };
    // Only the first frame of a message bears RSV1 (RFC 7692, section 6.1).
    let may_be_compressed =
        deflate && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
    if (header.rsv1 && !may_be_compressed) || header.rsv2 || header.rsv3 {
        return Err(Violation::Protocol("reserved bit in a frame that may not have it"));
    }
    let Some(mask) = header.mask else {
        return Err(Violation::Protocol("frame of a client without a mask"));
    };
    if let OpCode::Control(_) = header.opcode {
        if !header.is_final {
            return Err(Violation::Protocol("fragmented control frame"));
        }
        if payload_bytes > CONTROL_BYTES_MAX {
            return Err(Violation::Protocol("control frame over 125 bytes"));
        }
    }
    let header = Header {
        opcode: header.opcode,
        last: header.is_final,
        compressed: header.rsv1,
        mask,
        payload_bytes,
    };
    Ok(Some((header, usize::try_from(cursor.position()).unwrap_or(HEADER_BYTES_MAX))))
}

/// Removes the mask from a piece of a payload that starts `offset` bytes into it.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: usize) {
    let key = u32::from_le_bytes(mask).rotate_right(8 * (offset % 4) as u32);
    let wide = u64::from(key) | u64::from(key) << 32;
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(word) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_le_bytes(word) ^ wide).to_le_bytes());
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= key;
    }
}

/// Longest header of a frame without a mask.
const OWN_HEADER_BYTES_MAX: usize = 10;

/// Room that is kept in `scratch` for the next frame, in bytes; more is given back.
const SCRATCH_BYTES_KEPT: usize = 256 * 1024;

/// A whole, unmasked, final frame whose payload `append` writes; `scratch` is where.
fn framed<F: for<'a> From<&'a [u8]>>(
    scratch: &mut Vec<u8>,
    opcode: OpCode,
    append: impl FnOnce(&mut Vec<u8>),
) -> F {
    write_payload(scratch, append);
    let frame = F::from(with_header(scratch, opcode, Form::Plain));
    tidy(scratch);
    frame
}

/// The same, its payload compressed where that is agreed, wanted and makes it shorter.
pub(crate) fn framed_compressed<F: for<'a> From<&'a [u8]>>(
    scratch: &mut Vec<u8>,
    opcode: OpCode,
    (compression, deflater): (Compression, &mut Deflater),
    append: impl FnOnce(&mut Vec<u8>),
) -> F {
    if compression == Compression::NONE {
        return framed(scratch, opcode, append);
    }
    write_payload(scratch, append);
    let payload = scratch.get(OWN_HEADER_BYTES_MAX..).unwrap_or_default();
    let frame = match deflater.deflate(compression, payload, OWN_HEADER_BYTES_MAX) {
        Some(deflated) => F::from(with_header(deflated, opcode, Form::Compressed)),
        None => F::from(with_header(scratch, opcode, Form::Plain)),
    };
    tidy(scratch);
    deflater.tidy();
    frame
}

/// Whether a payload is as its sender meant it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Compressed,
}

/// A payload, with room for the header before it.
fn write_payload(scratch: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) {
    scratch.clear();
    scratch.extend_from_slice(&[0; OWN_HEADER_BYTES_MAX]);
    append(scratch);
}

/// The frame of such a payload.
fn with_header(bytes: &mut [u8], opcode: OpCode, form: Form) -> &[u8] {
    let payload_bytes = bytes.len() - OWN_HEADER_BYTES_MAX;
    let mut header = [0; OWN_HEADER_BYTES_MAX];
    let mut room = header.as_mut_slice();
    let rsv1 = form == Form::Compressed;
    let fields = FrameHeader { is_final: true, rsv1, opcode, ..FrameHeader::default() };
    // The longest header fits, so this cannot fail.
    let _ = fields.format(payload_bytes as u64, &mut room);
    let unused = room.len();
    let before = bytes.iter_mut().take(OWN_HEADER_BYTES_MAX);
    for (to, from) in before.skip(unused).zip(header) {
        *to = from;
    }
    bytes.get(unused..).unwrap_or_default()
}

/// Gives back the room of an unusually large frame.
fn tidy(scratch: &mut Vec<u8>) {
    if scratch.capacity() > SCRATCH_BYTES_KEPT {
        *scratch = Vec::new();
    }
}

/// Appends a whole, unmasked, final frame.
pub(crate) fn append_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    // Writing to a Vec cannot fail.
    let _ = header.format(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

/// Appends a close frame with the code and reason of a disconnect.
pub(crate) fn append_close(out: &mut Vec<u8>, disconnect: &Disconnect) {
    let mut payload = Vec::with_capacity(2 + disconnect.reason.len());
    payload.extend_from_slice(&disconnect.code.to_be_bytes());
    payload.extend_from_slice(disconnect.reason.as_bytes());
    append_frame(out, OpCode::Control(Control::Close), &payload);
}

#[cfg(test)]
mod tests {
    use super::unmask;

    #[test]
    fn a_mask_is_removed_alike_whatever_the_pieces() {
        let mask = [1, 2, 3, 4];
        let masked: Vec<u8> = (0..100u8).zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        for split in 0..masked.len() {
            let mut bytes = masked.clone();
            let (head, tail) = bytes.split_at_mut(split);
            unmask(head, mask, 0);
            unmask(tail, mask, split);
            assert!(bytes.iter().copied().eq(0..100u8), "split at {split}");
        }
    }
}
