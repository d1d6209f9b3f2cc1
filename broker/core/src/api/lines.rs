//! A feed of publications: lines, each of them the body of a `publish`, read as they arrive. What
//! a piece of the body completes becomes one [`Call`], so that nothing is kept but half a line.

use bytes::{Buf as _, Bytes};

use super::methods::operation;
use super::{Call, Operation, Shape};
use crate::fault::Refusal;
use crate::limits::FEED_LINES_MAX;

/// Half a line that has needed more than this does not keep its memory.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Reads lines of publications, however they are cut into pieces.
#[derive(Debug)]
pub struct PublishLines {
    line_bytes_max: usize,
    /// The beginning of a line whose end has not come.
    half: Vec<u8>,
    /// That line is too long; its rest is passed over.
    too_long: bool,
}

impl PublishLines {
    /// Lines of at most `line_bytes_max` bytes, without their ends. Longer ones are refused (107).
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, half: Vec::new(), too_long: false }
    }

    /// Reads from a piece of the body, and leaves in it what the next call is for: ask again until
    /// the piece is empty. The call publishes the lines that ended, and its answer has a line for
    /// each of them; `None` = there are none. What is no `publish` is refused (107) in its line;
    /// empty lines are not counted.
    pub fn read(&mut self, piece: &mut Bytes) -> Option<Call> {
        let mut operations = Vec::new();
        let mut rest: &[u8] = piece;
        while operations.len() < FEED_LINES_MAX
            && let Some(end) = memchr::memchr(b'\n', rest)
        {
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            operations.extend(self.end_line(line));
        }
        if operations.len() < FEED_LINES_MAX {
            self.keep(rest);
            rest = &[];
        }
        let left = rest.len();
        piece.advance(piece.len() - left);
        call(operations)
    }

    /// The body has ended: the last line may lack its end.
    pub fn finish(&mut self) -> Option<Call> {
        call(self.end_line(b"").into_iter().collect())
    }

    fn keep(&mut self, beginning: &[u8]) {
        if self.half.len() + beginning.len() > self.line_bytes_max {
            self.too_long = true;
            self.half = Vec::new();
        }
        if !self.too_long {
            self.half.extend_from_slice(beginning);
        }
    }

    /// What the line asks for that ends with these bytes; `None` = it is empty.
    fn end_line(&mut self, end: &[u8]) -> Option<Operation> {
        if self.half.is_empty() && !self.too_long && end.len() <= self.line_bytes_max {
            return publish(end);
        }
        self.keep(end);
        if std::mem::take(&mut self.too_long) {
            return Some(Operation::Refused(Refusal::BadRequest));
        }
        let operation = publish(&self.half);
        if self.half.capacity() > KEPT_BYTES_MAX {
            self.half = Vec::new();
        }
        self.half.clear();
        operation
    }
}

fn call(operations: Vec<Operation>) -> Option<Call> {
    let call = Call { operations, shape: Shape::Feed, parallel: false };
    (!call.operations.is_empty()).then_some(call)
}

fn publish(line: &[u8]) -> Option<Operation> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    let publish = operation("publish", line).ok().flatten();
    Some(publish.unwrap_or(Operation::Refused(Refusal::BadRequest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The topics of the publications of a call, and the codes of what it refuses.
    fn read(call: Option<Call>) -> Vec<String> {
        let Some(call) = call else { return Vec::new() };
        assert!(call.shape == Shape::Feed && !call.parallel && !call.operations.is_empty());
        let mut read = Vec::new();
        for operation in call.operations {
            match operation {
                Operation::Publish(publish) => read.push(publish.topic.to_string()),
                Operation::Refused(refusal) => read.push(refusal.code().to_string()),
                other => panic!("{other:?}"),
            }
        }
        read
    }

    fn pieces(lines: &mut PublishLines, piece: &[u8]) -> Vec<String> {
        let mut piece = Bytes::copy_from_slice(piece);
        let mut got = Vec::new();
        while !piece.is_empty() {
            got.extend(read(lines.read(&mut piece)));
        }
        got
    }

    #[test]
    fn a_call_has_a_bounded_number_of_lines() {
        let mut lines = PublishLines::new(100);
        let mut piece = Bytes::from("x\n".repeat(2 * FEED_LINES_MAX) + "x");
        for _ in 0..2 {
            assert_eq!(read(lines.read(&mut piece)).len(), FEED_LINES_MAX);
        }
        assert!(lines.read(&mut piece).is_none() && piece.is_empty());
        assert_eq!(read(lines.finish()), ["107"]);
    }

    const BODY: &[u8] =
        b"{\"channel\":\"a\",\"data\":1}\n\r\n{\"channel\":\"b\",\"data\":2}\r\n\n  \n\
        nonsense\n[]\n{\"channel\":\"c\"}\n{\"channel\":\"\xff\",\"data\":1}\n\
        {\"channel\":\"d\",\"data\":\"a line that is longer than the others by far\"}\n\
        {\"channel\":\"e\",\"data\":3}";

    #[test]
    fn any_pieces_of_a_body_are_the_same_lines() {
        for size in 1..=BODY.len() {
            let mut lines = PublishLines::new(40);
            let mut got = Vec::new();
            for piece in BODY.chunks(size) {
                got.extend(pieces(&mut lines, piece));
            }
            got.extend(read(lines.finish()));
            assert_eq!(got, ["a", "b", "107", "107", "107", "107", "107", "e"], "{size}");
            assert!(read(lines.finish()).is_empty());
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_it_may_and_no_byte_longer() {
        let line = br#"{"channel":"a","data":1}"#;
        for (line_bytes_max, expected) in [(line.len(), "a"), (line.len() - 1, "107")] {
            for size in [1, 7, 1000] {
                let mut lines = PublishLines::new(line_bytes_max);
                let body = [&line[..], b"\n"].concat();
                let got: Vec<_> =
                    body.chunks(size).flat_map(|piece| pieces(&mut lines, piece)).collect();
                assert_eq!(got, [expected], "{size}");
                assert!(pieces(&mut lines, line).is_empty());
                assert_eq!(read(lines.finish()), [expected]);
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut lines = PublishLines::new(1000);
        for _ in 0..10_000 {
            assert!(pieces(&mut lines, &[b' '; 100]).is_empty());
            assert!(lines.half.capacity() <= 2000);
        }
        assert_eq!(pieces(&mut lines, b"\n{\"channel\":\"a\",\"data\":1}\n"), ["107", "a"]);
    }
}
