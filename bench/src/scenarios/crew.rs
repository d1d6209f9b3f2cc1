//! The generator processes of a run: this program again, once per part of the subscribers.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::client::control::{Assignment, Notice, Order};
use crate::error::BenchError;

/// Name of the hidden subcommand.
const SUBCOMMAND: &str = "subscribers";

/// All generator processes. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Crew {
    workers: Vec<Child>,
    /// What they tell, with their index; `None` when one has ended.
    notices: Receiver<(usize, Option<Notice>)>,
}

impl Crew {
    /// Starts a process for each assignment and lets it open its connections.
    ///
    /// # Errors
    /// `System` when a process cannot be started.
    pub(crate) fn start(assignments: &[Assignment]) -> Result<Self, BenchError> {
        let (sender, notices) = channel();
        let mut crew = Self { workers: Vec::new(), notices };
        for (index, assignment) in assignments.iter().enumerate() {
            crew.workers.push(spawn(index, sender.clone())?);
            crew.order(index, &Order::Open(Box::new(assignment.clone())))?;
        }
        Ok(crew)
    }

    /// Process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.workers.iter().map(Child::id).collect()
    }

    /// Gives an order to the process with this index.
    ///
    /// # Errors
    /// `WorkerLost` when it has ended; unless it has told why: then `Worker`.
    pub(crate) fn order(&mut self, index: usize, order: &Order) -> Result<(), BenchError> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let Some(input) = self.workers.get_mut(index).and_then(|child| child.stdin.as_mut()) else {
            return Err(BenchError::WorkerLost { index });
        };
        // A process that has failed no longer reads; what it told says more than a broken pipe.
        input.write_all(&line).map_err(|_| self.told_failure(index))
    }

    /// Waits until `answer` has taken one notice of each process, in order of their index. Other
    /// notices are handed to `answer` as well and ignored.
    ///
    /// # Errors
    /// `Worker` when one gives up, `WorkerLost` when one ends.
    pub(crate) fn wait<T>(
        &mut self,
        mut answer: impl FnMut(usize, Notice) -> Option<T>,
    ) -> Result<Vec<T>, BenchError> {
        let mut answers: Vec<Option<T>> = self.workers.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let Ok((index, notice)) = self.notices.recv() else {
                let index = answers.iter().position(Option::is_none).unwrap_or(0);
                return Err(BenchError::WorkerLost { index });
            };
            let slot = answers.get_mut(index);
            match notice {
                Some(Notice::Failed { reason }) => {
                    return Err(BenchError::Worker { index, reason });
                }
                Some(notice) => {
                    if let (Some(slot), Some(taken)) = (slot, answer(index, notice)) {
                        *slot = Some(taken);
                    }
                }
                // One that has answered may end.
                None if slot.is_some_and(|slot| slot.is_some()) => {}
                None => return Err(BenchError::WorkerLost { index }),
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn told_failure(&self, index: usize) -> BenchError {
        for (index, notice) in self.notices.iter() {
            match notice {
                Some(Notice::Failed { reason }) => return BenchError::Worker { index, reason },
                Some(_) => {}
                None => return BenchError::WorkerLost { index },
            }
        }
        BenchError::WorkerLost { index }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // The end of its standard input ends it as well; this is for one that is stuck.
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

fn spawn(index: usize, notices: Sender<(usize, Option<Notice>)>) -> Result<Child, BenchError> {
    let start = || {
        Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut child = start().map_err(BenchError::system("starting a generator process"))?;
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(Ok(notice)) = line.map(|line| serde_json::from_str(&line)) else { break };
                if notices.send((index, Some(notice))).is_err() {
                    return;
                }
            }
            // Nobody listens any more when the run is over.
            let _ = notices.send((index, None));
        });
    }
    Ok(child)
}
