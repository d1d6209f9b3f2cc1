//! Which request goes where. Public and admin port have routes of their own; none is on both.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;

use super::exchange::{Exchange, InHand};
use super::origin::AllowedOrigins;
use super::{admin, api, upgrade};
use crate::config::{Config, ErrorMode};
use crate::metrics::Metrics;

/// Every answer's body is there as a whole.
pub(super) type Answer = Response<Full<Bytes>>;

const INDEX: &str = "Fanwire, a real-time message broker.\n\
    Clients connect to /connection/websocket, backends publish with POST /api/publish.\n";

/// Which port a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Clients and backends.
    Public,
    /// Health and metrics.
    Admin,
}

/// What the routes need to know, one per shard.
pub(crate) struct Site {
    pub(super) api_keys: Vec<String>,
    pub(super) body_bytes_max: usize,
    pub(super) error_mode: ErrorMode,
    pub(super) allowed_origins: AllowedOrigins,
    /// Compression is offered to who can read it.
    pub(super) compression: bool,
    /// Where messages are answered by themselves; `None` = nowhere.
    pub(super) echo_path: Option<String>,
    pub(super) metrics: Arc<Metrics>,
}

impl Site {
    /// From the configuration.
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            api_keys: config.api.keys.clone(),
            body_bytes_max: config.api.body_bytes_max,
            error_mode: config.api.error_mode,
            allowed_origins: AllowedOrigins::new(&config.allowed_origins),
            compression: config.settings.client.compression,
            echo_path: config.echo_path.clone(),
            metrics,
        }
    }
}

/// The routes of one connection, as hyper calls them.
pub(super) struct Routes {
    surface: Surface,
    site: Rc<Site>,
    exchange: Rc<Exchange>,
    in_hand: InHand,
}

impl Routes {
    pub(super) fn new(
        surface: Surface,
        site: Rc<Site>,
        exchange: Rc<Exchange>,
        in_hand: InHand,
    ) -> Self {
        Self { surface, site, exchange, in_hand }
    }
}

impl Service<Request<Incoming>> for Routes {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (surface, site) = (self.surface, Rc::clone(&self.site));
        let exchange = Rc::clone(&self.exchange);
        let in_hand = self.in_hand.begin();
        exchange.note_activity();
        Box::pin(async move {
            let answer = match surface {
                Surface::Public => public(&site, &exchange, request).await,
                Surface::Admin => admin(&site, &request),
            };
            drop(in_hand);
            Ok(answer)
        })
    }
}

async fn public(site: &Site, exchange: &Exchange, request: Request<Incoming>) -> Answer {
    match request.uri().path() {
        path if site.echo_path.as_deref() == Some(path) => {
            upgrade::answer_echo(site, exchange, &request)
        }
        "/connection/websocket" => upgrade::answer(site, exchange, &request),
        "/" if request.method() == Method::GET => text(StatusCode::OK, INDEX),
        path if path == "/api" || path.starts_with("/api/") => {
            api::answer(site, exchange, request).await
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn admin(site: &Site, request: &Request<Incoming>) -> Answer {
    if request.method() != Method::GET {
        return method_not_allowed("GET");
    }
    match request.uri().path() {
        "/health" => admin::health(),
        "/metrics" => admin::metrics(&site.metrics),
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// A plain text answer.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    content(status, "text/plain; charset=utf-8", body)
}

/// An answer with a body of some type.
pub(super) fn content(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = empty(status);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *answer.body_mut() = Full::new(body.into());
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// 405, naming what would be allowed.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
