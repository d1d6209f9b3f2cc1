//! Where the numbers come from: without it they cannot be compared.

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::procfs::ProcessFacts;

/// Words in the name of an option, or of a parameter in a URL, whose value must not be written
/// down.
const SECRET_WORDS: [&str; 6] = ["key", "secret", "token", "pass", "credential", "auth"];

/// The program that measured.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Tool {
    /// Its version.
    pub(crate) version: String,
    /// The commit that it was built from, or "unknown".
    pub(crate) commit: String,
    /// Whether the work tree had changes that are in no commit.
    pub(crate) is_dirty: bool,
}

/// The machine of the run. What cannot be read is empty or 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// Its name.
    pub(crate) host: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Model of the processor.
    pub(crate) processor: String,
    /// Cores that are online.
    pub(crate) cores: usize,
    /// Memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// The hypervisor if the machine is a virtual one and says so, or "yes".
    pub(crate) virtual_by: Option<String>,
    /// Cores that generator and publisher may use, such as "1-3".
    pub(crate) generator_cores: String,
}

/// The server. What is not known is empty or 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Server {
    /// As it told it itself.
    pub(crate) version: String,
    /// Its process, if it is on this machine and was named.
    pub(crate) pid: Option<u32>,
    /// Its command line, secrets hidden.
    pub(crate) command: Vec<String>,
    /// Cores that it may use, such as "0".
    pub(crate) cores: String,
    /// Threads before the first connection.
    pub(crate) threads: u32,
}

impl Tool {
    /// This program.
    pub(crate) fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("FANWIRE_BENCH_COMMIT").to_owned(),
            is_dirty: env!("FANWIRE_BENCH_DIRTY") == "true",
        }
    }

    /// Version and commit in one line.
    pub(crate) fn show(&self) -> String {
        let dirty = if self.is_dirty { ", with uncommitted changes" } else { "" };
        format!("fanwire-bench {}, commit {}{dirty}", self.version, self.commit)
    }
}

impl Machine {
    /// This machine.
    pub(crate) fn read() -> Self {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = line("/proc/cpuinfo");
        let is_virtual = cpu_field(&cpuinfo, "flags")
            .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
        let firmware = ["/sys/hypervisor/type", "/sys/class/dmi/id/sys_vendor"].map(line);
        let named = firmware.into_iter().find(|name| !name.is_empty());
        Self {
            host: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            processor: cpu_field(&cpuinfo, "model name").unwrap_or_default().to_owned(),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_bytes: memory_bytes(&line("/proc/meminfo")).unwrap_or(0),
            virtual_by: is_virtual.then(|| named.unwrap_or_else(|| "yes".to_owned())),
            generator_cores: ProcessFacts::of(std::process::id()).cores_allowed,
        }
    }

    /// Cores that this process may use.
    pub(crate) fn usable_cores() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    /// The machine in one line.
    pub(crate) fn show(&self) -> String {
        let memory = self.memory_bytes as f64 / f64::from(1 << 30);
        let mut text = format!("{}, {} cores, {memory:.1} GiB", self.processor, self.cores);
        match self.virtual_by.as_deref() {
            Some("yes") => text.push_str(", virtual"),
            Some(by) => text.push_str(&format!(", virtual ({by})")),
            None => {}
        }
        text.push_str(&format!(", Linux {}", self.kernel));
        text
    }
}

impl Server {
    /// The server with this process, before its first connection.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let facts = pid.map(ProcessFacts::of).unwrap_or_default();
        Self {
            version: String::new(),
            pid,
            command: without_secrets(facts.arguments.into_iter()),
            cores: facts.cores_allowed,
            threads: facts.threads,
        }
    }

    /// Its program, if known, and its version: "fanwire 1.2.3".
    pub(crate) fn name(&self) -> String {
        let program = self.command.first().and_then(|path| path.rsplit('/').next());
        let words = [program.unwrap_or_default(), &self.version];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        if words.is_empty() { "server".to_owned() } else { words.join(" ") }
    }

    /// What it called itself, or "unknown".
    pub(crate) fn version_or_unknown(&self) -> &str {
        if self.version.is_empty() { "unknown" } else { &self.version }
    }
}

/// A command line as it may be published: without keys, tokens and passwords.
pub(crate) fn without_secrets(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut is_secret = false;
    arguments
        .map(|argument| {
            let is_option = argument.starts_with('-');
            if std::mem::replace(&mut is_secret, is_option && names_secret(&argument)) && !is_option
            {
                return "***".to_owned();
            }
            match argument.split_once('=') {
                Some((name, _)) if !name.contains("://") && names_secret(name) => {
                    is_secret = false;
                    format!("{name}=***")
                }
                _ => without_parameters(without_password(argument)),
            }
        })
        .collect()
}

fn names_secret(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default().to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// A URL without the user and password before its host.
fn without_password(argument: String) -> String {
    let hidden = argument.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split('/').next()?;
        let (user, _) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://***{}", rest.strip_prefix(user)?))
    });
    hidden.unwrap_or(argument)
}

/// A URL without the values of the parameters that are named like secrets.
fn without_parameters(argument: String) -> String {
    let Some((address, query)) = argument.split_once('?') else { return argument };
    let hide = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if names_secret(name) => format!("{name}=***"),
        _ => parameter.to_owned(),
    };
    let parameters: Vec<String> = query.split('&').map(hide).collect();
    format!("{address}?{}", parameters.join("&"))
}

fn cpu_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
    line.split_once(": ").map(|(_, value)| value)
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_written_down() {
        let shown = |line: &str| without_secrets(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(shown("b --api-key hush --rate 5"), "b --api-key *** --rate 5");
        assert_eq!(shown("b --api-key=hush --rate=5"), "b --api-key=*** --rate=5");
        assert_eq!(shown("s --token-secret hush"), "s --token-secret ***");
        assert_eq!(shown("s API_TOKEN=hush x"), "s API_TOKEN=*** x");
        assert_eq!(shown("n --pass hush --auth hush"), "n --pass *** --auth ***");
        assert_eq!(shown("r --requirepass hush"), "r --requirepass ***");
        let url = "b --url=ws://h/?a=1&token=hush&b=2 ws://me:hush@h/?token=hush";
        assert_eq!(shown(url), "b --url=ws://h/?a=1&token=***&b=2 ws://***@h/?token=***");
        assert_eq!(shown("s redis://me:hush@db:1/0"), "s redis://***@db:1/0");
        assert_eq!(
            shown("s ws://db:1/a@b --key-file --rate 1"),
            "s ws://db:1/a@b --key-file --rate 1"
        );
    }

    #[test]
    fn a_server_is_called_by_what_is_known_of_it() {
        let name = |command: &[&str], version: &str| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            Server { command, version: version.to_owned(), ..Server::default() }.name()
        };
        assert_eq!(name(&["/usr/bin/fanwire", "serve"], "1.2"), "fanwire 1.2");
        assert_eq!(name(&[], "1.2"), "1.2");
        assert_eq!(name(&[], ""), "server");
    }

    #[test]
    fn the_machine_is_described_where_the_kernel_tells() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\n";
        assert_eq!(cpu_field(cpuinfo, "model name"), Some("AMD EPYC"));
        assert_eq!(cpu_field("", "model name"), None);
        assert_eq!(memory_bytes("MemTotal:   2 kB\n"), Some(2048));
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(!machine.generator_cores.is_empty());
    }
}
