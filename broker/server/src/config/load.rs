//! From the places where settings are given to a configuration that can be used.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::check::{self, Violation, Warning};
use super::error::{ConfigError, Problem, Source};
use super::layers::{FILE_VARIABLE, Layers, Names, VARIABLE_PREFIX};
use super::raw::{RawConfig, RawTopicOptions};
use super::{Config, reader};

/// Where settings are given, from the weakest to the strongest. What none of them gives has its
/// default.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// What `fanwire dev` sets by itself: key and value.
    pub(crate) preset: Vec<(&'static str, String)>,
    /// The configuration file; `None` = what the environment names, if anything.
    pub(crate) file: Option<PathBuf>,
    /// Environment variables: name and value.
    pub(crate) environment: Vec<(String, String)>,
    /// Command-line flags that set a key.
    pub(crate) flags: Vec<Override>,
}

/// A command-line flag that sets a key.
#[derive(Clone, Debug)]
pub(crate) struct Override {
    /// The flag as the operator wrote it, for messages.
    pub(crate) flag: String,
    /// The key, as in `client.ping_interval`.
    pub(crate) key: String,
    /// Its value; lists are comma separated.
    pub(crate) value: String,
}

/// A configuration that can be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What it means.
    pub(crate) config: Config,
    /// What the operator should know nevertheless.
    pub(crate) warnings: Vec<Warning>,
    raw: RawConfig,
}

impl Sources {
    /// Reads and checks what the sources give.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place; the operator mends it.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let Some(path) = self.file() else { return self.load_over(None) };
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        self.load_over(Some((&path, &text)))
    }

    /// The same, with the file's path and text.
    pub(super) fn load_over(&self, file: Option<(&Path, &str)>) -> Result<Loaded, ConfigError> {
        let layers = self.layers(file)?;
        let raw: RawConfig = reader::read(&layers)?;
        let config = check::check(&raw).map_err(|violation| with_place(violation, &layers))?;
        Ok(Loaded { config, warnings: check::warnings(&raw), raw })
    }

    fn layers(&self, file: Option<(&Path, &str)>) -> Result<Layers, ConfigError> {
        let mut layers = Layers::default();
        for (key, value) in &self.preset {
            layers.set(&names(key), Source::Preset, value.clone());
        }
        if let Some((path, text)) = file {
            layers.add_file(path, text)?;
        }
        layers.add_environment(self.environment.iter().cloned(), &variable_names());
        for flag in &self.flags {
            let source = Source::Flag(flag.flag.clone());
            layers.set(&names(&flag.key), source, flag.value.clone());
        }
        Ok(layers)
    }

    /// The configuration file, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let named = || {
            let (_, path) = self.environment.iter().find(|(name, _)| name == FILE_VARIABLE)?;
            (!path.is_empty()).then(|| PathBuf::from(path))
        };
        self.file.clone().or_else(named)
    }
}

impl Loaded {
    /// The effective configuration as TOML, secrets as `***`.
    pub(crate) fn shown(&self) -> String {
        // Nothing in these types has no spelling in TOML; a test keeps that so.
        toml::to_string(&self.raw.clone().without_secrets()).unwrap_or_default()
    }
}

/// The variables of this process that are ours.
///
/// # Errors
/// One of them is not text.
pub(crate) fn process_environment() -> Result<Vec<(String, String)>, ConfigError> {
    let ours = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    ours.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => {
                let cause = "the value is not text in UTF-8".to_owned();
                let problem = Problem::Unusable { cause, remedy: String::new() };
                Err(ConfigError::new(Some(Source::Variable(name)), problem))
            }
        })
        .collect()
}

fn names(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

/// What variables are taken apart by. No option is a section, and sections within sections have no
/// sections.
fn variable_names() -> Names {
    let config = toml::Table::try_from(RawConfig::default()).unwrap_or_default();
    let options = toml::Table::try_from(RawTopicOptions::default()).unwrap_or_default();
    let mut names =
        Names { inner_sections: Vec::new(), options: options.keys().cloned().collect() };
    for (section, value) in &config {
        let inner = value.as_table().into_iter().flatten();
        let inner = inner.filter(|(_, value)| value.is_table());
        names.inner_sections.extend(inner.map(|(name, _)| format!("{section}.{name}")));
    }
    names
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; `fanwire config default` prints a file to start from"
        }
        io::ErrorKind::PermissionDenied => "let the user that runs fanwire read it",
        io::ErrorKind::InvalidData => "a configuration is text in UTF-8",
        _ => "",
    };
    let place = Source::File { path: path.into(), line: 0 };
    let cause = format!("cannot read the configuration: {error}");
    ConfigError::new(Some(place), Problem::Unusable { cause, remedy: remedy.to_owned() })
}

fn with_place(violation: Violation, layers: &Layers) -> ConfigError {
    let Violation { keys, cause, remedy } = violation;
    let place = keys.iter().find_map(|key| layers.source(key));
    let problem = match <[String; 1]>::try_from(keys) {
        Ok([key]) => Problem::BadValue { key, cause, remedy },
        // Keys at odds with each other: the cause names them.
        Err(_) => Problem::Unusable { cause, remedy },
    };
    ConfigError::new(place, problem)
}
