//! The connection token of a command-line client: a flag, or a variable, which other users of the
//! machine do not see in the list of processes.

use std::env;

use crate::config::TOKEN_VARIABLE;

/// The token to connect with; `None` = as nobody.
pub(super) fn connection_token(flag: Option<&String>) -> Option<String> {
    let token = flag.cloned().or_else(|| env::var(TOKEN_VARIABLE).ok())?;
    // A line's end may come with what was read from a file.
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}
