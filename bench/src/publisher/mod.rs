//! The publisher: sends what the schedule asks for, when it asks for it, and notes what becomes of
//! it. One thread sends; one thread per connection reads the answers, so that a slow answer
//! never delays the next publication.

pub(crate) mod answers;
pub(crate) mod halves;
pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod schedule;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::frames;
use crate::client::line::Wrapping;
use crate::client::target::Target;
use crate::client::tls::Tls;
use crate::clock::{now_ns, sleep_until};
use crate::dialect::{Dialect, Need, Settings, Topic};
use crate::error::{BenchError, ClientError};
use crate::histogram::TimeHistogram;
use crate::payload::{BACKEND, PayloadMaker, Stamp};
use crate::procfs::CpuTime;
use crate::publisher::answers::Answers;
use crate::publisher::halves::Writer;
use crate::publisher::schedule::Schedule;
use crate::timeline::Timeline;

/// Publications written at once when several are due.
const BATCH_MAX: usize = 512;
/// The server must accept bytes again after so long, or the run ends.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The server must answer the handshake within this.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the answers are looked at while they are waited for.
const TICK: Duration = Duration::from_millis(10);

/// What to publish, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: Target,
    /// What is spoken there: the dialect's HTTP API if the settings ask for it, or a client.
    pub(crate) settings: Settings,
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
    dialect: Arc<dyn Dialect>,
    wrapping: Wrapping,
    /// The buffers in which a publication is made.
    payload: Vec<u8>,
    message: Vec<u8>,
    links: Vec<Link>,
    answers: Arc<Answers>,
    is_stopped: Arc<AtomicBool>,
}

/// Ends the publishing of a publisher before its schedule does.
#[derive(Clone, Debug)]
pub(crate) struct Stopper(Arc<AtomicBool>);

/// One connection, the bytes about to be written on it, and the thread that reads from it.
#[derive(Debug)]
struct Link {
    writer: Arc<Mutex<Writer>>,
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
    /// The same by time, of the measured part.
    pub(crate) timeline: Timeline,
    /// CPU time of this thread; 100 is one core.
    pub(crate) cpu_percent: f64,
}

impl Publisher {
    /// Connects, and sees that it may publish.
    ///
    /// # Errors
    /// `Publish` when the server cannot be reached or refuses the client or the key, and see
    /// [`Tls::new`].
    pub(crate) fn open(plan: Plan) -> Result<Self, BenchError> {
        let dialect: Arc<dyn Dialect> = Arc::from(plan.settings.dialect());
        if dialect.http().is_none() {
            let needs = [Need::ClientsPublish];
            dialect.capabilities().require(plan.settings.protocol, &needs)?;
        }
        let wrapping = Wrapping::new(plan.target.transport, dialect.as_ref());
        let answers = Arc::new(Answers::new(plan.schedule));
        let tls = Tls::new(&plan.target)?;
        let links: Result<_, _> = (0..plan.connections)
            .map(|index| open_link(&plan, tls.as_ref(), &dialect, index, &answers))
            .collect();
        let links = links.map_err(BenchError::Publish)?;
        let (payload, message) = (Vec::new(), Vec::new());
        let is_stopped = Arc::default();
        Ok(Self { plan, dialect, wrapping, payload, message, links, answers, is_stopped })
    }

    /// Ends a run whose length nobody knows when it begins.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.is_stopped))
    }

    /// Publishes everything, or until it is stopped; the first publication is due at `start_ns`.
    /// The measured part begins at `measure_from_ns`.
    ///
    /// # Errors
    /// `Publish` when a connection fails or takes no bytes for 30 s.
    pub(crate) fn run(&mut self, start_ns: u64, measure_from_ns: u64) -> Result<Sent, BenchError> {
        // Without this the kernel may wake a sleeper 50 µs late; failing is no harm but that.
        let _ = nix::sys::prctl::set_timerslack(1);
        let schedule = self.plan.schedule;
        let mut lag = TimeHistogram::new()?;
        let mut timeline = Timeline::idle();
        timeline.start(measure_from_ns);
        let mut next = 0;
        sleep_until(start_ns);
        let (cpu_from, from_ns) = (CpuTime::of_this_thread(), now_ns());
        while next < schedule.count() && !self.is_stopped.load(Ordering::Relaxed) {
            sleep_until(schedule.due_ns(start_ns, next));
            let now_ns = now_ns();
            for _ in 0..BATCH_MAX {
                let due_ns = schedule.due_ns(start_ns, next);
                if next >= schedule.count() || due_ns > now_ns {
                    break;
                }
                lag.record(now_ns - due_ns);
                timeline.record(due_ns, now_ns);
                self.append(next, due_ns);
                next += 1;
            }
            self.write().map_err(BenchError::Publish)?;
        }
        let spent_ns = CpuTime::of_this_thread().since(&cpu_from);
        let cpu_percent = 100.0 * spent_ns as f64 / (now_ns() - from_ns).max(1) as f64;
        Ok(Sent { count: next, lag, timeline, cpu_percent })
    }

    /// When it publishes what.
    pub(crate) fn schedule(&self) -> Schedule {
        self.plan.schedule
    }

    /// Waits until every one of `sent` publications is answered, or none was for `limit`.
    pub(crate) fn wait_for_answers(&self, sent: u64, limit: Duration) {
        self.wait(limit, || self.answers.count(), |answered| answered >= sent);
    }

    /// Closes all connections and returns the answers. A client takes its leave and reads on until
    /// the server has closed, or said nothing for `limit`: a connection dropped with something
    /// unread is reset, and what the server has not read by then is lost.
    ///
    /// # Errors
    /// `Publish` when a connection had failed before.
    pub(crate) fn close(self, limit: Duration) -> Result<Arc<Answers>, BenchError> {
        self.answers.end();
        if self.dialect.http().is_none() {
            self.links.iter().for_each(|link| link.take_leave(&self.wrapping));
            self.wait(limit, || self.answers.heard_count(), |_| false);
        }
        for link in self.links {
            link.writer().shut_down();
            let outcome = link.reader.join().map_err(|_| BenchError::PublisherLost)?;
            outcome.map_err(BenchError::Publish)?;
        }
        Ok(self.answers)
    }

    fn append(&mut self, publication: u64, intended_ns: u64) {
        let Self { plan, dialect, wrapping, payload, message, links, answers, .. } = self;
        let (topic, sequence) = plan.schedule.place(publication);
        let Some(link) = links.get_mut((topic % plan.connections) as usize) else { return };
        let stamp = Stamp { run: plan.run, topic, publisher: BACKEND, sequence, intended_ns };
        payload.clear();
        plan.payload.append(stamp, payload);
        let name = format!("{}{topic}", plan.topic_prefix);
        let topic = Topic { name: &name, index: topic };
        if let Some(api) = dialect.http() {
            return api.append_publish(&plan.target, topic, payload, &mut link.batch);
        }
        message.clear();
        dialect.append_publish(link::request_of(publication), topic, payload, message);
        wrapping.append(message, &mut link.batch);
        if !dialect.capabilities().answers_publications {
            answers.accept();
        }
    }

    fn write(&mut self) -> Result<(), ClientError> {
        for link in self.links.iter_mut().filter(|link| !link.batch.is_empty()) {
            link.writer().send(&link.batch)?;
            link.batch.clear();
        }
        Ok(())
    }

    /// Waits until `is_enough` of what `progress` counts, it has stood still for `limit`, or all
    /// connections have ended.
    fn wait(&self, limit: Duration, progress: impl Fn() -> u64, is_enough: impl Fn(u64) -> bool) {
        let (mut seen, mut quiet) = (progress(), Duration::ZERO);
        while !is_enough(seen) && quiet < limit && !self.has_lost_all_links() {
            thread::sleep(TICK);
            let count = progress();
            quiet = if count == seen { quiet + TICK } else { Duration::ZERO };
            seen = count;
        }
    }

    fn has_lost_all_links(&self) -> bool {
        self.links.iter().all(|link| link.reader.is_finished())
    }
}

impl Link {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the server that nothing more comes. Who is gone need not be told.
    fn take_leave(&self, wrapping: &Wrapping) {
        let mut writer = self.writer();
        if wrapping.is_websocket() {
            let mut close = Vec::new();
            frames::append_close(&mut close);
            let _ = writer.send(&close);
        } else {
            let _ = writer.end();
        }
    }
}

impl Stopper {
    /// What is due after this is not published.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open_link(
    plan: &Plan,
    tls: Option<&Tls>,
    dialect: &Arc<dyn Dialect>,
    index: u32,
    answers: &Arc<Answers>,
) -> Result<Link, ClientError> {
    let stream = TcpStream::connect(plan.target.address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(JOIN_TIMEOUT))?;
    let (mut reader, mut writer) = halves::open(stream, tls)?;
    let halves = (&mut reader, &mut writer);
    let ear = match dialect.http() {
        Some(api) => http::check(halves, &plan.target, api).map(|()| None)?,
        None => Some(link::join(halves, &plan.target, dialect.as_ref())?),
    };
    writer.set_read_timeout(None)?;
    let writer = Arc::new(Mutex::new(writer));
    let (answers, dialect) = (Arc::clone(answers), Arc::clone(dialect));
    let thread = match ear {
        None => {
            let (schedule, connections) = (plan.schedule, plan.connections);
            let publications = (0..schedule.count())
                .filter(move |&publication| schedule.place(publication).0 % connections == index);
            thread::spawn(move || match dialect.http() {
                Some(api) => http::read_answers(reader, publications, api, &answers),
                None => Ok(()),
            })
        }
        Some(ear) => {
            let pongs = Arc::clone(&writer);
            let wrapping = Wrapping::new(plan.target.transport, dialect.as_ref());
            thread::spawn(move || {
                link::read_answers(reader, ear, wrapping, dialect.as_ref(), &pongs, &answers)
            })
        }
    };
    Ok(Link { writer, batch: Vec::new(), reader: thread })
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
