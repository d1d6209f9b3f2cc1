//! What was published in a topic, as far as it is kept: the newest publications, without gaps.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::fault::Refusal;
use crate::limits::PUBLICATION_COST_BYTES;
use crate::protocol::{Position, Publication, Range, Recovery, Since};
use crate::time::Time;

/// The publications that a topic keeps, ascending, and what goes with their being kept.
#[derive(Debug)]
pub(crate) struct History {
    publications: VecDeque<Arc<Publication>>,
    /// When the publications go.
    pub(super) expires: Time,
    /// When the position is forgotten, if nobody uses it before.
    pub(super) forgotten: Time,
    /// When the topic's timer fires; others are stale.
    pub(super) armed: Option<Time>,
    /// It stands in the list of those that can be forgotten when memory is short.
    pub(super) spare: bool,
    /// The last version that was published, and its epoch (specification, section 18).
    pub(super) version: Option<Box<(u64, String)>>,
}

/// How much one answer may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) publications_max: usize,
    /// Payloads and what belongs to them. One publication may be larger.
    pub(crate) bytes_max: usize,
}

/// What a publication costs in a history, in bytes.
pub(crate) fn cost(publication: &Publication) -> usize {
    publication.draft.bytes() + PUBLICATION_COST_BYTES
}

impl History {
    pub(crate) fn new(forgotten: Time) -> Self {
        Self {
            publications: VecDeque::new(),
            expires: forgotten,
            forgotten,
            armed: None,
            spare: false,
            version: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.publications.len()
    }

    /// When something of it goes.
    pub(super) fn due(&self) -> Time {
        if self.is_empty() { self.forgotten } else { self.expires.min(self.forgotten) }
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Publication>> {
        self.publications.back()
    }

    pub(crate) fn push(&mut self, publication: Arc<Publication>) {
        self.publications.push_back(publication);
    }

    /// Removes the oldest publication; what it cost.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let oldest = self.publications.pop_front()?;
        Some(cost(&oldest))
    }

    /// Whether this publication is the oldest kept.
    pub(crate) fn begins_with(&self, position: Position) -> bool {
        self.publications.front().is_some_and(|oldest| oldest.position == position)
    }

    /// Whether this publication is kept.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.publications.front().is_some_and(|oldest| {
            oldest.position.epoch == position.epoch && oldest.position.offset <= position.offset
        })
    }

    /// Removes everything; what it cost.
    pub(crate) fn clear(&mut self) -> usize {
        let publications = std::mem::take(&mut self.publications);
        publications.iter().map(|publication| cost(publication)).sum()
    }

    /// What lies behind an offset, ascending.
    fn after(
        &self,
        offset: u64,
    ) -> impl DoubleEndedIterator<Item = &Arc<Publication>> + ExactSizeIterator {
        let kept_before = self.publications.partition_point(|one| one.position.offset <= offset);
        self.publications.range(kept_before..)
    }

    fn before(&self, offset: u64) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        let kept_before = self.publications.partition_point(|one| one.position.offset < offset);
        self.publications.range(..kept_before)
    }

    /// Reads a part of it (specification, section 11). `top` is the topic's position.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unrecoverable`] for a position of another epoch, [`Refusal::BadRequest`] for what
    /// lies before the first publication.
    pub(crate) fn read(
        &self,
        range: &Range,
        top: Position,
        bounds: Bounds,
    ) -> Result<Vec<Arc<Publication>>, Refusal> {
        let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
        let bounds = Bounds { publications_max: bounds.publications_max.min(limit), ..bounds };
        let Some(since) = &range.since else {
            return Ok(if range.reverse {
                take(self.publications.iter().rev(), bounds)
            } else {
                take(self.publications.iter(), bounds)
            });
        };
        if !since.names(top.epoch) {
            return Err(Refusal::Unrecoverable);
        }
        if range.reverse {
            if since.offset == 0 {
                return Err(Refusal::BadRequest);
            }
            return Ok(take(self.before(since.offset).rev(), bounds));
        }
        Ok(take(self.after(since.offset), bounds))
    }

    /// All that came after a position, or nothing (section 11, stream recovery).
    pub(crate) fn recover(
        &self,
        since: &Since,
        top: Position,
        bounds: Bounds,
    ) -> (Recovery, Vec<Arc<Publication>>) {
        if !since.names(top.epoch) || since.offset > top.offset {
            return (Recovery::Failed, Vec::new());
        }
        let missed = top.offset - since.offset;
        if missed == 0 {
            return (Recovery::Done, Vec::new());
        }
        // Nothing is looked at that will not be told: clients ask for this as often as they like.
        let kept = self.after(since.offset);
        if kept.len() as u64 != missed || kept.len() > bounds.publications_max {
            return (Recovery::Failed, Vec::new());
        }
        let kept: Vec<_> = kept.cloned().collect();
        let bytes: usize = kept.iter().map(|publication| cost(publication)).sum();
        if bytes <= bounds.bytes_max {
            (Recovery::Done, kept)
        } else {
            (Recovery::Failed, Vec::new())
        }
    }

    /// The newest publication, if the position is not at it already (section 11, cache recovery).
    pub(crate) fn recover_newest(
        &self,
        since: &Since,
        top: Position,
    ) -> (Recovery, Vec<Arc<Publication>>) {
        let same =
            since.offset > 0 && since.offset == top.offset && since.epoch == top.epoch.as_str();
        match self.newest().filter(|newest| newest.position == top) {
            _ if same => (Recovery::Done, Vec::new()),
            Some(newest) => (Recovery::Done, vec![Arc::clone(newest)]),
            None => (Recovery::Failed, Vec::new()),
        }
    }
}

/// The first publications that fit the bounds, and one even if it does not.
fn take<'a>(
    publications: impl Iterator<Item = &'a Arc<Publication>>,
    bounds: Bounds,
) -> Vec<Arc<Publication>> {
    let mut bytes = 0;
    let fits = |publication: &&Arc<Publication>| {
        let first = bytes == 0;
        bytes += cost(publication);
        first || bytes <= bounds.bytes_max
    };
    publications.take(bounds.publications_max).take_while(fits).cloned().collect()
}
