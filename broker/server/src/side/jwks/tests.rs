//! The thread against a small HTTP server that says what it is told to. Whoever waits here waits
//! for something to happen; the limit only ends a test that has failed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
/// Soon, but not so soon that a test is a storm.
const SOON: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_hours(1);

/// One answer of the server, in its order; the last one is repeated.
#[derive(Clone)]
enum Answer {
    Set(String),
    Status(&'static str),
    /// The connection stays open, and nothing comes.
    Silence,
    /// The connection is closed without an answer.
    Nothing,
    /// Headers, a piece, and then nothing more.
    Half,
}

struct Server {
    url: Uri,
    /// One for each request.
    requests: Receiver<()>,
}

fn serve(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks?secret=hidden", listener.local_addr().unwrap());
    let (asked, requests) = flume::unbounded();
    thread::spawn(move || {
        let mut kept = Vec::new();
        let last = answers.last().cloned();
        let mut answers =
            answers.into_iter().chain(std::iter::repeat_with(|| last.clone().unwrap()));
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(answer) = answers.next() else { return };
            if asked.send(()).is_err() {
                return;
            }
            // A client that gives up is what some of the tests are about.
            if respond(&mut stream, &answer).is_ok()
                && matches!(answer, Answer::Silence | Answer::Half)
            {
                kept.push(stream);
            }
        }
    });
    Server { url: url.parse().unwrap(), requests }
}

fn respond(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match answer {
        Answer::Set(body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
        }
        Answer::Status(status) => write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"),
        Answer::Half => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{{"),
        Answer::Silence | Answer::Nothing => Ok(()),
    }
}

/// A set of so many keys.
fn set(count: usize) -> Answer {
    let keys: Vec<_> = (0..count).map(|index| jwk(&index.to_string())).collect();
    Answer::Set(format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

fn jwk(kid: &str) -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}"#)
}

fn source(server: &Server) -> KeySource {
    let jwks = JwksSource { url: server.url.clone(), refresh_interval: NEVER };
    let keys = KeySet::default().awaiting_jwks();
    KeySource { keys, jwks: Some(jwks), ..KeySource::default() }
}

/// The thread, and what it publishes.
struct Watched {
    demand: KeyDemand,
    published: Receiver<Arc<Keys>>,
}

fn watch(config: &TokenConfig, refresh: Duration, timeout: Duration) -> Watched {
    let pace = move |_: &JwksSource| Pace {
        refresh,
        demand_gap: Duration::ZERO,
        retry_min: SOON,
        retry_max: SOON,
    };
    let (sender, published) = flume::unbounded();
    let publish = move |keys| sender.send(keys).unwrap_or_default();
    Watched { demand: start_at(config, pace, timeout, publish).unwrap(), published }
}

fn watch_one(server: &Server, refresh: Duration) -> Watched {
    let config = TokenConfig { connection: source(server), subscription: None };
    watch(&config, refresh, LIMIT)
}

impl Watched {
    /// How many fetched keys the next publication has.
    #[track_caller]
    fn next(&self) -> String {
        fetched(self.published.recv_timeout(LIMIT).unwrap().connection())
    }
}

fn fetched(keys: &KeySet) -> String {
    let shown = format!("{keys:?}");
    shown.split("fetched: ").nth(1).unwrap().trim_end_matches(" }").to_owned()
}

#[test]
fn keys_come_and_go_as_the_source_has_them() {
    let server = serve(vec![set(1), set(3), set(2), set(0)]);
    let watched = watch_one(&server, SOON);
    for count in ["Some(1)", "Some(3)", "Some(2)", "Some(0)"] {
        assert_eq!(watched.next(), count);
    }
}

#[test]
fn a_set_that_is_the_same_is_published_too_so_that_a_missing_key_can_be_given_up() {
    let server = serve(vec![set(1), set(1), set(2)]);
    let watched = watch_one(&server, SOON);
    for count in ["Some(1)", "Some(1)", "Some(2)"] {
        assert_eq!(watched.next(), count);
    }
}

#[test]
fn whatever_goes_wrong_the_last_good_set_stays_and_the_next_one_is_found() {
    let garbage = |text: &str| Answer::Set(text.to_owned());
    let large = format!(r#"{{"keys":[]}}{}"#, " ".repeat(1024 * 1024));
    let trouble = [
        Answer::Nothing,
        Answer::Status("500 Oops"),
        Answer::Status("404 Not Found"),
        Answer::Status("204 No Content"),
        garbage(""),
        garbage("<html>"),
        garbage(r#"{"keys":{}}"#),
        garbage(&large),
        Answer::Silence,
        Answer::Half,
    ];
    // Good answers come several times, for on a busy machine one may come too late.
    let mut answers = trouble.to_vec();
    answers.extend(vec![set(1); 5]);
    answers.extend(trouble);
    answers.push(set(2));
    let requests = answers.len();
    let server = serve(answers);
    let config = TokenConfig { connection: source(&server), subscription: None };
    let watched = watch(&config, SOON, Duration::from_millis(500));
    assert_eq!(watched.next(), "Some(1)");
    let next = std::iter::repeat_with(|| watched.next()).find(|found| found != "Some(1)");
    assert_eq!(next.as_deref(), Some("Some(2)"));
    assert!(server.requests.try_iter().count() >= requests);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = serve(vec![set(2)]);
    let location = format!("302 Found\r\nlocation: {}", elsewhere.url);
    let server = serve(vec![Answer::Status(location.leak()), set(1)]);
    assert_eq!(watch_one(&server, SOON).next(), "Some(1)");
    assert!(elsewhere.requests.is_empty());
}

#[test]
fn a_demand_brings_the_keys_before_the_interval_is_over() {
    let server = serve(vec![set(1), set(2)]);
    let watched = watch_one(&server, NEVER);
    assert_eq!(watched.next(), "Some(1)");
    watched.demand.ask();
    assert_eq!(watched.next(), "Some(2)");
}

#[test]
fn many_demands_at_a_time_are_one() {
    let demands = flume::bounded(1);
    let demand = KeyDemand(demands.0);
    (0..100).for_each(|_| demand.clone().ask());
    assert_eq!(demands.1.len(), 1);
}

#[test]
fn subscription_tokens_have_keys_from_a_source_of_their_own() {
    let (one, other) = (serve(vec![set(1)]), serve(vec![set(2)]));
    let config = TokenConfig { connection: source(&one), subscription: Some(source(&other)) };
    assert_eq!(fetched(config.keys().subscription()), "Some(0)");
    let watched = watch(&config, NEVER, LIMIT);
    let keys = watched.published.recv_timeout(LIMIT).unwrap();
    assert_eq!(fetched(keys.connection()), "Some(1)");
    assert_eq!(fetched(keys.subscription()), "Some(2)");
}

#[test]
fn where_nothing_is_to_be_fetched_there_is_no_thread_and_a_demand_does_nothing() {
    let (sender, published) = flume::unbounded();
    let demand = start(&TokenConfig::default(), move |keys| sender.send(keys).unwrap()).unwrap();
    // The callback is gone already.
    assert!(published.is_disconnected());
    demand.ask();
}

#[test]
fn the_thread_ends_with_the_last_that_could_ask() {
    let server = serve(vec![set(1)]);
    let Watched { demand, published } = watch_one(&server, NEVER);
    published.recv_timeout(LIMIT).unwrap();
    drop(demand);
    assert_eq!(published.recv_timeout(LIMIT).err(), Some(RecvTimeoutError::Disconnected));
}
