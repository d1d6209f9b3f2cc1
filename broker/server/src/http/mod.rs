//! HTTP/1.1 by hyper, without a task: each connection is a future that the reactor polls when its
//! socket is ready or its answer has come.
//!
//! [`HttpConnection`] is what the reactor sees of it. A request that needs core leaves its call in
//! the [`Exchange`] and waits there for the answer; a request for a WebSocket leaves a note.

mod admin;
mod api;
mod body;
mod exchange;
mod feed;
mod intake;
mod io;
mod link;
mod origin;
mod routes;
mod upgrade;

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
pub(crate) use exchange::{InHand, RequestInHand};
use intake::{Intake, Scratch};
pub(crate) use intake::{Plaintext, Wire};
use io::HttpIo;
pub(crate) use link::Flushed;
use link::Link;
use routes::Routes;
pub(crate) use routes::{Site, Surface};
pub(crate) use upgrade::Upgrade;

/// Largest request head, in bytes; above it the answer is 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most bytes that hyper buffers per connection while it reads a request.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Polls of a connection that goes on by itself, before the others have their turn.
const POLLS_MAX: usize = 4;

/// What a poll of an HTTP connection came to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for its socket or for an answer.
    Waiting,
    /// It goes on, or is over, when what it wrote is sent: flush, then poll again.
    Corked,
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
    scratch: Rc<Scratch>,
}

impl HttpServer {
    /// A server of these routes.
    pub(crate) fn new(site: Site) -> Self {
        let mut builder = http1::Builder::new();
        // A caller may shut its sending side down before it has its answer.
        builder.half_close(true).max_header_size(HEAD_BYTES_MAX).max_buf_size(BUFFER_BYTES_MAX);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let scratch = Rc::new(Scratch::new(BUFFER_BYTES_MAX));
        let (site, in_hand) = (Rc::new(site), InHand::default());
        Self { builder, site, in_hand, woken, waker, scratch }
    }

    /// A connection on a fresh socket.
    pub(crate) fn open(&self, socket: SocketId, wire: Wire, surface: Surface) -> HttpConnection {
        let exchange = Rc::new(Exchange::new(socket, self.in_hand.clone()));
        let routes = Routes::new(surface, Rc::clone(&self.site), Rc::clone(&exchange));
        let link = Rc::new(Link::new(Intake::new(wire, Rc::clone(&self.scratch))));
        let connection = self.builder.serve_connection(HttpIo::new(Rc::clone(&link)), routes);
        HttpConnection { connection, exchange, link, end: None }
    }

    /// Lets a connection get on as far as it can without waiting.
    pub(crate) fn poll(&self, connection: &mut HttpConnection) -> Progress {
        if connection.end.is_none() {
            match self.poll_hyper(connection) {
                Poll::Ready(end) => connection.end = Some(end),
                Poll::Pending if connection.link.is_full() => return Progress::Corked,
                // With a call under way it goes on when that is answered.
                Poll::Pending if connection.exchange.has_call() => return Progress::Waiting,
                Poll::Pending if self.woken.0.load(Ordering::Relaxed) => return Progress::Again,
                Poll::Pending => return Progress::Waiting,
            }
        }
        match connection.end {
            // Its last words first: nobody will flush them when it is not HTTP any more.
            _ if connection.link.has_corked() => Progress::Corked,
            Some(End::Upgrade(upgrade)) => Progress::Upgrade(upgrade),
            Some(End::Finished) | None => Progress::Finished,
        }
    }

    fn poll_hyper(&self, connection: &mut HttpConnection) -> Poll<End> {
        let mut context = Context::from_waker(&self.waker);
        for _ in 0..POLLS_MAX {
            self.woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(result) = connection.connection.poll_without_shutdown(&mut context) {
                if let Err(error) = &result {
                    let socket = connection.exchange.socket();
                    tracing::debug!(socket, %error, "HTTP connection ended");
                }
                let upgrade = connection.exchange.take_upgrade().filter(|_| result.is_ok());
                return Poll::Ready(upgrade.map_or(End::Finished, End::Upgrade));
            }
            if !self.woken.0.load(Ordering::Relaxed) || connection.exchange.has_call() {
                break;
            }
        }
        Poll::Pending
    }

    /// Requests that are being answered at the moment.
    pub(crate) fn in_hand_count(&self) -> usize {
        self.in_hand.count()
    }

    /// System calls that read from its sockets.
    pub(crate) fn reads(&self) -> u64 {
        self.scratch.reads()
    }
}

/// One HTTP/1.1 connection.
pub(crate) struct HttpConnection {
    connection: http1::Connection<HttpIo, Routes>,
    exchange: Rc<Exchange>,
    link: Rc<Link>,
    /// hyper is done with it.
    end: Option<End>,
}

/// How a conversation over HTTP ends.
#[derive(Clone, Copy)]
enum End {
    Finished,
    Upgrade(Upgrade),
}

impl HttpConnection {
    /// Its socket has something to read; poll afterwards.
    pub(crate) fn note_readable(&self, hung_up: bool) {
        if let Intake::Socket(source) = &self.link.intake {
            source.note_readable(hung_up);
        }
    }

    /// Where what was opened goes, if its socket speaks TLS; poll afterwards.
    pub(crate) fn plaintext(&self) -> Option<&Plaintext> {
        match &self.link.intake {
            Intake::Socket(_) => None,
            Intake::Plaintext(plaintext) => Some(plaintext),
        }
    }

    /// Whether [`HttpConnection::flush`] is due at the end of this turn; it is said once.
    pub(crate) fn list(&self) -> bool {
        self.link.list()
    }

    /// Gives the answers that wait to `send`, all at once; it says how many bytes were taken.
    ///
    /// # Errors
    ///
    /// Those of `send`.
    pub(crate) fn flush<E>(
        &self,
        send: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Flushed, E> {
        self.link.flush(send)
    }

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

    /// Something of it is in hand until its socket is closed.
    pub(crate) fn take_kept(&self) -> Option<RequestInHand> {
        self.exchange.take_kept()
    }

    /// Ends the connection after the request in hand, at once if there is none; poll afterwards.
    pub(crate) fn end(&mut self) {
        self.exchange.note_ending();
        Pin::new(&mut self.connection).graceful_shutdown();
    }

    /// Frees everything but the bytes that were read beyond the upgrade's request.
    pub(crate) fn into_rest(self) -> Bytes {
        let parts = self.connection.into_parts();
        parts.io.into_rest(parts.read_buf)
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
