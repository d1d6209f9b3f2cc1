//! Watches the processes of a run while it goes on: CPU time and memory at regular moments.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::{now_ns, sleep_until};
use crate::error::BenchError;
use crate::procfs::{CpuTime, Memory, Switches, waited_ns};
use crate::timeline::{INTERVAL_NS, INTERVALS_MAX};

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// The server, if it is on this machine and named.
    pub(crate) server_pid: Option<u32>,
    /// The generator processes.
    pub(crate) generator_pids: Vec<u32>,
}

/// CPU times and memory at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// CLOCK_MONOTONIC in nanoseconds.
    pub(crate) at_ns: u64,
    /// The server; `None` when it is not watched.
    pub(crate) server: Option<(CpuTime, Memory)>,
    /// How often the server's threads have slept and been driven out; 0 when it is not watched.
    pub(crate) switches: Switches,
    /// Each generator process.
    pub(crate) generators: Vec<CpuTime>,
    /// This process, which publishes.
    pub(crate) own: CpuTime,
    /// How long those who were ready to run had no core.
    pub(crate) waited: Waited,
}

/// How long the threads of processes were ready to run but had no core, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// Those of the server; 0 when it is not watched.
    pub(crate) server_ns: u64,
    /// Those of the generator processes and of this one, which publishes.
    pub(crate) generator_ns: u64,
}

impl Waited {
    /// That since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            server_ns: self.server_ns.saturating_sub(earlier.server_ns),
            generator_ns: self.generator_ns.saturating_sub(earlier.generator_ns),
        }
    }
}

/// A thread that takes readings until it is stopped.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Dropping it stops the thread.
    stop: Sender<()>,
    thread: JoinHandle<Vec<Reading>>,
}

impl Watched {
    /// A reading now.
    ///
    /// # Errors
    /// `Process` when one of the processes is gone or may not be looked at.
    pub(crate) fn read(&self) -> Result<Reading, BenchError> {
        let server = |pid| Ok::<_, BenchError>((CpuTime::of(pid)?, Memory::of(pid)?));
        let generators: Result<_, _> =
            self.generator_pids.iter().map(|&p| CpuTime::of(p)).collect();
        let own = std::process::id();
        let server_ns = self.server_pid.map(waited_ns).transpose()?.unwrap_or_default();
        let mut waited = Waited { server_ns, generator_ns: 0 };
        for pid in self.generator_pids.iter().copied().chain([own]) {
            waited.generator_ns += waited_ns(pid)?;
        }
        Ok(Reading {
            at_ns: now_ns(),
            server: self.server_pid.map(server).transpose()?,
            switches: self.server_pid.map(Switches::of).transpose()?.unwrap_or_default(),
            generators: generators?,
            own: CpuTime::of(own)?,
            waited,
        })
    }
}

impl Watch {
    /// Takes the first reading at `from_ns` (CLOCK_MONOTONIC).
    pub(crate) fn start(watched: Watched, from_ns: u64) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            sleep_until(from_ns);
            let (mut readings, mut interval_ns, mut due_ns) = (Vec::new(), INTERVAL_NS, from_ns);
            // A process that is gone ends the watch; whoever asks for its totals says so in words.
            while let Ok(reading) = watched.read() {
                readings.push(reading);
                if readings.len() > INTERVALS_MAX {
                    interval_ns *= 2;
                    readings = readings.into_iter().step_by(2).collect();
                }
                due_ns += interval_ns;
                let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns()));
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    readings.extend(watched.read());
                    break;
                }
            }
            readings
        });
        Self { stop, thread }
    }

    /// All readings, with a last one now.
    pub(crate) fn finish(self) -> Vec<Reading> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_reads_at_its_start_and_at_its_end() {
        let own = std::process::id();
        let watched = Watched { server_pid: Some(own), generator_pids: vec![own, own] };
        let readings = Watch::start(watched, now_ns()).finish();
        assert_eq!(readings.len(), 2);
        assert!(readings[0].at_ns < readings[1].at_ns);
        let (_, memory) = readings[1].server.unwrap();
        assert!(memory.resident_bytes > 0);
        assert_eq!(readings[1].generators.len(), 2);
    }

    #[test]
    fn a_process_that_is_gone_ends_the_watch() {
        let watched = Watched { server_pid: Some(u32::MAX), generator_pids: Vec::new() };
        assert!(Watch::start(watched, now_ns()).finish().is_empty());
    }
}
