//! A broker just large enough to be measured: connect, subscribe, unsubscribe, publish, a ping for
//! everybody, the HTTP publish call, and one fault on request. A thread per connection, nothing is
//! fast.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The API key it accepts.
pub(crate) const API_KEY: &str = "open-sesame";
/// The publication, counted from 0 over all topics, that is refused or not answered.
const FAULTY_PUBLICATION: u64 = 3;
/// A delivery fault strikes, once, a subscriber who has heard so many publications.
const HEARD_BEFORE: u64 = 2;

/// What it does wrong, to the first subscriber of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// One delivery is lost.
    Lose,
    /// One delivery comes twice.
    Duplicate,
    /// One delivery comes after the next one.
    Reorder,
    /// A subscriber is thrown out.
    Disconnect,
    /// One publication is refused.
    Refuse,
    /// Every publication is refused.
    RefuseAll,
    /// One publication is delivered, but never answered.
    Mute,
    /// Every subscription is refused.
    RefuseSubscriptions,
    /// Every subscription is answered after its first publication.
    Hasty,
    /// Every end of a subscription is answered and ignored.
    Clinging,
    /// What a topic's returning subscribers have missed is gone.
    Forget,
    /// The last publication before what returning subscribers have missed comes again.
    RecoverTwice,
}

type Writer = Arc<Mutex<TcpStream>>;

/// A running broker; its threads end with the test.
pub(crate) struct TinyServer {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct Topic {
    /// Each with the number of publications that it has heard.
    subscribers: Vec<(Writer, u64)>,
    /// All publications; the first has offset 1.
    history: Vec<Value>,
}

struct State {
    fault: Fault,
    topics: Mutex<BTreeMap<String, Topic>>,
    has_struck: AtomicBool,
    /// Answers to subscriptions that wait for a publication on their topic.
    late_answers: Mutex<Vec<(String, Writer, String)>>,
    /// A delivery that waits for the next one to overtake it.
    held: Mutex<Option<(Writer, String)>>,
    publications: AtomicU64,
    pongs: AtomicU64,
}

impl TinyServer {
    /// Starts a broker with this fault on a free port of 127.0.0.1.
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            topics: Mutex::default(),
            has_struck: AtomicBool::new(false),
            late_answers: Mutex::default(),
            held: Mutex::default(),
            publications: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    #[allow(dead_code, reason = "not every test looks for it")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its WebSocket address.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/connection/websocket", self.address)
    }

    /// Answers to its pings.
    pub(crate) fn pongs(&self) -> u64 {
        self.state.pongs.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, state: &Arc<State>) {
    stream.set_nodelay(true).unwrap();
    let mut first = [0_u8; 1];
    if stream.peek(&mut first).unwrap_or(0) == 0 {
        return;
    }
    if first == *b"P" { serve_api(stream, state) } else { serve_client(stream, state) }
}

fn serve_client(stream: TcpStream, state: &Arc<State>) {
    let writer = Arc::new(Mutex::new(stream.try_clone().unwrap()));
    let mut socket = tungstenite::accept(stream).unwrap();
    while let Ok(message) = socket.read() {
        let Ok(text) = message.to_text() else { continue };
        for reply in text.lines().filter_map(|line| answer(line, &writer, state)) {
            send(&writer, &reply);
        }
    }
}

/// The reply to one command. A ping follows each subscription.
fn answer(line: &str, writer: &Writer, state: &State) -> Option<String> {
    let command: Value = serde_json::from_str(line).unwrap();
    let id = &command["id"];
    if line == "{}" {
        state.pongs.fetch_add(1, Ordering::SeqCst);
        return None;
    }
    if command.get("connect").is_some() {
        return Some(
            json!({"id": id, "connect": {"client": "c", "version": "tiny 1"}}).to_string(),
        );
    }
    if let Some(subscribe) = command.get("subscribe") {
        if state.fault == Fault::RefuseSubscriptions {
            let error = json!({"code": 103, "message": "permission denied"});
            return Some(json!({"id": id, "error": error}).to_string());
        }
        state.subscribe(id, subscribe, writer);
        return None;
    }
    if let Some(unsubscribe) = command.get("unsubscribe") {
        let mut topics = state.topics.lock().unwrap();
        let topic = topics.get_mut(unsubscribe["channel"].as_str().unwrap()).unwrap();
        if state.fault != Fault::Clinging {
            topic.subscribers.retain(|(other, _)| !Arc::ptr_eq(other, writer));
        }
        return Some(json!({"id": id, "unsubscribe": {}}).to_string());
    }
    for question in ["history", "presence"] {
        if command.get(question).is_some() {
            return Some(json!({"id": id, question: {}}).to_string());
        }
    }
    match state.publish(&command["publish"])? {
        Ok(()) => Some(json!({"id": id, "publish": {}}).to_string()),
        Err(error) => Some(json!({"id": id, "error": error}).to_string()),
    }
}

fn serve_api(stream: TcpStream, state: &State) {
    let mut writer = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    while let Some((path, key, body)) = read_request(&mut lines) {
        let (status, answer) = if key != API_KEY {
            ("401 Unauthorized", String::new())
        } else if path == "/api/publish" {
            match state.publish(&serde_json::from_slice(&body).unwrap()) {
                None => continue,
                Some(Ok(())) => ("200 OK", json!({"result": {}}).to_string()),
                Some(Err(error)) => ("200 OK", json!({"error": error}).to_string()),
            }
        } else {
            ("200 OK", json!({"result": {"nodes": []}}).to_string())
        };
        let length = answer.len();
        write!(writer, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{answer}").unwrap();
    }
}

/// Path, API key and body of the next request.
fn read_request(lines: &mut impl BufRead) -> Option<(String, String, Vec<u8>)> {
    let mut next = || {
        let mut line = String::new();
        let count = lines.read_line(&mut line).unwrap_or(0);
        (count > 0).then(|| line.trim_end().to_owned())
    };
    let path = next()?.split(' ').nth(1)?.to_owned();
    let (mut key, mut length) = (String::new(), 0);
    while let Some((name, value)) = next()?.split_once(": ") {
        match name.to_ascii_lowercase().as_str() {
            "x-api-key" => key = value.to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some((path, key, body))
}

impl State {
    /// Answers while nothing is published, so that nothing comes before what was missed.
    fn subscribe(&self, id: &Value, request: &Value, writer: &Writer) {
        let mut topics = self.topics.lock().unwrap();
        let topic = topics.entry(request["channel"].as_str().unwrap().to_owned()).or_default();
        let mut result = json!({"epoch": "e", "offset": topic.history.len()});
        if request["recover"] == true {
            let heard = usize::try_from(request["offset"].as_u64().unwrap()).unwrap();
            let again = usize::from(self.fault == Fault::RecoverTwice);
            let heard = heard.saturating_sub(again);
            result["was_recovering"] = true.into();
            if self.fault != Fault::Forget {
                result["recovered"] = true.into();
                result["publications"] = topic.history[heard..].into();
            }
        }
        topic.subscribers.push((Arc::clone(writer), 0));
        let reply = format!("{}\n{{}}", json!({"id": id, "subscribe": result}));
        if self.fault == Fault::Hasty {
            let name = request["channel"].as_str().unwrap().to_owned();
            self.late_answers.lock().unwrap().push((name, Arc::clone(writer), reply));
        } else {
            send(writer, &reply);
        }
    }

    /// What the publisher is told; `None` = nothing.
    fn publish(&self, request: &Value) -> Option<Result<(), Value>> {
        let topic = request["channel"].as_str().unwrap();
        let publication = self.publications.fetch_add(1, Ordering::SeqCst);
        let is_struck = publication == FAULTY_PUBLICATION;
        if self.fault == Fault::RefuseAll || is_struck && self.fault == Fault::Refuse {
            return Some(Err(json!({"code": 111, "message": "too many requests"})));
        }
        let name = topic;
        let mut topics = self.topics.lock().unwrap();
        let topic = topics.entry(name.to_owned()).or_default();
        let publication = json!({"data": request["data"], "offset": topic.history.len() + 1});
        let push = json!({"push": {"channel": name, "pub": publication}});
        topic.history.push(publication);
        for (index, (writer, heard)) in topic.subscribers.iter_mut().enumerate() {
            *heard += 1;
            let may_strike = index == 0 && *heard > HEARD_BEFORE;
            let strikes = may_strike && !self.has_struck.swap(true, Ordering::SeqCst);
            let fault = if strikes { self.fault } else { Fault::None };
            self.deliver(writer, push.to_string(), fault);
        }
        let mut late = self.late_answers.lock().unwrap();
        for (_, writer, reply) in late.extract_if(.., |(waiting, ..)| waiting == name) {
            send(&writer, &reply);
        }
        (!(is_struck && self.fault == Fault::Mute)).then_some(Ok(()))
    }

    fn deliver(&self, writer: &Writer, push: String, fault: Fault) {
        match fault {
            Fault::Lose => return,
            Fault::Disconnect => drop(writer.lock().unwrap().shutdown(Shutdown::Both)),
            Fault::Duplicate => send(writer, &push),
            Fault::Reorder => {
                *self.held.lock().unwrap() = Some((Arc::clone(writer), push));
                return;
            }
            Fault::None
            | Fault::Refuse
            | Fault::RefuseAll
            | Fault::RefuseSubscriptions
            | Fault::Forget
            | Fault::RecoverTwice
            | Fault::Hasty
            | Fault::Clinging
            | Fault::Mute => {}
        }
        send(writer, &push);
        let mut held = self.held.lock().unwrap();
        if let Some((_, push)) = held.take_if(|(waiting, _)| Arc::ptr_eq(waiting, writer)) {
            send(writer, &push);
        }
    }
}

/// Sends one text frame; a subscriber that is gone does not matter.
fn send(writer: &Writer, text: &str) {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let mut frame = Vec::new();
    header.format(text.len() as u64, &mut frame).unwrap();
    frame.extend_from_slice(text.as_bytes());
    let _ = writer.lock().unwrap().write_all(&frame);
}
