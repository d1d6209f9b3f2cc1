//! The layers of a configuration, laid over each other before anything is read from them: file,
//! then environment, then flags. Every value remembers where it was given, so that whatever is
//! wrong with it later can be told with its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, Problem, Source};

/// Variables that start with this are ours, and an unknown one is an error.
pub(super) const VARIABLE_PREFIX: &str = "FANWIRE_";
/// The path of the configuration file; no setting.
pub(crate) const FILE_VARIABLE: &str = "FANWIRE_CONFIG";
/// The token that `fanwire pub` and `fanwire sub` connect with; no setting either.
pub(crate) const TOKEN_VARIABLE: &str = "FANWIRE_TOKEN";

/// A value or a section, and where it was given.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) node: Node,
}

/// What stands at a key.
#[derive(Debug)]
pub(super) enum Node {
    Section(BTreeMap<String, Entry>),
    Value(Value),
}

/// A value, before it is known what its key expects.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// From environment or flags: its type is what the key expects; lists are comma separated.
    Given(String),
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Value>),
    /// A TOML type that no key has.
    Foreign(&'static str),
}

/// Names that must be known to take a variable's name apart: no sign in it tells where a section
/// or a namespace ends.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Sections within sections, as in `client.personal_topic`.
    pub(super) inner_sections: Vec<String>,
    /// Options of a namespace.
    pub(super) options: Vec<String>,
}

/// All that was given, later layers over earlier ones.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Layers {
    /// Lays the text of a TOML file over what is there.
    ///
    /// # Errors
    /// The text is no TOML; the error names the line.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let path: Arc<Path> = Arc::from(path);
        let at = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            Source::File { path: path.clone(), line: before.matches('\n').count() + 1 }
        };
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().map(|span| at(span.start));
            let cause = error.message().replace('\n', ", ");
            let remedy = "mend the TOML syntax".to_owned();
            ConfigError::new(place, Problem::Unusable { cause, remedy })
        })?;
        lay_table(&mut self.entries, table.get_ref(), &at);
        Ok(())
    }

    /// Lays the variables that bear our prefix over what is there; others are ignored.
    pub(super) fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        names: &Names,
    ) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            if [FILE_VARIABLE, TOKEN_VARIABLE].contains(&name.as_str()) {
                continue;
            }
            let path = self.variable_path(&rest.to_lowercase(), names);
            self.set(&path, Source::Variable(name), value);
        }
    }

    /// Lays one value over what is there. Keeps a value that stands where a section belongs:
    /// it is wrong, and reading it will say so.
    pub(super) fn set(&mut self, path: &[String], source: Source, value: String) {
        let Some((last, sections)) = path.split_last() else { return };
        let mut entries = &mut self.entries;
        for section in sections {
            let entry = entries.entry(section.clone()).or_insert_with(|| Entry {
                source: source.clone(),
                node: Node::Section(BTreeMap::new()),
            });
            match &mut entry.node {
                Node::Section(inner) => entries = inner,
                Node::Value(_) => return,
            }
        }
        let node = Node::Value(Value::Given(value));
        entries.insert(last.clone(), Entry { source, node });
    }

    /// Where a key such as `client.ping_interval` was given; `None` = nowhere, the default holds.
    pub(super) fn source(&self, key: &str) -> Option<Source> {
        let mut entries = &self.entries;
        let mut found = None;
        for name in key.split('.') {
            let entry = entries.get(name)?;
            found = Some(entry.source.clone());
            match &entry.node {
                Node::Section(inner) => entries = inner,
                Node::Value(_) => break,
            }
        }
        found
    }

    /// `client_ping_interval` → client, ping_interval;
    /// `client_personal_topic_enabled` → client, personal_topic, enabled;
    /// `namespaces_chat_history_size` → namespaces, chat, history_size.
    fn variable_path(&self, name: &str, names: &Names) -> Vec<String> {
        for inner in &names.inner_sections {
            let key = name.strip_prefix(&inner.replace('.', "_"));
            if let Some(key) = key.and_then(|rest| rest.strip_prefix('_')) {
                return inner.split('.').chain([key]).map(str::to_owned).collect();
            }
        }
        let Some((section, rest)) = name.split_once('_') else { return vec![name.to_owned()] };
        if section != "namespaces" {
            return vec![section.to_owned(), rest.to_owned()];
        }
        // The longest option wins: `x_force_push_join_leave` is not `join_leave` of a namespace
        // `x_force_push`.
        let known = names
            .options
            .iter()
            .filter_map(|option| Some((rest.strip_suffix(option.as_str())?, option.as_str())))
            .filter_map(|(rest, option)| Some((rest.strip_suffix('_')?, option)))
            .max_by_key(|(_, option)| option.len());
        let (namespace, option) = match known.or_else(|| rest.split_once('_')) {
            Some(parts) => parts,
            None => return vec![section.to_owned(), rest.to_owned()],
        };
        vec![section.to_owned(), self.namespace_named(namespace), option.to_owned()]
    }

    /// The namespace of the file that a variable means: variables know neither `-` nor case.
    fn namespace_named(&self, variable: &str) -> String {
        let Some(Entry { node: Node::Section(namespaces), .. }) = self.entries.get("namespaces")
        else {
            return variable.to_owned();
        };
        namespaces
            .keys()
            .find(|name| name.replace('-', "_").to_lowercase() == variable)
            .map_or_else(|| variable.to_owned(), Clone::clone)
    }
}

fn lay_table(
    entries: &mut BTreeMap<String, Entry>,
    table: &DeTable<'_>,
    at: &impl Fn(usize) -> Source,
) {
    // The depth is the parser's, which has a limit of its own.
    for (key, value) in table {
        let source = at(key.span().start);
        let name = key.get_ref().as_ref().to_owned();
        if let DeValue::Table(inner) = value.get_ref() {
            let fresh = || Entry { source, node: Node::Section(BTreeMap::new()) };
            if let Node::Section(below) = &mut entries.entry(name).or_insert_with(fresh).node {
                lay_table(below, inner, at);
            }
        } else {
            let node = Node::Value(value_of(value.get_ref()));
            entries.insert(name, Entry { source, node });
        }
    }
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Foreign("a number beyond all limits"),
        },
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Array(items) => Value::List(list_of(items)),
        DeValue::Float(_) => Value::Foreign("a number with a fraction"),
        DeValue::Datetime(_) => Value::Foreign("a date"),
        DeValue::Table(_) => Value::Foreign("a table"),
    }
}

fn list_of(items: &DeArray<'_>) -> Vec<Value> {
    items.iter().map(|item| value_of(item.get_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names {
            inner_sections: owned(&[
                "client.personal_topic",
                "client.token",
                "client.subscription_token",
            ]),
            options: owned(&["history_size", "join_leave", "force_push_join_leave"]),
        }
    }

    #[test]
    fn a_key_remembers_its_line() {
        let mut layers = Layers::default();
        layers.add_file(Path::new("a.toml"), "\n[server]\n\nshards = 2\n").unwrap();
        assert_eq!(layers.source("server.shards").unwrap().to_string(), "a.toml:4");
        assert_eq!(layers.source("server").unwrap().to_string(), "a.toml:2");
        assert_eq!(layers.source("server.address"), None);
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::default();
        layers.add_file(Path::new("a.toml"), "[server]\nshards = 2\n").unwrap();
        let variable = ("FANWIRE_SERVER_SHARDS".to_owned(), "3".to_owned());
        layers.add_environment([variable], &names());
        let source = layers.source("server.shards").unwrap();
        assert_eq!(source, Source::Variable("FANWIRE_SERVER_SHARDS".to_owned()));
    }

    #[test]
    fn a_variable_names_section_namespace_and_option() {
        let mut layers = Layers::default();
        layers.add_file(Path::new("a.toml"), "[namespaces.My-Chat]\n").unwrap();
        let path = |name| layers.variable_path(name, &names()).join(".");
        assert_eq!(path("client_ping_interval"), "client.ping_interval");
        assert_eq!(path("client_personal_topic_enabled"), "client.personal_topic.enabled");
        assert_eq!(path("client_personal_topic"), "client.personal_topic");
        assert_eq!(path("client_token_audience"), "client.token.audience");
        assert_eq!(path("client_subscription_token_enabled"), "client.subscription_token.enabled");
        assert_eq!(path("namespaces_chat_history_size"), "namespaces.chat.history_size");
        assert_eq!(
            path("namespaces_a_b_force_push_join_leave"),
            "namespaces.a_b.force_push_join_leave"
        );
        assert_eq!(path("namespaces_my_chat_join_leave"), "namespaces.My-Chat.join_leave");
        assert_eq!(path("namespaces_chat_hystory_size"), "namespaces.chat.hystory_size");
        assert_eq!(path("nonsense"), "nonsense");
    }

    #[test]
    fn broken_toml_is_an_error_with_its_line() {
        let mut layers = Layers::default();
        let error = layers.add_file(Path::new("a.toml"), "[server]\nshards = = 2\n").unwrap_err();
        assert!(error.to_string().starts_with("a.toml:2: "), "{error}");
    }
}
