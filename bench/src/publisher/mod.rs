//! The publisher: sends what the schedule asks for, when it asks for it, and notes what becomes of
//! it. One thread sends; one thread per connection reads the answers, so that a slow answer
//! never delays the next publication.

pub(crate) mod answers;
pub(crate) mod encode;
pub(crate) mod http;
pub(crate) mod schedule;
pub(crate) mod websocket;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::target::Target;
use crate::clock::{now_ns, sleep_until};
use crate::error::{BenchError, ClientError};
use crate::histogram::TimeHistogram;
use crate::payload::{PayloadMaker, Stamp};
use crate::publisher::answers::Answers;
use crate::publisher::encode::Encoder;
use crate::publisher::schedule::Schedule;

/// Publications written at once when several are due.
const BATCH_MAX: usize = 512;
/// The server must accept bytes again after so long, or the run ends.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The server must answer the handshake within this.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the answers are looked at while they are waited for.
const TICK: Duration = Duration::from_millis(10);

/// What to publish, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: Target,
    /// Over HTTP with this key, or over WebSocket.
    pub(crate) api_key: Option<String>,
    /// Number of the run, which its messages carry.
    pub(crate) run: u32,
    /// When, and on which topics.
    pub(crate) schedule: Schedule,
    /// Names of the topics: this, followed by their index.
    pub(crate) topic_prefix: String,
    /// Makes the data.
    pub(crate) payload: PayloadMaker,
    /// Connections to publish over; topic t takes connection t mod `connections`, so that the
    /// publications of one topic stay in order.
    pub(crate) connections: u32,
}

/// An open publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    plan: Plan,
    encoder: Encoder,
    links: Vec<Link>,
    answers: Arc<Answers>,
}

/// One connection, the bytes about to be written on it, and the thread that reads from it.
#[derive(Debug)]
struct Link {
    writer: Arc<Mutex<TcpStream>>,
    batch: Vec<u8>,
    reader: JoinHandle<Result<(), ClientError>>,
}

/// What was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Publications.
    pub(crate) count: u64,
    /// How much later than intended.
    pub(crate) lag: TimeHistogram,
}

impl Publisher {
    /// Connects, and sees that it may publish.
    ///
    /// # Errors
    /// `Publish` when the server cannot be reached or refuses the client or the key.
    pub(crate) fn open(plan: Plan) -> Result<Self, BenchError> {
        let encoder = Encoder::new(&plan.target, plan.api_key.as_deref(), &plan.topic_prefix);
        let answers = Arc::new(Answers::new(plan.schedule));
        let links: Result<_, _> =
            (0..plan.connections).map(|index| open_link(&plan, index, &answers)).collect();
        let links = links.map_err(BenchError::Publish)?;
        Ok(Self { plan, encoder, links, answers })
    }

    /// Publishes everything; the first publication is due at `start_ns`.
    ///
    /// # Errors
    /// `Publish` when a connection fails or takes no bytes for 30 s.
    pub(crate) fn run(&mut self, start_ns: u64) -> Result<Sent, BenchError> {
        // Without this the kernel may wake a sleeper 50 µs late; failing is no harm but that.
        let _ = nix::sys::prctl::set_timerslack(1);
        let schedule = self.plan.schedule;
        let mut lag = TimeHistogram::new()?;
        let mut next = 0;
        while next < schedule.count() {
            sleep_until(schedule.due_ns(start_ns, next));
            let now_ns = now_ns();
            for _ in 0..BATCH_MAX {
                let due_ns = schedule.due_ns(start_ns, next);
                if next >= schedule.count() || due_ns > now_ns {
                    break;
                }
                lag.record(now_ns - due_ns);
                self.append(next, due_ns);
                next += 1;
            }
            self.write().map_err(BenchError::Publish)?;
        }
        Ok(Sent { count: next, lag })
    }

    /// Waits until every one of `sent` publications is answered, or none was for `limit`.
    pub(crate) fn wait_for_answers(&self, sent: u64, limit: Duration) {
        let (mut seen, mut quiet) = (self.answers.count(), Duration::ZERO);
        while seen < sent && quiet < limit && !self.has_lost_all_links() {
            thread::sleep(TICK);
            let count = self.answers.count();
            quiet = if count == seen { quiet + TICK } else { Duration::ZERO };
            seen = count;
        }
    }

    /// Closes all connections and returns the answers.
    ///
    /// # Errors
    /// `Publish` when a connection had failed before.
    pub(crate) fn close(self) -> Result<Arc<Answers>, BenchError> {
        self.answers.end();
        for link in self.links {
            // Already closed is as good.
            let writer = link.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writer.shutdown(Shutdown::Both);
            drop(writer);
            let outcome = link.reader.join().map_err(|_| BenchError::PublisherLost)?;
            outcome.map_err(BenchError::Publish)?;
        }
        Ok(self.answers)
    }

    fn append(&mut self, publication: u64, intended_ns: u64) {
        let (topic, sequence) = self.plan.schedule.place(publication);
        let stamp = Stamp { run: self.plan.run, topic, sequence, intended_ns };
        let payload = &self.plan.payload;
        if let Some(link) = self.links.get_mut((topic % self.plan.connections) as usize) {
            let data = |body: &mut Vec<u8>| payload.append(stamp, body);
            self.encoder.append(publication, topic, data, &mut link.batch);
        }
    }

    fn write(&mut self) -> Result<(), ClientError> {
        for link in self.links.iter_mut().filter(|link| !link.batch.is_empty()) {
            link.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&link.batch)?;
            link.batch.clear();
        }
        Ok(())
    }

    fn has_lost_all_links(&self) -> bool {
        self.links.iter().all(|link| link.reader.is_finished())
    }
}

fn open_link(plan: &Plan, index: u32, answers: &Arc<Answers>) -> Result<Link, ClientError> {
    let mut stream = TcpStream::connect(plan.target.address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(JOIN_TIMEOUT))?;
    let inbox = match &plan.api_key {
        Some(key) => http::check(&mut stream, &plan.target, key).map(|()| None)?,
        None => Some(websocket::join(&mut stream, &plan.target)?),
    };
    stream.set_read_timeout(None)?;
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let answers = Arc::clone(answers);
    let reader = match inbox {
        None => {
            let (schedule, connections) = (plan.schedule, plan.connections);
            let publications = (0..schedule.count())
                .filter(move |&publication| schedule.place(publication).0 % connections == index);
            thread::spawn(move || http::read_answers(stream, publications, &answers))
        }
        Some(inbox) => {
            let writer = Arc::clone(&writer);
            thread::spawn(move || websocket::read_answers(stream, inbox, &writer, &answers))
        }
    };
    Ok(Link { writer, batch: Vec::new(), reader })
}
