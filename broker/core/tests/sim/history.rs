//! Questions for a history: what is told must be a part of the past as it was asked for, without
//! gaps, and all that must still be there.

use crate::message::History;
use crate::model::{Model, Tick, Violation, ensure};
use crate::past::Moment;
use crate::plan::Rules;
use crate::topics::Since;

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedHistory {
    pub(crate) topic: usize,
    pub(crate) limit: i32,
    pub(crate) since: Option<Since>,
    pub(crate) reverse: bool,
    /// A client asks, so that its bounds count.
    pub(crate) bounded: bool,
    pub(crate) sent: Tick,
    pub(crate) sent_ms: u64,
}

impl AskedHistory {
    /// As client and backend spell it, without the braces.
    pub(crate) fn spell(&self, name: &str) -> String {
        let AskedHistory { limit, since, reverse, .. } = self;
        let since = since.as_ref().map_or(String::new(), |since| {
            format!(r#","since":{{"epoch":"{}","offset":{}}}"#, since.epoch, since.offset)
        });
        format!(r#""channel":"{name}","limit":{limit},"reverse":{reverse}{since}"#)
    }
}

impl Model {
    /// The answer to a question for a history.
    pub(crate) fn history_told(
        &mut self,
        by: Option<usize>,
        asked: &AskedHistory,
        told: &History,
        rules: &Rules,
    ) -> Result<(), Violation> {
        self.tick();
        self.count("history told");
        let of = Some(asked.topic);
        let AskedHistory { topic, reverse, sent, sent_ms, .. } = *asked;
        self.uses.entry(topic).or_default().push((sent_ms, self.now_ms));
        let epoch = self.epoch(topic, &told.epoch);
        let top = told.offset;
        let mut offsets = Vec::with_capacity(told.publications.len());
        for published in &told.publications {
            let number = self.read(by, topic, published)?;
            let offset = published.offset.unwrap_or(0);
            self.place(number, offset, Some(epoch))?;
            offsets.push(offset);
        }
        if reverse {
            offsets.reverse();
        }
        let gap = offsets.iter().zip(offsets.iter().skip(1)).any(|(one, next)| one + 1 != *next);
        ensure!(!gap, by, of, "a history with gaps: {offsets:?}");
        let region = match &asked.since {
            None => (1, top),
            Some(since) if reverse => (1, top.min(since.offset.saturating_sub(1))),
            Some(since) => (since.offset.saturating_add(1), top),
        };
        let named = asked
            .since
            .as_ref()
            .is_none_or(|since| since.epoch.is_empty() || self.epoch(topic, &since.epoch) == epoch);
        ensure!(named, by, of, "the history of another epoch");
        let moment = Moment { topic, epoch, top, asked: sent, asked_ms: sent_ms };
        if let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) {
            let within = region.0 <= first && last <= region.1;
            ensure!(within, by, of, "{first} to {last} where {region:?} was asked for");
            let gone = self.surely_gone(rules, &moment, first);
            ensure!(!gone, by, of, "{first} was told, but cannot be kept any more");
            self.count("publications told");
        }
        self.history_complete(by, asked, &offsets, region, &moment, rules)
    }

    fn history_complete(
        &self,
        by: Option<usize>,
        asked: &AskedHistory,
        offsets: &[u64],
        region: (u64, u64),
        moment: &Moment,
        rules: &Rules,
    ) -> Result<(), Violation> {
        let of = Some(asked.topic);
        let limit = u64::try_from(asked.limit).unwrap_or(u64::MAX);
        let limit = if asked.bounded { limit.min(rules.history_max) } else { limit };
        let count = offsets.len() as u64;
        ensure!(count <= limit, by, of, "{count} publications where {limit} were asked for");
        // The oldest in the region of which it is certain that it is kept.
        let mut oldest = region.1 + 1;
        while oldest > region.0 && !self.may_be_gone(rules, moment, oldest - 1) {
            oldest -= 1;
        }
        if oldest > region.1 || limit == 0 {
            return Ok(());
        }
        let (first, last) = match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => {
                ensure!(false, by, of, "nothing was told, although {oldest} must be there");
                return Ok(());
            }
        };
        if asked.reverse {
            ensure!(last == region.1, by, of, "{last} is the newest instead of {}", region.1);
        } else {
            ensure!(first <= oldest, by, of, "{first} is the oldest instead of {oldest}");
        }
        let full = count == limit || asked.bounded && rules.small_outbox;
        let whole = first <= oldest && last == region.1;
        ensure!(whole || full, by, of, "{first} to {last} instead of {oldest} to {}", region.1);
        Ok(())
    }

    /// A question for a history was refused.
    pub(crate) fn history_refused(
        &mut self,
        by: Option<usize>,
        asked: &AskedHistory,
        code: u64,
        rules: &Rules,
    ) -> Result<(), Violation> {
        let of = Some(asked.topic);
        let topic = &rules.topics[asked.topic];
        let since = asked.since.as_ref();
        let justified = match code {
            111 => asked.bounded && rules.small_outbox,
            108 => !topic.keeps(),
            103 => asked.bounded && !topic.options.allow_history_for_client,
            107 => asked.reverse && since.is_some_and(|since| since.offset == 0),
            112 => since.is_some_and(|since| {
                let forgotten = |ms| self.may_be_forgotten(rules, asked.topic, ms);
                !since.epoch.is_empty() && since.held_ms.is_none_or(forgotten)
            }),
            _ => false,
        };
        ensure!(justified, by, of, "a question for a history was refused with {code}");
        Ok(())
    }
}
