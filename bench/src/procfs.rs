//! What a process uses: CPU time by its clock, resident memory from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
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

/// What a process tells about itself; empty or 0 where it cannot be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessFacts {
    /// Its command line, secrets included.
    pub(crate) arguments: Vec<String>,
    /// Cores that it may run on, such as "0" or "0-3" (proc(5), Cpus_allowed_list).
    pub(crate) cores_allowed: String,
    /// Threads that it has.
    pub(crate) threads: u32,
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Now, in bytes.
    pub(crate) resident_bytes: u64,
}

/// How often the threads of a process gave a core away (proc(5), voluntary_ctxt_switches).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switches {
    /// To wait: each is followed by a wake-up.
    pub(crate) voluntary: u64,
    /// Because others were due.
    pub(crate) forced: u64,
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

    /// So much CPU time.
    #[cfg(test)]
    pub(crate) fn from_ns(spent_ns: u64) -> Self {
        Self { spent_ns }
    }

    /// CPU time of the calling thread so far.
    pub(crate) fn of_this_thread() -> Self {
        // The kernel always has this clock; 0 shows up as a thread that did nothing.
        let time =
            clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
        Self { spent_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) }
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

impl Switches {
    /// Of process `pid`, all its threads together. A thread that ends meanwhile takes its count
    /// with it.
    ///
    /// # Errors
    /// `Process` when it does not exist or may not be looked at.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        let fault = |source| BenchError::Process { pid, source };
        let mut sum = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(fault)? {
            let status = task.map(|task| task.path().join("status")).map_err(fault)?;
            let status = fs::read_to_string(status).unwrap_or_default();
            let count = |name| field(&status, name).and_then(|count| count.parse().ok());
            sum.voluntary += count("voluntary_ctxt_switches:").unwrap_or(0);
            sum.forced += count("nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(sum)
    }

    /// Those since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            forced: self.forced.saturating_sub(earlier.forced),
        }
    }
}

/// How long the threads of process `pid` were ready to run so far, but had no core
/// (Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat), in nanoseconds. All its threads
/// together; one that ends meanwhile takes its time with it. 0 where the kernel does not tell.
///
/// # Errors
/// `Process` when it does not exist or may not be looked at.
pub(crate) fn waited_ns(pid: u32) -> Result<u64, BenchError> {
    let fault = |source| BenchError::Process { pid, source };
    let mut sum_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(fault)? {
        let path = task.map(|task| task.path().join("schedstat")).map_err(fault)?;
        let times = fs::read_to_string(path).unwrap_or_default();
        let waited = times.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse::<u64>().ok());
        sum_ns += waited.unwrap_or(0);
    }
    Ok(sum_ns)
}

/// Descriptors that process `pid` has open.
///
/// # Errors
/// `Process` when it does not exist or may not be looked at.
pub(crate) fn descriptors(pid: u32) -> Result<u64, BenchError> {
    let fault = |source| BenchError::Process { pid, source };
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).map_err(fault)?.count() as u64)
}

impl ProcessFacts {
    /// What process `pid` tells.
    pub(crate) fn of(pid: u32) -> Self {
        let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let arguments = read("cmdline");
        Self {
            arguments: arguments.split_terminator('\0').map(str::to_owned).collect(),
            cores_allowed: field(&status, "Cpus_allowed_list:").unwrap_or_default().to_owned(),
            threads: field(&status, "Threads:").and_then(|n| n.parse().ok()).unwrap_or(0),
        }
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let kibibytes: u64 = field(status, "VmRSS:")?.split_ascii_whitespace().next()?.parse().ok()?;
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
    fn a_process_tells_its_command_line_and_where_it_may_run() {
        let facts = ProcessFacts::of(std::process::id());
        assert_eq!(facts.arguments, std::env::args().collect::<Vec<_>>());
        assert!(facts.threads > 0 && !facts.cores_allowed.is_empty(), "{facts:?}");
    }

    #[test]
    fn who_waits_has_switched_and_who_is_there_has_descriptors() {
        let pid = std::process::id();
        let before = Switches::of(pid).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        assert!(Switches::of(pid).unwrap().since(&before).voluntary > 0);
        assert!(descriptors(pid).unwrap() > 0);
        assert!(Switches::of(u32::MAX).is_err() && descriptors(u32::MAX).is_err());
    }

    #[test]
    fn threads_that_share_a_core_wait_for_it() {
        use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
        let pid = std::process::id();
        let before_ns = waited_ns(pid).unwrap();
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let core = (0..CpuSet::count()).find(|&core| allowed.is_set(core).unwrap()).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let busy = || {
            let mut one = CpuSet::new();
            one.set(core).unwrap();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(busy);
            scope.spawn(busy);
            while waited_ns(pid).unwrap() <= before_ns {
                std::thread::yield_now();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(waited_ns(u32::MAX).is_err());
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
