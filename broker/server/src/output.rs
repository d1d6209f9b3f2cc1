//! The one place where the program prints. A reader of stdout may go away at any time
//! (`fanwire sub news | head -1`): that is an error like others here, and no failure to `main`.

use std::io::{self, Write, stderr, stdout};

/// Writes a line to stdout at once.
///
/// # Errors
/// Stdout cannot be written; `ErrorKind::BrokenPipe` when its reader has gone.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a line for the operator to stderr. There is nobody to tell when that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}
