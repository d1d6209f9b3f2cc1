//! The report of a run. A scenario fills an [`Outcome`]; everything else here knows outcomes only:
//! JSON (serde), text, web pages, and `compare`, which reads the JSON again.
//!
//! A scenario that publishes and subscribes hands its [`findings::Findings`] over and adds what
//! only it knows: further figures, counts, latencies and faults.

pub(crate) mod compare;
mod comparison;
pub(crate) mod counts;
pub(crate) mod figure;
pub(crate) mod findings;
pub(crate) mod options;
pub(crate) mod origin;
pub(crate) mod outcome;
mod page;
mod plot;
mod plots;
pub(crate) mod saturation;
pub(crate) mod series;
mod text;

use std::fs;
use std::io::Write;

use crate::error::BenchError;
use crate::report::options::OutputOptions;
use crate::report::outcome::Outcome;

/// Writes the outcome to wherever the options say.
///
/// # Errors
/// `Output` or `File` when that cannot be written.
pub(crate) fn write(
    outcome: &Outcome,
    options: &OutputOptions,
    output: &mut impl Write,
) -> Result<(), BenchError> {
    if let Some(path) = &options.json_file {
        let file = path.display().to_string();
        fs::write(path, json(outcome)?).map_err(BenchError::file(&file))?;
    }
    if let Some(path) = &options.html {
        let file = path.display().to_string();
        fs::write(path, page::of_run(outcome)?).map_err(BenchError::file(&file))?;
    }
    if options.json {
        output.write_all(&json(outcome)?)?;
    } else {
        text::write(outcome, output)?;
    }
    Ok(output.flush()?)
}

fn json(outcome: &Outcome) -> Result<Vec<u8>, BenchError> {
    let mut json = serde_json::to_vec(outcome)?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(super) mod tests;
