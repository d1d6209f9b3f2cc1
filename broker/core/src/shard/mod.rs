//! One core's share of a node: some connections, some topics. This file is its façade and its
//! turn; the rooms are in the files beside it.

mod backend;
mod clients;
mod connect;
mod continuity;
mod counters;
mod deliver;
mod fanout;
mod flush;
mod lanes;
mod lifecycle;
mod message;
mod orders;
mod owner;
mod publish;
mod queries;
mod renewal;
mod subscribe;
mod timers;
mod unsubscribe;
mod users;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use ahash::RandomState;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use slotmap::SlotMap;

use crate::api::Call;
use crate::config::{NodeInfo, Settings};
use crate::connection::{Connection, Connections, Ticket};
use crate::fault::Refusal;
use crate::ids::{
    CallId, CallKey, ConnectionId, OrderKey, OwnedRef, Place, RequestId, ShardIndex, SocketId,
    TopicRef,
};
use crate::limits::REQUESTS_MAX;
use crate::session::UnknownKeys;
use crate::session::keys::Keys;
use crate::time::Time;
use crate::topic::{Answers, LocalTopics, OwnedTopics};
use crate::websocket::{Deflater, Inflater};

pub use counters::Counters;
pub use message::Batch;

use backend::Running;
use fanout::Fanouts;
use flush::Flush;
use lanes::Lanes;
use message::Message;
use orders::Order;
use subscribe::Noted;
use timers::Timers;
use users::{CountedUsers, LocalUsers};

/// Whether more of a message, or of a connection, is read.
type Reading = ControlFlow<()>;

/// Answers, or writes, that are served before the others have their turn.
const OUTPUTS_IN_A_ROW: u32 = 32;

/// The broker on one core.
///
/// A turn of the shell is: any number of `handle_*` calls, then [`Shard::poll_output`] until it has
/// nothing more, or until the shell's budget of writes is used up.
pub struct Shard {
    place: Place,
    /// Its own copy: commands hold on to it, and should touch no counter that shards share.
    settings: Rc<Settings>,
    node: Arc<NodeInfo>,
    random: StdRng,
    /// The same in every shard of a node: it says who owns a topic.
    owners: RandomState,
    /// The user of everybody without one, shared.
    anonymous: Arc<str>,
    /// The tags of everything without, shared.
    no_tags: Arc<[(String, String)]>,
    now: Time,
    /// The wall clock's time at the node's start, as it is set now, in Unix milliseconds.
    unix_zero_ms: u64,
    /// What tokens may be signed with.
    keys: Arc<Keys>,
    unknown_keys: UnknownKeys,
    draining: bool,
    connections: Connections,
    local: LocalTopics,
    owned: OwnedTopics,
    answers: Answers,
    local_users: LocalUsers,
    counted_users: CountedUsers,
    requests: SlotMap<RequestId, Pending>,
    calls: SlotMap<CallKey, Running>,
    orders: SlotMap<OrderKey, Order>,
    timers: Timers<ConnectionId>,
    /// For what expires of sessions.
    expiry_timers: Timers<ConnectionId>,
    /// For what expires of owned topics.
    topic_timers: Timers<OwnedRef>,
    /// Subscriptions whose position is watched over.
    watched: usize,
    /// When positions are compared with their owners' again.
    check_positions_at: Time,
    lanes: Lanes,
    flush: Flush,
    /// Calls that wait for the flush, or for a lane.
    paced: VecDeque<CallKey>,
    /// Outputs that are no writes and no batches.
    outputs: VecDeque<Output>,
    /// How often outputs were asked for, by which kinds of them take turns.
    polls: u32,
    /// Where messages and frames are encoded before they are shared.
    scratch: Vec<u8>,
    /// Publications on their way to many.
    fanouts: Fanouts,
    deflater: Deflater,
    inflater: Inflater,
    counters: Counters,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Output {
    /// Hand a batch to another shard.
    Send {
        /// The other shard.
        to: ShardIndex,
        /// What it gets.
        batch: Batch,
    },
    /// Answer a call of the backend API.
    Answer {
        /// The call, as the shell named it.
        call: CallId,
        /// The HTTP status.
        status: u16,
        /// The body, `application/json`.
        body: Vec<u8>,
    },
    /// A token was signed with a key that is not known: fetch the keys anew, and hand them in by
    /// [`Shard::set_keys`].
    FetchKeys,
    /// Enough for one turn, though there is more: look for events, then poll again.
    Pause,
    /// Send what [`Shard::pending`] shows, then report [`Shard::handle_written`] and, if the kernel
    /// takes no more, [`Shard::handle_blocked`].
    Write {
        /// The socket.
        socket: SocketId,
        /// The connection on it.
        connection: ConnectionId,
    },
    /// Nothing more will be written: shut the sending side down, go on reading.
    ShutdownWrite {
        /// The socket.
        socket: SocketId,
    },
    /// Close the socket. Its connection is gone already.
    Close {
        /// The socket.
        socket: SocketId,
    },
}

/// What an answer of another shard is awaited for.
#[derive(Debug)]
enum Pending {
    /// A client's subscribe.
    Subscribe(Box<AskedSubscribe>),
    /// A client's publish, whose reply has this id.
    Publish { connection: ConnectionId, ticket: Ticket, id: u32 },
    /// A client's question about a topic, whose reply has this id.
    Query { connection: ConnectionId, ticket: Ticket, id: u32 },
    /// Whether a user may have this connection.
    Attend { connection: ConnectionId },
    /// A question of a call about a topic.
    CallTold { call: CallKey, operation: usize },
    /// One publication of a call.
    CallPublish { call: CallKey, operation: usize, item: usize },
    /// A question of a call to every shard, and how many have not answered.
    CallAsk { call: CallKey, operation: usize, left: u16 },
}

/// A subscribe on its way to the owner and back.
#[derive(Debug)]
struct AskedSubscribe {
    connection: ConnectionId,
    topic: TopicRef,
    answerer: Answerer,
    noted: Noted,
    /// It was unsubscribed before it began.
    ended: bool,
}

/// How a client learns that it is subscribed.
#[derive(Clone, Copy, Debug)]
enum Answerer {
    /// By the reply to its command.
    Reply { ticket: Ticket, id: u32 },
    /// By the reply to its connect.
    Connect,
    /// By a push, because a backend ordered it.
    Backend(OrderKey),
}

impl Shard {
    /// A shard without connections. `seed` must be unpredictable outside tests.
    pub fn new(
        place: Place,
        settings: Rc<Settings>,
        node: Arc<NodeInfo>,
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        let mut random = StdRng::from_seed(seed);
        let deflater = Deflater::new(settings.client.compression_min_bytes);
        let (high, low) = node.id.as_u64_pair();
        let hasher = RandomState::with_seeds(
            random.next_u64(),
            random.next_u64(),
            random.next_u64(),
            random.next_u64(),
        );
        Self {
            place,
            node,
            random,
            owners: RandomState::with_seeds(high, low, high.rotate_left(32), !low),
            anonymous: "".into(),
            no_tags: Arc::from([]),
            now,
            unix_zero_ms: 0,
            keys: Arc::default(),
            draining: false,
            connections: Connections::default(),
            unknown_keys: UnknownKeys::new(hasher.clone()),
            local: LocalTopics::new(hasher.clone()),
            owned: OwnedTopics::new(hasher.clone(), settings.history.shard_bytes_max),
            answers: Answers::new(hasher.clone()),
            local_users: HashMap::with_hasher(hasher.clone()),
            counted_users: HashMap::with_hasher(hasher),
            requests: SlotMap::with_key(),
            calls: SlotMap::with_key(),
            orders: SlotMap::with_key(),
            timers: Timers::new(now),
            expiry_timers: Timers::new(now),
            topic_timers: Timers::new(now),
            watched: 0,
            check_positions_at: now.after(settings.client.position_check_interval),
            lanes: Lanes::new(place),
            flush: Flush::new(settings.client.outbox_bytes_max),
            paced: VecDeque::new(),
            outputs: VecDeque::new(),
            polls: 0,
            scratch: Vec::new(),
            fanouts: Fanouts::default(),
            deflater,
            inflater: Inflater::default(),
            counters: Counters::default(),
            settings,
        }
    }

    /// Sets the wall clock: what it showed at the node's start, as it goes now, in Unix
    /// milliseconds. Nothing but the validity of tokens depends on it.
    pub fn set_wall_clock(&mut self, unix_zero_ms: u64) {
        self.unix_zero_ms = unix_zero_ms;
    }

    /// Sets what tokens may be signed with. Sessions that exist are not asked again.
    pub fn set_keys(&mut self, keys: Arc<Keys>) {
        self.keys = keys;
        self.unknown_keys.fetched();
    }

    /// Takes what another shard sent.
    pub fn handle_batch(&mut self, now: Time, from: ShardIndex, batch: Batch) {
        self.now = now;
        for message in batch.messages {
            self.lanes.arrive(from, message);
        }
        self.settle();
    }

    /// The lane to a shard is full, or takes batches again. While it is full there is no
    /// [`Output::Send`] for it; core collects, and refuses publications once too much has come
    /// together.
    pub fn handle_lane(&mut self, to: ShardIndex, ready: bool) {
        self.lanes.set_ready(to, ready);
    }

    /// Takes a call of the backend API; [`Output::Answer`] answers it.
    pub fn handle_call(&mut self, now: Time, id: CallId, call: Call) {
        self.now = now;
        self.counters.calls += 1;
        self.start_call(id, call);
        self.settle();
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            // An answer may lead to the next call, and that to the next answer: whoever waits for
            // a write must have a turn in between.
            self.polls = self.polls.wrapping_add(1);
            let answers_first = (self.polls / OUTPUTS_IN_A_ROW).is_multiple_of(2);
            if answers_first && let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some((to, batch)) = self.lanes.pop_batch() {
                return Some(Output::Send { to, batch });
            }
            if let Some(output) = self.next_write().or_else(|| self.outputs.pop_front()) {
                return Some(output);
            }
            self.flush.relax();
            let is_more = self.lanes.has_arrived() || self.fanouts.is_active();
            if is_more && self.fanouts.is_spent() {
                self.fanouts.begin_turn();
                return Some(Output::Pause);
            }
            if !self.take_up() {
                return None;
            }
        }
    }

    /// The next connection that has something to send.
    fn next_write(&mut self) -> Option<Output> {
        while let Some((id, queue)) = self.flush.pop() {
            if let Some(connection) = self.connections.get_mut(id)
                && connection.queued == Some(queue)
            {
                connection.queued = None;
                if connection.has_output() && !connection.blocked {
                    return Some(Output::Write { socket: connection.socket, connection: id });
                }
            }
        }
        None
    }

    /// Goes on with what was left when enough had been done for one turn. The shell calls this once
    /// in every turn; between turns [`Shard::poll_output`] goes on by itself when all else is done.
    pub fn carry_on(&mut self) {
        self.fanouts.begin_turn();
        self.deliver_and_settle();
    }

    /// Goes on, by a slice, with a publication to very many subscribers, then with what has come.
    fn deliver_and_settle(&mut self) {
        if !self.flush.is_pressed() {
            self.go_on_delivering();
        }
        self.settle();
    }

    /// Goes on with what had to wait until all sockets were offered what they had coming; whether
    /// anything was done.
    fn take_up(&mut self) -> bool {
        let arrived = self.lanes.has_arrived() || self.fanouts.is_active();
        self.deliver_and_settle();
        if self.paced.is_empty() || self.must_pace() {
            return arrived;
        }
        for key in std::mem::take(&mut self.paced) {
            self.resume_call(key);
        }
        self.settle();
        true
    }

    /// Whether what can wait for the next flush must.
    fn must_pace(&mut self) -> bool {
        self.flush.is_pressed() || self.lanes.is_filling()
    }

    /// What a connection has to send, in order.
    pub fn pending(&self, connection: ConnectionId) -> impl Iterator<Item = &[u8]> {
        self.connections.get(connection).into_iter().flat_map(Connection::chunks)
    }

    /// What the shard has counted.
    pub fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.len() as u64,
            topics: self.owned.heard() as u64,
            topics_kept: self.owned.count() as u64,
            history_bytes: self.owned.bytes() as u64,
            ..self.counters
        }
    }

    /// Drain, first step: commands of clients are not read any more; what is in hand goes on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Drain: no answer is awaited and nothing waits for a lane.
    pub fn is_quiet(&self) -> bool {
        self.requests.is_empty()
            && self.calls.is_empty()
            && self.lanes.is_empty()
            && !self.fanouts.is_active()
    }

    /// The shard that owns a topic.
    fn owner(&self, topic: &str) -> ShardIndex {
        let index = self.owners.hash_one(topic) % u64::from(self.place.count);
        ShardIndex(u16::try_from(index).unwrap_or(0))
    }

    /// Takes one message, of another shard or of this one.
    fn receive(&mut self, from: ShardIndex, message: Message) {
        match message {
            Message::Join { name, topic, request, wants } => {
                self.own_join(from, &name, topic, request, wants.as_deref());
            }
            Message::Part { name, topic } => self.own_part(from, &name, topic),
            Message::Leave { name, flow, info } => self.own_leave(&name, flow, &info),
            Message::Renew { name, info } => self.own_renew(&name, info),
            Message::Publish { publish, request } => self.own_publish(from, publish, request),
            Message::Ask { query, request } => self.answer_query(from, &query, request),
            Message::AskOwner { name, query, asker, request } => {
                self.own_query(from, &name, &query, asker, request);
            }
            Message::Check { name, topic } => self.own_check(from, &name, topic),
            Message::Attend { user, connection, request } => {
                self.own_attend(from, user, connection, request);
            }
            Message::Absent { user, connection } => self.own_absent(from, &user, connection),
            Message::Joined { request, outcome } => self.joined(request, outcome),
            Message::Published { request, outcome } => self.published(request, outcome),
            Message::Deliver { topic, publication } => self.deliver(topic, publication),
            Message::Told { request, told } => self.told(request, *told),
            Message::Checked { topic, position } => self.checked(topic, position),
            Message::Announce { topic, news, info } => self.deliver_news(topic, news, &info),
            Message::Found { request, found } => self.found(request, *found),
            Message::Attended { request, admitted } => self.attended(request, admitted),
            Message::Supersede { connection } => self.superseded(connection),
        }
    }

    /// Takes what has come, until nothing is left, the sockets must be served first, enough was
    /// delivered for one turn, or what comes next must wait for what is being delivered.
    fn settle(&mut self) {
        while !self.flush.is_pressed()
            && !self.fanouts.is_spent()
            && let Some(message) = self.lanes.first_arrived()
            && !self.must_wait(message)
            && let Some((from, message)) = self.lanes.pop_arrived()
        {
            self.receive(from, message);
        }
    }

    fn requests_full(&self) -> bool {
        self.requests.len() >= REQUESTS_MAX
    }

    /// Notes what an answer will be for.
    fn ask(&mut self, pending: Pending) -> Result<RequestId, Refusal> {
        if self.requests_full() {
            return Err(Refusal::Overloaded);
        }
        Ok(self.requests.insert(pending))
    }

    /// Keeps a place for the reply to a command that another shard must answer.
    fn reserve(&mut self, id: ConnectionId) -> Result<Ticket, Refusal> {
        if self.requests_full() {
            return Err(Refusal::Overloaded);
        }
        let connection = self.connections.get_mut(id);
        connection.and_then(Connection::reserve).ok_or(Refusal::Overloaded)
    }
}
