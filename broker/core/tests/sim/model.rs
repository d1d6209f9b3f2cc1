//! What is known from outside: every publication with what its publisher was told, every
//! subscription with what its client saw, in the order of the simulation.
//!
//! Nothing in here asks the broker. A subscription runs from the client's reading of the reply to
//! its reading of the end; the broker's own idea of it is not looked at.

use std::collections::BTreeMap;

/// Counts the events of a run; the order of everything.
pub(crate) type Tick = u64;

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
    Client(usize),
    Call(u64),
}

/// One publication of one topic.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: usize,
    pub(crate) publisher: Publisher,
    /// Its data is larger than the broker may accept.
    pub(crate) too_big: bool,
    /// Whether it takes an offset (`skip_history` takes none).
    pub(crate) placed: bool,
    pub(crate) sent: Tick,
    pub(crate) acked: Option<Tick>,
    pub(crate) refused: bool,
    pub(crate) offset: Option<u64>,
    pub(crate) epoch: Option<String>,
    /// Which client its subscribers were told it comes from.
    pub(crate) info: Option<Option<String>>,
    /// Offset after which the ones without offset were seen.
    after: Option<u64>,
}

/// What one client saw of one topic between subscribe and unsubscribe.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) client: usize,
    pub(crate) topic: usize,
    /// The subscribe was sent.
    pub(crate) asked: Tick,
    /// Its reply was read.
    pub(crate) begun: Tick,
    pub(crate) ended: Option<Tick>,
    /// A backend has ended it, whether the client knows already or not.
    pub(crate) must_end: bool,
    /// When the backend was told so. What is published later is not for this one.
    pub(crate) end_told: Option<Tick>,
    /// Publications that follow the order to end it within one call.
    pub(crate) barred: Vec<usize>,
    /// Publications in the order in which they were read.
    pub(crate) seen: Vec<usize>,
    pub(crate) last_offset: Option<u64>,
}

/// A publication as a client read it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) label: u64,
    pub(crate) offset: Option<u64>,
    pub(crate) epoch: Option<String>,
    pub(crate) info: Option<String>,
}

/// All that was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) publications: Vec<Publication>,
    pub(crate) intervals: Vec<Interval>,
    /// Publications by the label in their data and their topic: a broadcast bears one label.
    labels: BTreeMap<(u64, usize), usize>,
    tick: Tick,
    /// So much is published that some of it may be refused.
    pub(crate) overload: bool,
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

    /// Writes a line of the trace. Clients are spelled `c3`, topics `t1`.
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
        too_big: bool,
    ) -> usize {
        let number = self.publications.len();
        self.labels.insert((label, topic), number);
        let sent = self.tick();
        self.publications.push(Publication {
            topic,
            publisher,
            too_big,
            placed,
            sent,
            acked: None,
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
        Ok(())
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

    /// Somebody was told the place of a publication.
    pub(crate) fn place(
        &mut self,
        number: usize,
        offset: u64,
        epoch: Option<String>,
    ) -> Result<(), Violation> {
        let publication = &mut self.publications[number];
        let topic = Some(publication.topic);
        let before = *publication.offset.get_or_insert(offset);
        ensure!(before == offset, None, topic, "{number} has offset {before} and {offset}");
        if let Some(epoch) = epoch {
            let before = publication.epoch.get_or_insert_with(|| epoch.clone());
            ensure!(*before == epoch, None, topic, "{number} has epoch {before} and {epoch}");
        }
        Ok(())
    }

    /// A client reads that it is subscribed.
    pub(crate) fn begin(
        &mut self,
        client: usize,
        topic: usize,
        asked: Tick,
        must_end: bool,
    ) -> usize {
        let begun = self.tick();
        self.intervals.push(Interval {
            client,
            topic,
            asked,
            begun,
            ended: None,
            must_end,
            end_told: None,
            barred: Vec::new(),
            seen: Vec::new(),
            last_offset: None,
        });
        self.intervals.len() - 1
    }

    /// A client reads that it is subscribed no more, or is gone.
    pub(crate) fn end(&mut self, interval: usize) {
        let tick = self.tick();
        self.intervals[interval].ended = Some(tick);
    }

    /// A client reads a publication within a subscription.
    pub(crate) fn seen(&mut self, interval: usize, seen: Seen) -> Result<(), Violation> {
        self.tick();
        let Interval { client, topic, asked, last_offset, .. } = self.intervals[interval];
        let (by, of) = (Some(client), Some(topic));
        let number = self.labels.get(&(seen.label, topic)).copied();
        ensure!(number.is_some(), by, of, "nobody published {} here", seen.label);
        let number = number.unwrap_or_default();
        let twice = self.intervals[interval].seen.contains(&number);
        ensure!(!twice, by, of, "{number} was delivered twice");
        let publication = &mut self.publications[number];
        ensure!(!publication.refused, by, of, "{number} was refused, but delivered");
        let early = publication.acked.is_some_and(|acked| acked < asked);
        ensure!(!early, by, of, "{number} was acknowledged before the subscribe was sent");
        let Interval { end_told, barred, .. } = &self.intervals[interval];
        let late = end_told.is_some_and(|told| publication.sent > told) || barred.contains(&number);
        ensure!(!late, by, of, "{number} was published after the subscription was ended");
        let info = publication.info.get_or_insert_with(|| seen.info.clone());
        ensure!(*info == seen.info, by, of, "{number} comes from {info:?} and {:?}", seen.info);
        let placed = publication.placed == seen.offset.is_some();
        ensure!(placed, by, of, "{number} was delivered with offset {:?}", seen.offset);
        match (seen.offset, last_offset) {
            (Some(offset), Some(last)) => {
                ensure!(offset == last + 1, by, of, "offset {offset} follows {last}");
            }
            (None, Some(last)) => {
                let after = *publication.after.get_or_insert(last);
                ensure!(after == last, by, of, "{number} stands after {after} and after {last}");
            }
            (_, None) => {}
        }
        if let Some(offset) = seen.offset {
            let named = (offset == 1) == seen.epoch.is_some();
            ensure!(named, by, of, "offset {offset} comes with epoch {:?}", seen.epoch);
            self.intervals[interval].last_offset = Some(offset);
            self.place(number, offset, seen.epoch)?;
        }
        self.intervals[interval].seen.push(number);
        Ok(())
    }
}
