//! All subscribers of one process: opens them, a bounded number at a time, and keeps them.

use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::connection::{Connection, Shared};
use crate::client::control::Assignment;
use crate::client::tally::Tally;
use crate::client::upgrade::Upgrade;
use crate::error::{BenchError, ClientError};
use crate::payload::StampReader;

/// The subscribers of one process.
#[derive(Debug)]
pub(crate) struct Fleet {
    assignment: Assignment,
    shared: Shared,
    /// By index within this process; `None` when lost.
    connections: Vec<Option<Connection>>,
    live: usize,
}

impl Fleet {
    /// The fleet for `assignment`, with no connection yet.
    ///
    /// # Errors
    /// See [`Tally::new`].
    pub(crate) fn new(assignment: Assignment) -> Result<Self, BenchError> {
        let shared = Shared {
            upgrade: Upgrade::new(&assignment.target),
            topic_prefix: assignment.topic_prefix.clone(),
            stamps: StampReader::new(),
            tally: Tally::new(assignment.run)?,
            server_version: String::new(),
            scratch: Vec::new(),
        };
        let connections = Vec::with_capacity(assignment.count as usize);
        Ok(Self { assignment, shared, connections, live: 0 })
    }

    /// Subscribers wanted.
    pub(crate) fn wanted(&self) -> usize {
        self.assignment.count as usize
    }

    /// Subscribers whose subscription stood, the lost ones included.
    pub(crate) fn subscribed(&self) -> usize {
        self.live
    }

    /// Whether every subscriber has come so far.
    pub(crate) fn is_complete(&self) -> bool {
        self.live == self.wanted()
    }

    /// What has been seen.
    pub(crate) fn tally(&mut self) -> &mut Tally {
        &mut self.shared.tally
    }

    /// The server's version, empty when it has not told.
    pub(crate) fn server_version(&self) -> &str {
        &self.shared.server_version
    }

    /// Opens as many further connections as may be in the making at once. Connection i is
    /// registered with token i.
    ///
    /// # Errors
    /// `Socket` when the kernel refuses one: ports, descriptors or memory are exhausted.
    pub(crate) fn open_more(&mut self, registry: &Registry) -> Result<(), ClientError> {
        let connecting = self.assignment.connecting as usize;
        while self.connections.len() < self.wanted()
            && self.connections.len() - self.live < connecting
        {
            let index = self.connections.len();
            let subscriber = self.assignment.first + u32::try_from(index).unwrap_or(u32::MAX);
            let spread = self.assignment.source_addresses;
            let source = self.assignment.target.source_address(subscriber, spread);
            let stream = start_connecting(self.assignment.target.address, source)?;
            let mut connection = Connection::new(stream, subscriber % self.assignment.topics);
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(connection.stream(), Token(index), interest)?;
            self.connections.push(Some(connection));
        }
        Ok(())
    }

    /// The connection with this token is ready.
    ///
    /// # Errors
    /// When a connection fails before all subscriptions stand; later it is counted instead.
    pub(crate) fn on_ready(&mut self, token: Token) -> Result<(), ClientError> {
        let Some(slot) = self.connections.get_mut(token.0) else { return Ok(()) };
        let Some(connection) = slot else { return Ok(()) };
        let was_live = connection.is_live();
        let outcome = connection.on_ready(&mut self.shared);
        if connection.is_live() && !was_live {
            self.live += 1;
        }
        if let Err(error) = outcome {
            if self.live < self.assignment.count as usize {
                return Err(error);
            }
            self.shared.tally.disconnected(&error);
            *slot = None;
        }
        Ok(())
    }
}

/// A nonblocking TCP connection to `target` in the making.
fn start_connecting(
    target: SocketAddr,
    source: Option<SocketAddr>,
) -> Result<TcpStream, ClientError> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        // Chooses the port at connect, when the whole four-tuple is known: without it, a port in
        // use towards any other server would be spent. Where it is missing, bind still works.
        let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
        socket.bind(&source.into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(TcpStream::from_std(socket.into()))
}
