//! What a client may send, and what it may not, drawn at random.

use rand::RngExt as _;
use rand::rngs::StdRng;

use fanwire_core::Compression;

use crate::deflate::{COMPRESSED, deflate};
use crate::wire;

/// Which commands a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commands {
    /// Those whose reply waits for no topic's owner.
    AnsweredAtOnce,
    All,
}

/// Draws streams.
pub(crate) struct Streams<'a> {
    random: &'a mut StdRng,
    which: Commands,
    /// Whether messages may be compressed.
    compresses: bool,
    out: Vec<u8>,
    /// Commands so far, each of which gets a reply.
    pub(crate) commands: usize,
    /// Ping frames so far, each of which gets a pong.
    pub(crate) pings: usize,
    /// Messages so far: opcode and payload.
    pub(crate) messages: Vec<(u8, Vec<u8>)>,
}

impl<'a> Streams<'a> {
    pub(crate) fn new(random: &'a mut StdRng, which: Commands, compression: Compression) -> Self {
        let compresses = compression != Compression::NONE;
        let (out, messages) = (Vec::new(), Vec::new());
        Self { random, which, compresses, out, commands: 0, pings: 0, messages }
    }

    /// Frames that keep every rule: a connect, then commands in messages of every kind and length.
    pub(crate) fn valid(&mut self) -> Vec<u8> {
        let first = self.command_of(r#""connect":{}"#);
        self.message(first.as_bytes());
        for _ in 0..self.random.random_range(1..12) {
            let mut text = self.command();
            while self.random.random_ratio(1, 3) {
                text.push('\n');
                text.push_str(&self.command());
            }
            self.message(text.as_bytes());
        }
        std::mem::take(&mut self.out)
    }

    /// Such frames, then one that may break any rule, then more of them.
    pub(crate) fn hostile(&mut self) -> Vec<u8> {
        let mut stream = self.valid();
        if self.random.random_ratio(1, 4) {
            // A header that announces up to 2^64 bytes.
            stream.extend([0x82, 0xff]);
            stream.extend(self.random.random::<[u8; 8]>());
        } else {
            let payload: Vec<u8> =
                (0..self.random.random_range(0..6)).map(|_| self.random.random()).collect();
            let opcode = match self.random.random() {
                true => wire::CLOSE,
                // The upper bits are the reserved ones.
                false => self.random.random_range(0..0x80),
            };
            let last = self.random.random();
            self.frame(opcode, last, &payload);
            stream.append(&mut self.out);
        }
        stream.extend(self.valid());
        stream
    }

    /// Valid frames of which some bytes were changed, inserted or lost.
    pub(crate) fn damaged(&mut self) -> Vec<u8> {
        let mut stream = self.valid();
        for _ in 0..self.random.random_range(1..4) {
            // Mostly near the front, where the headers of the first frames are.
            let reach = if self.random.random() { stream.len().min(60) } else { stream.len() };
            let at = self.random.random_range(0..reach.max(1)).min(stream.len());
            match self.random.random_range(0..4) {
                0 if at < stream.len() => stream[at] ^= 1 << self.random.random_range(0..8),
                1 => stream.insert(at, self.random.random()),
                2 if at < stream.len() => {
                    stream.remove(at);
                }
                _ => stream.truncate(at),
            }
        }
        stream
    }

    fn command_of(&mut self, body: &str) -> String {
        self.commands += 1;
        format!(r#"{{"id":{},{body}}}"#, self.commands)
    }

    fn command(&mut self) -> String {
        const AT_ONCE: [&str; 5] = [
            r#""unsubscribe":{"channel":"t"}"#,
            r#""presence":{"channel":"t"}"#,
            r#""history":{"channel":"nowhere:t"}"#,
            r#""rpc":{"data":"\u00fc ü 🦀"}"#,
            r#""publish":{"channel":"t"}"#,
        ];
        const OTHERS: [&str; 3] = [
            r#""subscribe":{"channel":"t"}"#,
            r#""publish":{"channel":"t","data":{"text":"ü 🦀"}}"#,
            r#""publish":{"channel":"u","data":null}"#,
        ];
        let others = self.which == Commands::All && self.random.random();
        let body = match others {
            true => OTHERS[self.random.random_range(0..OTHERS.len())],
            false => AT_ONCE[self.random.random_range(0..AT_ONCE.len())],
        };
        let command = self.command_of(body);
        // Leading spaces are allowed; they make lengths of 7, 16 and 64 bits.
        let spaces = match self.random.random_range(0..60) {
            0 => 65_536,
            1..6 => self.random.random_range(0..2_000),
            _ => 0,
        };
        format!("{}{command}", " ".repeat(spaces))
    }

    /// A message in one frame or in several, with control frames anywhere between them; perhaps
    /// compressed.
    fn message(&mut self, payload: &[u8]) {
        let mut opcode = if self.random.random_ratio(1, 5) { wire::BINARY } else { wire::TEXT };
        self.messages.push((opcode, payload.to_vec()));
        let compressed;
        let mut rest = payload;
        if self.compresses && self.random.random() {
            compressed = deflate(payload);
            opcode |= COMPRESSED;
            rest = &compressed;
        }
        while self.random.random_ratio(1, 3) {
            let (head, tail) = rest.split_at(self.random.random_range(0..=rest.len()));
            self.frame(opcode, false, head);
            self.controls();
            opcode = wire::CONTINUATION;
            rest = tail;
        }
        self.frame(opcode, true, rest);
        self.controls();
    }

    fn controls(&mut self) {
        while self.random.random_ratio(1, 6) {
            let length = [0, 1, 125][self.random.random_range(0..3)];
            let payload: Vec<u8> = (0..length).map(|_| self.random.random()).collect();
            if self.random.random() {
                self.pings += 1;
                self.frame(wire::PING, true, &payload);
            } else {
                self.frame(wire::PONG, true, &payload);
            }
        }
    }

    fn frame(&mut self, opcode: u8, last: bool, payload: &[u8]) {
        let mask = self.random.random();
        wire::append_masked(&mut self.out, opcode, last, mask, payload);
    }
}
