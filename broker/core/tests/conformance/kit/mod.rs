//! Scripted dialogues with a node of several shards: what goes in as bytes, what comes out as
//! frames. Lanes deliver at once unless they are held; the simulation is where chance says when.

pub(crate) mod fossil;
pub(crate) mod protobuf;
mod script;
mod settings;
pub(crate) mod tokens;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fanwire_core::config::{NodeInfo, Settings};
use fanwire_core::keys::Keys;
use fanwire_core::{
    Adapter, Batch, CallId, Compression, ConnectionId, Output, PingStyle, Place, Shard, ShardIndex,
    SocketId, Time, api,
};

use crate::deflate::{COMPRESSED, inflate};
use crate::wire;

pub(crate) use script::{across, in_both, joined};
pub(crate) use settings::{full_settings, open_settings, open_topics, with_history};
const COMPRESSED_TEXT: u8 = COMPRESSED | wire::TEXT;

/// What a client has been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    /// A text that was compressed.
    Compressed(String),
    /// Replies in Protobuf, or an echo.
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The sending side was shut down.
    Shut,
    /// The socket was closed.
    End,
}

/// One client of a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(u64);

/// A node whose shards are driven by hand.
pub(crate) struct Node {
    shards: Vec<Shard>,
    settings: Settings,
    clients: HashMap<u64, (usize, ConnectionId)>,
    /// What each client speaks.
    adapters: HashMap<u64, Adapter>,
    frames: HashMap<u64, Vec<Frame>>,
    answers: HashMap<u64, String>,
    /// Sockets whose kernel takes nothing.
    stuck: Vec<u64>,
    /// Lanes are held: what waits between the shards, with sender and receiver.
    held: Option<VecDeque<(ShardIndex, ShardIndex, Batch)>>,
    next: u64,
    /// The shard that took the last call of a dialogue.
    turn: usize,
    /// What the names of a dialogue stand for.
    names: BTreeMap<String, serde_json::Value>,
    /// What clients speak that are opened from now on.
    pub(crate) adapter: Adapter,
    /// How often keys were asked for.
    pub(crate) fetches: usize,
    pub(crate) now: Time,
}

/// Runs a dialogue on nodes of 1, 2 and 8 shards.
pub(crate) fn with_shards(settings: &Settings, dialogue: impl Fn(&mut Node)) {
    for count in [1, 2, 8] {
        dialogue(&mut Node::new(count, settings.clone()));
    }
}

impl Node {
    pub(crate) fn new(count: u16, settings: Settings) -> Self {
        let shared = Rc::new(settings.clone());
        let id = uuid::Uuid::from_u128(7);
        let node = Arc::new(NodeInfo { id, name: "n".to_owned(), version: "0".to_owned() });
        let shard = |index| {
            let place = Place { index: ShardIndex(index), count };
            let seed = [u8::try_from(index).unwrap(); 32];
            Shard::new(place, Rc::clone(&shared), Arc::clone(&node), seed, Time::ZERO)
        };
        Self {
            shards: (0..count).map(shard).collect(),
            settings,
            clients: HashMap::new(),
            adapters: HashMap::new(),
            frames: HashMap::new(),
            answers: HashMap::new(),
            stuck: Vec::new(),
            held: None,
            next: 0,
            turn: 0,
            names: BTreeMap::new(),
            adapter: Adapter::CentrifugoJson,
            fetches: 0,
            now: Time::ZERO,
        }
    }

    /// A new client, on the next shard in turn.
    pub(crate) fn open(&mut self) -> Client {
        self.open_with(PingStyle::Messages)
    }

    pub(crate) fn open_with(&mut self, pings: PingStyle) -> Client {
        self.open_as(self.adapter, pings)
    }

    /// A new client that is compressed for, with a window of 2^`bits`.
    pub(crate) fn open_compressed(&mut self, bits: u8) -> Client {
        let client = self.open();
        let (shard, id) = self.clients[&client.0];
        self.shards[shard].set_compression(id, Compression::window(bits).unwrap());
        client
    }

    pub(crate) fn open_as(&mut self, adapter: Adapter, pings: PingStyle) -> Client {
        let socket = self.next;
        self.next += 1;
        let shard = usize::try_from(socket).unwrap() % self.shards.len();
        let id = self.shards[shard].open(self.now, SocketId(socket), adapter, pings);
        self.clients.insert(socket, (shard, id));
        self.adapters.insert(socket, adapter);
        Client(socket)
    }

    /// A new client that is a session.
    pub(crate) fn connect(&mut self) -> Client {
        let client = self.open();
        self.send(client, r#"{"id":1,"connect":{}}"#);
        self.take(client);
        client
    }

    /// Sends one text message.
    pub(crate) fn send(&mut self, client: Client, text: &str) {
        self.bytes(client, &frame(wire::TEXT, text.as_bytes()));
    }

    /// Sends bytes as they are.
    pub(crate) fn bytes(&mut self, client: Client, bytes: &[u8]) {
        let (shard, id) = self.clients[&client.0];
        self.shards[shard].handle_bytes(self.now, id, &mut bytes.to_vec());
        self.settle();
    }

    /// The socket of a client ends.
    pub(crate) fn drop_client(&mut self, client: Client) {
        let (shard, id) = self.clients[&client.0];
        self.shards[shard].handle_closed(self.now, id);
        self.settle();
    }

    /// The kernel takes nothing for this client from now on.
    pub(crate) fn stick(&mut self, client: Client) {
        self.stuck.push(client.0);
    }

    /// The kernel takes everything for this client again.
    pub(crate) fn unstick(&mut self, client: Client) {
        self.stuck.retain(|stuck| *stuck != client.0);
        let (shard, id) = self.clients[&client.0];
        self.shards[shard].handle_writable(id);
        self.settle();
    }

    /// Bytes that wait for the socket of a client.
    pub(crate) fn pending_bytes(&self, client: Client) -> usize {
        let (shard, id) = self.clients[&client.0];
        self.shards[shard].pending(id).map(<[u8]>::len).sum()
    }

    /// What a client has been sent since the last call.
    pub(crate) fn take(&mut self, client: Client) -> Vec<Frame> {
        self.frames.remove(&client.0).unwrap_or_default()
    }

    /// The same, where only text is expected: one entry per protocol message.
    pub(crate) fn texts(&mut self, client: Client) -> Vec<String> {
        self.take(client)
            .into_iter()
            .map(|frame| match frame {
                Frame::Text(text) => text,
                other => panic!("{other:?} instead of text"),
            })
            .collect()
    }

    /// A call of the backend API on a shard, and its answer.
    pub(crate) fn call(&mut self, shard: usize, method: &str, body: &str) -> String {
        let call = self.ask(shard, method, body);
        self.answer(call).expect("an answer")
    }

    /// A call whose answer may take its time.
    pub(crate) fn ask(&mut self, shard: usize, method: &str, body: &str) -> CallId {
        let call = api::decode(method, body.as_bytes(), api::ErrorMode::InBody).unwrap();
        let id = CallId(self.next);
        self.next += 1;
        self.shards[shard].handle_call(self.now, id, call);
        self.settle();
        id
    }

    /// The answer to a call, if it has come.
    pub(crate) fn answer(&mut self, call: CallId) -> Option<String> {
        self.answers.remove(&call.0)
    }

    /// What the wall clock showed at the node's start, in Unix milliseconds.
    pub(crate) fn set_wall_clock(&mut self, unix_zero_ms: u64) {
        self.shards.iter_mut().for_each(|shard| shard.set_wall_clock(unix_zero_ms));
    }

    pub(crate) fn set_keys(&mut self, keys: Keys) {
        let keys = Arc::new(keys);
        self.shards.iter_mut().for_each(|shard| shard.set_keys(Arc::clone(&keys)));
    }

    /// The shard that serves a client.
    pub(crate) fn shard_of(&self, client: Client) -> usize {
        self.clients[&client.0].0
    }

    /// A topic of a namespace (`"ns:"`, or none) that none of these clients' shards owns, so that
    /// what concerns it crosses lanes. In a node of two shards, the clients must share one.
    pub(crate) fn topic_elsewhere(&self, namespace: &str, clients: &[Client]) -> String {
        let shards: Vec<_> = clients.iter().map(|client| self.shard_of(*client)).collect();
        self.topic(namespace, |owned_by| !shards.iter().any(|shard| owned_by(*shard)))
    }

    /// A topic of a namespace that a client's shard owns, so that nothing of it crosses lanes.
    pub(crate) fn topic_here(&self, namespace: &str, client: Client) -> String {
        self.topic(namespace, |owned_by| owned_by(self.shard_of(client)))
    }

    /// A topic whose owner is as wanted. Which that is, another node shows: an owner answers though
    /// no lane delivers.
    fn topic(
        &self,
        namespace: &str,
        wanted: impl Fn(&mut dyn FnMut(usize) -> bool) -> bool,
    ) -> String {
        let mut probe = Self::new(u16::try_from(self.shards.len()).unwrap(), self.settings.clone());
        probe.hold_lanes();
        let mut topics = (0..1000).map(|number| format!("{namespace}topic{number}"));
        let topic = topics.find(|topic| {
            wanted(&mut |shard| {
                let body = format!(r#"{{"channel":"{topic}","data":{{}}}}"#);
                let call = probe.ask(shard, "publish", &body);
                probe.answer(call).is_some()
            })
        });
        topic.expect("every shard owns some topics")
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// From now on, what goes from one shard to another waits.
    pub(crate) fn hold_lanes(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Takes what waits between shards to its receivers. What they send in turn waits again.
    pub(crate) fn deliver_held(&mut self) {
        let waiting = self.held.as_mut().map(std::mem::take).unwrap_or_default();
        for (from, to, batch) in waiting {
            self.shards[to.as_usize()].handle_batch(self.now, from, batch);
        }
        self.settle();
    }

    /// Lanes deliver at once again, beginning with what waits.
    pub(crate) fn release_lanes(&mut self) {
        for (from, to, batch) in self.held.take().unwrap_or_default() {
            self.shards[to.as_usize()].handle_batch(self.now, from, batch);
        }
        self.settle();
    }

    /// Loses what waits for a shard, as no lane ever does.
    pub(crate) fn lose_held(&mut self, shard: usize) {
        let held = self.held.as_mut().expect("lanes are held");
        let before = held.len();
        held.retain(|(_, to, _)| to.as_usize() != shard);
        assert!(held.len() < before, "nothing waited for shard {shard}");
    }

    /// Loses all that waits.
    pub(crate) fn forget_held(&mut self) {
        self.held.as_mut().expect("lanes are held").clear();
    }

    /// Tells every shard that the lanes to all others are full, or take batches again.
    pub(crate) fn set_lanes_ready(&mut self, ready: bool) {
        let count = u16::try_from(self.shards.len()).unwrap();
        for shard in &mut self.shards {
            (0..count).for_each(|to| shard.handle_lane(ShardIndex(to), ready));
        }
        self.settle();
    }

    pub(crate) fn drain(&mut self) {
        self.shards.iter_mut().for_each(Shard::drain);
    }

    pub(crate) fn close_all(&mut self, disconnect: &fanwire_core::fault::Disconnect) {
        for shard in &mut self.shards {
            shard.close_all(self.now, disconnect);
        }
        self.settle();
    }

    /// Lets time pass, timers included.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.pass_by(time, Duration::from_millis(32));
    }

    /// The same for long times, where not every timer must fire when it is due.
    pub(crate) fn pass_seconds(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.pass_by(time, time / 16);
    }

    fn pass_by(&mut self, time: Duration, step: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(step).min(end);
            for shard in &mut self.shards {
                shard.handle_timeout(self.now);
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for index in 0..self.shards.len() {
                while let Some(output) = self.shards[index].poll_output() {
                    busy = true;
                    self.output(index, output);
                }
            }
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::Send { to, batch } => {
                let from = ShardIndex(u16::try_from(index).unwrap());
                match &mut self.held {
                    Some(held) => held.push_back((from, to, batch)),
                    None => self.shards[to.as_usize()].handle_batch(self.now, from, batch),
                }
            }
            Output::Answer { call, body, .. } => {
                self.answers.insert(call.0, String::from_utf8(body).unwrap());
            }
            Output::FetchKeys => self.fetches += 1,
            Output::Pause => {}
            Output::Write { socket, connection } => {
                if self.stuck.contains(&socket.0) {
                    self.shards[index].handle_blocked(connection);
                    return;
                }
                let bytes: Vec<u8> =
                    self.shards[index].pending(connection).flatten().copied().collect();
                self.shards[index].handle_written(self.now, connection, bytes.len());
                self.frames.entry(socket.0).or_default().extend(frames(&bytes));
            }
            Output::ShutdownWrite { socket } => {
                self.frames.entry(socket.0).or_default().push(Frame::Shut);
            }
            Output::Close { socket } => {
                self.frames.entry(socket.0).or_default().push(Frame::End);
            }
        }
    }
}

/// What all frames to the broker are masked with.
pub(crate) const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A masked frame that ends its message.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(opcode, true, payload)
}

/// A masked frame whose message goes on.
pub(crate) fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(opcode, false, payload)
}

fn masked(opcode: u8, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::append_masked(&mut out, opcode, last, MASK, payload);
    out
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text is UTF-8");
    let mut found = Vec::new();
    while let Some((frame, taken)) = wire::parse(bytes) {
        assert!(frame.last, "the broker sends no fragments");
        let payload = frame.payload.as_slice();
        found.push(match (frame.opcode, payload) {
            (wire::TEXT, _) => Frame::Text(text(payload)),
            (COMPRESSED_TEXT, _) => Frame::Compressed(text(&inflate(payload))),
            (wire::BINARY, _) => Frame::Binary(payload.to_vec()),
            (wire::PING, _) => Frame::Ping,
            (wire::PONG, _) => Frame::Pong(payload.to_vec()),
            (wire::CLOSE, []) => Frame::Close(None, String::new()),
            (wire::CLOSE, [high, low, reason @ ..]) => {
                Frame::Close(Some(u16::from_be_bytes([*high, *low])), text(reason))
            }
            other => panic!("{other:?}"),
        });
        bytes = &bytes[taken..];
    }
    assert!(bytes.is_empty(), "half a frame: {bytes:?}");
    found
}
