//! What a process uses, from `/proc`: CPU time and resident memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;

use crate::error::BenchError;

/// Length of a tick of `/proc/PID/stat`: USER_HZ is 100 on every architecture in use.
const TICK_NS: u64 = 10_000_000;
/// How far `stat` may be ahead of `schedstat` by its coarse ticks alone, in nanoseconds.
const TICK_DOUBT_NS: u64 = 5 * TICK_NS;

/// CPU time of a process since its start, twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime {
    /// Of each living thread by its id, precise: `/proc/PID/task/*/schedstat`.
    threads: BTreeMap<OsString, u64>,
    /// With its ended threads, in ticks: utime + stime of `/proc/PID/stat`.
    coarse_ns: u64,
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Now, in bytes.
    pub(crate) resident_bytes: u64,
}

impl CpuTime {
    /// CPU time of process `pid` so far.
    ///
    /// # Errors
    /// `Process` when it does not exist or may not be looked at.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        let fault = |source| BenchError::Process { pid, source };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(fault)?;
        let coarse_ns =
            stat_ticks(&stat).ok_or_else(|| fault(io::ErrorKind::InvalidData.into()))? * TICK_NS;
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(fault)? {
            let task = task.map_err(fault)?;
            // A thread may end between the listing and the reading.
            if let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) {
                threads.insert(task.file_name(), schedstat_ns(&schedstat).unwrap_or(0));
            }
        }
        Ok(Self { threads, coarse_ns })
    }

    /// CPU time spent since `earlier`, in nanoseconds.
    ///
    /// An ended thread takes its precise time with it (and a kernel without schedstat has none);
    /// then the coarse time is the better one.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let coarse_ns = self.coarse_ns.saturating_sub(earlier.coarse_ns);
        let has_lost_thread = earlier.threads.keys().any(|id| !self.threads.contains_key(id));
        let spent = self.threads.iter().map(|(id, &now_ns)| {
            now_ns.saturating_sub(earlier.threads.get(id).copied().unwrap_or(0))
        });
        let precise_ns: u64 = spent.sum();
        // A thread may have come and gone in between, too.
        let is_short = coarse_ns > precise_ns + TICK_DOUBT_NS;
        if has_lost_thread || is_short { coarse_ns } else { precise_ns }
    }
}

impl Memory {
    /// Memory of process `pid`.
    ///
    /// # Errors
    /// `Process` when it does not exist or may not be looked at.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        let fault = |source| BenchError::Process { pid, source };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(fault)?;
        let resident_bytes =
            resident_bytes(&status).ok_or_else(|| fault(io::ErrorKind::InvalidData.into()))?;
        Ok(Self { resident_bytes })
    }
}

/// utime + stime. The process's name stands in parentheses and may contain anything.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn schedstat_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_process_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 9 0 0 0 150 25 7 7 20 0 1 0 1";
        assert_eq!(stat_ticks(stat), Some(175));
        assert_eq!(schedstat_ns("336731361 88023 28\n"), Some(336_731_361));
        let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(resident_bytes(status), Some(12 * 1024));
    }

    #[test]
    fn precise_time_is_preferred_until_threads_have_ended() {
        let time = |threads: &[(&str, u64)], coarse_ns| CpuTime {
            threads: threads.iter().map(|&(id, ns)| (id.into(), ns)).collect(),
            coarse_ns,
        };
        let earlier = time(&[("1", 1_000), ("2", 500)], TICK_NS);
        let same = time(&[("1", 5_000), ("2", 600), ("3", 7)], 2 * TICK_NS);
        assert_eq!(same.since(&earlier), 4_107);
        let ended = time(&[("1", 5_000)], 3 * TICK_NS);
        assert_eq!(ended.since(&earlier), 2 * TICK_NS);
        let came_and_went = time(&[("1", 5_000), ("2", 600)], 90 * TICK_NS);
        assert_eq!(came_and_went.since(&earlier), 89 * TICK_NS);
    }

    #[test]
    fn this_process_can_be_measured() {
        let pid = std::process::id();
        assert!(Memory::of(pid).unwrap().resident_bytes > 0);
        CpuTime::of(pid).unwrap();
        assert!(CpuTime::of(u32::MAX).is_err());
    }
}
