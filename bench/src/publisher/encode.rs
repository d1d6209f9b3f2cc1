//! A publication as bytes: an HTTP request to the API, or a publish command in a frame.

use std::io::Write;

use crate::client::frames::append_text;
use crate::client::protocol::json_string;
use crate::client::target::Target;

/// Path of the HTTP API's publish method.
const PUBLISH_PATH: &str = "/api/publish";
/// First id of a publish command; 1 is connect.
const PUBLISH_ID_FIRST: u64 = 2;

/// Turns publications into bytes, one buffer for all.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// The JSON string of the topic up to its number.
    topic: String,
    /// The HTTP request up to its content length; `None` for publish commands.
    head: Option<String>,
    body: Vec<u8>,
}

impl Encoder {
    /// An encoder for topics named `topic_prefix` and a number, over HTTP with `api_key`, or over
    /// WebSocket without one.
    pub(crate) fn new(target: &Target, api_key: Option<&str>, topic_prefix: &str) -> Self {
        let mut topic = json_string(topic_prefix);
        topic.pop();
        let head = api_key.map(|key| request_head(target, key, PUBLISH_PATH));
        Self { topic, head, body: Vec::new() }
    }

    /// Appends publication number `publication` of topic `topic`, whose data `payload` appends.
    pub(crate) fn append(
        &mut self,
        publication: u64,
        topic: u32,
        payload: impl FnOnce(&mut Vec<u8>),
        output: &mut Vec<u8>,
    ) {
        let Self { topic: prefix, head, body } = self;
        body.clear();
        // Writing to a Vec cannot fail.
        if head.is_none() {
            let _ = write!(body, r#"{{"id":{},"publish":"#, publication + PUBLISH_ID_FIRST);
        }
        let _ = write!(body, r#"{{"channel":{prefix}{topic}","data":"#);
        payload(body);
        body.push(b'}');
        match head {
            Some(head) => {
                let _ = write!(output, "{head}{}\r\n\r\n", body.len());
                output.extend_from_slice(body);
            }
            None => {
                body.push(b'}');
                append_text(body, output);
            }
        }
    }
}

/// A POST request up to, and without, the number that is its content length.
pub(crate) fn request_head(target: &Target, api_key: &str, path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {api_key}\r\n\
         Content-Type: application/json\r\nContent-Length: ",
        target.authority
    )
}

/// The number of the publication whose publish command had this id.
pub(crate) fn publication_of(id: u32) -> Option<u64> {
    u64::from(id).checked_sub(PUBLISH_ID_FIRST)
}

/// Ids are 32 bits wide: publications that fit one connection.
pub(crate) const PUBLICATIONS_MAX: u64 = u32::MAX as u64 - PUBLISH_ID_FIRST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_publication_has_the_length_it_says() {
        let target = Target::parse("ws://127.0.0.1:8000/connection/websocket").unwrap();
        let mut output = Vec::new();
        let mut encoder = Encoder::new(&target, Some("key"), "b\"x");
        encoder.append(3, 12, |body| body.extend_from_slice(b"{\"a\":1}"), &mut output);
        let text = String::from_utf8(output).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, r#"{"channel":"b\"x12","data":{"a":1}}"#);
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
        assert!(head.contains("X-API-Key: key"));
    }

    #[test]
    fn ids_lead_back_to_their_publications() {
        assert_eq!(publication_of(2), Some(0));
        assert_eq!(publication_of(1), None);
    }
}
