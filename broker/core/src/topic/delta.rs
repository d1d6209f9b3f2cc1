//! Fossil deltas: what a publication differs in from its predecessor (specification, section 12).
//!
//! Most publications differ in one place, so what both ends have in common is taken off first. What
//! remains between is looked up in the base by blocks. Every position is looked at once, every
//! block has a bounded number of candidates, and every match that is taken pays for the bytes that
//! were compared to find it: the work stays linear, whatever a publisher sends.
//!
//! Called once per publication, topic and kind of boundaries, never per subscriber.

use std::cmp::Reverse;
use std::iter::successors;

/// Bytes that must be equal before a match is looked at.
const BLOCK_BYTES: usize = 16;

/// Places in the base that are tried per position. More find longer matches in texts that repeat
/// themselves; this bounds the work for texts that do nothing else.
const CANDIDATES_MAX: usize = 8;

/// Continuation bytes that a UTF-8 character has at most (RFC 3629, section 3).
const CONTINUATION_BYTES_MAX: usize = 3;

/// What a copy in the middle may cost beside its own text: the insert around it becomes two.
const SPLIT_COST_BYTES: usize = 2;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// Where a patch may cut its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boundaries {
    /// Anywhere.
    Bytes,
    /// Between characters only: the patch of a UTF-8 target is UTF-8, so it fits a JSON string.
    Utf8,
}

/// The patch that makes `target` of `base`; `None` where it would not be smaller than the target.
pub(crate) fn delta(base: &[u8], target: &[u8], boundaries: Boundaries) -> Option<Vec<u8>> {
    // The format counts in 32 bits.
    u32::try_from(base.len().max(target.len())).ok()?;
    let mut patch = Patch::new(target, boundaries);

    let bytes = common_prefix(base, target);
    patch.copy(Match { start: 0, source: 0, bytes });

    let bytes = common_suffix(base, target.get(patch.done..)?);
    let tail = Match { start: target.len() - bytes, source: base.len() - bytes, bytes };
    let end = if tail.pays() { tail.start } else { target.len() };

    patch.middle(base, end);
    patch.copy(tail);
    patch.finish()
}

/// A stretch of the target that stands in the base, too.
#[derive(Clone, Copy, Debug)]
struct Match {
    /// Where it begins in the target.
    start: usize,
    /// Where it begins in the base.
    source: usize,
    /// Its length.
    bytes: usize,
}

impl Match {
    const fn end(self) -> usize {
        self.start + self.bytes
    }

    /// Without what it has of characters that are not wholly in it.
    fn within(self, target: &[u8], boundaries: Boundaries) -> Self {
        if boundaries == Boundaries::Bytes {
            return self;
        }
        let inside = |at: &usize| target.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
        // A target that is not UTF-8 may go on inside a character for long. It needs no care, but
        // it must not eat up the match.
        let cut = (self.start..self.end()).take(CONTINUATION_BYTES_MAX).take_while(inside).count();
        let (start, source, bytes) = (self.start + cut, self.source + cut, self.bytes - cut);
        let ends = (start + 1..=start + bytes).rev().take(CONTINUATION_BYTES_MAX);
        Self { start, source, bytes: bytes - ends.take_while(inside).count() }
    }

    /// Whether to copy it makes the patch smaller than to insert it.
    fn pays(self) -> bool {
        self.bytes > digits(self.bytes) + digits(self.source) + 2 + SPLIT_COST_BYTES
    }
}

/// A patch that is being written.
struct Patch<'a> {
    target: &'a [u8],
    boundaries: Boundaries,
    /// How much of the target it makes already.
    done: usize,
    /// Where the last copy ended in the base.
    source: usize,
    text: Vec<u8>,
}

impl<'a> Patch<'a> {
    fn new(target: &'a [u8], boundaries: Boundaries) -> Self {
        let mut text = Vec::with_capacity(64);
        append_number(&mut text, target.len());
        text.push(b'\n');
        Self { target, boundaries, done: 0, source: 0, text }
    }

    /// Makes the target up to `end`, but for a rest that is to be inserted.
    fn middle(&mut self, base: &[u8], end: usize) {
        if end.saturating_sub(self.done) < BLOCK_BYTES {
            return;
        }
        let Some(target) = self.target.get(..end) else {
            return;
        };
        let blocks = Blocks::of(base);
        let mut at = self.done;
        while let Some(block) = target.get(at..).and_then(<[u8]>::first_chunk) {
            // After a change that keeps the length, the base goes on where it would have.
            let same_line = self.source + (at - self.done);
            let best = std::iter::once(same_line)
                .chain(blocks.candidates(block))
                .filter_map(|source| self.extended(base, target, at, source))
                .min_by_key(|found| Reverse(found.bytes));
            at = match best {
                Some(found) if self.copy(found) => self.done,
                _ => at + 1,
            };
        }
    }

    /// The match around two places, into what is not made yet; `None` = they have no block in
    /// common.
    fn extended(&self, base: &[u8], target: &[u8], at: usize, source: usize) -> Option<Match> {
        let (before, from) = base.split_at_checked(source)?;
        let forwards = common_prefix(from, target.get(at..)?);
        if forwards < BLOCK_BYTES {
            return None;
        }
        let backwards = common_suffix(before, target.get(self.done..at)?);
        Some(Match {
            start: at - backwards,
            source: source - backwards,
            bytes: backwards + forwards,
        })
    }

    /// Inserts what stands before a match, and copies the match; whether that pays.
    fn copy(&mut self, found: Match) -> bool {
        let found = found.within(self.target, self.boundaries);
        if !found.pays() {
            return false;
        }
        self.insert(found.start);
        append_number(&mut self.text, found.bytes);
        self.text.push(b'@');
        append_number(&mut self.text, found.source);
        self.text.push(b',');
        self.done = found.end();
        self.source = found.source + found.bytes;
        true
    }

    /// Inserts the target up to `end`.
    fn insert(&mut self, end: usize) {
        if let Some(fresh) = self.target.get(self.done..end).filter(|fresh| !fresh.is_empty()) {
            append_number(&mut self.text, fresh.len());
            self.text.push(b':');
            self.text.extend_from_slice(fresh);
            self.done = end;
        }
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        self.insert(self.target.len());
        append_number(&mut self.text, checksum(self.target) as usize);
        self.text.push(b';');
        (self.text.len() < self.target.len()).then_some(self.text)
    }
}

/// Where in a base its blocks are, by what is in them. Takes about as much memory as the base.
///
/// Blocks are hashed afresh at each position: two multiplications are no dearer than to roll a sum
/// on, and scatter far better.
struct Blocks {
    /// The first block of each hash, counted from 1; 0 = none.
    heads: Vec<u32>,
    /// The next block of the same hash, likewise.
    next: Vec<u32>,
}

impl Blocks {
    fn of(base: &[u8]) -> Self {
        let (blocks, _) = base.as_chunks::<BLOCK_BYTES>();
        // Half of them empty: most positions of what is new need no second look.
        let heads = vec![0; 2 * blocks.len().next_power_of_two()];
        let mut found = Self { heads, next: vec![0; blocks.len()] };
        // Backwards, so that the first of equal blocks, with most of the base after it, is first.
        for ((index, block), next) in blocks.iter().enumerate().zip(&mut found.next).rev() {
            let slot = slot(block, found.heads.len());
            if let Some(head) = found.heads.get_mut(slot) {
                *next = std::mem::replace(head, index as u32 + 1);
            }
        }
        found
    }

    /// Places where the block may stand.
    fn candidates(&self, block: &[u8; BLOCK_BYTES]) -> impl Iterator<Item = usize> {
        let place = |number: u32| (number as usize).checked_sub(1);
        let head = self.heads.get(slot(block, self.heads.len())).copied();
        let after = move |index: &usize| self.next.get(*index).copied().and_then(place);
        successors(head.and_then(place), after)
            .take(CANDIDATES_MAX)
            .map(|index| index * BLOCK_BYTES)
    }
}

/// The place of a block in a table of `slots`, a power of two.
fn slot(block: &[u8; BLOCK_BYTES], slots: usize) -> usize {
    let word = u128::from_le_bytes(*block);
    let (low, high) = (word as u64, (word >> 64) as u64);
    let mixed = low.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ high;
    let hash = mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32;
    hash as usize & (slots - 1)
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.as_chunks::<BLOCK_BYTES>().0.iter().zip(other.as_chunks().0);
    let bytes = blocks.take_while(|(one, other)| one == other).count() * BLOCK_BYTES;
    let rest = one.iter().skip(bytes).zip(other.iter().skip(bytes));
    bytes + rest.take_while(|(one, other)| one == other).count()
}

fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let blocks =
        one.as_rchunks::<BLOCK_BYTES>().1.iter().rev().zip(other.as_rchunks().1.iter().rev());
    let bytes = blocks.take_while(|(one, other)| one == other).count() * BLOCK_BYTES;
    let rest = one.iter().rev().skip(bytes).zip(other.iter().rev().skip(bytes));
    bytes + rest.take_while(|(one, other)| one == other).count()
}

/// The sum of the 32-bit big-endian words, the last one filled up with zeros.
fn checksum(target: &[u8]) -> u32 {
    let (words, rest) = target.as_chunks::<4>();
    let sum = words.iter().fold(0_u32, |sum, word| sum.wrapping_add(u32::from_be_bytes(*word)));
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum.wrapping_add(u32::from_be_bytes(last))
}

/// How many digits a number has.
fn digits(number: usize) -> usize {
    (number.checked_ilog2().unwrap_or(0) / 6 + 1) as usize
}

/// Appends a number to base 64, highest digit first.
fn append_number(out: &mut Vec<u8>, number: usize) {
    for place in (0..digits(number)).rev() {
        out.extend(DIGITS.get(number >> (6 * place) & 63));
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    const BOTH: [Boundaries; 2] = [Boundaries::Bytes, Boundaries::Utf8];

    /// One operation of a patch.
    #[derive(Debug, PartialEq)]
    enum Step {
        Copy { bytes: usize, source: usize },
        Insert(Vec<u8>),
    }

    fn number(patch: &[u8], at: &mut usize) -> usize {
        let mut value = 0;
        while let Some(digit) = DIGITS.iter().position(|digit| *digit == patch[*at]) {
            value = value * 64 + digit;
            *at += 1;
        }
        value
    }

    /// Length of the target, steps and checksum of a patch.
    fn read(patch: &[u8]) -> (usize, Vec<Step>, usize) {
        let mut at = 0;
        let bytes = number(patch, &mut at);
        assert_eq!(patch[at], b'\n');
        at += 1;
        let mut steps = Vec::new();
        loop {
            let count = number(patch, &mut at);
            let operator = patch[at];
            at += 1;
            match operator {
                b'@' => {
                    let source = number(patch, &mut at);
                    assert_eq!(patch[at], b',');
                    at += 1;
                    steps.push(Step::Copy { bytes: count, source });
                }
                b':' => {
                    steps.push(Step::Insert(patch[at..at + count].to_vec()));
                    at += count;
                }
                b';' => {
                    assert_eq!(at, patch.len());
                    return (bytes, steps, count);
                }
                other => panic!("operator {other}"),
            }
        }
    }

    fn apply(base: &[u8], patch: &[u8]) -> Vec<u8> {
        let (bytes, steps, sum) = read(patch);
        let mut target = Vec::new();
        for step in steps {
            match step {
                Step::Copy { bytes, source } => {
                    target.extend_from_slice(&base[source..source + bytes]);
                }
                Step::Insert(text) => target.extend_from_slice(&text),
            }
        }
        assert_eq!(target.len(), bytes);
        let sums = target.iter().enumerate().map(|(at, byte)| {
            let place = 3 - at % 4;
            u64::from(*byte) << (8 * place)
        });
        assert_eq!(sum as u64, sums.sum::<u64>() % (1 << 32));
        target
    }

    /// The patch, if there is one, makes the target, is smaller and is text where it must be.
    #[track_caller]
    fn check(base: &[u8], target: &[u8]) -> [Option<Vec<u8>>; 2] {
        BOTH.map(|boundaries| {
            let patch = delta(base, target, boundaries)?;
            assert!(patch.len() < target.len());
            assert_eq!(apply(base, &patch), target);
            if boundaries == Boundaries::Utf8 && str::from_utf8(target).is_ok() {
                assert!(str::from_utf8(&patch).is_ok(), "{}", String::from_utf8_lossy(&patch));
            }
            Some(patch)
        })
    }

    fn random_text(random: &mut StdRng, alphabet: &[char], chars_max: usize) -> Vec<char> {
        let chars = random.random_range(0..=chars_max);
        (0..chars).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect()
    }

    /// Inserts, removes, replaces or moves a few stretches.
    fn edit<T: Clone>(random: &mut StdRng, base: &[T], fresh: impl Fn(&mut StdRng) -> T) -> Vec<T> {
        let mut target = base.to_vec();
        for _ in 0..random.random_range(0..5) {
            let at = random.random_range(0..=target.len());
            let end = (at + random.random_range(0..20)).min(target.len());
            let removed: Vec<T> = target.drain(at..end).collect();
            let text = match random.random_range(0..3) {
                0 => Vec::new(),
                1 => (0..random.random_range(1..9)).map(|_| fresh(random)).collect(),
                _ => removed,
            };
            let at = random.random_range(0..=target.len());
            target.splice(at..at, text);
        }
        target
    }

    #[test]
    fn the_example_of_the_specification_comes_out_byte_for_byte() {
        let text =
            r#"{"text": "the quick brown fox jumps over the lazy dog and keeps running", "n": 0}"#;
        let target = text.replace('0', "1");
        for boundaries in BOTH {
            let patch = delta(text.as_bytes(), target.as_bytes(), boundaries);
            assert_eq!(patch.unwrap(), b"1H\n1F@0,2:1}2PmtRu;");
        }
    }

    #[test]
    fn an_equal_target_is_one_copy() {
        let text = [b'x'; 100];
        let [patch, _] = check(&text, &text);
        assert_eq!(read(&patch.unwrap()).1, [Step::Copy { bytes: 100, source: 0 }]);
    }

    #[test]
    fn two_changes_leave_what_stands_between_them_to_be_copied() {
        let base = r#"{"a":1,"text":"words that stay as they are, and more of them","b":1}"#;
        for (one, other) in [("2", "3"), ("200", "3"), ("", "34")] {
            let target = base.replace("\"a\":1", &format!("\"a\":{one}"));
            let target = target.replace("\"b\":1", &format!("\"b\":{other}"));
            for patch in check(base.as_bytes(), target.as_bytes()) {
                let steps = read(&patch.unwrap()).1;
                let copied = |step: &&Step| matches!(step, Step::Copy { bytes, .. } if *bytes > 50);
                assert_eq!(steps.iter().filter(copied).count(), 1, "{steps:?}");
            }
        }
        let base = format!("{0}1{0}", "words that stay, and here are many of them; ").repeat(2);
        let target = base.replace('1', "2");
        for patch in check(base.as_bytes(), target.as_bytes()) {
            let steps = read(&patch.unwrap()).1;
            assert!(matches!(
                steps.as_slice(),
                [
                    Step::Copy { .. },
                    Step::Insert(_),
                    Step::Copy { .. },
                    Step::Insert(_),
                    Step::Copy { .. }
                ]
            ));
        }
    }

    #[test]
    fn what_moved_is_found_at_any_offset() {
        let mut random = StdRng::seed_from_u64(1);
        let base: Vec<u8> = (0..4000).map(|_| random.random()).collect();
        for from in [1000, 1001, 1007, 1015] {
            let target = [&base[from..from + 500], &base[..500]].concat();
            let [patch, _] = check(&base, &target);
            assert!(patch.unwrap().len() < 40);
        }
    }

    #[test]
    fn random_bytes_round_trip() {
        let mut random = StdRng::seed_from_u64(2);
        let mut patches = 0;
        for _ in 0..3000 {
            let values = random.random_range(1..=255);
            let bytes = random.random_range(0..400);
            let base: Vec<u8> = (0..bytes).map(|_| random.random_range(0..=values)).collect();
            let target = edit(&mut random, &base, |random| random.random_range(0..=values));
            patches += check(&base, &target).iter().flatten().count();
            let bytes = random.random_range(0..400);
            let other: Vec<u8> = (0..bytes).map(|_| random.random_range(0..=values)).collect();
            check(&base, &other);
        }
        assert!(patches > 3000, "{patches}");
    }

    #[test]
    fn text_is_never_cut_inside_a_character() {
        let alphabets: [&[char]; 5] = [
            &['a', 'ä', 'ö', 'ü', 'ß'],
            &['中', '丮', '丯', '文', '字'],
            &['😀', '😁', '🙀', '👍'],
            &['a', 'ä', '中', '😀', '"', '\\', '\n'],
            &['\u{7ff}', '\u{800}', '\u{fff}', '\u{1000}', '\u{10ffff}'],
        ];
        let mut random = StdRng::seed_from_u64(3);
        let mut apart = 0;
        for alphabet in alphabets.into_iter().cycle().take(4000) {
            let fresh = |random: &mut StdRng| alphabet[random.random_range(0..alphabet.len())];
            let base = random_text(&mut random, alphabet, 150);
            let target: String = edit(&mut random, &base, fresh).iter().collect();
            let base: String = base.iter().collect();
            let [bytes, text] = check(base.as_bytes(), target.as_bytes());
            apart += usize::from(bytes != text);
        }
        assert!(apart > 1000, "boundaries hardly mattered: {apart}");
    }

    #[test]
    fn neighbours_that_share_leading_bytes_are_replaced_whole() {
        for (one, other) in [('ä', 'ö'), ('中', '丮'), ('😀', '😁')] {
            let base = format!("{}{one}{}", "text before ".repeat(5), " text after".repeat(5));
            let target = base.replace(one, &other.to_string());
            let [_, patch] = check(base.as_bytes(), target.as_bytes());
            let inserted = Step::Insert(other.to_string().into_bytes());
            assert!(read(&patch.unwrap()).1.contains(&inserted), "{other}");
        }
    }

    #[test]
    fn a_target_that_is_not_text_is_no_reason_to_fail() {
        let base = [0x80; 300];
        let target = [&base[..], b"x", &base[..]].concat();
        let [bytes, text] = check(&base, &target);
        assert!(bytes.unwrap().len() < 40 && text.unwrap().len() < 60);
    }

    #[test]
    fn there_is_no_patch_where_it_would_not_be_smaller() {
        for (base, target) in [
            ("", ""),
            ("", "a text that is long enough to be worth a patch, if there were a base"),
            ("a text that is removed", ""),
            ("short", "short"),
            ("abcdefghijklmnop", "qrstuvwxyzABCDEF"),
        ] {
            assert_eq!(check(base.as_bytes(), target.as_bytes()), [None, None], "{target}");
        }
    }

    #[test]
    fn texts_that_repeat_themselves_stay_small_and_cheap() {
        let long = 1 << 17;
        let rows = |edge: &str| format!("0123456789abcde{edge}").repeat(long / 16);
        let texts = [
            "a".repeat(long),
            "ab".repeat(long / 2) + "c",
            format!("{}b{}", "a".repeat(long / 2), "a".repeat(long / 2)),
            rows("x"),
            rows("y"),
            rows("xy"),
        ];
        // Quadratic work would take minutes here.
        for base in &texts {
            for target in &texts {
                check(base.as_bytes(), target.as_bytes());
            }
        }
        let [patch, _] = check(texts[0].as_bytes(), texts[2].as_bytes());
        assert!(patch.unwrap().len() < 40);
    }

    #[test]
    fn a_block_that_the_base_is_full_of_is_tried_in_few_places() {
        let block = [b'a'; BLOCK_BYTES];
        let places: Vec<usize> = Blocks::of(&block.repeat(1000)).candidates(&block).collect();
        let first: Vec<usize> = (0..CANDIDATES_MAX).map(|index| index * BLOCK_BYTES).collect();
        assert_eq!(places, first);
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_need() {
        for (value, text) in
            [(0, "0"), (63, "~"), (64, "10"), (4095, "~~"), (0xFFFF_FFFF, "3~~~~~")]
        {
            let mut out = Vec::new();
            append_number(&mut out, value);
            assert_eq!(out, text.as_bytes());
            assert_eq!(digits(value), text.len());
        }
    }
}
