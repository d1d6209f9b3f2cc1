//! Ctrl-C and SIGTERM. They are blocked in every thread and taken by one that does nothing else,
//! so that no signal ever interrupts a shard. The second one ends the process on the spot.

use std::thread;

use flume::Receiver;
use nix::sys::signal::{SigSet, Signal};

use super::start_error::StartError;

/// What a shell reports for a process that a signal ended: this and the signal's number.
const EXIT_BY_SIGNAL: i32 = 128;

/// Blocks the signals in the calling thread and in all that it will spawn.
///
/// # Errors
///
/// The kernel refuses, which it does not.
pub(super) fn block() -> Result<SigSet, StartError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    let what = "cannot block signals";
    signals.thread_block().map_err(|errno| StartError::System { what, source: errno.into() })?;
    Ok(signals)
}

/// Starts the thread; the first signal comes out of the channel.
///
/// # Errors
///
/// No thread can be spawned.
pub(super) fn listen(signals: SigSet) -> Result<Receiver<Signal>, StartError> {
    let (sender, receiver) = flume::bounded(1);
    let what = "cannot start the signal thread";
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut seen = 0;
            while let Ok(signal) = signals.wait() {
                seen += 1;
                if seen > 1 {
                    tracing::warn!(%signal, "second signal: ending at once");
                    std::process::exit(EXIT_BY_SIGNAL + signal as i32);
                }
                // The node waits for exactly this.
                let _ = sender.send(signal);
            }
        })
        .map_err(|source| StartError::System { what, source })?;
    Ok(receiver)
}
