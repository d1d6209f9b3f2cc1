//! A filter over tags as it comes from a client. What it means, and whether it means anything, is
//! decided where it is compiled (`topic/filter.rs`).

use serde::Deserialize;

use crate::json::or_default;

/// A node of a filter (specification, sections 5 and 13). Absent and `null` fields are empty.
///
/// A decoder bounds how deep they nest, since reading and dropping one takes stack per level:
/// `serde_json` stops at 128 brackets, which are 64 nodes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FilterNode {
    /// How the nodes below are joined: `and`, `or`, `not`. Empty = a leaf.
    #[serde(deserialize_with = "or_default")]
    pub(crate) op: String,
    /// The tag that a leaf looks at.
    #[serde(deserialize_with = "or_default")]
    pub(crate) key: String,
    /// How a leaf compares.
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmp: String,
    /// What a leaf compares with.
    #[serde(deserialize_with = "or_default")]
    pub(crate) val: String,
    /// The same for `in` and `nin`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) vals: Vec<String>,
    /// The nodes below.
    #[serde(deserialize_with = "or_default")]
    pub(crate) nodes: Vec<Self>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(nodes: usize) -> String {
        format!("{}{{}}{}", r#"{"nodes":["#.repeat(nodes - 1), "]}".repeat(nodes - 1))
    }

    #[test]
    fn what_is_absent_or_null_is_empty_and_what_is_unknown_is_ignored() {
        for text in [
            "{}",
            r#"{"op":null,"key":null,"cmp":null,"val":null,"vals":null,"nodes":null}"#,
            r#"{"later":{"nodes":[1]}}"#,
        ] {
            let node: FilterNode = serde_json::from_str(text).unwrap();
            assert_eq!(node, FilterNode::default(), "{text}");
        }
        for text in [r#"{"vals":"v"}"#, r#"{"nodes":[null]}"#, r#"{"val":1}"#, "[1]"] {
            assert!(serde_json::from_str::<FilterNode>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_fields_are_read() {
        let text = r#"{"op":"not","nodes":[{"key":"k","cmp":"in","val":"v","vals":["a","b"]}]}"#;
        let leaf = FilterNode {
            key: "k".to_owned(),
            cmp: "in".to_owned(),
            val: "v".to_owned(),
            vals: vec!["a".to_owned(), "b".to_owned()],
            ..FilterNode::default()
        };
        let node = FilterNode { op: "not".to_owned(), nodes: vec![leaf], ..FilterNode::default() };
        assert_eq!(serde_json::from_str::<FilterNode>(text).unwrap(), node);
    }

    #[test]
    fn nesting_without_end_is_an_error_and_takes_little_stack() {
        let stack = std::thread::Builder::new().stack_size(1024 * 1024);
        let read = || {
            assert!(serde_json::from_str::<FilterNode>(&nested(64)).is_ok());
            assert!(serde_json::from_str::<FilterNode>(&nested(65)).is_err());
            assert!(serde_json::from_str::<FilterNode>(&nested(100_000)).is_err());
        };
        stack.spawn(read).unwrap().join().unwrap();
    }
}
