//! The end of a command that failed: one type for whatever went wrong, and how it is told.

use std::io;

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::log::FilterError;
use crate::node::StartError;
use crate::token::TokenError;

/// Why the program ends with exit status 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The broker did not start, or had to stop.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A command-line client gave up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The log could not be started.
    #[error("log.level: {0}")]
    Log(#[from] FilterError),
    /// Stdout cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Cause and remedy for stderr: `fanwire: <cause>`, and the remedy on a line below.
    pub(crate) fn told(&self) -> String {
        let remedy = match self {
            Self::Config(error) => error.remedy(),
            Self::Client(error) => error.remedy().to_owned(),
            Self::Start(error) => error.remedy(),
            Self::Token(error) => error.remedy().to_owned(),
            Self::Log(_) | Self::Output(_) => String::new(),
        };
        let cause = self.to_string();
        let lines = cause.lines().chain(remedy.lines()).filter(|line| !line.is_empty());
        format!("fanwire: {}", lines.collect::<Vec<_>>().join("\n  "))
    }

    /// The reader of our output has gone: nothing failed that anybody would want to know.
    pub(crate) fn is_reader_gone(&self) -> bool {
        match self {
            Self::Output(error) | Self::Client(ClientError::Output(error)) => {
                error.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }
}
