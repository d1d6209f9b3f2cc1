//! The processes of `fanwire-bench floor`: a server on one core, a generator on another. They end
//! with this process, however it ends: a server left behind would keep its core busy for good.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::error::BenchError;
use crate::floor::TiedOptions;
use crate::floor::rows::{Attempt, Load};
use crate::pin::CoreList;
use crate::report::outcome::Outcome;

/// How the generator's exit status says that nothing could be measured.
const EXIT_IMPOSSIBLE: i32 = 2;
/// What the line with a server's address has in it.
const PATH: &str = "/connection/websocket";

/// Which core is whose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pins<'a> {
    pub(super) server: &'a CoreList,
    pub(super) generator: &'a CoreList,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    url: String,
    /// Kept, so that it may go on writing.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a bare loop with these arguments.
    ///
    /// # Errors
    /// `System` when it does not start, or not on that core.
    pub(super) fn start_floor(arguments: &[&str], pins: Pins<'_>) -> Result<Self, BenchError> {
        let mut command = this_program(&["floor-server"])?;
        command.args(arguments).stdin(Stdio::piped());
        Self::start(command, pins)
    }

    /// Starts Fanwire with one shard.
    ///
    /// # Errors
    /// `System` when it does not start, or not on that core.
    pub(super) fn start_fanwire(
        program: Option<&Path>,
        pins: Pins<'_>,
    ) -> Result<Self, BenchError> {
        let program = match program {
            Some(program) => program.to_path_buf(),
            None => beside_this_one().map_err(BenchError::system("finding this program"))?,
        };
        let mut command = tied(program.as_os_str())?;
        command.args(["dev", "--listen", "127.0.0.1:0", "--shards", "1", "--log-level", "error"]);
        command.stdin(Stdio::null());
        Self::start(command, pins)
    }

    fn start(mut command: Command, pins: Pins<'_>) -> Result<Self, BenchError> {
        let action = "starting the server to be measured (fanwire-bench floor --fanwire PATH)";
        pins.server.pin()?;
        let mut child =
            command.stdout(Stdio::piped()).spawn().map_err(BenchError::system(action))?;
        let url = child.stdout.take().and_then(|output| {
            let mut output = BufReader::new(output);
            read_url(&mut output).map(|url| (url, output))
        });
        if let Some((url, output)) = url {
            return Ok(Self { child, url, _output: output });
        }
        end(&mut child);
        let source = std::io::Error::other("it ended without telling its address");
        Err(BenchError::System { action, source })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Runs a scenario of the generator against `server`.
///
/// # Errors
/// `System` when the generator cannot be started.
pub(super) fn measure(
    server: &Server,
    load: Load,
    seconds: f64,
    pins: Pins<'_>,
) -> Result<Attempt, BenchError> {
    pins.generator.pin()?;
    let mut command = this_program(load.scenario())?;
    command
        .args(["--url", &server.url, "--server-pid", &server.child.id().to_string()])
        .args(["--seconds", &seconds.to_string(), "--warmup", "0.5", "--settle", "0.3"])
        .args(["--json", "--quiet"])
        .stdin(Stdio::null());
    let output = command.output().map_err(BenchError::system("starting the generator"))?;
    if output.status.code().is_none_or(|code| code == EXIT_IMPOSSIBLE) {
        return Ok(Attempt::Impossible(failure(&output.stderr)));
    }
    let outcome = Outcome::parse(&String::from_utf8_lossy(&output.stdout));
    Ok(outcome.map_or_else(Attempt::Impossible, |outcome| Attempt::of(load, &outcome)))
}

/// Becomes another program, which the kernel ends when the process that asked for it ends.
///
/// # Errors
/// `System` when there is no such program.
pub(crate) fn become_tied(options: &TiedOptions) -> Result<(), BenchError> {
    let action = "starting a program that ends with this one";
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| BenchError::system(action)(errno.into()))?;
    // It may have ended before that.
    if parent_id() != options.parent {
        return Ok(());
    }
    let Some((program, arguments)) = options.command.split_first() else { return Ok(()) };
    Err(BenchError::system(action)(Command::new(program).args(arguments).exec()))
}

/// A command that ends with this process. The process id is the program's own.
fn tied(program: &OsStr) -> Result<Command, BenchError> {
    let this = std::env::current_exe().map_err(BenchError::system("finding this program"))?;
    let mut command = Command::new(this);
    command.args(["tied", &std::process::id().to_string(), "--"]).arg(program);
    Ok(command)
}

/// This program again, with these arguments.
fn this_program(arguments: &[&str]) -> Result<Command, BenchError> {
    let this = std::env::current_exe().map_err(BenchError::system("finding this program"))?;
    let mut command = tied(this.as_os_str())?;
    command.args(arguments);
    Ok(command)
}

fn beside_this_one() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("fanwire"))
}

/// The WebSocket address that a server prints when it is ready.
fn read_url(output: &mut impl BufRead) -> Option<String> {
    let lines = output.lines().map_while(Result::ok);
    lines.filter_map(|line| url_in(&line).map(str::to_owned)).next()
}

fn url_in(line: &str) -> Option<&str> {
    let words = line.split_ascii_whitespace();
    words.filter(|word| word.starts_with("ws://")).find(|word| word.ends_with(PATH))
}

/// What a generator that failed says about it: the first line that is no progress.
fn failure(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let line = text.lines().find(|line| line.starts_with("error")).or(text.lines().last());
    line.unwrap_or("the generator ended without a word").to_owned()
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_address_is_found_in_what_it_prints() {
        let dev = "Fanwire is running\n\n  address   127.0.0.1:80\n  \
                   clients   ws://127.0.0.1:80/connection/websocket\n";
        let url = "ws://127.0.0.1:80/connection/websocket";
        assert_eq!(read_url(&mut dev.as_bytes()).unwrap(), url);
        assert_eq!(read_url(&mut format!("{url}\n").as_bytes()).unwrap(), url);
        assert_eq!(read_url(&mut &b"no address\n"[..]), None);
    }

    #[test]
    fn a_failure_is_told_in_the_generators_words() {
        let unusable = b"error: invalid value '0' for '--pairs <COUNT>'\n\nFor more, --help\n";
        assert_eq!(failure(unusable), "error: invalid value '0' for '--pairs <COUNT>'");
        let refused = b"fanwire-bench: 5 of 9 subscribed\nfanwire-bench: gone\n";
        assert_eq!(failure(refused), "fanwire-bench: gone");
    }
}
