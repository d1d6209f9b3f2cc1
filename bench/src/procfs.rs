//! What a process uses: CPU time by its clock, resident memory from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::error::BenchError;

/// No process of Linux has a higher id (proc(5), pid_max); in the id of a clock it would overflow.
const PID_MAX: i32 = 1 << 22;

/// CPU time of a process since its start, its ended threads included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// User and system time, in nanoseconds.
    spent_ns: u64,
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Now, in bytes.
    pub(crate) resident_bytes: u64,
}

impl CpuTime {
    /// CPU time of process `pid` so far, by its clock (clock_getcpuclockid(3)).
    ///
    /// # Errors
    /// `Process` when it does not exist or may not be looked at.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        let fault = |source| BenchError::Process { pid, source };
        let process = i32::try_from(pid).ok().filter(|pid| *pid <= PID_MAX);
        let process = process.ok_or_else(|| fault(io::ErrorKind::NotFound.into()))?;
        let time = clock_getcpuclockid(Pid::from_raw(process)).and_then(|clock| clock.now());
        let time = Duration::from(time.map_err(|errno| fault(errno.into()))?);
        Ok(Self { spent_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) })
    }

    /// CPU time spent since `earlier`, in nanoseconds.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        self.spent_ns.saturating_sub(earlier.spent_ns)
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

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found_among_the_fields() {
        let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(resident_bytes(status), Some(12 * 1024));
    }

    #[test]
    fn time_of_ended_threads_counts_to_the_nanosecond() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).unwrap();
        let work = || std::hint::black_box((0..10_000_u64).map(std::hint::black_box).sum::<u64>());
        std::thread::spawn(work).join().unwrap();
        let spent_ns = CpuTime::of(pid).unwrap().since(&before);
        assert!(spent_ns > 0);
    }

    #[test]
    fn this_process_can_be_measured_and_one_that_does_not_exist_cannot() {
        let pid = std::process::id();
        assert!(Memory::of(pid).unwrap().resident_bytes > 0);
        assert!(CpuTime::of(u32::MAX).is_err());
        assert!(CpuTime::of(i32::MAX.unsigned_abs()).is_err());
    }
}
