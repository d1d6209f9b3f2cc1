//! The walk gives the same events however the input is split.

use std::io::{self, Read};

use super::*;
use crate::client::inbox::{Inbox, Intake, Source};

/// Hands out its bytes in pieces of the given lengths, then the rest, then "would block".
struct Pieces<'a> {
    bytes: &'a [u8],
    lengths: Vec<usize>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.lengths.pop().unwrap_or(usize::MAX);
        let count = length.min(self.bytes.len()).min(buffer.len());
        let (piece, rest) = self.bytes.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.bytes = rest;
        Ok(count)
    }
}

fn server_frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { opcode, is_final, ..FrameHeader::default() };
    let mut frame = Vec::new();
    header.format(payload.len() as u64, &mut frame).unwrap();
    frame.extend_from_slice(payload);
    frame
}

impl Source for Pieces<'_> {
    fn take_in(&mut self, room: &mut [u8]) -> Result<Intake, ClientError> {
        Ok(Intake::read(self, room)?)
    }
}

/// What the walk reports, as text, when the input comes in these pieces (last length first).
fn events(bytes: &[u8], lengths: Vec<usize>) -> Vec<String> {
    let mut source = Pieces { bytes, lengths };
    let (mut inbox, mut scratch, mut fragments) = (Inbox::default(), Vec::new(), Vec::new());
    let mut seen = Vec::new();
    while !source.bytes.is_empty() {
        inbox
            .receive(&mut source, &mut scratch, |bytes| {
                walk(bytes, &mut fragments, |event| {
                    seen.push(match event {
                        FrameEvent::Data(text) => String::from_utf8_lossy(text).into_owned(),
                        other => format!("{other:?}"),
                    });
                    Ok(())
                })
            })
            .unwrap();
    }
    assert!(inbox.is_empty(), "nothing is left over");
    seen
}

/// Every kind of frame, all three length forms, and fragments with a ping between them.
fn sample() -> (Vec<u8>, Vec<String>) {
    let text = OpCode::Data(Data::Text);
    let long = "l".repeat(70_000);
    let middle = "m".repeat(300);
    let bytes = [
        server_frame(text, true, b"{\"id\":1}\n{\"id\":2}"),
        server_frame(OpCode::Data(Data::Binary), true, b"{}"),
        server_frame(text, true, middle.as_bytes()),
        server_frame(text, false, b"fi"),
        server_frame(OpCode::Control(Control::Ping), true, b"p"),
        server_frame(OpCode::Data(Data::Continue), false, b"rst\nsec"),
        server_frame(OpCode::Data(Data::Continue), true, b"ond"),
        server_frame(OpCode::Control(Control::Pong), true, b""),
        server_frame(text, true, long.as_bytes()),
        server_frame(OpCode::Control(Control::Close), true, &[0x0b, 0xb9, b'x']),
    ]
    .concat();
    let ping = format!("{:?}", FrameEvent::Ping(b"p"));
    let close = format!("{:?}", FrameEvent::Close(Some(3001)));
    let expected = ["{\"id\":1}\n{\"id\":2}", "{}", &middle, &ping, "first\nsecond", &long];
    let expected = expected.iter().copied().chain([close.as_str()]);
    (bytes.clone(), expected.map(str::to_owned).collect())
}

#[test]
fn any_split_in_two_gives_the_same_events() {
    let (bytes, expected) = sample();
    assert_eq!(events(&bytes, Vec::new()), expected);
    // The long payload has no structure inside; its edges and all of the rest are tried.
    let edges = (0..1_000).chain(bytes.len() - 1_000..bytes.len());
    for first in edges.filter(|&first| first > 0) {
        assert_eq!(events(&bytes, vec![first]), expected, "split at {first}");
    }
}

#[test]
fn pieces_of_any_length_give_the_same_events() {
    let (bytes, expected) = sample();
    for length in [1, 2, 3, 7, 64, 1_000, 65_536] {
        assert_eq!(events(&bytes, vec![length; bytes.len()]), expected, "pieces of {length}");
    }
}

#[test]
fn masked_frames_and_extension_bits_are_errors() {
    let mut masked = Vec::new();
    append_frame(OpCode::Data(Data::Text), b"{}", &mut masked);
    let compressed = [0xc1, 0x00];
    for bytes in [masked.as_slice(), compressed.as_slice()] {
        assert!(walk(bytes, &mut Vec::new(), |_| Ok(())).is_err());
    }
}

#[test]
fn what_a_client_sends_can_be_unmasked() {
    let mut frame = Vec::new();
    append_frame(OpCode::Data(Data::Text), b"{\"id\":1,\"connect\":{}}", &mut frame);
    let mut cursor = Cursor::new(frame.as_slice());
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    let start = usize::try_from(cursor.position()).unwrap();
    assert_eq!(frame.len() - start, usize::try_from(length).unwrap());
    let unmasked: Vec<u8> = frame[start..]
        .iter()
        .zip(header.mask.unwrap().iter().cycle())
        .map(|(b, k)| b ^ k)
        .collect();
    assert_eq!(unmasked, b"{\"id\":1,\"connect\":{}}");
}
