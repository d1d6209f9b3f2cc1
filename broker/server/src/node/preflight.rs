//! What must be true before any thread starts, so that a node starts whole or says why it cannot.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::start_error::{RingDenial, StartError};
use crate::reactor::Ring;

/// glommio's own minimum.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Descriptors of the node itself, and a handful of connections.
const OPEN_FILES_MIN: u64 = 256;
/// Descriptors of a shard: four rings, eventfds, timers, its listening socket.
const OPEN_FILES_PER_SHARD: u64 = 16;

/// Raises limits where it can and checks what a node of `shards` shards needs.
///
/// # Errors
///
/// The first thing that is missing.
pub(super) fn check(shards: usize) -> Result<(), StartError> {
    check_memlock()?;
    check_open_files(shards)?;
    check_ring()
}

/// The cores this process may use, by number.
///
/// # Errors
///
/// The kernel does not say.
pub(super) fn usable_cores() -> Result<Vec<usize>, StartError> {
    let what = "cannot read which cores may be used";
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|errno| StartError::System { what, source: errno.into() })?;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect())
}

fn check_memlock() -> Result<(), StartError> {
    let needed = MEMLOCK_BYTES_MIN;
    let limit = raise(Resource::RLIMIT_MEMLOCK, needed, "the limit of locked memory")?;
    if limit < needed {
        return Err(StartError::Memlock { limit, needed });
    }
    Ok(())
}

fn check_open_files(shards: usize) -> Result<(), StartError> {
    let shard_count = u64::try_from(shards).unwrap_or(u64::MAX);
    let needed = OPEN_FILES_MIN.saturating_add(shard_count.saturating_mul(OPEN_FILES_PER_SHARD));
    let limit = raise(Resource::RLIMIT_NOFILE, needed, "the limit of open files")?;
    if limit < needed {
        return Err(StartError::OpenFiles { limit, needed, shards });
    }
    Ok(())
}

/// Raises the soft limit to the hard one, and the hard one to what is needed if this process may
/// (CAP_SYS_RESOURCE). Says what the limit is now.
fn raise(resource: Resource, needed: u64, what: &'static str) -> Result<u64, StartError> {
    let failed = |errno: Errno| StartError::System { what, source: errno.into() };
    let (soft, hard) = getrlimit(resource).map_err(failed)?;
    if hard < needed && setrlimit(resource, needed, needed).is_ok() {
        return Ok(needed);
    }
    if soft < hard {
        setrlimit(resource, hard, hard).map_err(failed)?;
    }
    Ok(hard)
}

fn check_ring() -> Result<(), StartError> {
    match Ring::new() {
        Ok(_) => Ok(()),
        Err(source) => Err(StartError::Ring { denial: denial(&source, sysctl()), source }),
    }
}

fn denial(source: &io::Error, sysctl: u8) -> RingDenial {
    match source.raw_os_error() {
        Some(libc::EPERM) if sysctl > 0 => RingDenial::Sysctl(sysctl),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => RingDenial::Filtered,
        Some(libc::EINVAL) => RingDenial::KernelTooOld,
        Some(libc::ENOMEM) => RingDenial::Memory,
        _ => RingDenial::Other,
    }
}

/// 0 = everybody may use io_uring; it is absent before Linux 6.6.
fn sysctl() -> u8 {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{RingDenial, check, denial, io, libc, usable_cores};

    #[test]
    fn what_the_kernel_says_is_told_apart() {
        let cases = [
            (libc::EPERM, 2, RingDenial::Sysctl(2)),
            (libc::EPERM, 0, RingDenial::Filtered),
            (libc::ENOSYS, 0, RingDenial::Filtered),
            (libc::EINVAL, 0, RingDenial::KernelTooOld),
            (libc::ENOMEM, 0, RingDenial::Memory),
            (libc::EMFILE, 0, RingDenial::Other),
        ];
        for (errno, sysctl, expected) in cases {
            assert_eq!(denial(&io::Error::from_raw_os_error(errno), sysctl), expected);
        }
    }

    #[test]
    fn a_machine_that_runs_the_tests_can_run_a_node() {
        check(2).unwrap();
        assert!(!usable_cores().unwrap().is_empty());
    }

    #[test]
    fn more_shards_than_descriptors_are_refused() {
        assert!(check(usize::MAX).is_err());
    }
}
