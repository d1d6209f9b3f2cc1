//! The wire form of a tags filter (specification, sections 5 and 13).

use serde::{Deserialize, Deserializer};

use crate::json::{Object, or_default};

/// One node of a filter, as a client writes it in either encoding. What it means, and whether it is
/// valid, is decided where it is compiled. Both decoders bound how deep it is nested: 128 levels in
/// JSON, 100 in Protobuf.
#[derive(Clone, PartialEq, Eq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct FilterNode {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) op: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) key: String,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmp: String,
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) val: String,
    #[prost(string, repeated, tag = "5")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) vals: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    #[serde(deserialize_with = "nodes")]
    pub(crate) nodes: Vec<Self>,
}

fn nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FilterNode>, D::Error> {
    let nodes: Vec<Object<FilterNode>> = or_default(deserializer)?;
    Ok(nodes.into_iter().map(|Object(node)| node).collect())
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
