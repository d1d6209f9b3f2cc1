//! Filters over tags: which publications a subscription gets (specification, section 13).
//!
//! A filter is checked and compiled once, when the subscription begins, and asked for every
//! publication. `and`, `or` and `not` are gone by then: each test knows where to go on if it holds
//! and where if not, so an evaluation is one loop without stack or allocation.

use std::borrow::Cow;
use std::cmp::Ordering;

use memchr::memmem::Finder;

use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_NODES_MAX, TEXT_COST_BYTES};
use crate::protocol::FilterNode;

/// Why a filter is none. Answer [`Refusal::BadRequest`](crate::fault::Refusal::BadRequest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter over tags: {0}")]
pub(crate) struct Invalid(&'static str);

/// A filter over tags, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// From the last to the first, as they were compiled.
    tests: Vec<Test>,
}

/// A question about one tag, and where its answers lead.
#[derive(Clone, Debug)]
struct Test {
    key: String,
    question: Question,
    yes: Goal,
    no: Goal,
}

/// What to do after a test.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// That is the answer of the whole filter.
    Answer(bool),
    /// Ask the test at this index.
    Test(usize),
}

/// What can be asked about a tag. The opposites are the same with their goals swapped.
#[derive(Clone, Debug)]
enum Question {
    Present,
    Equals(String),
    /// Sorted. An absent tag counts as an empty one.
    OneOf(Vec<String>),
    StartsWith(String),
    EndsWith(String),
    Contains(Box<Finder<'static>>),
    /// Whether the order of the tag and this number is one of those wanted.
    Compares(Decimal<'static>, fn(Ordering) -> bool),
    /// A comparison with what is no number.
    Never,
}

impl Filter {
    /// Makes a filter of what a client sent.
    ///
    /// # Errors
    ///
    /// [`Invalid`]: it breaks a rule of section 13, or is deeper or larger than
    /// [`FILTER_DEPTH_MAX`], [`FILTER_NODES_MAX`] and [`FILTER_BYTES_MAX`] allow.
    pub(crate) fn compile(node: &FilterNode) -> Result<Self, Invalid> {
        let mut tests = Vec::new();
        let (mut nodes_count, mut bytes) = (1, 0);
        let mut ahead = vec![Ahead {
            node,
            depth: 1,
            yes: Some(Goal::Answer(true)),
            no: Some(Goal::Answer(false)),
        }];
        // From the last node to the first: whatever goes on to the next one finds it there.
        while let Some(Ahead { node, depth, yes, no }) = ahead.pop() {
            let next = tests.len().checked_sub(1).map_or(Goal::Answer(false), Goal::Test);
            let (yes, no) = (yes.unwrap_or(next), no.unwrap_or(next));
            let join = match node.op.as_str() {
                "" => {
                    bytes += texts_bytes(node);
                    if bytes > FILTER_BYTES_MAX {
                        return Err(Invalid("too many or too long texts"));
                    }
                    tests.push(leaf(node, yes, no)?);
                    continue;
                }
                "and" => Join::And,
                "or" => Join::Or,
                "not" if node.nodes.len() > 1 => return Err(Invalid("`not` of several nodes")),
                "not" => Join::Not,
                _ => return Err(Invalid("unknown op")),
            };
            nodes_count += node.nodes.len();
            if node.nodes.is_empty() {
                return Err(Invalid("`op` without nodes"));
            }
            if nodes_count > FILTER_NODES_MAX || depth == FILTER_DEPTH_MAX {
                return Err(Invalid("too many nodes, or nested too deep"));
            }
            let last = node.nodes.len() - 1;
            ahead.extend(node.nodes.iter().enumerate().map(|(index, node)| {
                let (yes, no) = match join {
                    Join::And => ((index == last).then_some(yes), Some(no)),
                    Join::Or => (Some(yes), (index == last).then_some(no)),
                    Join::Not => (Some(no), Some(yes)),
                };
                Ahead { node, depth: depth + 1, yes, no }
            }));
        }
        Ok(Self { tests })
    }

    /// Whether a publication with these tags passes. `tags` are sorted by key, each key once.
    pub(crate) fn matches(&self, tags: &[(String, String)]) -> bool {
        let mut test = self.tests.last();
        // Every goal is a test compiled before, at a smaller index, so this ends.
        while let Some(Test { key, question, yes, no }) = test {
            let found = tags.binary_search_by(|(name, _)| name.as_str().cmp(key));
            let value = found.ok().and_then(|at| tags.get(at)).map(|(_, value)| value.as_str());
            match if question.holds(value) { yes } else { no } {
                Goal::Answer(answer) => return *answer,
                Goal::Test(index) => test = self.tests.get(*index),
            }
        }
        false
    }
}

/// A node that is still to be compiled.
struct Ahead<'a> {
    node: &'a FilterNode,
    depth: usize,
    /// `None` = to the node that follows, whose place is not known yet.
    yes: Option<Goal>,
    no: Option<Goal>,
}

#[derive(Clone, Copy)]
enum Join {
    And,
    Or,
    Not,
}

/// What the texts of a node take at most, once it is compiled.
fn texts_bytes(node: &FilterNode) -> usize {
    let texts = [&node.key, &node.val].into_iter().chain(&node.vals);
    texts.map(|text| text.len() + TEXT_COST_BYTES).sum()
}

/// Compiles a node that has none below.
fn leaf(node: &FilterNode, yes: Goal, no: Goal) -> Result<Test, Invalid> {
    let cmp = node.cmp.as_str();
    let (wants_val, wants_vals) = match cmp {
        "ex" | "nex" => (false, false),
        "in" | "nin" => (false, true),
        "eq" | "neq" | "sw" | "ew" | "ct" | "gt" | "gte" | "lt" | "lte" => (true, false),
        _ => return Err(Invalid("unknown cmp")),
    };
    if node.val.is_empty() == wants_val || node.vals.is_empty() == wants_vals {
        return Err(Invalid("`val` or `vals` does not fit `cmp`"));
    }
    if node.key.is_empty() && (wants_val || wants_vals) {
        return Err(Invalid("no key"));
    }
    let (yes, no) = if matches!(cmp, "neq" | "nin" | "nex") { (no, yes) } else { (yes, no) };
    Ok(Test { key: node.key.clone(), question: Question::of(node), yes, no })
}

impl Question {
    /// What a leaf asks, negated or not.
    fn of(node: &FilterNode) -> Self {
        let val = || node.val.clone();
        match node.cmp.as_str() {
            "eq" | "neq" => Self::Equals(val()),
            "in" | "nin" => {
                let mut vals = node.vals.clone();
                vals.sort_unstable();
                Self::OneOf(vals)
            }
            "sw" => Self::StartsWith(val()),
            "ew" => Self::EndsWith(val()),
            "ct" => Self::Contains(Box::new(Finder::new(&node.val).into_owned())),
            "gt" => Self::compares(&node.val, Ordering::is_gt),
            "gte" => Self::compares(&node.val, Ordering::is_ge),
            "lt" => Self::compares(&node.val, Ordering::is_lt),
            "lte" => Self::compares(&node.val, Ordering::is_le),
            _ => Self::Present,
        }
    }

    fn compares(val: &str, wanted: fn(Ordering) -> bool) -> Self {
        Decimal::parse(val).map_or(Self::Never, |val| Self::Compares(val.into_owned(), wanted))
    }

    /// Whether it is so for a tag's value; `None` = there is no such tag.
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Present => value.is_some(),
            Self::Equals(val) => value.is_some_and(|value| value == val),
            Self::OneOf(vals) => {
                let value = value.unwrap_or_default();
                vals.binary_search_by(|val| val.as_str().cmp(value)).is_ok()
            }
            Self::StartsWith(val) => value.is_some_and(|value| value.starts_with(val.as_str())),
            Self::EndsWith(val) => value.is_some_and(|value| value.ends_with(val.as_str())),
            Self::Contains(val) => value.is_some_and(|value| val.find(value.as_bytes()).is_some()),
            Self::Compares(val, wanted) => {
                value.and_then(Decimal::parse).is_some_and(|value| wanted(value.cmp(val)))
            }
            Self::Never => false,
        }
    }
}

/// A decimal number of any length, compared digit by digit: nothing is rounded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal<'a> {
    /// False for zero.
    negative: bool,
    /// Without leading zeros.
    whole: Cow<'a, str>,
    /// Without trailing zeros.
    fraction: Cow<'a, str>,
}

impl<'a> Decimal<'a> {
    /// Reads a sign that may be absent, digits, and a point with digits that may be absent.
    /// Exponents do not count as numbers.
    fn parse(text: &'a str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        Some(Self {
            negative: text.starts_with('-') && !(whole.is_empty() && fraction.is_empty()),
            whole: whole.into(),
            fraction: fraction.into(),
        })
    }

    fn into_owned(self) -> Decimal<'static> {
        Decimal {
            negative: self.negative,
            whole: self.whole.into_owned().into(),
            fraction: self.fraction.into_owned().into(),
        }
    }

    /// What orders numbers without their signs.
    fn size(&self) -> (usize, &str, &str) {
        (self.whole.len(), &self.whole, &self.fraction)
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.size().cmp(&other.size()),
            (true, true) => other.size().cmp(&self.size()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn node(json: &str) -> FilterNode {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn filter(json: &str) -> Filter {
        Filter::compile(&node(json)).unwrap()
    }

    fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut tags: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        tags.sort();
        tags
    }

    fn leaf_of(cmp: &str, val: &str, vals: &[&str]) -> FilterNode {
        FilterNode {
            key: "k".to_owned(),
            cmp: cmp.to_owned(),
            val: val.to_owned(),
            vals: vals.iter().map(|val| (*val).to_owned()).collect(),
            ..FilterNode::default()
        }
    }

    fn joined(op: &str, nodes: Vec<FilterNode>) -> FilterNode {
        FilterNode { op: op.to_owned(), nodes, ..FilterNode::default() }
    }

    #[test]
    fn each_operator_says_what_passes() {
        type Values<'a> = &'a [Option<&'a str>];
        let table: [(&str, &str, &[&str], Values<'_>, Values<'_>); 14] = [
            ("eq", "a", &[], &[Some("a")], &[Some("b"), Some("A"), Some("aa"), Some(""), None]),
            ("neq", "a", &[], &[Some("b"), Some(""), None], &[Some("a")]),
            ("in", "", &["b", "a"], &[Some("a"), Some("b")], &[Some("c"), Some(""), None]),
            ("in", "", &["b", ""], &[Some("b"), Some(""), None], &[Some("a")]),
            ("nin", "", &["b", "a"], &[Some("c"), Some(""), None], &[Some("a"), Some("b")]),
            ("nin", "", &[""], &[Some("c")], &[Some(""), None]),
            ("ex", "", &[], &[Some("a"), Some("")], &[None]),
            ("nex", "", &[], &[None], &[Some("a"), Some("")]),
            ("sw", "ab", &[], &[Some("ab"), Some("abc")], &[Some("cab"), Some("a"), None]),
            ("ew", "ab", &[], &[Some("ab"), Some("cab")], &[Some("abc"), Some("b"), None]),
            ("ct", "ab", &[], &[Some("ab"), Some("cabc")], &[Some("acb"), Some(""), None]),
            ("gt", "9.5", &[], &[Some("10"), Some("9.51")], &[Some("9.5"), Some("-10"), None]),
            ("lt", "9.5", &[], &[Some("9"), Some("-10")], &[Some("9.50"), Some("10"), None]),
            ("gt", "x", &[], &[], &[Some("x"), Some("y"), Some("1"), Some(""), None]),
        ];
        for (cmp, val, vals, pass, fail) in table {
            let filter = Filter::compile(&leaf_of(cmp, val, vals)).unwrap();
            let values = pass.iter().map(|value| (value, true));
            for (value, expected) in values.chain(fail.iter().map(|value| (value, false))) {
                let mut found = vec![("a", "a"), ("z", "a")];
                found.extend(value.map(|value| ("k", value)));
                assert_eq!(filter.matches(&tags(&found)), expected, "{cmp} {val} of {value:?}");
            }
        }
    }

    #[test]
    fn numbers_are_compared_exactly() {
        let huge = "123456789012345678901234567890";
        let ordered = [
            "-123456789012345678901234567890.2",
            "-123456789012345678901234567890.1",
            "-10",
            "-9.5",
            "-0.01",
            "0",
            "0.1",
            "0.10000000000000000000000000000000000001",
            "1",
            "9.5",
            "10",
            "9007199254740992",
            "9007199254740993",
            "123456789012345678901234567890",
            "123456789012345678901234567890.1",
        ];
        for (index, one) in ordered.iter().enumerate() {
            for (other_index, other) in ordered.iter().enumerate() {
                let order = index.cmp(&other_index);
                for (cmp, expected) in [
                    ("gt", order.is_gt()),
                    ("gte", order.is_ge()),
                    ("lt", order.is_lt()),
                    ("lte", order.is_le()),
                ] {
                    let filter = Filter::compile(&leaf_of(cmp, other, &[])).unwrap();
                    assert_eq!(
                        filter.matches(&tags(&[("k", one)])),
                        expected,
                        "{one} {cmp} {other}"
                    );
                }
            }
        }
        for (one, other) in [("-0", "0"), ("+1", "1.0"), ("007", "7"), ("-0.50", "-0.5")] {
            assert_eq!(Decimal::parse(one), Decimal::parse(other));
        }
        for none in ["", "+", "-", ".", ".5", "5.", "1e3", "--1", "1.2.3", " 1", "1_0", "٣", "NaN"]
        {
            assert_eq!(Decimal::parse(none), None, "{none}");
            for cmp in ["gt", "gte", "lt", "lte"] {
                let filter = Filter::compile(&leaf_of(cmp, huge, &[])).unwrap();
                assert!(!filter.matches(&tags(&[("k", none)])), "{none} {cmp}");
            }
        }
    }

    #[test]
    fn a_filter_that_breaks_a_rule_is_invalid() {
        for json in [
            "{}",
            r#"{"key":"k"}"#,
            r#"{"key":"k","cmp":"is","val":"v"}"#,
            r#"{"key":"k","cmp":"EQ","val":"v"}"#,
            r#"{"cmp":"eq","val":"v"}"#,
            r#"{"cmp":"in","vals":["v"]}"#,
            r#"{"key":"k","cmp":"eq"}"#,
            r#"{"key":"k","cmp":"eq","val":"v","vals":["v"]}"#,
            r#"{"key":"k","cmp":"neq","vals":["v"]}"#,
            r#"{"key":"k","cmp":"sw"}"#,
            r#"{"key":"k","cmp":"ew"}"#,
            r#"{"key":"k","cmp":"ct"}"#,
            r#"{"key":"k","cmp":"gt"}"#,
            r#"{"key":"k","cmp":"gte"}"#,
            r#"{"key":"k","cmp":"lt"}"#,
            r#"{"key":"k","cmp":"lte"}"#,
            r#"{"key":"k","cmp":"in"}"#,
            r#"{"key":"k","cmp":"in","val":"v"}"#,
            r#"{"key":"k","cmp":"nin","val":"v","vals":["v"]}"#,
            r#"{"key":"k","cmp":"ex","val":"v"}"#,
            r#"{"key":"k","cmp":"nex","vals":["v"]}"#,
            r#"{"op":"xor","nodes":[{"key":"k","cmp":"ex"}]}"#,
            r#"{"op":"and"}"#,
            r#"{"op":"or","nodes":[]}"#,
            r#"{"op":"not"}"#,
            r#"{"op":"not","nodes":[{"key":"k","cmp":"ex"},{"key":"k","cmp":"ex"}]}"#,
            r#"{"op":"or","nodes":[{"key":"k","cmp":"ex"},{"key":"k"}]}"#,
        ] {
            assert!(Filter::compile(&node(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn what_the_rules_allow_is_accepted() {
        for json in [
            r#"{"cmp":"ex"}"#,
            r#"{"cmp":"nex"}"#,
            r#"{"key":"k","cmp":"in","vals":[""]}"#,
            r#"{"key":"k","cmp":"gt","val":"no number"}"#,
            r#"{"op":"and","nodes":[{"key":"k","cmp":"ex"}]}"#,
            r#"{"op":"or","nodes":[{"key":"k","cmp":"ex"}]}"#,
        ] {
            filter(json);
        }
    }

    #[test]
    fn nodes_are_joined_as_written() {
        let filter = filter(
            r#"{"op":"and","nodes":[
                {"op":"not","nodes":[{"key":"muted","cmp":"ex"}]},
                {"op":"or","nodes":[
                    {"key":"lang","cmp":"eq","val":"de"},
                    {"op":"and","nodes":[
                        {"key":"lang","cmp":"eq","val":"en"},{"key":"price","cmp":"lt","val":"10"}
                    ]}
                ]}
            ]}"#,
        );
        for (found, expected) in [
            (&[("lang", "de")][..], true),
            (&[("lang", "en"), ("price", "9.5")], true),
            (&[("lang", "en"), ("price", "10")], false),
            (&[("lang", "en")], false),
            (&[("lang", "de"), ("muted", "")], false),
            (&[("lang", "en"), ("muted", ""), ("price", "1")], false),
            (&[], false),
        ] {
            assert_eq!(filter.matches(&tags(found)), expected, "{found:?}");
        }
    }

    /// What a node means, straight from the definition.
    fn meaning(node: &FilterNode, tags: &[(String, String)]) -> bool {
        match node.op.as_str() {
            "and" => node.nodes.iter().all(|node| meaning(node, tags)),
            "or" => node.nodes.iter().any(|node| meaning(node, tags)),
            "not" => !meaning(&node.nodes[0], tags),
            _ => tags.iter().any(|(key, _)| *key == node.key) == (node.cmp == "ex"),
        }
    }

    fn random_node(random: &mut StdRng, levels: usize) -> FilterNode {
        let op = if levels == 0 { 0 } else { random.random_range(0..5) };
        let below = match op {
            0 | 4 => {
                let key = ["a", "b", "c", "d"][random.random_range(0..4)].to_owned();
                let cmp = ["ex", "nex"][random.random_range(0..2)].to_owned();
                return FilterNode { key, cmp, ..FilterNode::default() };
            }
            3 => 1,
            _ => random.random_range(1..4),
        };
        let nodes = (0..below).map(|_| random_node(random, levels - 1)).collect();
        joined(["", "and", "or", "not"][op], nodes)
    }

    #[test]
    fn compiled_filters_mean_what_their_nodes_mean() {
        let mut random = StdRng::seed_from_u64(1);
        let mut passed = 0;
        for _ in 0..500 {
            let node = random_node(&mut random, 4);
            let filter = Filter::compile(&node).unwrap();
            for present in 0_u32..16 {
                let found: Vec<_> = (0..4).filter(|bit| present >> bit & 1 == 1).collect();
                let found: Vec<_> =
                    found.iter().map(|bit| (["a", "b", "c", "d"][*bit], "")).collect();
                let tags = tags(&found);
                let expected = meaning(&node, &tags);
                assert_eq!(filter.matches(&tags), expected, "{node:?} {found:?}");
                passed += usize::from(expected);
            }
        }
        assert!((1000..7000).contains(&passed), "{passed}");
    }

    #[test]
    fn depth_and_number_of_nodes_are_bounded() {
        let present = leaf_of("ex", "", &[]);
        let nested =
            |levels| (1..levels).fold(present.clone(), |node, _| joined("not", vec![node]));
        let filter = Filter::compile(&nested(FILTER_DEPTH_MAX)).unwrap();
        assert_eq!(filter.matches(&tags(&[("k", "v")])), FILTER_DEPTH_MAX % 2 == 1);
        assert!(Filter::compile(&nested(FILTER_DEPTH_MAX + 1)).is_err());

        let wide = |leaves| joined("and", vec![present.clone(); leaves]);
        assert!(Filter::compile(&wide(FILTER_NODES_MAX - 1)).is_ok());
        assert!(Filter::compile(&wide(FILTER_NODES_MAX)).is_err());
        let split = |leaves| joined("or", vec![wide(leaves), wide(leaves)]);
        assert!(Filter::compile(&split(FILTER_NODES_MAX / 2 - 2)).is_ok());
        assert!(Filter::compile(&split(FILTER_NODES_MAX / 2 - 1)).is_err());
    }

    /// A short text takes much more memory than it takes to send it.
    #[test]
    fn the_memory_of_texts_is_bounded() {
        let texts_max = FILTER_BYTES_MAX / (TEXT_COST_BYTES + 1);
        let many = |count| leaf_of("in", "", &vec!["v"; count]);
        // Two for the key and the value.
        assert!(Filter::compile(&many(texts_max - 2)).is_ok());
        assert!(Filter::compile(&many(texts_max)).is_err());
        let both = |count| joined("or", vec![many(count), many(count)]);
        assert!(Filter::compile(&both(texts_max / 2 - 2)).is_ok());
        assert!(Filter::compile(&both(texts_max / 2)).is_err());
        for cmp in ["eq", "sw", "ew", "ct", "gt"] {
            let long = |bytes| leaf_of(cmp, &"1".repeat(bytes), &[]);
            assert!(Filter::compile(&long(FILTER_BYTES_MAX - 100)).is_ok());
            assert!(Filter::compile(&long(FILTER_BYTES_MAX)).is_err());
        }
    }
}
