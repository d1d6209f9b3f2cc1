//! The backend API: `POST /api/{method}`, or `POST /api` with methods in lines, and a key
//! (specification, section 18).

use fanwire_core::api::{self, DecodeError, ErrorMode};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use subtle::{Choice, ConstantTimeEq};

use super::exchange::Exchange;
use super::routes::{Answer, Site, content, empty, method_not_allowed, text};
use crate::config;

/// Answers one request of a backend.
pub(super) async fn answer(site: &Site, exchange: &Exchange, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    if !authorised(&site.api_keys, request.headers(), request.uri()) {
        tracing::debug!(socket = exchange.socket(), "API request without a valid key");
        return empty(StatusCode::UNAUTHORIZED);
    }
    let socket = exchange.socket();
    if announced_length(request.headers()).is_some_and(|length| length > site.body_bytes_max) {
        return too_large(socket, site.body_bytes_max);
    }
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, site.body_bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return too_large(socket, site.body_bytes_max);
        }
        Err(_) => return text(StatusCode::BAD_REQUEST, "the body could not be read\n"),
    };
    let call = match head.uri.path().strip_prefix("/api/") {
        Some(method) => api::decode(method, &body, error_mode(site.error_mode, &head.headers)),
        None => api::decode_lines(&body),
    };
    match call {
        Ok(call) => {
            // The call holds what it needs; while it waits, its text would only fill memory.
            drop(body);
            let (status, body) = exchange.call(call).await;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            content(status, "application/json", body)
        }
        Err(error) => {
            tracing::debug!(socket, %error, "API request refused");
            let status = match error {
                DecodeError::UnknownMethod => StatusCode::NOT_FOUND,
                DecodeError::Malformed(_) | DecodeError::NoObject => StatusCode::BAD_REQUEST,
            };
            text(status, format!("{error}\n"))
        }
    }
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
