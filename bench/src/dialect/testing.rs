//! What the tests of all dialects share.

use crate::dialect::{Dialect, Event};
use crate::error::ClientError;

/// What `append` appends.
pub(crate) fn appended(append: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut output = Vec::new();
    append(&mut output);
    output
}

/// What the walk over `bytes` tells, as text; it must take them all.
pub(crate) fn events(dialect: &dyn Dialect, bytes: &[u8]) -> Result<Vec<String>, ClientError> {
    let mut seen = Vec::new();
    let walked = dialect.walk(bytes, &mut |event: Event<'_>| {
        seen.push(format!("{event:?}"));
        Ok(())
    })?;
    assert_eq!(walked, bytes.len());
    Ok(seen)
}
