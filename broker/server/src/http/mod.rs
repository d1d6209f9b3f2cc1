//! HTTP/1.1 by hyper, without a task: each connection is a future that the reactor polls when its
//! socket is ready or its answer has come.
//!
//! [`HttpConnection`] is what the reactor sees of it. A request that needs core leaves its call in
//! the [`Exchange`] and waits there for the answer; a request for a WebSocket leaves a note.

mod admin;
mod api;
mod exchange;
mod io;
mod origin;
mod routes;
mod upgrade;

use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use fanwire_core::SocketId;
use fanwire_core::api::Call;
use hyper::server::conn::http1;

use exchange::Exchange;
pub(crate) use exchange::InHand;
use io::HttpIo;
use routes::Routes;
pub(crate) use routes::{Site, Surface};
pub(crate) use upgrade::Upgrade;

/// Largest request head, in bytes; above it the answer is 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most bytes that hyper buffers per connection while it reads a request.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What a poll of an HTTP connection came to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for its socket or for an answer.
    Waiting,
    /// It wants to be polled again soon, but not to hold up the others.
    Again,
    /// The conversation is over.
    Finished,
    /// The socket is a WebSocket from here on; take it over with [`HttpConnection::into_rest`].
    Upgrade(Upgrade),
}

/// Makes the HTTP connections of one shard.
pub(crate) struct HttpServer {
    builder: http1::Builder,
    site: Rc<Site>,
    in_hand: InHand,
    woken: Arc<Woken>,
    waker: Waker,
}

impl HttpServer {
    /// A server of these routes.
    pub(crate) fn new(site: Site) -> Self {
        let mut builder = http1::Builder::new();
        // A caller may shut its sending side down before it has its answer.
        builder.half_close(true).max_header_size(HEAD_BYTES_MAX).max_buf_size(BUFFER_BYTES_MAX);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        Self { builder, site: Rc::new(site), in_hand: InHand::default(), woken, waker }
    }

    /// A connection on a fresh socket.
    pub(crate) fn open(
        &self,
        socket: SocketId,
        stream: Rc<TcpStream>,
        surface: Surface,
    ) -> HttpConnection {
        let exchange = Rc::new(Exchange::new(socket));
        let routes =
            Routes::new(surface, Rc::clone(&self.site), Rc::clone(&exchange), self.in_hand.clone());
        let io = HttpIo::new(stream, Rc::clone(&exchange));
        HttpConnection { connection: self.builder.serve_connection(io, routes), exchange }
    }

    /// Lets a connection get on as far as it can without waiting.
    pub(crate) fn poll(&self, connection: &mut HttpConnection) -> Progress {
        self.woken.0.store(false, Ordering::Relaxed);
        let mut context = Context::from_waker(&self.waker);
        match connection.connection.poll_without_shutdown(&mut context) {
            Poll::Pending if self.woken.0.load(Ordering::Relaxed) => Progress::Again,
            Poll::Pending => Progress::Waiting,
            Poll::Ready(result) => {
                if let Err(error) = &result {
                    let socket = connection.exchange.socket();
                    tracing::debug!(socket, %error, "HTTP connection ended");
                }
                match connection.exchange.take_upgrade() {
                    Some(upgrade) if result.is_ok() => Progress::Upgrade(upgrade),
                    _ => Progress::Finished,
                }
            }
        }
    }

    /// Requests that are being answered at the moment.
    pub(crate) fn in_hand_count(&self) -> usize {
        self.in_hand.count()
    }
}

/// One HTTP/1.1 connection.
pub(crate) struct HttpConnection {
    connection: http1::Connection<HttpIo, Routes>,
    exchange: Rc<Exchange>,
}

impl HttpConnection {
    /// A call that its request makes of core.
    pub(crate) fn take_call(&self) -> Option<Call> {
        self.exchange.take_call()
    }

    /// The answer of core; poll afterwards.
    pub(crate) fn answer(&self, status: u16, body: Vec<u8>) {
        self.exchange.answer(status, body);
    }

    /// Whether a request began or was answered since this was last asked.
    pub(crate) fn take_activity(&self) -> bool {
        self.exchange.take_activity()
    }

    /// Whether the last write found the socket full.
    pub(crate) fn take_write_blocked(&self) -> bool {
        self.exchange.take_write_blocked()
    }

    /// Ends the connection after the request in hand, at once if there is none; poll afterwards.
    pub(crate) fn end(&mut self) {
        Pin::new(&mut self.connection).graceful_shutdown();
    }

    /// Frees everything but the bytes that were read beyond the upgrade's request.
    pub(crate) fn into_rest(self) -> Bytes {
        self.connection.into_parts().read_buf
    }
}

/// One waker for all connections of a shard: hyper wakes only itself, while it is polled, so it is
/// enough to look at the flag right after each poll.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
