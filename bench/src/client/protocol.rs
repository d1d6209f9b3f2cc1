//! The Centrifugo client protocol in JSON, as much of it as a load generator speaks.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::client::frames::append_text;
use crate::error::ClientError;

/// Id of the connect command.
pub(crate) const CONNECT_ID: u32 = 1;
/// Id of the subscribe command.
pub(crate) const SUBSCRIBE_ID: u32 = 2;
/// A protocol ping, and its answer.
pub(crate) const PING: &[u8] = b"{}";

/// A reply or push of the server.
#[derive(Debug, Deserialize)]
pub(crate) struct ServerMessage {
    /// Id of the command it answers; 0 for a push.
    #[serde(default)]
    pub(crate) id: u32,
    /// The refusal, if it is one.
    pub(crate) error: Option<ReplyError>,
    /// The answer to connect.
    pub(crate) connect: Option<ConnectResult>,
    /// The answer to subscribe.
    pub(crate) subscribe: Option<IgnoredAny>,
}

/// Why a command was refused.
#[derive(Debug, Deserialize)]
pub(crate) struct ReplyError {
    /// See section 8.1 of the protocol.
    #[serde(default)]
    pub(crate) code: u32,
    /// In the server's words.
    #[serde(default)]
    pub(crate) message: String,
}

/// The answer to connect.
#[derive(Debug, Deserialize)]
pub(crate) struct ConnectResult {
    /// The server's version.
    #[serde(default)]
    pub(crate) version: String,
}

impl ServerMessage {
    /// Reads one message.
    ///
    /// # Errors
    /// `Malformed` when it is no JSON object of the protocol's shape.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, ClientError> {
        serde_json::from_slice(message).map_err(|_| ClientError::Malformed { what: "reply" })
    }

    /// Turns the error of a reply to `command`, if it has one, into an `Err`.
    ///
    /// # Errors
    /// `Refused` with the server's code and words.
    pub(crate) fn accepted(self, command: &'static str) -> Result<Self, ClientError> {
        match self.error {
            Some(ReplyError { code, message }) => {
                Err(ClientError::Refused { command, code, message })
            }
            None => Ok(self),
        }
    }
}

/// Appends connect to `output`, as a frame.
pub(crate) fn append_connect(output: &mut Vec<u8>) {
    append_text(format!(r#"{{"id":{CONNECT_ID},"connect":{{}}}}"#).as_bytes(), output);
}

/// Appends connect and the subscription to `topic` to `output`, both in one frame.
pub(crate) fn append_join(topic: &str, output: &mut Vec<u8>) {
    let channel = json_string(topic);
    let commands = format!(
        "{{\"id\":{CONNECT_ID},\"connect\":{{}}}}\n\
         {{\"id\":{SUBSCRIBE_ID},\"subscribe\":{{\"channel\":{channel}}}}}"
    );
    append_text(commands.as_bytes(), output);
}

/// `text` as a JSON string, with its quotes.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_and_refusals_are_told_apart() {
        let parse = |text: &str| ServerMessage::parse(text.as_bytes()).unwrap();
        let reply = parse(r#"{"id":1,"connect":{"client":"c","version":"1.2","ping":25}}"#);
        assert_eq!(reply.accepted("connect").unwrap().connect.unwrap().version, "1.2");
        assert!(parse(r#"{"id":2,"subscribe":{}}"#).subscribe.is_some());
        let refused = parse(r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#);
        let error = refused.accepted("subscribe").unwrap_err();
        assert_eq!(error.to_string(), "subscribe refused: 103 permission denied");
        assert!(ServerMessage::parse(b"nonsense").is_err());
    }
}
