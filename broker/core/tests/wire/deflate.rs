//! permessage-deflate in the client's role (RFC 7692), each message by itself.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The reserved bit of the first frame of a compressed message, as it stands in an opcode here.
pub(crate) const COMPRESSED: u8 = 0x40;

/// What every flushed piece of DEFLATE ends with; it does not travel.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The payload of a compressed message.
pub(crate) fn deflate(message: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut payload = Vec::with_capacity(message.len() + 1_000);
    stream.compress_vec(message, &mut payload, FlushCompress::Sync).expect("compressed");
    assert!(payload.len() < payload.capacity() && payload.ends_with(&TAIL));
    payload.truncate(payload.len() - TAIL.len());
    payload
}

/// The message of a compressed payload.
pub(crate) fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut stream = Decompress::new(false);
    let mut message = Vec::with_capacity(1 << 21);
    for input in [payload, &TAIL] {
        stream.decompress_vec(input, &mut message, FlushDecompress::Sync).expect("inflated");
    }
    message
}
