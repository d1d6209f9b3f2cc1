//! What is known from outside: every publication with what its publisher was told, every
//! subscription with what its client saw, in the order of the simulation.
//!
//! Nothing in here asks the broker. A subscription runs from the client's reading of the reply to
//! its reading of the end; the broker's own idea of it is not looked at. What a topic must still
//! hold, and what it cannot, is in `past`.

use std::collections::BTreeMap;

use crate::members::Told;
use crate::message::{Info, Published};
use crate::past::Removal;
use crate::plan::Rules;
use crate::topics::Granted;
use crate::users;

/// Counts the events of a run; the order of everything.
pub(crate) type Tick = u64;

/// Which of the epochs that were ever named.
pub(crate) type Epoch = usize;

/// Longest line of a trace, in characters.
const TRACE_LINE_MAX: usize = 400;

/// A guarantee that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) text: String,
    pub(crate) client: Option<usize>,
    pub(crate) topic: Option<usize>,
}

/// Ends the run with a violation unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $client:expr, $topic:expr, $($text:tt)*) => {
        if !$condition {
            return Err(crate::model::Violation {
                text: format!($($text)*),
                client: $client,
                topic: $topic,
            });
        }
    };
}
pub(crate) use ensure;

/// Who published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Publisher {
    /// With its user.
    Client(usize, usize),
    Call(u64),
}

/// One publication of one topic.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: usize,
    pub(crate) publisher: Publisher,
    /// Its data, in bytes.
    pub(crate) bytes: usize,
    /// Its data is larger than the broker may accept.
    pub(crate) too_big: bool,
    /// Whether it takes an offset (`skip_history` and topics without history take none).
    pub(crate) placed: bool,
    pub(crate) sent: Tick,
    pub(crate) sent_ms: u64,
    pub(crate) acked: Option<Tick>,
    /// When it was first known to be published, in events and milliseconds.
    pub(crate) known: Option<(Tick, u64)>,
    pub(crate) refused: bool,
    pub(crate) offset: Option<u64>,
    pub(crate) epoch: Option<Epoch>,
    /// Whom its subscribers were told that it comes from.
    pub(crate) info: Option<Option<Info>>,
    /// Offset after which the ones without offset were seen.
    after: Option<u64>,
}

/// What one client saw of one topic between subscribe and unsubscribe.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) client: usize,
    pub(crate) topic: usize,
    pub(crate) granted: Granted,
    /// The subscribe was sent.
    pub(crate) asked: Tick,
    /// Its reply was read.
    pub(crate) begun: Tick,
    pub(crate) ended: Option<Tick>,
    /// Until when it lived for sure, where its client has ended it without being driven to.
    pub(crate) lived: Option<Tick>,
    /// A backend has ended it, whether the client knows already or not.
    pub(crate) must_end: bool,
    /// When the backend was told so. What is published later is not for this one.
    pub(crate) end_told: Option<Tick>,
    /// Publications that follow the order to end it within one call.
    pub(crate) barred: Vec<usize>,
    /// Publications in the order in which they were read.
    pub(crate) seen: Vec<usize>,
    /// The epoch, where it was told.
    pub(crate) epoch: Option<Epoch>,
    /// How far it has come, where it was told.
    pub(crate) last_offset: Option<u64>,
    /// Who joined (true) and left, as it was told.
    pub(crate) heard: Vec<(bool, Info)>,
}

impl Interval {
    /// Whether it surely lived at this time.
    pub(crate) fn lived_until(&self, tick: Tick) -> bool {
        self.ended.is_none() || self.lived.is_some_and(|lived| tick < lived)
    }
}

/// All that was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) publications: Vec<Publication>,
    pub(crate) intervals: Vec<Interval>,
    /// Publications by the label in their data and their topic: a broadcast bears one label.
    labels: BTreeMap<(u64, usize), usize>,
    epochs: BTreeMap<(usize, String), Epoch>,
    /// Publications by their places.
    pub(crate) places: BTreeMap<(Epoch, u64), usize>,
    /// When a topic with a history was used, first and last possible time in milliseconds.
    pub(crate) uses: BTreeMap<usize, Vec<(u64, u64)>>,
    pub(crate) removals: Vec<Removal>,
    /// Who was told to be present.
    pub(crate) told: Vec<Told>,
    /// Clients by the ids that the broker gave them, with their users.
    pub(crate) names: BTreeMap<String, (usize, usize)>,
    /// When each client asked to be subscribed to each topic.
    pub(crate) asks: BTreeMap<(usize, usize), Vec<Tick>>,
    tick: Tick,
    pub(crate) now_ms: u64,
    /// So much is published that some of it may be refused.
    pub(crate) overload: bool,
    /// How often things happened that should happen now and then.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What happened, in words, if the run is traced.
    pub(crate) trace: Option<Vec<String>>,
}

impl Model {
    pub(crate) fn new(traced: bool) -> Self {
        Self { trace: traced.then(Vec::new), ..Self::default() }
    }

    pub(crate) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// The event that happened last.
    pub(crate) fn now(&self) -> Tick {
        self.tick
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Writes a line of the trace. Clients are spelled `c3`, topics `"n1:t1"`.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let tick = self.tick;
        if let Some(trace) = &mut self.trace {
            let line = line().replace("\\\"", "\"");
            let short: String = line.chars().take(TRACE_LINE_MAX).collect();
            trace.push(format!("{tick:5}  {short}"));
        }
    }

    /// A label for the data of what is published next.
    pub(crate) fn next_label(&self) -> u64 {
        self.publications.len() as u64
    }

    /// Something is handed in to be published; its number.
    pub(crate) fn publish(
        &mut self,
        label: u64,
        topic: usize,
        publisher: Publisher,
        placed: bool,
        data: &str,
        rules: &Rules,
    ) -> usize {
        let number = self.publications.len();
        self.labels.insert((label, topic), number);
        let user = match publisher {
            Publisher::Client(_, user) => users::name(user),
            Publisher::Call(_) => "",
        };
        let sent = self.tick();
        self.publications.push(Publication {
            topic,
            publisher,
            bytes: data.len(),
            too_big: rules.too_big(data, user),
            placed: placed && rules.keeps(topic),
            sent,
            sent_ms: self.now_ms,
            acked: None,
            known: None,
            refused: false,
            offset: None,
            epoch: None,
            info: None,
            after: None,
        });
        number
    }

    /// The publisher was told that it was published.
    pub(crate) fn acked(&mut self, number: usize) -> Result<(), Violation> {
        let tick = self.tick();
        let publication = &mut self.publications[number];
        let topic = Some(publication.topic);
        ensure!(!publication.too_big, None, topic, "{number} is too big, but was published");
        publication.acked = Some(tick);
        if publication.placed {
            let used = (publication.sent_ms, self.now_ms);
            self.uses.entry(self.publications[number].topic).or_default().push(used);
        }
        self.know(number);
        Ok(())
    }

    /// It is certain that this was published.
    fn know(&mut self, number: usize) {
        self.publications[number].known.get_or_insert((self.tick, self.now_ms));
    }

    /// The publisher was told that it was not published. Whether 103 is right is the caller's to
    /// say.
    pub(crate) fn refused(&mut self, number: usize, code: u64) -> Result<(), Violation> {
        let publication = &mut self.publications[number];
        let topic = Some(publication.topic);
        let seen = publication.info.is_some();
        ensure!(!seen, None, topic, "{number} was refused ({code}), but a client has seen it");
        let justified = match code {
            103 => true,
            107 => publication.too_big,
            _ => code == 111 && self.overload,
        };
        ensure!(justified, None, topic, "{number} was refused with {code}");
        publication.refused = true;
        Ok(())
    }

    /// The number of an epoch that was named.
    pub(crate) fn epoch(&mut self, topic: usize, epoch: &str) -> Epoch {
        let next = self.epochs.len();
        *self.epochs.entry((topic, epoch.to_owned())).or_insert(next)
    }

    /// Somebody was told the place of a publication.
    pub(crate) fn place(
        &mut self,
        number: usize,
        offset: u64,
        epoch: Option<Epoch>,
    ) -> Result<(), Violation> {
        let publication = &mut self.publications[number];
        let topic = Some(publication.topic);
        let before = *publication.offset.get_or_insert(offset);
        ensure!(before == offset, None, topic, "{number} has offset {before} and {offset}");
        if let Some(epoch) = epoch {
            let before = *publication.epoch.get_or_insert(epoch);
            ensure!(before == epoch, None, topic, "{number} is of two epochs");
            let other = *self.places.entry((epoch, offset)).or_insert(number);
            ensure!(other == number, None, topic, "{other} and {number} both have {offset}");
        }
        Ok(())
    }

    /// A client reads that it is subscribed no more, or is gone.
    pub(crate) fn end(&mut self, interval: usize) {
        let tick = self.tick();
        self.intervals[interval].ended = Some(tick);
    }

    /// A publication as somebody reads it, in whatever way: its number.
    pub(crate) fn read(
        &mut self,
        by: Option<usize>,
        topic: usize,
        read: &Published,
    ) -> Result<usize, Violation> {
        let of = Some(topic);
        let found = self.labels.get(&(read.data.n, topic)).copied();
        ensure!(found.is_some(), by, of, "nobody published {} here", read.data.n);
        let number = found.unwrap_or_default();
        let publication = &mut self.publications[number];
        let (published, bytes) = (publication.bytes, read.data.bytes());
        ensure!(bytes == published, by, of, "{number} has {bytes} bytes instead of {published}");
        ensure!(!publication.refused, by, of, "{number} was refused, but delivered");
        let info = publication.info.get_or_insert_with(|| read.info.clone());
        ensure!(*info == read.info, by, of, "{number} comes from {info:?} and {:?}", read.info);
        let placed = publication.placed == read.offset.is_some();
        ensure!(placed, by, of, "{number} was delivered with offset {:?}", read.offset);
        self.know(number);
        Ok(number)
    }

    /// A client reads a publication within a subscription, unasked.
    pub(crate) fn seen(&mut self, interval: usize, read: &Published) -> Result<usize, Violation> {
        self.tick();
        let Interval { client, topic, asked, last_offset, epoch, .. } = self.intervals[interval];
        let (by, of) = (Some(client), Some(topic));
        let number = self.read(by, topic, read)?;
        let twice = self.intervals[interval].seen.contains(&number);
        ensure!(!twice, by, of, "{number} was delivered twice");
        let publication = &mut self.publications[number];
        let early = publication.acked.is_some_and(|acked| acked < asked);
        ensure!(!early, by, of, "{number} was acknowledged before the subscribe was sent");
        let Interval { end_told, barred, .. } = &self.intervals[interval];
        let late = end_told.is_some_and(|told| publication.sent > told) || barred.contains(&number);
        ensure!(!late, by, of, "{number} was published after the subscription was ended");
        match (read.offset, last_offset) {
            (Some(offset), Some(last)) => {
                ensure!(offset == last + 1, by, of, "offset {offset} follows {last}");
            }
            (None, Some(last)) => {
                let after = *publication.after.get_or_insert(last);
                ensure!(after == last, by, of, "{number} stands after {after} and after {last}");
            }
            (_, None) => {}
        }
        if let Some(offset) = read.offset {
            let named = (offset == 1) == read.epoch.is_some();
            ensure!(named, by, of, "offset {offset} comes with epoch {:?}", read.epoch);
            let told = read.epoch.as_ref().map(|told| self.epoch(topic, told));
            let agreed = told.is_none() || epoch.is_none() || told == epoch;
            ensure!(agreed, by, of, "the epoch has changed while it was subscribed");
            self.intervals[interval].epoch = epoch.or(told);
            self.intervals[interval].last_offset = Some(offset);
            self.place(number, offset, epoch.or(told))?;
        }
        self.intervals[interval].seen.push(number);
        Ok(number)
    }
}
