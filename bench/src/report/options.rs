//! The options of every scenario that say where its result goes and how the run behaves.

use std::path::PathBuf;

use clap::Args;

use crate::error::BenchError;
use crate::pin::CoreList;
use crate::progress::Progress;

/// Where the result goes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Write the result to standard output as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the result to this file as JSON, for `fanwire-bench compare`
    #[arg(long, value_name = "FILE")]
    pub(crate) json_file: Option<PathBuf>,

    /// Write the result to this file as a web page with plots, which needs nothing but itself
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Name of this run in comparisons; by default what the server calls itself
    #[arg(long, value_name = "NAME")]
    pub(crate) label: Option<String>,

    /// Do not tell on standard error how far the run is
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Keep generator processes and publisher to these cores, such as 1 or 1-3; the server is
    /// pinned by whoever starts it
    #[arg(long, value_name = "CORES")]
    pub(crate) pin: Option<CoreList>,
}

impl OutputOptions {
    /// Keeps this process and all that it will start to the cores of `--pin`. To be called before
    /// anything else is.
    ///
    /// # Errors
    /// `System` when there are no such cores.
    pub(crate) fn pin(&self) -> Result<(), BenchError> {
        self.pin.as_ref().map_or(Ok(()), CoreList::pin)
    }

    /// The progress that the person at the keyboard asked for.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}
