//! Which request goes where. Public and admin port have routes of their own; none is on both.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;

use super::body::AnswerBody;
use super::exchange::{Exchange, RequestInHand};
use super::origin::AllowedOrigins;
use super::{admin, api, upgrade};
use crate::config::{Config, ErrorMode};
use crate::metrics::Metrics;

/// What a request is answered.
pub(super) type Answer = Response<AnswerBody>;

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
}

impl Routes {
    pub(super) fn new(surface: Surface, site: Rc<Site>, exchange: Rc<Exchange>) -> Self {
        Self { surface, site, exchange }
    }
}

impl Service<Request<Incoming>> for Routes {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let in_hand = self.exchange.begin_request();
        let stage = match self.surface {
            Surface::Public => public(&self.site, &self.exchange, request),
            Surface::Admin => Stage::Known(Some(admin(&self.site, &request))),
        };
        Answering { stage, _in_hand: in_hand }
    }
}

/// A request that is being answered. hyper keeps it in a place of its own for the life of the
/// connection, so a call costs no allocation here.
pub(super) struct Answering {
    stage: Stage,
    _in_hand: RequestInHand,
}

/// How a request comes to its answer.
enum Stage {
    /// There it is, until it was taken.
    Known(Option<Answer>),
    Call(api::ApiCall),
    Feed(api::FeedBegin),
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.stage {
            Stage::Known(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            Stage::Call(call) => call.poll(context),
            Stage::Feed(begin) => begin.poll(context),
        };
        answer.map(Ok)
    }
}

fn public(site: &Rc<Site>, exchange: &Rc<Exchange>, request: Request<Incoming>) -> Stage {
    let answer = match request.uri().path() {
        path if path == "/api" || path.starts_with("/api/") => {
            let feed = path == "/api/publish_many";
            match api::refusal(site, exchange, &request) {
                Some(refusal) => refusal,
                None if feed => return Stage::Feed(api::FeedBegin::new(site, exchange, request)),
                None => return Stage::Call(api::ApiCall::new(site, exchange, request)),
            }
        }
        "/connection/websocket" => upgrade::answer(site, exchange, &request),
        path if site.echo_path.as_deref() == Some(path) => {
            upgrade::answer_echo(site, exchange, &request)
        }
        "/" if request.method() == Method::GET => text(StatusCode::OK, INDEX),
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    };
    Stage::Known(Some(answer))
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
    *answer.body_mut() = AnswerBody::from(body);
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::default());
    *answer.status_mut() = status;
    answer
}

/// 405, naming what would be allowed.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
