//! All clients of one process: opens them, a bounded number at a time, keeps them, and does with
//! them what a behaviour asks for. A client is named by its `slot`, from 0.

use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::behaviour::{Behaviour, Happening};
use crate::client::connection::Connection;
use crate::client::control::Assignment;
use crate::client::shared::Shared;
use crate::client::tally::Tally;
use crate::client::tls::Tls;
use crate::clock::now_ns;
use crate::dialect::Question;
use crate::error::{BenchError, ClientError};
use crate::payload::PayloadMaker;

/// Counted when a client should have published but was not connected.
const UNSENT: &str = "publications not sent, client not connected";

/// The clients of one process.
#[derive(Debug)]
pub(crate) struct Fleet {
    assignment: Assignment,
    shared: Shared,
    /// To register sockets; connection `slot` has token `slot`.
    registry: Registry,
    connections: Vec<Connection>,
    /// Clients that were complete once.
    complete: usize,
    /// Slots of connections that have something to say.
    unflushed: Vec<u32>,
    /// When what the behaviour heard of last has happened.
    happened_ns: u64,
}

impl Fleet {
    /// The fleet for `assignment`, with nobody connected.
    ///
    /// # Errors
    /// See [`Shared::new`].
    pub(crate) fn new(
        assignment: Assignment,
        behaviour: &dyn Behaviour,
        registry: Registry,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            shared: Shared::new(&assignment, behaviour.wants_deliveries())?,
            connections: Vec::with_capacity(assignment.count as usize),
            assignment,
            registry,
            complete: 0,
            unflushed: Vec::new(),
            happened_ns: 0,
        })
    }

    /// Clients wanted.
    pub(crate) fn wanted(&self) -> usize {
        self.assignment.count as usize
    }

    /// Clients that have had all their first subscriptions, the lost ones included.
    pub(crate) fn complete(&self) -> usize {
        self.complete
    }

    /// Whether every client has come so far.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete == self.wanted()
    }

    /// What has been seen; a behaviour adds its own counts and times.
    pub(crate) fn tally(&mut self) -> &mut Tally {
        &mut self.shared.senses.tally
    }

    /// The server's version, empty when it has not told.
    pub(crate) fn server_version(&self) -> &str {
        &self.shared.senses.server_version
    }

    /// Publications that are not answered, of clients that are connected.
    pub(crate) fn unanswered(&self) -> usize {
        self.connections.iter().map(|connection| connection.dialogue.unanswered()).sum()
    }

    /// Publications and questions of a client that are not answered.
    pub(crate) fn unanswered_of(&self, slot: u32) -> usize {
        self.connection(slot).map_or(0, |connection| connection.dialogue.unanswered())
    }

    /// Slots of all clients opened so far.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.connections.len()).unwrap_or(u32::MAX)
    }

    /// Index of a client over all processes.
    pub(crate) fn client(&self, slot: u32) -> u32 {
        self.assignment.first + slot
    }

    /// Whether a client has joined and all its subscriptions stand.
    pub(crate) fn is_live(&self, slot: u32) -> bool {
        self.connection(slot).is_some_and(|connection| connection.dialogue.is_live())
    }

    /// Whether a client has a connection, established or not.
    pub(crate) fn is_up(&self, slot: u32) -> bool {
        self.connection(slot).is_some_and(Connection::is_up)
    }

    /// Topics that a client hears or wants to hear.
    #[cfg(test)]
    pub(crate) fn topics(&self, slot: u32) -> impl Iterator<Item = u32> + '_ {
        self.connection(slot).into_iter().flat_map(|connection| connection.dialogue.topics())
    }

    /// Lets a client subscribe; a `Subscribed` happens when it stands. With positions tracked it
    /// recovers what it has missed since it last heard the topic on a connection that was lost.
    pub(crate) fn subscribe(&mut self, slot: u32, topic: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.dialogue.subscribe(topic);
            self.unflushed.push(slot);
        }
    }

    /// Lets a client unsubscribe; an `Unsubscribed` happens when the server agrees.
    pub(crate) fn unsubscribe(&mut self, slot: u32, topic: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.dialogue.unsubscribe(topic, &mut self.shared);
            self.unflushed.push(slot);
        }
    }

    /// Lets a client publish what is due at `intended_ns`.
    pub(crate) fn publish(
        &mut self,
        slot: u32,
        topic: u32,
        intended_ns: u64,
        payload: &PayloadMaker,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if connection.dialogue.publish(topic, intended_ns, payload, &mut self.shared) {
            self.unflushed.push(slot);
        } else {
            self.tally().count(UNSENT, 1);
        }
    }

    /// Lets a client ask what is due at `intended_ns`, if the protocol has the question. The time
    /// until the answer is recorded by the question's name.
    pub(crate) fn ask(&mut self, slot: u32, topic: u32, question: Question, intended_ns: u64) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if connection.dialogue.ask(topic, question, intended_ns, &mut self.shared) {
            self.unflushed.push(slot);
        }
    }

    /// Lets a client read no more: its socket fills up.
    pub(crate) fn pause(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.set_paused(true);
        }
    }

    /// Lets a client read on.
    pub(crate) fn resume(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.set_paused(false);
            let outcome = connection.on_ready(&mut self.shared);
            self.settle(slot, outcome);
        }
    }

    /// Drops a client's connection without a word; that is counted as no fault.
    pub(crate) fn disconnect(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.end();
        }
    }

    /// Drops a client's connection by a reset; that is counted as no fault.
    pub(crate) fn reset(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.reset();
        }
    }

    /// Connects a client that is not connected, or drops its connection and makes a new one. It
    /// subscribes again to what it heard; a `Live` happens when all stands.
    ///
    /// # Errors
    /// `Socket` when the kernel refuses: ports, descriptors or memory are exhausted.
    pub(crate) fn connect(&mut self, slot: u32) -> Result<(), ClientError> {
        let client = self.client(slot);
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Ok(()) };
        let spread = self.assignment.source_addresses;
        let source = self.assignment.target.source_address(client, spread);
        connection.end();
        let receive_buffer = connection.manners.receive_buffer_bytes;
        let address = self.assignment.target.address;
        let mut stream = start_connecting(address, source, receive_buffer)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, Token(slot as usize), interest)?;
        connection.start(stream, self.shared.tls.as_ref().map(Tls::session).transpose()?);
        Ok(())
    }

    /// Opens as many further clients as may be in the making at once.
    ///
    /// # Errors
    /// See [`Fleet::connect`].
    pub(crate) fn open_more(&mut self, behaviour: &dyn Behaviour) -> Result<(), ClientError> {
        let connecting = self.assignment.connecting as usize;
        let mut topics = Vec::new();
        while self.connections.len() < self.wanted()
            && self.connections.len() - self.complete < connecting
        {
            let slot = self.slots().end;
            let client = self.client(slot);
            let mut connection = Connection::new(slot, client, behaviour.manners(client));
            behaviour.topics(client, &self.assignment, &mut topics);
            for topic in topics.drain(..) {
                connection.dialogue.subscribe(topic);
            }
            self.connections.push(connection);
            self.connect(slot)?;
        }
        Ok(())
    }

    /// The connection in this slot is ready.
    ///
    /// # Errors
    /// When a connection fails before all clients are complete; later it is counted instead.
    pub(crate) fn on_ready(&mut self, slot: usize) -> Result<(), ClientError> {
        let Some(connection) = self.connections.get_mut(slot) else { return Ok(()) };
        let outcome = connection.on_ready(&mut self.shared);
        if !connection.was_complete && connection.dialogue.is_live() {
            connection.was_complete = true;
            self.complete += 1;
        }
        if !self.is_complete() {
            return outcome;
        }
        self.settle(u32::try_from(slot).unwrap_or(u32::MAX), outcome);
        Ok(())
    }

    /// Sends what the behaviour has let clients say.
    pub(crate) fn flush(&mut self) {
        let mut slots = std::mem::take(&mut self.unflushed);
        for slot in slots.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot as usize) {
                let outcome = connection.flush(&mut self.shared);
                self.settle(slot, outcome);
            }
        }
        self.unflushed = slots;
    }

    /// What the behaviour has yet to hear of, oldest first.
    pub(crate) fn next_happening(&mut self) -> Option<Happening> {
        let (happened_ns, happening) = self.shared.senses.happenings.pop_front()?;
        self.happened_ns = happened_ns;
        Some(happening)
    }

    /// When what the behaviour is being told of has happened (its bytes were read),
    /// CLOCK_MONOTONIC in nanoseconds.
    pub(crate) fn happened_ns(&self) -> u64 {
        self.happened_ns
    }

    fn connection(&self, slot: u32) -> Option<&Connection> {
        self.connections.get(slot as usize)
    }

    fn settle(&mut self, slot: u32, outcome: Result<(), ClientError>) {
        let Err(error) = outcome else { return };
        let excuse = self.connection(slot).and_then(|connection| connection.manners.excuse);
        self.tally().disconnected(&error, excuse);
        self.disconnect(slot);
        self.shared.senses.happenings.push_back((now_ns(), Happening::Lost { slot }));
    }
}

/// A nonblocking TCP connection to `target` in the making.
fn start_connecting(
    target: SocketAddr,
    source: Option<SocketAddr>,
    receive_buffer_bytes: Option<u32>,
) -> Result<TcpStream, ClientError> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_buffer_bytes {
        // Before connecting: a window once offered is not taken back.
        socket.set_recv_buffer_size(bytes as usize)?;
    }
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

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
