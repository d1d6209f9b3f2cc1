//! The WebSocket handshake of a client: one key for all connections, one expected answer.

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::client::target::Target;
use crate::error::ClientError;

/// More headers than this make an answer malformed.
const HEADERS_MAX: usize = 64;

/// The upgrade request, and the proof that the server must return.
///
/// All connections use the same key: it guards against caches, and there are none here.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The request behind its path.
    rest: String,
    accept: String,
}

impl Upgrade {
    /// The upgrade for endpoints of `target`.
    pub(crate) fn new(target: &Target, subprotocol: Option<&str>) -> Self {
        let key = generate_key();
        let asked = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let rest = format!(
            " HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{}\r\n",
            target.authority,
            asked.unwrap_or_default()
        );
        Self { rest, accept: derive_accept_key(key.as_bytes()) }
    }

    /// Appends what to send first, for this path and query.
    pub(crate) fn append_request(&self, path: &str, output: &mut Vec<u8>) {
        for part in ["GET ", path, &self.rest] {
            output.extend_from_slice(part.as_bytes());
        }
    }

    /// Length of the server's answer at the start of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// `Upgrade` when the server answers with another status than 101, `Malformed` when it is no
    /// answer to this request.
    pub(crate) fn response(&self, bytes: &[u8]) -> Result<Option<usize>, ClientError> {
        let malformed = ClientError::Malformed { what: "answer to the WebSocket upgrade" };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(malformed),
        };
        match response.code {
            Some(101) => {}
            Some(status) => return Err(ClientError::Upgrade { status }),
            None => return Err(malformed),
        }
        let is_accepted = response.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("Sec-WebSocket-Accept")
                && header.value == self.accept.as_bytes()
        });
        if is_accepted { Ok(Some(length)) } else { Err(malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade() -> Upgrade {
        Upgrade::new(&Target::parse("ws://127.0.0.1:8000/").unwrap(), Some("mqtt"))
    }

    #[test]
    fn a_request_has_the_path_and_the_subprotocol() {
        let mut request = Vec::new();
        upgrade().append_request("/sub?id=a", &mut request);
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("GET /sub?id=a HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"));
        assert!(request.ends_with("\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"));
    }

    #[test]
    fn an_answer_counts_when_it_is_whole() {
        let upgrade = upgrade();
        let answer =
            format!("HTTP/1.1 101 Switching\r\nsec-websocket-accept: {}\r\n\r\n", upgrade.accept);
        for end in 0..answer.len() {
            assert_eq!(upgrade.response(&answer.as_bytes()[..end]).unwrap(), None);
        }
        let followed = format!("{answer}\u{1}");
        assert_eq!(upgrade.response(followed.as_bytes()).unwrap(), Some(answer.len()));
    }

    #[test]
    fn a_refusal_or_a_wrong_proof_is_an_error() {
        let refusal = upgrade().response(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err();
        assert!(matches!(refusal, ClientError::Upgrade { status: 403 }));
        let wrong = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
        assert!(upgrade().response(wrong).is_err());
    }
}
