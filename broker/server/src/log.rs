//! The log: one line per event on stderr, for people or as JSON. Payloads, tokens and keys are
//! never logged; whoever logs keeps to that. Each line names its thread, as in `shard-0`, and each
//! one about a connection its `socket`.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Words that are levels. Any other bare word would be taken for a module's name, and silence all
/// others.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why `log.level` is not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// A bare word that is no level.
    #[error("{0:?} is no level")]
    NoLevel(String),
    /// A directive that cannot be parsed.
    #[error("{0}")]
    Malformed(#[from] tracing_subscriber::filter::ParseError),
}

/// What `log.level` means.
///
/// # Errors
/// It is neither a level nor a list of directives.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, FilterError> {
    let directives: Vec<_> = level.split(',').map(str::trim).collect();
    for word in directives.iter().filter(|directive| !directive.contains(['=', '[', ':'])) {
        if !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            return Err(FilterError::NoLevel((*word).to_owned()));
        }
    }
    Ok(EnvFilter::builder().parse(directives.join(","))?)
}

/// Starts the log of this process. A second call changes nothing.
///
/// # Errors
/// `log.level` is not understood; a checked configuration has none of that.
pub(crate) fn start(config: &LogConfig) -> Result<(), FilterError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level)?)
        .with_writer(stderr)
        // A thread is a shard, and core numbers its sockets per shard: both together name one.
        .with_thread_names(true)
        .with_ansi(stderr().is_terminal());
    // It fails only when a log has been started before.
    let _ = match config.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_understood() {
        for level in ["info", "DEBUG", "off", "info,fanwire=debug", "warn, fanwire::http=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_misspelled_level_is_no_module_name() {
        for level in ["inof", "", "verbose", "info,", "fanwire=loud"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }
}
