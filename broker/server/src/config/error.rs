//! What can be wrong with a configuration, told so that the operator can mend it: where it stands,
//! what is wrong, what to write instead. Values of secret keys never get in here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most single-letter mistakes that still count as "did you mean".
const TYPO_DISTANCE_MAX: usize = 3;

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A line of the configuration file.
    File {
        /// The file, as the operator wrote it.
        path: Arc<Path>,
        /// Its line, from 1; 0 = the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag, as it was written.
    Flag(String),
    /// What `fanwire dev` sets by itself.
    Preset,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Preset => f.write_str("setting of `fanwire dev`"),
        }
    }
}

/// Why the configuration was refused; for the operator, who mends it and starts again.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{problem}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub(crate) struct ConfigError {
    place: Option<Source>,
    problem: Problem,
}

/// What is wrong, apart from where.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A key that no version of this section knows.
    #[error("unknown key `{key}`")]
    UnknownKey {
        /// Full name of the key.
        key: String,
        /// Keys that this section knows, without the section's name.
        known: Vec<String>,
    },
    /// A value that a key cannot have.
    #[error("`{key}`: {cause}")]
    BadValue {
        /// Full name of the key.
        key: String,
        /// What is wrong.
        cause: String,
        /// What to write instead; may be empty.
        remedy: String,
    },
    /// The source as a whole cannot be used, or keys contradict each other.
    #[error("{cause}")]
    Unusable {
        /// What is wrong.
        cause: String,
        /// What to do; may be empty.
        remedy: String,
    },
}

impl ConfigError {
    /// A problem at a place; `None` = the place is the built-in default.
    pub(crate) fn new(place: Option<Source>, problem: Problem) -> Self {
        Self { place, problem }
    }

    /// What to do about it, as one line without a full stop; empty when the cause says it all.
    pub(crate) fn remedy(&self) -> String {
        match &self.problem {
            Problem::UnknownKey { key, known } => self.suggestion(key, known),
            Problem::BadValue { remedy, .. } | Problem::Unusable { remedy, .. } => remedy.clone(),
        }
    }

    fn suggestion(&self, key: &str, known: &[String]) -> String {
        let (section, name) = match key.rsplit_once('.') {
            Some((section, name)) => (section, name),
            None => ("", key),
        };
        let full = |candidate: &str| match section {
            "" => candidate.to_owned(),
            _ => format!("{section}.{candidate}"),
        };
        match (nearest(name, known), &self.place) {
            (Some(candidate), Some(Source::Variable(_))) => {
                format!("did you mean {}?", variable_name(&full(candidate)))
            }
            (Some(candidate), _) => format!("did you mean `{}`?", full(candidate)),
            (None, _) if section.is_empty() => format!("known sections: {}", known.join(", ")),
            (None, _) => format!("known keys of [{section}]: {}", known.join(", ")),
        }
    }
}

/// The environment variable that sets a key.
pub(super) fn variable_name(key: &str) -> String {
    format!("FANWIRE_{}", key.replace(['.', '-'], "_").to_uppercase())
}

/// The known name that the operator most probably meant.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let distance_max = TYPO_DISTANCE_MAX.min(name.chars().count().div_ceil(3));
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate.as_str()))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(key: &str, known: &[&str], place: Option<Source>) -> ConfigError {
        let known = known.iter().map(|name| (*name).to_owned()).collect();
        ConfigError::new(place, Problem::UnknownKey { key: key.to_owned(), known })
    }

    #[test]
    fn a_typo_is_answered_with_the_nearest_key() {
        let error = unknown("client.ping_intervall", &["pong_timeout", "ping_interval"], None);
        assert_eq!(error.to_string(), "unknown key `client.ping_intervall`");
        assert_eq!(error.remedy(), "did you mean `client.ping_interval`?");
    }

    #[test]
    fn a_typo_in_a_variable_is_answered_with_the_variable() {
        let place = Some(Source::Variable("FANWIRE_API_KEY".to_owned()));
        let error = unknown("api.key", &["body_bytes_max", "keys"], place);
        assert_eq!(error.remedy(), "did you mean FANWIRE_API_KEYS?");
    }

    #[test]
    fn a_far_name_is_answered_with_all_names() {
        let error = unknown("api.certificate", &["body_bytes_max", "keys"], None);
        assert_eq!(error.remedy(), "known keys of [api]: body_bytes_max, keys");
        let error = unknown("redis", &["server", "client"], None);
        assert_eq!(error.remedy(), "known sections: server, client");
    }
}
