//! TLS of one connection, without a socket of its own and without buffers while it is idle.
//!
//! Ciphertext comes in the caller's buffer and is opened there; only what has not come whole is
//! kept, and given back with its rest. What goes out is sealed into the caller's buffer; only what
//! the socket did not take is kept. `reactor/tls/` is the caller.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus,
};

use crate::sink::Sink;

/// Plaintext that is sealed for one send: three full records.
pub(crate) const SEND_BYTES_MAX: usize = 48 * 1024;
/// Room for that when sealed, with what may stand before it.
pub(crate) const SEALED_BYTES_MAX: usize = 56 * 1024;
/// Most bytes that are kept of what has not come whole. A record has 18 KiB at most; a handshake
/// message could be longer, and none that we take is.
const PARTIAL_BYTES_MAX: usize = 32 * 1024;
/// A sealed alert, whatever the cipher.
const ALERT_BYTES_MAX: usize = 128;

/// Why a TLS connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The peer broke the protocol, or offers nothing that is spoken here.
    #[error(transparent)]
    Protocol(#[from] rustls::Error),
    /// A handshake message of a size that no honest peer sends.
    #[error("a handshake message is too long")]
    Oversize,
    /// The keys have sealed as much as they may.
    #[error("the keys are used up")]
    Exhausted,
    /// The handshake has not come so far.
    #[error("nothing can be sent before the handshake is done")]
    TooEarly,
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Whether a socket has taken everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sent {
    /// It has.
    All,
    /// It is full, and the rest is kept.
    Part,
}

/// One connection's TLS.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// Ciphertext that has not come whole.
    partial: Vec<u8>,
    /// Ciphertext that the socket has not taken.
    unsent: Vec<u8>,
    peer_ended: bool,
    /// Whether reading stopped because what was opened found no taker; the caller's to use.
    pub(crate) stalled: bool,
}

impl Session {
    /// For a peer that has just said its first byte.
    ///
    /// # Errors
    ///
    /// None with a configuration that was checked.
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Self, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self {
            connection,
            partial: Vec::new(),
            unsent: Vec::new(),
            peer_ended: false,
            stalled: false,
        })
    }

    /// Whether the handshake goes on.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said that nothing comes after what came.
    pub(crate) fn peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Puts what has not come whole at the front of a buffer, for the socket's bytes to follow it.
    /// Returns its size, never more than half of 64 KiB.
    pub(crate) fn put_partial(&self, buffer: &mut [u8]) -> usize {
        let Some(front) = buffer.get_mut(..self.partial.len()) else { return 0 };
        front.copy_from_slice(&self.partial);
        front.len()
    }

    /// Opens what came: [`Session::put_partial`]'s bytes and the socket's. Plaintext is added to
    /// `plain`; what the protocol itself has to say waits for [`Session::flush`].
    ///
    /// # Errors
    ///
    /// The connection is lost; an alert for the peer waits for [`Session::flush`]. What `plain` got
    /// before is good.
    pub(crate) fn open(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut rest = input;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut *rest);
            let mut settled = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.unsent),
                // It is sent later, but always before what follows.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_ended = true,
                Ok(_) => settled = true,
                Err(error) => {
                    self.partial = Vec::new();
                    self.take_alerts();
                    return Err(error.into());
                }
            }
            rest = rest.get_mut(discard..).unwrap_or_default();
            if settled {
                return self.keep_partial(rest);
            }
        }
    }

    /// Seals plaintext, at most [`SEND_BYTES_MAX`], in a buffer of at least [`SEALED_BYTES_MAX`]
    /// and sends it.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub(crate) fn send(
        &mut self,
        sink: &mut Sink<'_>,
        plain: &[u8],
        buffer: &mut [u8],
    ) -> Result<Sent, TlsError> {
        let count = self.seal(plain, buffer)?;
        let sealed = buffer.get(..count).unwrap_or_default();
        if self.unsent.is_empty() {
            let taken = sink.write(sealed)?;
            self.unsent.extend_from_slice(sealed.get(taken..).unwrap_or_default());
            return Ok(if self.unsent.is_empty() { Sent::All } else { Sent::Part });
        }
        self.unsent.extend_from_slice(sealed);
        self.flush(sink)
    }

    /// Seals and sends plaintext until the socket is full. Returns how much of it is sealed, the
    /// rest of which is kept: at most what one [`Session::send`] takes.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub(crate) fn send_all(
        &mut self,
        sink: &mut Sink<'_>,
        plain: &[u8],
        buffer: &mut [u8],
    ) -> Result<usize, TlsError> {
        let mut count = 0;
        let mut sent = self.flush(sink)?;
        for chunk in plain.chunks(SEND_BYTES_MAX) {
            if sent == Sent::Part {
                break;
            }
            sent = self.send(sink, chunk, buffer)?;
            count += chunk.len();
        }
        Ok(count)
    }

    /// Whether something was sealed that the socket has not taken.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Says goodbye, if there was a greeting: nothing of ours follows. [`Session::flush`] sends it.
    pub(crate) fn end(&mut self) {
        let mut alert = [0; ALERT_BYTES_MAX];
        let goodbye = self.write_with(|traffic| traffic.queue_close_notify(&mut alert));
        if let Ok(count) = goodbye {
            self.unsent.extend_from_slice(alert.get(..count).unwrap_or_default());
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub(crate) fn flush(&mut self, sink: &mut Sink<'_>) -> Result<Sent, TlsError> {
        if self.unsent.is_empty() {
            return Ok(Sent::All);
        }
        let taken = sink.write(&self.unsent)?;
        if taken < self.unsent.len() {
            self.unsent.drain(..taken);
            return Ok(Sent::Part);
        }
        self.unsent = Vec::new();
        Ok(Sent::All)
    }

    fn seal(&mut self, plain: &[u8], buffer: &mut [u8]) -> Result<usize, TlsError> {
        self.write_with(|traffic| traffic.encrypt(plain, buffer))
    }

    fn write_with(
        &mut self,
        write: impl FnOnce(&mut WriteTraffic<'_>) -> Result<usize, EncryptError>,
    ) -> Result<usize, TlsError> {
        loop {
            // The library knows what it has seen of a partial message by its place.
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.partial);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return write(&mut traffic).map_err(|_| TlsError::Exhausted);
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.unsent),
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(TlsError::TooEarly),
            }
            self.partial.drain(..discard.min(self.partial.len()));
        }
    }

    fn keep_partial(&mut self, rest: &[u8]) -> Result<(), TlsError> {
        if rest.len() > PARTIAL_BYTES_MAX && !self.peer_ended {
            return Err(TlsError::Oversize);
        }
        // After its last word a peer has nothing to say.
        if rest.is_empty() || self.peer_ended {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// What is to be told the peer after an error. Nothing else works any more.
    fn take_alerts(&mut self) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
            match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.unsent),
                _ => return,
            }
        }
    }
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, ServerConnectionData>;

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, unsent: &mut Vec<u8>) {
    let start = unsent.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data.encode(&mut [])
    {
        unsent.resize(start + required_size, 0);
        let encoded = data.encode(unsent.get_mut(start..).unwrap_or_default());
        unsent.truncate(start + encoded.unwrap_or_default());
    }
}
