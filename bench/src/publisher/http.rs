//! An HTTP API from the caller's side: checking the key, and reading pipelined answers.

use std::io;

use crate::client::inbox::{Inbox, Received};
use crate::client::target::Target;
use crate::dialect::HttpApi;
use crate::error::ClientError;
use crate::publisher::answers::Answers;
use crate::publisher::halves::{Reader, Writer};

/// More headers than this make an answer malformed.
const HEADERS_MAX: usize = 64;
/// One answer of the API.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
    /// Length of the whole answer.
    bytes: usize,
}

/// Asks the API something harmless, if it has such a thing, to see that it is there and accepts the
/// key.
///
/// # Errors
/// `Api` when it answers with another status than 200.
pub(crate) fn check(
    (reader, writer): (&mut Reader, &mut Writer),
    target: &Target,
    api: &dyn HttpApi,
) -> Result<(), ClientError> {
    let mut request = Vec::new();
    if !api.append_check(target, &mut request) {
        return Ok(());
    }
    writer.send(&request)?;
    let (mut inbox, mut scratch, mut status) = (Inbox::default(), Vec::new(), None);
    while status.is_none() {
        let received = inbox.receive(reader, &mut scratch, |bytes| {
            let answer = parse(bytes)?;
            status = answer.as_ref().map(|answer| answer.status);
            Ok(answer.map_or(0, |answer| answer.bytes))
        })?;
        match received {
            Received::End => return Err(ClientError::Closed { code: None }),
            Received::Nothing => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Received::Drained | Received::More => {}
        }
    }
    match status {
        Some(200) | None => Ok(()),
        Some(status) => Err(ClientError::Api { status }),
    }
}

/// Reads the answers to the publications whose numbers `publications` yields, in their order,
/// until the connection ends.
///
/// # Errors
/// When it ends too early, or an answer cannot be understood.
pub(crate) fn read_answers(
    mut reader: Reader,
    mut publications: impl Iterator<Item = u64>,
    api: &dyn HttpApi,
    answers: &Answers,
) -> Result<(), ClientError> {
    let (mut inbox, mut scratch) = (Inbox::default(), Vec::new());
    loop {
        let received = inbox.receive(&mut reader, &mut scratch, |bytes| {
            let mut taken = 0;
            while let Some(answer) = parse(bytes.get(taken..).unwrap_or_default())? {
                taken += answer.bytes;
                let publication = publications.next().unwrap_or(0);
                match api.refusal(answer.status, answer.body) {
                    None => answers.accept(),
                    Some(reason) => answers.refuse(publication, reason),
                }
            }
            Ok(taken)
        });
        match received {
            Ok(Received::End) if !answers.is_over() => {
                return Err(ClientError::Closed { code: None });
            }
            Ok(Received::End) => return Ok(()),
            Ok(_) => {}
            Err(_) if answers.is_over() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The first answer in `bytes`, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<Answer<'_>>, ClientError> {
    let malformed = || ClientError::Malformed { what: "answer of the HTTP API" };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    if bytes.is_empty() {
        return Ok(None);
    }
    let start = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(malformed()),
    };
    let value = |name: &str| {
        let mut headers = response.headers.iter();
        headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let status = response.code.unwrap_or(0);
    let rest = bytes.get(start..).unwrap_or_default();
    if value("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        let length = chunked_length(rest).map_err(|_| malformed())?;
        // What is in the chunks is of no interest: the status says it all.
        return Ok(length.map(|length| Answer { status, body: &[], bytes: start + length }));
    }
    let length = match value("Content-Length") {
        Some(length) => std::str::from_utf8(length).ok().and_then(|length| length.parse().ok()),
        None => (status == 204).then_some(0_usize),
    };
    let length = length.ok_or_else(malformed)?;
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some(Answer { status, body, bytes: start + length }))
}

/// Length of a chunked body (RFC 9112, section 7.1) without trailers; `None` while it is not whole.
fn chunked_length(bytes: &[u8]) -> Result<Option<usize>, httparse::InvalidChunkSize> {
    const LINE_END: usize = 2;
    let mut start = 0_usize;
    loop {
        let rest = bytes.get(start..).unwrap_or_default();
        let httparse::Status::Complete((head, chunk)) = httparse::parse_chunk_size(rest)? else {
            return Ok(None);
        };
        let chunk = usize::try_from(chunk).unwrap_or(usize::MAX);
        start = start.saturating_add(head).saturating_add(chunk).saturating_add(LINE_END);
        if start > bytes.len() {
            return Ok(None);
        }
        if chunk == 0 {
            return Ok(Some(start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"result\":{}}\
        HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n\
        {\"error\":{\"code\":102,\"message\":\"unknown channel\"}}";

    #[test]
    fn pipelined_answers_come_apart_wherever_they_are_cut() {
        let first = parse(TWO).unwrap().unwrap();
        assert_eq!((first.status, first.body), (200, b"{\"result\":{}}".as_slice()));
        let rest = &TWO[first.bytes..];
        let second = parse(rest).unwrap().unwrap();
        assert_eq!(second.bytes, rest.len());
        assert!(second.body.ends_with(b"\"unknown channel\"}}"));
        for end in 0..rest.len() {
            assert_eq!(parse(&rest[..end]).unwrap(), None, "cut at {end}");
        }
    }

    #[test]
    fn chunked_and_empty_answers_have_an_end() {
        let chunked = b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        for end in 0..chunked.len() {
            assert_eq!(parse(&chunked[..end]).unwrap(), None, "cut at {end}");
        }
        let followed = [chunked.as_slice(), b"HTTP"].concat();
        assert_eq!(parse(&followed).unwrap().unwrap().bytes, chunked.len());
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(parse(empty).unwrap().unwrap().bytes, empty.len());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
