//! The backend API: `POST /api/{method}`, or `POST /api` with methods in lines, and a key
//! (specification, section 18); `POST /api/publish_many` is our own.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fanwire_core::api::{self, Call, DecodeError, ErrorMode};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use subtle::{Choice, ConstantTimeEq};

use super::body::AnswerBody;
use super::exchange::Exchange;
use super::feed::Feed;
use super::routes::{Answer, Site, content, empty, method_not_allowed, text};
use crate::config;

/// The answer to a request that may not be made.
pub(super) fn refusal(
    site: &Site,
    exchange: &Exchange,
    request: &Request<Incoming>,
) -> Option<Answer> {
    if request.method() != Method::POST {
        return Some(method_not_allowed("POST"));
    }
    if !authorised(&site.api_keys, request.headers(), request.uri()) {
        tracing::debug!(socket = exchange.socket(), "API request without a valid key");
        return Some(empty(StatusCode::UNAUTHORIZED));
    }
    None
}

/// A request that is a call of core.
pub(super) struct ApiCall {
    site: Rc<Site>,
    exchange: Rc<Exchange>,
    uri: Uri,
    error_mode: ErrorMode,
    stage: Stage,
}

/// How far a call is.
enum Stage {
    /// It is refused, whatever its body says.
    TooLarge,
    /// Nothing of the body was read.
    Begun(Incoming),
    /// The body comes in several pieces.
    Collecting(Pin<Box<dyn Future<Output = Result<Bytes, Unread>>>>),
    /// Core has the call.
    Calling,
}

/// Why there is no body.
enum Unread {
    TooLarge,
    Broken,
}

impl ApiCall {
    /// A request that was admitted.
    pub(super) fn new(
        site: &Rc<Site>,
        exchange: &Rc<Exchange>,
        request: Request<Incoming>,
    ) -> Self {
        let headers = request.headers();
        let error_mode = error_mode(site.error_mode, headers);
        let too_large = announced_length(headers).is_some_and(|it| it > site.body_bytes_max);
        let uri = request.uri().clone();
        let body = request.into_body();
        let stage = if too_large { Stage::TooLarge } else { Stage::Begun(body) };
        Self { site: Rc::clone(site), exchange: Rc::clone(exchange), uri, error_mode, stage }
    }

    /// Reads the body, makes the call and waits for its answer.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        loop {
            let body = match &mut self.stage {
                Stage::TooLarge => Err(Unread::TooLarge),
                Stage::Begun(body) => {
                    let first = ready!(poll_data(body, context));
                    match first {
                        Ok(first) if body.is_end_stream() => Ok(first),
                        Ok(first) => {
                            let rest = std::mem::replace(&mut self.stage, Stage::Calling);
                            let Stage::Begun(rest) = rest else { continue };
                            let whole = collect(first, rest, self.site.body_bytes_max);
                            self.stage = Stage::Collecting(Box::pin(whole));
                            continue;
                        }
                        Err(unread) => Err(unread),
                    }
                }
                Stage::Collecting(whole) => ready!(whole.as_mut().poll(context)),
                Stage::Calling => {
                    let (status, body) = ready!(self.exchange.poll_answer());
                    let status = StatusCode::from_u16(status);
                    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    return Poll::Ready(content(status, "application/json", body));
                }
            };
            self.stage = Stage::Calling;
            // The call holds what it needs; while it waits, its text would only fill memory.
            match self.decode(body) {
                Ok(call) => self.exchange.begin_call(call),
                Err(refusal) => return Poll::Ready(*refusal),
            }
        }
    }

    fn decode(&self, body: Result<Bytes, Unread>) -> Result<Call, Box<Answer>> {
        let (socket, bytes_max) = (self.exchange.socket(), self.site.body_bytes_max);
        let body = match body {
            Ok(body) if body.len() <= bytes_max => body,
            Ok(_) | Err(Unread::TooLarge) => return Err(too_large(socket, bytes_max).into()),
            Err(Unread::Broken) => return Err(unreadable().into()),
        };
        let call = match self.uri.path().strip_prefix("/api/") {
            Some(method) => api::decode(method, &body, self.error_mode),
            None => api::decode_lines(&body),
        };
        call.map_err(|error| {
            tracing::debug!(socket, %error, "API request refused");
            let status = match error {
                DecodeError::UnknownMethod => StatusCode::NOT_FOUND,
                DecodeError::Malformed(_) | DecodeError::NoObject => StatusCode::BAD_REQUEST,
            };
            text(status, format!("{error}\n")).into()
        })
    }
}

/// The next piece of a body; nothing at its end.
fn poll_data(body: &mut Incoming, context: &mut Context<'_>) -> Poll<Result<Bytes, Unread>> {
    let frame = ready!(Pin::new(body).poll_frame(context)).transpose();
    let data = frame.map(|frame| frame.and_then(|frame| frame.into_data().ok()));
    Poll::Ready(data.map(Option::unwrap_or_default).map_err(|_| Unread::Broken))
}

/// A body whose first piece is not all of it.
async fn collect(first: Bytes, rest: Incoming, bytes_max: usize) -> Result<Bytes, Unread> {
    let room = bytes_max.checked_sub(first.len()).ok_or(Unread::TooLarge)?;
    let rest = Limited::new(rest, room).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { Unread::TooLarge } else { Unread::Broken }
    })?;
    let rest = rest.to_bytes();
    Ok(if rest.is_empty() { first } else { [first, rest].concat().into() })
}

/// A feed whose answer may not begin yet; once it does, it goes on by itself.
pub(super) struct FeedBegin(Option<Box<Feed>>);

impl FeedBegin {
    /// A request that was admitted.
    pub(super) fn new(site: &Site, exchange: &Rc<Exchange>, request: Request<Incoming>) -> Self {
        let feed = Feed::new(Rc::clone(exchange), request.into_body(), site.body_bytes_max);
        Self(Some(Box::new(feed)))
    }

    /// Waits for the first piece of the body.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let begun = match &mut self.0 {
            Some(feed) => ready!(feed.poll_begun(context)),
            None => return Poll::Pending,
        };
        Poll::Ready(match (begun, self.0.take()) {
            (Ok(()), Some(feed)) => {
                let mut answer = content(StatusCode::OK, "application/x-ndjson", Bytes::new());
                *answer.body_mut() = AnswerBody::Feed(feed);
                answer
            }
            _ => unreadable(),
        })
    }
}

fn unreadable() -> Answer {
    text(StatusCode::BAD_REQUEST, "the body could not be read\n")
}

/// The key comes by the first of: `X-API-Key`, `Authorization: apikey KEY`, `?api_key=`.
fn authorised(keys: &[String], headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(key) = headers.get("x-api-key") {
        return is_key(keys, key.as_bytes());
    }
    if let Some(value) = headers.get(AUTHORIZATION) {
        let Ok(value) = value.to_str() else { return false };
        let Some((scheme, key)) = value.split_once(' ') else { return false };
        return scheme.eq_ignore_ascii_case("apikey") && is_key(keys, key.trim().as_bytes());
    }
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    query.any(|(name, key)| name == "api_key" && is_key(keys, key.as_bytes()))
}

/// Compares with every key in a time that tells nothing but the key's length.
fn is_key(keys: &[String], presented: &[u8]) -> bool {
    let same = |found: Choice, key: &String| found | key.as_bytes().ct_eq(presented);
    keys.iter().fold(Choice::from(0), same).into()
}

/// A request may ask for what the configuration has for all of them.
fn error_mode(configured: config::ErrorMode, headers: &HeaderMap) -> ErrorMode {
    let asked = headers.get("x-centrifugo-error-mode").is_some_and(|mode| mode == "transport");
    match configured {
        config::ErrorMode::Body if !asked => ErrorMode::InBody,
        config::ErrorMode::Body | config::ErrorMode::Transport => ErrorMode::InStatus,
    }
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(socket: u64, bytes_max: usize) -> Answer {
    tracing::debug!(socket, "API request over api.body_bytes_max");
    let cause = format!("the body is larger than api.body_bytes_max ({bytes_max} bytes)\n");
    text(StatusCode::PAYLOAD_TOO_LARGE, cause)
}

#[cfg(test)]
mod tests {
    use fanwire_core::api::ErrorMode;
    use http::HeaderMap;

    use super::{authorised, error_mode};
    use crate::config;

    fn allowed(header: Option<(&'static str, &str)>, uri: &str) -> bool {
        let keys = ["first-key".to_owned(), "second-key".to_owned()];
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        authorised(&keys, &headers, &uri.parse().unwrap())
    }

    #[test]
    fn every_configured_key_is_valid_in_every_place() {
        assert!(allowed(Some(("x-api-key", "first-key")), "/api/info"));
        assert!(allowed(Some(("x-api-key", "second-key")), "/api/info"));
        assert!(allowed(Some(("authorization", "apikey second-key")), "/api/info"));
        assert!(allowed(Some(("authorization", "ApiKey second-key")), "/api/info"));
        assert!(allowed(None, "/api/info?a=b&api_key=first%2Dkey"));
    }

    #[test]
    fn no_other_key_is_valid_and_a_header_wins_over_the_query() {
        assert!(!allowed(None, "/api/info"));
        assert!(!allowed(Some(("x-api-key", "")), "/api/info"));
        assert!(!allowed(Some(("x-api-key", "first-ke")), "/api/info"));
        assert!(!allowed(Some(("x-api-key", "wrong")), "/api/info?api_key=first-key"));
        assert!(!allowed(Some(("authorization", "Bearer first-key")), "/api/info"));
        assert!(!authorised(&[], &HeaderMap::new(), &"/api/info?api_key=".parse().unwrap()));
    }
    #[test]
    fn errors_are_in_the_status_where_the_request_or_the_configuration_says_so() {
        use config::ErrorMode::{Body, Transport};
        for (configured, header, expected) in [
            (Body, None, ErrorMode::InBody),
            (Body, Some("transport"), ErrorMode::InStatus),
            (Body, Some("nosuch"), ErrorMode::InBody),
            (Transport, None, ErrorMode::InStatus),
            (Transport, Some("transport"), ErrorMode::InStatus),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(mode) = header {
                headers.insert("x-centrifugo-error-mode", mode.parse().unwrap());
            }
            assert_eq!(error_mode(configured, &headers), expected, "{header:?}");
        }
    }
}
