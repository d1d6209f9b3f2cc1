//! A connection of the publisher in two halves, one for the thread that sends and one for the
//! thread that reads, plain or with TLS. Neither waits for the socket while the other waits for it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::inbox::{Intake, Source};
use crate::client::stream::split;
use crate::client::tls::{Session, Tls};
use crate::error::ClientError;

/// Both halves have it; held while bytes are sealed or unsealed, never during a call of the kernel.
type SharedSession = Arc<Mutex<Session>>;

/// The half that reads; it blocks for as long as the socket's timeout says.
#[derive(Debug)]
pub(crate) struct Reader {
    socket: TcpStream,
    session: Option<SharedSession>,
}

/// The half that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    socket: TcpStream,
    session: Option<SharedSession>,
    sealed: Vec<u8>,
}

/// Both halves of a connected socket, after the handshake if there is TLS.
///
/// # Errors
/// See [`Session::shake_hands`].
pub(crate) fn open(
    mut socket: TcpStream,
    tls: Option<&Tls>,
) -> Result<(Reader, Writer), ClientError> {
    let mut session = tls.map(Tls::session).transpose()?;
    if let Some(session) = &mut session {
        session.shake_hands(&mut socket)?;
    }
    let session = session.map(|session| Arc::new(Mutex::new(session)));
    let reader = Reader { socket: socket.try_clone()?, session: session.clone() };
    Ok((reader, Writer { socket, session, sealed: Vec::new() }))
}

impl Source for Reader {
    fn take_in(&mut self, room: &mut [u8]) -> Result<Intake, ClientError> {
        let Some(session) = &self.session else {
            return Ok(Intake::read(&mut self.socket, room)?);
        };
        let (room, wire) = split(room);
        // The server's first words may have come with its part of the handshake.
        let mut sealed: &[u8] = &[];
        loop {
            let unsealed = lock(session).unseal(sealed, room)?;
            if unsealed.count > 0 || unsealed.is_end {
                return Ok(Intake { count: unsealed.count, may_follow: true });
            }
            let count = Intake::read(&mut self.socket, wire)?.count;
            if count == 0 {
                return Ok(Intake::END);
            }
            sealed = wire.get(..count).unwrap_or_default();
        }
    }
}

impl Writer {
    /// Writes all of it.
    ///
    /// # Errors
    /// `Socket`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        if self.session.is_none() {
            return Ok(self.socket.write_all(bytes)?);
        }
        self.say(|session| session.seal(bytes))
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// `Socket`.
    pub(crate) fn end(&mut self) -> Result<(), ClientError> {
        self.say(|session| {
            session.seal_end();
            Ok(())
        })?;
        Ok(self.socket.shutdown(Shutdown::Write)?)
    }

    /// Ends both halves.
    pub(crate) fn shut_down(&self) {
        // Already closed is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Sets how long a read may wait; `None` = for ever.
    ///
    /// # Errors
    /// `Socket`.
    pub(crate) fn set_read_timeout(&self, limit: Option<Duration>) -> Result<(), ClientError> {
        Ok(self.socket.set_read_timeout(limit)?)
    }

    /// Has the session seal something, and writes it when the session is free again.
    fn say(
        &mut self,
        words: impl FnOnce(&mut Session) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let Some(session) = &self.session else { return Ok(()) };
        let mut session = lock(session);
        words(&mut session)?;
        while session.has_sealed() {
            session.write_to(&mut self.sealed)?;
        }
        drop(session);
        self.socket.write_all(&self.sealed)?;
        self.sealed.clear();
        Ok(())
    }
}

fn lock(session: &SharedSession) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
