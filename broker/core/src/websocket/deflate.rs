//! Messages compressed and restored (permessage-deflate, RFC 7692), each by itself.
//!
//! A shard has one [`Deflater`] and one [`Inflater`] for all of its connections: nothing of a
//! message is needed for the next one, so nothing is kept per connection.

use std::fmt;

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress, Status};

use super::Violation;

/// How the messages to one connection are compressed, as its handshake agreed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Compression(u8);

impl Compression {
    /// Messages go as they are.
    pub const NONE: Self = Self(0);
    /// Smallest window, as an exponent of two; zlib's DEFLATE has no smaller one.
    pub const BITS_MIN: u8 = 9;
    /// Largest window, as an exponent of two.
    pub const BITS_MAX: u8 = 15;
    /// Classes, for tables with an entry each: none, and one per window.
    pub(crate) const CLASSES: usize = 8;

    /// With a window of 2^`bits` bytes; `None` unless `bits` is in [`Self::BITS_MIN`] to
    /// [`Self::BITS_MAX`].
    pub const fn window(bits: u8) -> Option<Self> {
        match bits {
            Self::BITS_MIN..=Self::BITS_MAX => Some(Self(bits - Self::BITS_MIN + 1)),
            _ => None,
        }
    }

    /// 0 for none, else 1 to 7. Connections of one class share their frames.
    pub(crate) const fn class(self) -> usize {
        self.0 as usize
    }

    /// The window; `None`: no compression.
    const fn bits(self) -> Option<u8> {
        match self.0 {
            0 => None,
            class => Some(Self::BITS_MIN - 1 + class),
        }
    }
}

impl fmt::Debug for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits() {
            None => f.write_str("none"),
            Some(bits) => write!(f, "window of 2^{bits}"),
        }
    }
}

/// What every flushed piece of DEFLATE ends with; it does not travel (RFC 7692, section 7.2.1).
const TAIL_BYTES: usize = 4;

/// That end, and behind it an empty final block: what was cut off within a block does not end here.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// Output that is kept for the next message, in bytes; more is given back.
const OUTPUT_BYTES_KEPT: usize = 256 * 1024;

/// Compresses for all connections of a shard.
#[derive(Debug)]
pub(crate) struct Deflater {
    /// Shorter messages go as they are.
    message_bytes_min: usize,
    /// One per window, made when the first connection needs it.
    by_class: [Option<Box<Compress>>; Compression::CLASSES],
    output: Vec<u8>,
}

impl Deflater {
    /// One that compresses messages of `message_bytes_min` and more.
    pub(crate) fn new(message_bytes_min: usize) -> Self {
        Self { message_bytes_min, by_class: Default::default(), output: Vec::new() }
    }

    /// The compressed form of a message behind `room` bytes that the caller may fill; `None` if it
    /// is not to be compressed or would not become shorter.
    pub(super) fn deflate(
        &mut self,
        compression: Compression,
        message: &[u8],
        room: usize,
    ) -> Option<&mut [u8]> {
        let bits = compression.bits()?;
        if message.len() < self.message_bytes_min {
            return None;
        }
        let slot = self.by_class.get_mut(compression.class())?;
        // Taken out, so that only what has ended well is used again.
        let mut stream = slot.take().unwrap_or_else(|| {
            Box::new(Compress::new_with_window_bits(Level::fast(), false, bits))
        });
        stream.reset();
        self.output.clear();
        self.output.resize(room, 0);
        // Room for all of it, be it longer than the message: a reset does not forget output that
        // could not be written (zlib-rs 0.6).
        self.output.reserve_exact(message.len() + message.len() / 8 + 64);
        stream.compress_vec(message, &mut self.output, FlushCompress::Sync).ok()?;
        let flushed =
            stream.total_in() == message.len() as u64 && self.output.len() < self.output.capacity();
        debug_assert!(flushed, "a byte takes nine bits at the most");
        flushed.then_some(())?;
        *slot = Some(stream);
        let end = self.output.len().saturating_sub(TAIL_BYTES);
        (end < room + message.len()).then_some(())?;
        self.output.get_mut(..end)
    }

    /// Gives back the room of an unusually large message.
    pub(super) fn tidy(&mut self) {
        if self.output.capacity() > OUTPUT_BYTES_KEPT {
            self.output = Vec::new();
        }
    }
}

/// Restores what the clients of a shard have compressed.
#[derive(Debug, Default)]
pub(crate) struct Inflater {
    /// Made when the first compressed message comes. Its window is the largest, which reads all.
    stream: Option<Box<Decompress>>,
}

impl Inflater {
    /// The message behind a compressed payload. It is never larger in memory than
    /// `message_bytes_max`, however large it claims to be.
    ///
    /// # Errors
    ///
    /// [`Violation::TooBig`] above that, [`Violation::Protocol`] if it is no whole DEFLATE.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        message_bytes_max: usize,
    ) -> Result<Vec<u8>, Violation> {
        // Some say an empty message in no byte at all, although it takes one (section 7.2.3.6).
        if payload.is_empty() {
            return Ok(Vec::new());
        }
        // Taken out, so that only what has ended well is used again.
        let mut stream = self.stream.take().unwrap_or_else(|| Box::new(Decompress::new(false)));
        stream.reset(false);
        let message = inflate_with(&mut stream, payload, message_bytes_max)?;
        self.stream = Some(stream);
        Ok(message)
    }
}

fn inflate_with(
    stream: &mut Decompress,
    payload: &[u8],
    message_bytes_max: usize,
) -> Result<Vec<u8>, Violation> {
    let mut message = Vec::new();
    for (mut rest, is_end) in [(payload, false), (END.as_slice(), true)] {
        loop {
            let status = step(stream, &mut rest, &mut message, message_bytes_max)?;
            match (status, is_end) {
                (Status::StreamEnd, true) => return Ok(message),
                // The client ended the stream itself (section 7.2.3.4): with this message, or to
                // begin another one in it.
                (Status::StreamEnd, false) if rest.is_empty() => return Ok(message),
                (Status::StreamEnd, false) => stream.reset(false),
                _ if rest.is_empty() && message.len() < message.capacity() => break,
                _ => {}
            }
        }
    }
    Err(CORRUPT)
}

const CORRUPT: Violation = Violation::Protocol("compressed message that is broken");

/// Takes a piece of the input and appends what it stands for, as far as there is room; makes room.
fn step(
    stream: &mut Decompress,
    input: &mut &[u8],
    message: &mut Vec<u8>,
    message_bytes_max: usize,
) -> Result<Status, Violation> {
    if message.len() == message.capacity() {
        // What is usual for text at first, then as much again; a byte over the limit to notice it.
        let likely = 4 * input.len().max(16);
        let left = message_bytes_max.saturating_sub(message.len()).saturating_add(1);
        message.reserve_exact(message.len().max(likely).min(left));
    }
    let (before, held) = (stream.total_in(), message.len());
    let status =
        stream.decompress_vec(input, message, FlushDecompress::None).map_err(|_| CORRUPT)?;
    if message.len() > message_bytes_max {
        return Err(Violation::MESSAGE_TOO_BIG);
    }
    let taken = usize::try_from(stream.total_in() - before).unwrap_or(usize::MAX);
    *input = input.get(taken..).unwrap_or_default();
    // Nothing moved although there was input and room: it would go on like that for ever.
    let stuck = taken == 0 && message.len() == held && !input.is_empty();
    if stuck && status != Status::StreamEnd {
        return Err(CORRUPT);
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn all_windows() -> impl Iterator<Item = Compression> {
        (Compression::BITS_MIN..=Compression::BITS_MAX).filter_map(Compression::window)
    }

    /// Text whose repetitions lie near and far, up to beyond the largest window.
    fn text(bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let mut number = 1u32;
        while text.len() < bytes {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend(format!(r#"{{"channel":"news","n":{}}}"#, number >> 20).bytes());
        }
        text.truncate(bytes);
        text
    }

    /// Bytes without any order.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut number = 7u64;
        let next = |_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (number >> 56) as u8
        };
        (0..bytes).map(next).collect()
    }

    #[track_caller]
    fn assert_same(found: Option<&Vec<u8>>, expected: &[u8], what: &str) {
        // Not `assert_eq`: nobody wants to see all that.
        assert!(found.is_some_and(|found| found == expected), "{what}: something else comes out");
    }

    fn deflated(compression: Compression, message: &[u8]) -> Option<Vec<u8>> {
        Deflater::new(0).deflate(compression, message, 0).map(|bytes| bytes.to_vec())
    }

    /// Takes bits from the front of a payload.
    struct Bits<'a>(&'a [u8], usize);

    impl Bits<'_> {
        /// A number of so many bits, the lowest first (RFC 1951, section 3.1.1).
        fn number(&mut self, count: usize) -> usize {
            (0..count).map(|shift| self.bit() << shift).sum()
        }

        /// The same number of bits, the highest first, as codes are written.
        fn code(&mut self, count: usize) -> usize {
            (0..count).fold(0, |code, _| code << 1 | self.bit())
        }

        fn bit(&mut self) -> usize {
            let bit = self.0[self.1 / 8] >> (self.1 % 8) & 1;
            self.1 += 1;
            usize::from(bit)
        }

        /// A literal, the end of the block or a length, in the fixed code (section 3.2.6).
        fn fixed_symbol(&mut self) -> usize {
            let seven = self.code(7);
            if seven < 0x18 {
                return 256 + seven;
            }
            let eight = seven << 1 | self.bit();
            match eight {
                0x30..=0xbf => eight - 0x30,
                0xc0..=0xc7 => 280 + eight - 0xc0,
                _ => 144 + (eight << 1 | self.bit()) - 0x190,
            }
        }
    }

    /// Reads a payload as RFC 1951 has it and nothing else does, with no limit to the window: the
    /// message, and how far back it refers. zlib forgives a reference that is too far where it
    /// can; others need not.
    fn read(payload: &[u8]) -> (Vec<u8>, usize) {
        let payload = [payload, &END].concat();
        let mut bits = Bits(&payload, 0);
        let (mut message, mut farthest) = (Vec::new(), 0);
        loop {
            let last = bits.bit() == 1;
            match bits.number(2) {
                0 => {
                    bits.1 = bits.1.next_multiple_of(8) + 32;
                    let at = bits.1 / 8;
                    let length =
                        usize::from(u16::from_le_bytes([payload[at - 4], payload[at - 3]]));
                    message.extend_from_slice(&payload[at..at + length]);
                    bits.1 += 8 * length;
                }
                1 => loop {
                    let symbol = bits.fixed_symbol();
                    if let Ok(literal) = u8::try_from(symbol) {
                        message.push(literal);
                        continue;
                    }
                    if symbol == 256 {
                        break;
                    }
                    // Section 3.2.5.
                    let length = match symbol {
                        ..265 => symbol - 254,
                        285 => 258,
                        _ => {
                            let extra = (symbol - 261) / 4;
                            3 + ((4 + (symbol - 261) % 4) << extra) + bits.number(extra)
                        }
                    };
                    let distance = match bits.code(5) {
                        code @ ..4 => 1 + code,
                        code => {
                            let extra = code / 2 - 1;
                            1 + ((2 + code % 2) << extra) + bits.number(extra)
                        }
                    };
                    farthest = farthest.max(distance);
                    for _ in 0..length {
                        message.push(message[message.len() - distance]);
                    }
                },
                kind => panic!("a block of kind {kind}"),
            }
            if last {
                return (message, farthest);
            }
        }
    }

    fn inflate(payload: &[u8]) -> Result<Vec<u8>, Violation> {
        Inflater::default().inflate(payload, LIMIT)
    }

    #[test]
    fn a_message_is_read_with_the_window_that_was_agreed_and_so_with_every_larger_one() {
        for bytes in [1, 20, 127, 128, 300, 1_000, 5_000, 40_000, 200_000] {
            for message in [text(bytes), noise(bytes / 2).repeat(2)] {
                for compression in all_windows() {
                    let Some(payload) = deflated(compression, &message) else { continue };
                    assert!(payload.len() < message.len());
                    let (read, farthest) = read(&payload);
                    assert_same(Some(&read), &message, "read");
                    assert!(farthest <= 1 << compression.bits().unwrap(), "{compression:?}");
                    assert_same(inflate(&payload).ok().as_ref(), &message, "inflated");
                }
            }
        }
    }

    #[test]
    fn every_window_is_made_use_of() {
        for compression in all_windows() {
            // Repeated at a distance that only this window and larger ones reach.
            let message = noise((1 << compression.bits().unwrap()) - 300).repeat(2);
            let smaller = Compression(compression.0 - 1);
            assert!(deflated(compression, &message).is_some(), "{compression:?}");
            assert!(deflated(smaller, &message).is_none(), "{smaller:?}");
        }
    }

    #[test]
    fn one_deflater_serves_messages_of_all_kinds_one_after_the_other() {
        let (mut deflater, mut inflater) = (Deflater::new(0), Inflater::default());
        for bytes in [1_000, 3, 100_000, 1_000, 70_000, 50, 1_000] {
            for message in [text(bytes), noise(bytes), vec![0; bytes]] {
                for compression in all_windows() {
                    let Some(payload) = deflater.deflate(compression, &message, 4) else {
                        continue;
                    };
                    let (room, payload) = payload.split_at(4);
                    assert_eq!(room, [0; 4]);
                    assert_eq!(Some(payload), deflated(compression, &message).as_deref());
                    assert_same(
                        inflater.inflate(payload, LIMIT).ok().as_ref(),
                        &message,
                        "inflated",
                    );
                }
            }
        }
    }

    #[test]
    fn what_does_not_become_shorter_leaves_nothing_behind() {
        let mut deflater = Deflater::new(0);
        let window = Compression::window(15).unwrap();
        for bytes in (90_000..).step_by(1_000).take(100) {
            assert!(deflater.deflate(window, &noise(bytes), 0).is_none());
            let payload = deflater.deflate(window, &text(300), 0).unwrap().to_vec();
            assert_same(inflate(&payload).ok().as_ref(), &text(300), "inflated");
        }
    }

    #[test]
    fn what_would_not_become_shorter_or_is_too_short_goes_as_it_is() {
        for compression in all_windows() {
            for bytes in [0, 1, 5, 300, 70_000] {
                assert_eq!(deflated(compression, &noise(bytes)), None);
            }
            let mut deflater = Deflater::new(128);
            assert!(deflater.deflate(compression, &[b' '; 127], 0).is_none());
            assert!(deflater.deflate(compression, &[b' '; 128], 0).is_some());
        }
        assert_eq!(deflated(Compression::NONE, &text(1_000)), None);
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let hello: [&[u8]; 4] = [
            // Section 7.2.3.1; with a stored block, 7.2.3.3; with a final block, 7.2.3.4.
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            // Two blocks, 7.2.3.5.
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for payload in hello {
            assert_eq!(inflate(payload), Ok(b"Hello".to_vec()), "{payload:x?}");
        }
        // Nothing, as it should be said (7.2.3.6), and as some say it.
        assert_eq!(inflate(&[0]), Ok(Vec::new()));
        assert_eq!(inflate(&[]), Ok(Vec::new()));
        // The client ended its stream with the message, or began another one in it.
        assert_eq!(inflate(&hello[2][..7]), Ok(b"Hello".to_vec()));
        assert_eq!(inflate(&[hello[2], hello[0]].concat()), Err(CORRUPT));
        assert_eq!(inflate(&[&hello[2][..7], hello[0]].concat()), Ok(b"HelloHello".to_vec()));
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_refused() {
        let payload = deflated(Compression::window(15).unwrap(), &text(3_000)).unwrap();
        for length in 1..payload.len() - 1 {
            assert_eq!(inflate(&payload[..length]), Err(CORRUPT), "{length} bytes");
        }
        assert_eq!(inflate(&[0xff; 20]), Err(CORRUPT));
        // A reference to before the beginning.
        assert_eq!(inflate(&[0x02, 0x00, 0x01]), Err(CORRUPT));
    }

    #[test]
    fn a_bomb_costs_no_more_memory_than_a_message() {
        let bomb = deflated(Compression::window(15).unwrap(), &vec![b' '; 50 << 20]).unwrap();
        assert!(bomb.len() < (50 << 20) / 100);
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&bomb, 65_536), Err(Violation::MESSAGE_TOO_BIG));
        let fits = deflated(Compression::window(15).unwrap(), &[b' '; 65_536]).unwrap();
        for (limit, expected) in [(65_535, None), (65_536, Some(65_536)), (65_537, Some(65_536))] {
            let message = inflater.inflate(&fits, limit).ok();
            assert_eq!(message.as_ref().map(Vec::len), expected, "limit of {limit}");
            assert!(message.is_none_or(|message| message.capacity() <= limit + 1));
        }
    }
}
