//! The bare loops: what a server cannot do without, and nothing else. Fanwire's CPU time is told as
//! a multiple of theirs.
//!
//! **What is in them:** one thread; epoll, level-triggered; one `recv` for each readable socket,
//! into one buffer for all; the frame's header, unmasking, the topic's name and the data found at
//! fixed places; a hash table from topic to its subscribers' descriptors, in one slice; the frame
//! built once; one `send` for each subscriber, straight out of the loop; one `send` of all replies
//! to what one `recv` brought.
//!
//! **What is not:** any check of what a client sends or may do, UTF-8, JSON, limits, timers, pings,
//! queues, offsets, history, slow readers (one whose socket is full is cut off, and the run is
//! faulty then), several threads, metrics, a log.
//!
//! `nix` wraps each system call in a check of its result; `unsafe` stays out of this crate.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use ahash::RandomState;
use memchr::memchr_iter;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use tungstenite::handshake::derive_accept_key;

use crate::error::BenchError;
use crate::floor::wire::{Command, Over, append_push, append_reply, command, take_frame};
use crate::floor::{FloorServerOptions, Work};

/// Events taken in one pass.
const EVENTS_MAX: usize = 1024;
/// The one read buffer, in bytes. What does not fit is read in the next pass.
const SCRATCH_BYTES: usize = 64 * 1024;
/// More headers than this make a request none of the generator's.
const HEADERS_MAX: usize = 32;

/// Runs a bare loop until standard input ends. Its first line of output is its address.
///
/// # Errors
/// `System` when it cannot listen or epoll fails.
pub(crate) fn serve(options: &FloorServerOptions) -> Result<(), BenchError> {
    let mut server = Server::open(options).map_err(BenchError::system("opening the bare loop"))?;
    server.run().map_err(BenchError::system("running the bare loop"))
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    input: RawFd,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    scratch: Vec<u8>,
    hall: Hall,
}

struct Connection {
    /// Open as long as this is.
    _stream: TcpStream,
    is_upgraded: bool,
    topic: Option<usize>,
    /// The beginning of a frame or request whose end has not come yet; empty nearly always.
    partial: Vec<u8>,
}

/// What all connections have in common.
struct Hall {
    work: Work,
    is_coalescing: bool,
    indices: HashMap<Vec<u8>, usize, RandomState>,
    topics: Vec<Topic>,
    /// Topics with something pending.
    dirty: Vec<usize>,
    frame: Vec<u8>,
    replies: Vec<u8>,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<RawFd>,
    /// Frames that wait for the end of the pass, when coalescing.
    pending: Vec<u8>,
}

impl Server {
    fn open(options: &FloorServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, readable(listener.as_raw_fd()))?;
        let input = io::stdin();
        // A file or /dev/null never ends the loop, and epoll does not take them.
        match epoll.add(&input, readable(input.as_raw_fd())) {
            Ok(()) | Err(Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        }
        let mut output = io::stdout().lock();
        writeln!(output, "ws://{}/connection/websocket", listener.local_addr()?)?;
        output.flush()?;
        let hall = Hall {
            work: options.work,
            is_coalescing: options.coalesce,
            indices: HashMap::with_hasher(RandomState::with_seed(1)),
            topics: Vec::new(),
            dirty: Vec::new(),
            frame: Vec::new(),
            replies: Vec::new(),
        };
        let input = input.as_raw_fd();
        let scratch = vec![0; SCRATCH_BYTES];
        Ok(Self { epoll, listener, input, connections: Vec::new(), scratch, hall })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            for event in events.iter().take(count) {
                let descriptor = descriptor(event);
                if descriptor == self.listener.as_raw_fd() {
                    self.accept()?;
                } else if descriptor == self.input {
                    return Ok(());
                } else if self.serve(descriptor).is_err() {
                    self.close(descriptor);
                }
            }
            self.hall.send_pending();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.epoll.add(&stream, readable(stream.as_raw_fd()))?;
            let slot = index(stream.as_raw_fd());
            if self.connections.len() <= slot {
                self.connections.resize_with(slot + 1, || None);
            }
            if let Some(slot) = self.connections.get_mut(slot) {
                let partial = Vec::new();
                *slot =
                    Some(Connection { _stream: stream, is_upgraded: false, topic: None, partial });
            }
        }
    }

    fn serve(&mut self, descriptor: RawFd) -> Result<(), Over> {
        let Self { connections, scratch, hall, .. } = self;
        let Some(Some(connection)) = connections.get_mut(index(descriptor)) else { return Ok(()) };
        let count = match recv(descriptor, scratch, MsgFlags::empty()) {
            Ok(0) => return Err(Over),
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(_) => return Err(Over),
        };
        let received = scratch.get_mut(..count).ok_or(Over)?;
        if connection.partial.is_empty() {
            let taken = hall.take(connection, descriptor, received)?;
            connection.partial.extend(received.iter().skip(taken));
        } else {
            let mut joined = std::mem::take(&mut connection.partial);
            joined.extend_from_slice(received);
            let taken = hall.take(connection, descriptor, &mut joined)?;
            connection.partial.extend(joined.iter().skip(taken));
        }
        if !hall.replies.is_empty() {
            send_whole(descriptor, &hall.replies);
            hall.replies.clear();
        }
        Ok(())
    }

    fn close(&mut self, descriptor: RawFd) {
        self.hall.replies.clear();
        let slot = self.connections.get_mut(index(descriptor));
        if let Some(connection) = slot.and_then(Option::take)
            && let Some(topic) = connection.topic
            && let Some(topic) = self.hall.topics.get_mut(topic)
        {
            topic.subscribers.retain(|&subscriber| subscriber != descriptor);
        }
    }
}

impl Hall {
    /// Does what the bytes ask for and returns how many of them that were.
    fn take(
        &mut self,
        connection: &mut Connection,
        descriptor: RawFd,
        bytes: &mut [u8],
    ) -> Result<usize, Over> {
        if !connection.is_upgraded {
            let taken = upgrade(bytes, &mut self.replies)?;
            connection.is_upgraded = taken > 0;
            return Ok(taken);
        }
        let mut taken = 0;
        while let Some(rest) = bytes.get_mut(taken..)
            && let Some(frame) = take_frame(rest)?
        {
            let mut start = 0;
            for end in memchr_iter(b'\n', frame.payload).chain([frame.payload.len()]) {
                let line = frame.payload.get(start..end).unwrap_or_default();
                self.obey(command(line)?, connection, descriptor);
                start = end + 1;
            }
            taken += frame.length;
        }
        Ok(taken)
    }

    fn obey(&mut self, command: Command<'_>, connection: &mut Connection, descriptor: RawFd) {
        match command {
            Command::Publish { id, topic, data } => {
                if self.work != Work::Inbound {
                    self.publish(topic, data);
                }
                append_reply(id, br#""publish":{}"#, &mut self.replies);
            }
            Command::Subscribe { id, topic } => {
                let next = self.topics.len();
                let topic = *self.indices.entry(topic.to_vec()).or_insert(next);
                if topic == next {
                    self.topics.push(Topic::default());
                }
                if let Some(entry) = self.topics.get_mut(topic) {
                    entry.subscribers.push(descriptor);
                    connection.topic = Some(topic);
                }
                append_reply(id, br#""subscribe":{}"#, &mut self.replies);
            }
            Command::Connect { id } => {
                let result = br#""connect":{"client":"floor","version":"bare loop"}"#;
                append_reply(id, result, &mut self.replies);
            }
        }
    }

    fn publish(&mut self, name: &[u8], data: &[u8]) {
        let Some(&index) = self.indices.get(name) else { return };
        let Some(topic) = self.topics.get_mut(index) else { return };
        if self.is_coalescing {
            if topic.pending.is_empty() {
                self.dirty.push(index);
            }
            append_push(name, data, &mut topic.pending);
            return;
        }
        self.frame.clear();
        append_push(name, data, &mut self.frame);
        for &subscriber in &topic.subscribers {
            send_whole(subscriber, &self.frame);
        }
    }

    /// Sends what one pass has brought for each topic, joined.
    fn send_pending(&mut self) {
        for index in self.dirty.drain(..) {
            if let Some(topic) = self.topics.get_mut(index) {
                for &subscriber in &topic.subscribers {
                    send_whole(subscriber, &topic.pending);
                }
                topic.pending.clear();
            }
        }
    }
}

/// One `send`. A peer whose socket does not take all of it is cut off: the generator counts that as
/// a lost connection, so that a floor which lost something is never taken for one.
fn send_whole(descriptor: RawFd, bytes: &[u8]) {
    if send(descriptor, bytes, MsgFlags::MSG_NOSIGNAL) != Ok(bytes.len()) {
        // Fails when the peer has gone meanwhile, which epoll tells.
        let _ = shutdown(descriptor, Shutdown::Both);
    }
}

/// Answers the upgrade once it is whole, and returns its length; 0 before.
fn upgrade(bytes: &[u8], output: &mut Vec<u8>) -> Result<usize, Over> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(0),
        Err(_) => return Err(Over),
    };
    let is_key =
        |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("Sec-WebSocket-Key");
    let key = request.headers.iter().find(is_key).ok_or(Over)?.value;
    let accept = derive_accept_key(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    output.extend_from_slice(answer.as_bytes());
    Ok(length)
}

fn readable(descriptor: RawFd) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, index(descriptor) as u64)
}

fn descriptor(event: &EpollEvent) -> RawFd {
    RawFd::try_from(event.data()).unwrap_or(-1)
}

/// Descriptors are small and never negative.
fn index(descriptor: RawFd) -> usize {
    usize::try_from(descriptor).unwrap_or(usize::MAX)
}
