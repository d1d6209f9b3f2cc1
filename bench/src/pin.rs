//! Which cores the generator may use. Set once, before any thread or process is started: they all
//! inherit it.

use std::fmt;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::BenchError;

/// Some cores, written as `1`, `1-3` or `0,2-3`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CoreList {
    cores: Vec<usize>,
    text: String,
}

impl CoreList {
    /// Keeps this process, and all that it starts from now on, to these cores.
    ///
    /// # Errors
    /// `System` when the machine has none of them, or they are not allowed.
    pub(crate) fn pin(&self) -> Result<(), BenchError> {
        let pin = || {
            let mut set = CpuSet::new();
            self.cores.iter().try_for_each(|&core| set.set(core))?;
            // 0 is the calling thread, and there is no other yet.
            sched_setaffinity(Pid::from_raw(0), &set)
        };
        pin().map_err(|errno| BenchError::system("--pin")(errno.into()))
    }
}

impl FromStr for CoreList {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "cores are written as 1, 1-3 or 0,2-3";
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| EXPECTED);
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= CpuSet::count() {
                return Err(EXPECTED);
            }
            cores.extend(first..=last);
        }
        Ok(Self { cores, text: text.to_owned() })
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::sched_getaffinity;

    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_nonsense_is_refused() {
        let cores = |text: &str| text.parse::<CoreList>().map(|list| list.cores);
        assert_eq!(cores("1"), Ok(vec![1]));
        assert_eq!(cores("0,2-4"), Ok(vec![0, 2, 3, 4]));
        for nonsense in ["", "x", "3-1", "1,", "-1", "99999999"] {
            assert!(cores(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_pinned_thread_stays_on_its_core() {
        // On a thread of its own: other tests must not be pinned.
        let allowed = std::thread::spawn(|| {
            let first = |set: &CpuSet| (0..CpuSet::count()).find(|&c| set.is_set(c).unwrap());
            let own = sched_getaffinity(Pid::from_raw(0)).unwrap();
            let core = first(&own).unwrap();
            core.to_string().parse::<CoreList>().unwrap().pin().unwrap();
            let pinned = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|&c| pinned.is_set(c).unwrap()).collect::<Vec<_>>()
                == [core]
        });
        assert!(allowed.join().unwrap());
    }
}
