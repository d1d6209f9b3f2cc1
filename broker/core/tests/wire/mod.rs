//! WebSocket frames in the client's role (RFC 6455, section 5.2), written apart from the broker's
//! own codec, so that a mistake there is not made twice. Shared by all tests that speak bytes.

/// A frame of a message that another one continues, or which continues one.
pub(crate) const CONTINUATION: u8 = 0;
/// A text message.
pub(crate) const TEXT: u8 = 1;
/// A binary message.
pub(crate) const BINARY: u8 = 2;
/// A close frame.
pub(crate) const CLOSE: u8 = 8;
/// A ping frame.
pub(crate) const PING: u8 = 9;
/// A pong frame.
pub(crate) const PONG: u8 = 10;

/// A frame from the broker.
#[derive(Debug)]
pub(crate) struct Frame {
    /// With the reserved bit of a compressed message, so that who expects none notices it.
    pub(crate) opcode: u8,
    pub(crate) last: bool,
    pub(crate) payload: Vec<u8>,
}

/// Appends a masked frame. Reserved bits may be set in the opcode.
pub(crate) fn append_masked(
    out: &mut Vec<u8>,
    opcode: u8,
    last: bool,
    mask: [u8; 4],
    payload: &[u8],
) {
    out.push(u8::from(last) << 7 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// The frame at the start of `bytes` and the number of bytes it takes, once it is there whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert_eq!(first & 0x30, 0, "a frame of the broker has a reserved bit");
    assert_eq!(second & 0x80, 0, "a frame of the broker is masked");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length) as usize, rest)
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?.to_vec();
    let taken = bytes.len() - rest.len() + length;
    Some((Frame { opcode: first & 0x4f, last: first & 0x80 != 0, payload }, taken))
}
