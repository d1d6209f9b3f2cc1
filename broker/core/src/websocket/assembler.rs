//! Frames to whole messages: fragments, control frames between them, limits, UTF-8.
//!
//! A message that arrives whole in one frame and one read is handed on where it lies; only what is
//! incomplete at the end of a read is copied, and only then is there any memory behind an
//! [`Assembler`].

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::frame::{HEADER_BYTES_MAX, Header, parse, unmask};
use crate::fault::Disconnect;

/// How a peer broke RFC 6455 or a limit. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.cause())]
pub(crate) enum Violation {
    /// The framing is broken; the text says how.
    Protocol(&'static str),
    /// A text message or close reason that is not UTF-8.
    InvalidUtf8,
    /// A message above the limit.
    TooBig,
}

impl Violation {
    /// What the peer did, for the log.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Protocol(cause) => cause,
            Self::InvalidUtf8 => "text that is not UTF-8",
            Self::TooBig => "message over message_bytes_max",
        }
    }

    /// The close code that answers it (RFC 6455, section 7.4.1).
    pub(crate) const fn disconnect(self) -> Disconnect {
        match self {
            Self::Protocol(_) => Disconnect::PROTOCOL_ERROR,
            Self::InvalidUtf8 => Disconnect::INVALID_UTF8,
            Self::TooBig => Disconnect::TOO_BIG,
        }
    }
}

/// The payload of a message: where it arrived, or put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// Arrived whole; lies in the input.
    Whole(&'a [u8]),
    /// Put together from fragments or reads.
    Joined(Vec<u8>),
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A text message (checked to be UTF-8) or a binary one.
    Message(Payload<'a>),
    /// A ping; its payload goes back in a pong.
    Ping(Payload<'a>),
    /// A pong.
    Pong,
    /// A close frame with its code, if it has one; reason and code are valid.
    Close(Option<u16>),
}

/// Puts the messages of one connection together.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    partial: Option<Box<Partial>>,
}

/// What is kept of messages that have begun.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of a header that is not complete.
    head: Vec<u8>,
    /// The frame whose payload is not complete, and how much of it has come.
    frame: Option<(Header, usize)>,
    /// Payload of that frame if it is a control frame.
    control: Vec<u8>,
    /// The message that has begun, whether it is text, and its payload so far.
    message: Option<(bool, Vec<u8>)>,
}

impl Assembler {
    /// Takes the next event from the front of `input`, which is left at what follows it. `None`:
    /// the input is used up and the next event is incomplete.
    ///
    /// # Errors
    ///
    /// [`Violation`]: close the connection; nothing more can be read from it.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        loop {
            let Some((header, received)) = self.frame(input, message_bytes_max)? else {
                return Ok(None);
            };
            let missing = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX) - received;
            let whole = input.len();
            let (chunk, rest) = std::mem::take(input).split_at_mut(missing.min(whole));
            *input = rest;
            unmask(chunk, header.mask, received);
            if chunk.len() < missing {
                self.keep(&header, received, chunk);
                return Ok(None);
            }
            if let Some(event) = self.complete(&header, received, chunk)? {
                return Ok(Some(event));
            }
        }
    }

    /// The frame whose payload comes next, and how much of it has come already.
    fn frame(
        &mut self,
        input: &mut &mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<(Header, usize)>, Violation> {
        if let Some(frame) = self.partial.as_mut().and_then(|partial| partial.frame.take()) {
            return Ok(Some(frame));
        }
        let Some(header) = self.header(input)? else {
            return Ok(None);
        };
        let begun = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        match header.opcode {
            OpCode::Data(Data::Continue) if begun.is_none() => {
                return Err(Violation::Protocol("continuation without a message"));
            }
            OpCode::Data(Data::Text | Data::Binary) if begun.is_some() => {
                return Err(Violation::Protocol("new message before the last fragment"));
            }
            OpCode::Data(_) => {
                let before = begun.map_or(0, |(_, payload)| payload.len());
                let left = message_bytes_max.saturating_sub(before);
                if header.payload_bytes > left as u64 {
                    return Err(Violation::TooBig);
                }
            }
            OpCode::Control(_) => {}
        }
        Ok(Some((header, 0)))
    }

    /// The next header. Its bytes are taken from the input, or kept until the rest has come.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let kept = self.partial.as_ref().map_or(0, |partial| partial.head.len());
        if kept > 0 {
            return self.header_after_kept(input);
        }
        if let Some((header, bytes)) = parse(input)? {
            skip(input, bytes);
            return Ok(Some(header));
        }
        if !input.is_empty() {
            let partial = self.partial.get_or_insert_default();
            partial.head.extend_from_slice(input);
            skip(input, input.len());
        }
        Ok(None)
    }

    fn header_after_kept(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let Some(partial) = self.partial.as_mut() else {
            return Ok(None);
        };
        while let Some(&byte) = input.first() {
            partial.head.push(byte);
            skip(input, 1);
            debug_assert!(partial.head.len() <= HEADER_BYTES_MAX);
            if let Some((header, _)) = parse(&partial.head)? {
                partial.head.clear();
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Keeps a piece of a payload whose rest has not come.
    fn keep(&mut self, header: &Header, received: usize, chunk: &[u8]) {
        let partial = self.partial.get_or_insert_default();
        partial.frame = Some((*header, received + chunk.len()));
        match header.opcode {
            OpCode::Control(_) => partial.control.extend_from_slice(chunk),
            OpCode::Data(data) => {
                let begun = partial.message.get_or_insert((data == Data::Text, Vec::new()));
                begun.1.extend_from_slice(chunk);
            }
        }
    }

    /// A frame has come whole: `chunk` is the last piece of its payload.
    fn complete<'a>(
        &mut self,
        header: &Header,
        received: usize,
        chunk: &'a [u8],
    ) -> Result<Option<Event<'a>>, Violation> {
        match header.opcode {
            OpCode::Control(control) => {
                let payload = match self.partial.as_mut() {
                    Some(partial) if received > 0 => {
                        let mut joined = std::mem::take(&mut partial.control);
                        joined.extend_from_slice(chunk);
                        Payload::Joined(joined)
                    }
                    _ => Payload::Whole(chunk),
                };
                self.tidy();
                control_event(control, payload).map(Some)
            }
            OpCode::Data(data) => {
                let begun = self.partial.as_mut().and_then(|partial| partial.message.take());
                let (text, payload) = match begun {
                    None => (data == Data::Text, Payload::Whole(chunk)),
                    Some((text, mut joined)) => {
                        joined.extend_from_slice(chunk);
                        (text, Payload::Joined(joined))
                    }
                };
                if !header.last {
                    let joined = match payload {
                        Payload::Whole(bytes) => bytes.to_vec(),
                        Payload::Joined(bytes) => bytes,
                    };
                    self.partial.get_or_insert_default().message = Some((text, joined));
                    return Ok(None);
                }
                self.tidy();
                if text && std::str::from_utf8(payload.as_ref()).is_err() {
                    return Err(Violation::InvalidUtf8);
                }
                Ok(Some(Event::Message(payload)))
            }
        }
    }

    /// Gives the memory back when nothing is incomplete.
    fn tidy(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.message.is_none()) {
            self.partial = None;
        }
    }
}

fn skip(input: &mut &mut [u8], bytes: usize) {
    let taken = std::mem::take(input);
    *input = taken.get_mut(bytes..).unwrap_or_default();
}

fn control_event(control: Control, payload: Payload<'_>) -> Result<Event<'_>, Violation> {
    Ok(match control {
        Control::Ping => Event::Ping(payload),
        Control::Pong => Event::Pong,
        Control::Close | Control::Reserved(_) => Event::Close(close_code(payload.as_ref())?),
    })
}

/// Reads the payload of a close frame (RFC 6455, sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(None),
            _ => Err(Violation::Protocol("close frame of one byte")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("close code that may not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::InvalidUtf8),
    }
}
