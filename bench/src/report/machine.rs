//! Where the numbers come from: without it they cannot be compared.

use std::fs;
use std::thread;

use serde::Serialize;

/// The option whose value must not be written down.
const SECRET_OPTION: &str = "--api-key";

/// The machine of the run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Its name.
    pub(crate) host: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Model of the processor.
    pub(crate) processor: String,
    /// Cores that this program may use.
    pub(crate) cores: usize,
}

impl Machine {
    /// This machine; what cannot be read is empty.
    pub(crate) fn read() -> Self {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            host: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            processor: processor(&line("/proc/cpuinfo")),
            cores: thread::available_parallelism().map_or(0, usize::from),
        }
    }
}

/// The command line as it may be published: without the API key.
pub(crate) fn command_line(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut is_secret = false;
    arguments
        .map(|argument| {
            if std::mem::replace(&mut is_secret, argument == SECRET_OPTION) {
                return "***".to_owned();
            }
            match argument.split_once('=') {
                Some((SECRET_OPTION, _)) => format!("{SECRET_OPTION}=***"),
                _ => argument,
            }
        })
        .collect()
}

fn processor(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    model
        .and_then(|line| line.split_once(": "))
        .map(|(_, name)| name.to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_key_is_not_written_down() {
        let shown = |line: &str| command_line(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(shown("b --api-key hush --rate 5"), "b --api-key *** --rate 5");
        assert_eq!(shown("b --api-key=hush --rate=5"), "b --api-key=*** --rate=5");
    }

    #[test]
    fn the_processor_has_a_name_where_the_kernel_tells() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(processor(""), "");
    }
}
