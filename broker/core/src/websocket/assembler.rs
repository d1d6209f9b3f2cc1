//! Frames to whole messages: fragments, control frames between them, limits, UTF-8, inflation.
//!
//! A message that arrives whole in one frame and one read is handed on where it lies; only what is
//! incomplete at the end of a read is copied, and only then is there any memory behind an
//! [`Assembler`]. Memory grows with what has come, never with what was announced. Text is checked
//! as it comes, so that a wrong byte ends the connection before the message is whole.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::Violation;
use super::deflate::Inflater;
use super::frame::{HEADER_BYTES_MAX, Header, parse, unmask};
use super::utf8::{Invalid, Utf8};

/// What the messages of a connection must keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most bytes of a message, after inflation.
    pub(crate) message_bytes_max: usize,
    /// Most frames of a message.
    pub(crate) fragments_max: usize,
    /// Messages may be compressed.
    pub(crate) deflate: bool,
}

impl Bounds {
    /// Most bytes of a message as they travel. What cannot be compressed may become longer instead:
    /// with DEFLATE's fixed codes a byte may take nine bits.
    fn travelling_bytes_max(&self, compressed: bool) -> usize {
        match compressed {
            false => self.message_bytes_max,
            true => self.message_bytes_max.saturating_add(self.message_bytes_max / 8 + 64),
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
    Message(Data, Payload<'a>),
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
    /// The message that has begun.
    message: Option<Begun>,
}

/// A message that has begun.
#[derive(Debug)]
struct Begun {
    data: Data,
    compressed: bool,
    /// Its frames so far.
    fragments: usize,
    /// Their payload, as it travels.
    payload: Vec<u8>,
    /// Whether that is text, as far as it can be told already.
    utf8: Utf8,
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
        bounds: &Bounds,
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'a>>, Violation> {
        loop {
            let Some((header, received)) = self.frame(input, bounds)? else {
                return Ok(None);
            };
            let missing = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX) - received;
            let whole = input.len();
            let (chunk, rest) = std::mem::take(input).split_at_mut(missing.min(whole));
            *input = rest;
            unmask(chunk, header.mask, received);
            let left = missing - chunk.len();
            let event = match header.opcode {
                OpCode::Control(control) => self.control(control, received, chunk, left)?,
                OpCode::Data(data) => self.data(&header, data, chunk, left, bounds, inflater)?,
            };
            if left > 0 {
                let frame = Some((header, received + chunk.len()));
                self.partial.get_or_insert_default().frame = frame;
                return Ok(None);
            }
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The frame whose payload comes next, and how much of it has come already.
    fn frame(
        &mut self,
        input: &mut &mut [u8],
        bounds: &Bounds,
    ) -> Result<Option<(Header, usize)>, Violation> {
        if let Some(frame) = self.partial.as_mut().and_then(|partial| partial.frame.take()) {
            return Ok(Some(frame));
        }
        let Some(header) = self.header(input, bounds.deflate)? else {
            return Ok(None);
        };
        let OpCode::Data(data) = header.opcode else {
            return Ok(Some((header, 0)));
        };
        let begun = self.partial.as_mut().and_then(|partial| partial.message.as_mut());
        let (before, compressed) = match (data, begun) {
            (Data::Continue, None) => {
                return Err(Violation::Protocol("continuation without a message"));
            }
            (Data::Continue, Some(begun)) => {
                begun.fragments += 1;
                if begun.fragments > bounds.fragments_max {
                    return Err(Violation::TooBig("message over fragments_max"));
                }
                (begun.payload.len(), begun.compressed)
            }
            (_, Some(_)) => {
                return Err(Violation::Protocol("new message before the last fragment"));
            }
            (_, None) => (0, header.compressed),
        };
        let left = bounds.travelling_bytes_max(compressed).saturating_sub(before);
        if header.payload_bytes > left as u64 {
            return Err(Violation::MESSAGE_TOO_BIG);
        }
        Ok(Some((header, 0)))
    }

    /// The next header. Its bytes are taken from the input, or kept until the rest has come.
    fn header(
        &mut self,
        input: &mut &mut [u8],
        deflate: bool,
    ) -> Result<Option<Header>, Violation> {
        let kept = self.partial.as_ref().map_or(0, |partial| partial.head.len());
        if kept > 0 {
            return self.header_after_kept(input, deflate);
        }
        if let Some((header, bytes)) = parse(input, deflate)? {
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

    fn header_after_kept(
        &mut self,
        input: &mut &mut [u8],
        deflate: bool,
    ) -> Result<Option<Header>, Violation> {
        let Some(partial) = self.partial.as_mut() else {
            return Ok(None);
        };
        while let Some(&byte) = input.first() {
            partial.head.push(byte);
            skip(input, 1);
            debug_assert!(partial.head.len() <= HEADER_BYTES_MAX);
            if let Some((header, _)) = parse(&partial.head, deflate)? {
                partial.head.clear();
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// A piece of a control frame; `left` bytes of it are to come.
    fn control<'a>(
        &mut self,
        control: Control,
        received: usize,
        chunk: &'a [u8],
        left: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        if received == 0 && left == 0 {
            return control_event(control, Payload::Whole(chunk)).map(Some);
        }
        let partial = self.partial.get_or_insert_default();
        partial.control.extend_from_slice(chunk);
        if left > 0 {
            return Ok(None);
        }
        let payload = std::mem::take(&mut partial.control);
        self.tidy();
        control_event(control, Payload::Joined(payload)).map(Some)
    }

    /// A piece of a data frame; `left` bytes of it are to come.
    fn data<'a>(
        &mut self,
        header: &Header,
        data: Data,
        chunk: &'a [u8],
        left: usize,
        bounds: &Bounds,
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'a>>, Violation> {
        let ends = header.last && left == 0;
        let begun = self.partial.as_mut().and_then(|partial| partial.message.as_mut());
        if begun.is_none() && ends {
            if header.compressed {
                return inflated(data, chunk, bounds, inflater).map(Some);
            }
            if data == Data::Text && std::str::from_utf8(chunk).is_err() {
                return Err(Violation::InvalidUtf8);
            }
            return Ok(Some(Event::Message(data, Payload::Whole(chunk))));
        }
        let message = &mut self.partial.get_or_insert_default().message;
        let begun = message.get_or_insert_with(|| Begun::new(header, data));
        begun.push(chunk, header.last.then_some(left))?;
        if !ends {
            return Ok(None);
        }
        let Some(begun) = message.take() else { return Ok(None) };
        self.tidy();
        begun.end(bounds, inflater).map(Some)
    }

    /// Gives the memory back when nothing is incomplete.
    fn tidy(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.message.is_none()) {
            self.partial = None;
        }
    }
}

impl Begun {
    fn new(header: &Header, data: Data) -> Self {
        Self {
            data,
            compressed: header.compressed,
            fragments: 1,
            payload: Vec::new(),
            utf8: Utf8::default(),
        }
    }

    /// Whether its payload, as it travels, must be UTF-8.
    fn is_plain_text(&self) -> bool {
        self.data == Data::Text && !self.compressed
    }

    /// Takes the next piece. `left`: as many bytes end the message, if that is known.
    fn push(&mut self, piece: &[u8], left: Option<usize>) -> Result<(), Violation> {
        if self.is_plain_text() {
            self.utf8.push(piece)?;
        }
        match left {
            // Never more than was needed so far: a length that is only announced costs nothing.
            Some(left) if self.payload.capacity() - self.payload.len() < piece.len() => {
                let so_far = self.payload.len().max(piece.len());
                self.payload.reserve_exact(so_far.min(piece.len() + left));
            }
            _ => {}
        }
        self.payload.extend_from_slice(piece);
        Ok(())
    }

    /// The whole message.
    fn end<'a>(self, bounds: &Bounds, inflater: &mut Inflater) -> Result<Event<'a>, Violation> {
        if self.compressed {
            return inflated(self.data, &self.payload, bounds, inflater);
        }
        if self.data == Data::Text {
            self.utf8.end()?;
        }
        Ok(Event::Message(self.data, Payload::Joined(self.payload)))
    }
}

/// The message behind a compressed payload.
fn inflated<'a>(
    data: Data,
    payload: &[u8],
    bounds: &Bounds,
    inflater: &mut Inflater,
) -> Result<Event<'a>, Violation> {
    let message = inflater.inflate(payload, bounds.message_bytes_max)?;
    if data == Data::Text && std::str::from_utf8(&message).is_err() {
        return Err(Violation::InvalidUtf8);
    }
    Ok(Event::Message(data, Payload::Joined(message)))
}

impl From<Invalid> for Violation {
    fn from(_: Invalid) -> Self {
        Self::InvalidUtf8
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
