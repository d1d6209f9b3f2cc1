//! `GET /connection/websocket`: who may have one, and in which form (specification, section 2). The
//! same for the echo of `fanwire dev`, which speaks no protocol.

use std::borrow::Cow;

use fanwire_core::{Adapter, Compression, PingStyle, negotiate};
use http::header::{
    ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::server::create_response;

use super::body::AnswerBody;
use super::exchange::Exchange;
use super::origin::AllowedOrigins;
use super::routes::{Answer, Site, empty, method_not_allowed, text};

const JSON: &str = "centrifuge-json";
const PROTOBUF: &str = "centrifuge-protobuf";

/// What a socket is from the upgrade on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upgrade {
    /// Its protocol.
    pub(crate) adapter: Adapter,
    /// How it is pinged.
    pub(crate) pings: PingStyle,
    /// How it is compressed for.
    pub(crate) compression: Compression,
}

/// Answers 101 and leaves a note in the exchange, or says why not.
pub(super) fn answer(site: &Site, exchange: &Exchange, request: &Request<Incoming>) -> Answer {
    if let Some(refusal) = not_admitted(site, exchange, request) {
        return refusal;
    }
    let query = request.uri().query().unwrap_or_default();
    let offered = offered_subprotocols(request.headers());
    let (adapter, subprotocol) = protocol(query, &offered);
    match shake_hands(site, exchange, request, adapter, ping_style(query)) {
        Ok(mut answer) => {
            if let Some(subprotocol) = subprotocol {
                let value = HeaderValue::from_static(subprotocol);
                answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
            }
            answer
        }
        Err(error) => refusal(&error),
    }
}

/// The same for a socket whose messages are answered by themselves.
pub(super) fn answer_echo(site: &Site, exchange: &Exchange, request: &Request<Incoming>) -> Answer {
    if let Some(refusal) = not_admitted(site, exchange, request) {
        return refusal;
    }
    let (adapter, pings) = (Adapter::Echo, PingStyle::Frames);
    shake_hands(site, exchange, request, adapter, pings).unwrap_or_else(|error| refusal(&error))
}

/// The answer to those who may have no WebSocket.
fn not_admitted(site: &Site, exchange: &Exchange, request: &Request<Incoming>) -> Option<Answer> {
    if request.method() != Method::GET {
        return Some(method_not_allowed("GET"));
    }
    let headers = request.headers();
    if origin_allowed(&site.allowed_origins, headers) {
        return None;
    }
    let (socket, origin) = (exchange.socket(), headers.get(ORIGIN));
    tracing::debug!(socket, ?origin, "origin is not in client.allowed_origins");
    Some(empty(StatusCode::FORBIDDEN))
}

/// The handshake itself, whatever will be spoken.
fn shake_hands(
    site: &Site,
    exchange: &Exchange,
    request: &Request<Incoming>,
    adapter: Adapter,
    pings: PingStyle,
) -> Result<Answer, Error> {
    let headers = request.headers();
    let mut bare = Request::new(());
    bare.method_mut().clone_from(request.method());
    *bare.version_mut() = request.version();
    bare.headers_mut().clone_from(headers);
    let mut answer = create_response(&bare)?.map(|()| AnswerBody::default());
    let compression = agree_on_compression(site, headers, answer.headers_mut());
    exchange.upgrade(Upgrade { adapter, pings, compression });
    Ok(answer)
}

/// Says what it agreed on in the answer.
fn agree_on_compression(site: &Site, asked: &HeaderMap, answer: &mut HeaderMap) -> Compression {
    if !site.compression {
        return Compression::NONE;
    }
    let lines = asked.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
    let agreement = negotiate(lines.filter_map(|line| line.to_str().ok()));
    let agreed = agreement.and_then(|agreement| {
        let value = HeaderValue::from_str(&agreement.answer).ok()?;
        Some((value, agreement.compression))
    });
    let Some((value, compression)) = agreed else { return Compression::NONE };
    answer.insert(SEC_WEBSOCKET_EXTENSIONS, value);
    compression
}

/// Programs send no origin and are welcome; a page must be known.
fn origin_allowed(allowed: &AllowedOrigins, headers: &HeaderMap) -> bool {
    match headers.get(ORIGIN).map(HeaderValue::to_str) {
        None => true,
        Some(Ok(origin)) => allowed.allow(origin),
        Some(Err(_)) => false,
    }
}

fn offered_subprotocols(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let lists = lines.filter_map(|line| line.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).collect()
}

/// What will be spoken, and the subprotocol to answer with. The query decides where it says
/// something; a subprotocol that was offered is echoed only if it is what will be spoken.
fn protocol(query: &str, offered: &[&str]) -> (Adapter, Option<&'static str>) {
    let named = |name, value| has_parameter(query, name, value);
    if named("format", "protobuf") || named("cf_protocol", "protobuf") {
        let subprotocol = offered.contains(&PROTOBUF).then_some(PROTOBUF);
        return (Adapter::CentrifugoProtobuf, subprotocol);
    }
    // The client's order is its preference.
    match offered.iter().find(|offer| [JSON, PROTOBUF].contains(*offer)) {
        Some(&PROTOBUF) => (Adapter::CentrifugoProtobuf, Some(PROTOBUF)),
        Some(_) => (Adapter::CentrifugoJson, Some(JSON)),
        None => (Adapter::CentrifugoJson, None),
    }
}

fn ping_style(query: &str) -> PingStyle {
    if has_parameter(query, "cf_ws_frame_ping_pong", "true") {
        PingStyle::Frames
    } else {
        PingStyle::Messages
    }
}

fn has_parameter(query: &str, name: &str, value: &str) -> bool {
    let wanted = (Cow::Borrowed(name), Cow::Borrowed(value));
    form_urlencoded::parse(query.as_bytes()).any(|parameter| parameter == wanted)
}

fn refusal(error: &Error) -> Answer {
    let missing_version = ProtocolError::MissingSecWebSocketVersionHeader;
    if matches!(error, Error::Protocol(cause) if *cause == missing_version) {
        let cause = "WebSocket version 13 is the one that is spoken here\n";
        let mut answer = text(StatusCode::UPGRADE_REQUIRED, cause);
        answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return answer;
    }
    text(StatusCode::BAD_REQUEST, format!("no WebSocket handshake: {error}\n"))
}

#[cfg(test)]
mod tests {
    use fanwire_core::{Adapter, PingStyle};

    use super::{JSON, PROTOBUF, ping_style, protocol};

    #[test]
    fn the_query_decides_before_the_subprotocols_and_those_in_their_order() {
        let protobuf = Adapter::CentrifugoProtobuf;
        assert_eq!(protocol("format=protobuf", &[]), (protobuf, None));
        assert_eq!(protocol("a=b&cf_protocol=protobuf", &[JSON]), (protobuf, None));
        assert_eq!(protocol("", &[PROTOBUF]), (protobuf, Some(PROTOBUF)));
        assert_eq!(protocol("", &[PROTOBUF, JSON]), (protobuf, Some(PROTOBUF)));
        let json = Adapter::CentrifugoJson;
        assert_eq!(protocol("", &[JSON, PROTOBUF]), (json, Some(JSON)));
        assert_eq!(protocol("format=json&cf_protocol_version=v2", &["other"]), (json, None));
    }

    #[test]
    fn native_pings_are_asked_for_in_the_query() {
        assert_eq!(ping_style("cf_ws_frame_ping_pong=true"), PingStyle::Frames);
        assert_eq!(ping_style("cf_ws_frame_ping_pong=false"), PingStyle::Messages);
    }
}
