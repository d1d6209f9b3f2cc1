//! One connection to the broker: blocking, one thread, text frames split into lines.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Connector, Error, HandshakeError, Message, WebSocket};

use super::endpoint::Endpoint;
use super::error::ClientError;
use super::tls;
use super::wire::PING;

/// For connecting, and for answers before it is known how often the broker pings.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How much later than announced a ping may come.
const PING_GRACE: Duration = Duration::from_secs(10);

/// An open WebSocket connection.
pub(super) struct Connection {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    /// The socket below TLS, for its timeouts.
    stream: TcpStream,
    /// Lines of the last frame that were not taken yet.
    lines: VecDeque<String>,
}

impl Connection {
    /// Connects and upgrades.
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let unreachable =
            |error| ClientError::Unreachable { address: endpoint.authority().to_owned(), error };
        let stream = connect(endpoint).map_err(unreachable)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let below = stream.try_clone().map_err(unreachable)?;
        let connector =
            if endpoint.tls { Connector::Rustls(tls::client_config()?) } else { Connector::Plain };
        let url = endpoint.client_url();
        match tungstenite::client_tls_with_config(&url, stream, None, Some(connector)) {
            Ok((socket, _)) => Ok(Self { socket, stream: below, lines: VecDeque::new() }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                Err(ClientError::NotAccepted { url, status: response.status().as_u16() })
            }
            // The certificate is refused in here too.
            Err(HandshakeError::Failure(Error::Io(error))) if !is_timeout(&error) => {
                Err(unreachable(error))
            }
            Err(HandshakeError::Failure(error)) => Err(lost(error)),
            Err(HandshakeError::Interrupted(_)) => Err(ClientError::Silent),
        }
    }

    /// From now on the broker pings every so many seconds; 0 = never.
    pub(super) fn expect_pings(&mut self, seconds: u32) -> Result<(), ClientError> {
        let interval = Duration::from_secs(u64::from(seconds));
        let timeout = (seconds > 0).then(|| interval + PING_GRACE);
        self.stream.set_read_timeout(timeout).map_err(|error| ClientError::Lost(error.to_string()))
    }

    /// Sends lines as one frame.
    pub(super) fn send(&mut self, lines: &[String]) -> Result<(), ClientError> {
        self.socket.send(Message::text(lines.join("\n"))).map_err(lost)
    }

    /// The next line that is no ping; pings are answered.
    pub(super) fn next_line(&mut self) -> Result<String, ClientError> {
        loop {
            while let Some(line) = self.lines.pop_front() {
                if line != PING {
                    return Ok(line);
                }
                self.send(&[PING.to_owned()])?;
            }
            match self.socket.read().map_err(lost)? {
                Message::Text(text) => {
                    self.lines.extend(text.lines().map(str::to_owned));
                }
                Message::Close(frame) => {
                    // The answer to the close frame goes out with the flush; if not, no matter.
                    let _ = self.socket.flush();
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (u16::from(frame.code), frame.reason.to_string())
                    });
                    return Err(ClientError::Closed { code, reason });
                }
                _ => {}
            }
        }
    }

    /// Says goodbye. The broker need not answer: all that was asked has been answered.
    pub(super) fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

/// Tries all addresses of the host.
fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (endpoint.host.as_str(), endpoint.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn lost(error: Error) -> ClientError {
    match error {
        Error::Io(error) if is_timeout(&error) => ClientError::Silent,
        error => ClientError::Lost(error.to_string()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
