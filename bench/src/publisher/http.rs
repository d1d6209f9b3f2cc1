//! The HTTP API from the caller's side: checking the key, and reading pipelined answers.

use std::io::{self, Write};
use std::net::TcpStream;

use serde::Deserialize;

use crate::client::inbox::{Inbox, Received};
use crate::client::protocol::ReplyError;
use crate::client::target::Target;
use crate::error::ClientError;
use crate::publisher::answers::Answers;
use crate::publisher::encode::request_head;

/// More headers than this make an answer malformed.
const HEADERS_MAX: usize = 64;
/// How the body of a success begins.
const RESULT: &[u8] = br#"{"result""#;
/// A call without effect, to see whether the key is right before the run.
const CHECK_PATH: &str = "/api/info";

/// One answer of the API.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
    /// Length of the whole answer.
    bytes: usize,
}

#[derive(Deserialize)]
struct Failure {
    error: ReplyError,
}

/// Asks the API something harmless, to see that it is there and accepts the key.
///
/// # Errors
/// `Api` when it answers with another status than 200.
pub(crate) fn check(
    stream: &mut TcpStream,
    target: &Target,
    api_key: &str,
) -> Result<(), ClientError> {
    let head = request_head(target, api_key, CHECK_PATH);
    stream.write_all(format!("{head}2\r\n\r\n{{}}").as_bytes())?;
    let (mut inbox, mut scratch, mut status) = (Inbox::default(), Vec::new(), None);
    while status.is_none() {
        let received = inbox.receive(stream, &mut scratch, |bytes| {
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
    mut stream: TcpStream,
    mut publications: impl Iterator<Item = u64>,
    answers: &Answers,
) -> Result<(), ClientError> {
    let (mut inbox, mut scratch) = (Inbox::default(), Vec::new());
    loop {
        let received = inbox.receive(&mut stream, &mut scratch, |bytes| {
            let mut taken = 0;
            while let Some(answer) = parse(bytes.get(taken..).unwrap_or_default())? {
                taken += answer.bytes;
                let publication = publications.next().unwrap_or(0);
                match answer.refusal() {
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

impl Answer<'_> {
    /// Why the publication was refused; `None` when it was accepted.
    fn refusal(&self) -> Option<String> {
        if self.status != 200 {
            return Some(format!("HTTP status {}", self.status));
        }
        if self.body.starts_with(RESULT) {
            return None;
        }
        // The order of keys and spaces are the server's choice: look closer before calling it one.
        let failure = serde_json::from_slice::<Failure>(self.body).ok()?;
        Some(format!("{} {}", failure.error.code, failure.error.message))
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
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("Content-Length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
        .ok_or_else(malformed)?;
    let end = start.saturating_add(length);
    let Some(body) = bytes.get(start..end) else { return Ok(None) };
    Ok(Some(Answer { status: response.code.unwrap_or(0), body, bytes: end }))
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
        assert_eq!(first.refusal(), None);
        let rest = &TWO[first.bytes..];
        assert_eq!(parse(rest).unwrap().unwrap().refusal().unwrap(), "102 unknown channel");
        for end in 0..rest.len() {
            assert_eq!(parse(&rest[..end]).unwrap(), None, "cut at {end}");
        }
    }

    #[test]
    fn refusals_say_what_the_server_said() {
        let body = br#"{"error":{"code":102,"message":"unknown channel"}}"#;
        let answer = |status, body| Answer { status, body, bytes: 0 };
        assert_eq!(answer(200, body).refusal().unwrap(), "102 unknown channel");
        assert_eq!(answer(503, b"").refusal().unwrap(), "HTTP status 503");
        assert_eq!(answer(200, br#"{ "result": {} }"#).refusal(), None);
    }
}
