//! The result of a run: what every scenario hands over, and all that text, HTML and `compare`
//! know. Written as JSON and read again, also by later versions: fields are only ever added.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::BenchError;
use crate::histogram::{Percentiles, PortableHistogram, TimeHistogram};
use crate::report::counts::Counts;
use crate::report::figure::Figure;
use crate::report::options::OutputOptions;
use crate::report::origin::{self, Machine, Server, Tool};
use crate::report::saturation::Saturation;
use crate::report::series::Series;

/// Version of the form; a reader refuses any other.
pub(crate) const FORMAT: u32 = 1;

/// What a run was told to do: names and values in the order in which people read them.
pub(crate) type Parameters = IndexMap<String, Value>;

/// Everything there is to say about a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// Name of the subcommand.
    pub(crate) scenario: String,
    /// Tells runs apart in comparisons; repetitions have the same.
    pub(crate) label: String,
    /// Load, sizes, durations.
    pub(crate) parameters: Parameters,
    /// The command line, secrets hidden.
    pub(crate) command: Vec<String>,
    /// When it began, RFC 3339 in UTC.
    pub(crate) started: String,
    /// The program that measured.
    pub(crate) tool: Tool,
    /// Where.
    pub(crate) machine: Machine,
    /// What was measured.
    pub(crate) server: Server,
    /// The results.
    pub(crate) figures: Vec<Figure>,
    /// What was counted, warm-up included.
    pub(crate) counts: Counts,
    /// Times, by what they are times of, such as "delivery".
    pub(crate) latencies: IndexMap<String, Latency>,
    /// The course of it.
    pub(crate) series: Series,
    /// Whether the generator could keep up.
    pub(crate) saturation: Saturation,
    /// What was wrong, in words.
    pub(crate) faults: Vec<String>,
    /// No faults.
    pub(crate) is_clean: bool,
}

/// A distribution of times.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// What most want to know of it.
    #[serde(flatten)]
    pub(crate) percentiles: Percentiles,
    /// All of it.
    pub(crate) histogram: PortableHistogram,
}

impl Outcome {
    /// The outcome of a run of `scenario` that begins now; the rest is filled in later.
    pub(crate) fn begin(
        scenario: &str,
        parameters: Parameters,
        server_pid: Option<u32>,
        options: &OutputOptions,
    ) -> Self {
        Self {
            format: FORMAT,
            scenario: scenario.to_owned(),
            label: options.label.clone().unwrap_or_default(),
            parameters,
            command: origin::without_secrets(std::env::args()),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            tool: Tool::this(),
            machine: Machine::read(),
            server: Server::of(server_pid),
            figures: Vec::new(),
            counts: Counts::default(),
            latencies: IndexMap::new(),
            series: Series::default(),
            saturation: Saturation::default(),
            faults: Vec::new(),
            is_clean: true,
        }
    }

    /// Remembers what the server called itself, and names the run after it unless it has a name.
    pub(crate) fn set_server_version(&mut self, version: &str) {
        version.clone_into(&mut self.server.version);
        if self.label.is_empty() {
            self.label = self.server.name();
        }
    }

    /// Adds a fault.
    pub(crate) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
        self.is_clean = false;
    }

    /// Adds the distribution `name`; figures of it are added by whoever knows what they mean.
    pub(crate) fn add_latency(&mut self, name: &str, times: &TimeHistogram) {
        self.latencies.insert(name.to_owned(), Latency::of(times));
    }

    /// The figure with this name, of the measured part.
    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.phase.is_none() && figure.name == name)
    }

    /// Reads an outcome that `--json` or `--json-file` has written.
    ///
    /// # Errors
    /// `File` when it cannot be read, `NoOutcome` when it is something else or of another version.
    pub(crate) fn read(path: &Path) -> Result<Self, BenchError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(BenchError::file(&file))?;
        Self::parse(&text).map_err(|reason| BenchError::NoOutcome { file, reason })
    }

    /// An outcome from its JSON, or why it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if version.format != FORMAT {
            return Err(format!("its format is {}, this program reads {FORMAT}", version.format));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

impl Latency {
    /// The distribution of these times.
    pub(crate) fn of(times: &TimeHistogram) -> Self {
        Self { percentiles: times.percentiles(), histogram: times.to_portable() }
    }
}
