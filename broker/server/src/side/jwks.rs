//! The thread that fetches the keys of tokens (JSON Web Key Sets): at the start, at an interval,
//! and when a shard meets a token whose key nobody has. What it fetches replaces what it fetched
//! before; while it can fetch nothing, the last good set stays.
//!
//! The node starts it and passes the keys on. A broker starts whether or not its keys can be
//! fetched. Nothing of a key, and nothing of an answer, gets into the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use fanwire_core::keys::{Jwks, KeyError, KeySet, Keys};
use flume::{Receiver, RecvTimeoutError, Sender};
use http::Uri;
use ureq::Agent;

use super::schedule::{Pace, Schedule};
use crate::config::{JwksSource, KeySource, TokenConfig};
use crate::trust;

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
const DEMAND_GAP: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// How a shard says that a token is signed with a key nobody has. The thread ends with the last of
/// these.
#[derive(Clone, Debug)]
pub(crate) struct KeyDemand(Sender<()>);

impl KeyDemand {
    /// Asks for a fetch, and does not wait for it. Many that ask at a time are one.
    pub(crate) fn ask(&self) {
        // Full: somebody has asked already. Disconnected: there is nothing to fetch.
        let _ = self.0.try_send(());
    }
}

/// Starts the thread, if there is anything to fetch. `publish` gets all keys, those of the
/// configuration included, whenever any were fetched: where they are the same, a shard learns that
/// the key it misses is not to be had. Until then `config.keys()` holds.
///
/// # Errors
///
/// The thread could not be made.
pub(crate) fn start(
    config: &TokenConfig,
    publish: impl Fn(Arc<Keys>) + Send + 'static,
) -> io::Result<KeyDemand> {
    let pace = |source: &JwksSource| Pace {
        refresh: source.refresh_interval,
        demand_gap: DEMAND_GAP,
        retry_min: RETRY_MIN,
        retry_max: RETRY_MAX,
    };
    start_at(config, pace, TIMEOUT, publish)
}

fn start_at(
    config: &TokenConfig,
    pace: impl Fn(&JwksSource) -> Pace,
    timeout: Duration,
    publish: impl Fn(Arc<Keys>) + Send + 'static,
) -> io::Result<KeyDemand> {
    let (demand, demands) = flume::bounded(1);
    let held = |source: &KeySource| Held {
        keys: source.keys.clone(),
        endpoint: source
            .jwks
            .as_ref()
            .map(|source| Endpoint::new(source.url.clone(), pace(source), timeout)),
    };
    let watch = Watch {
        connection: held(&config.connection),
        subscription: config.subscription.as_ref().map(held),
        demands,
        publish,
    };
    if watch.next().is_some() {
        thread::Builder::new().name("keys".to_owned()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| watch.run())).is_err() {
                tracing::error!(
                    "a bug (the panic is reported above): no keys are fetched until a restart"
                );
            }
        })?;
    }
    Ok(KeyDemand(demand))
}

/// What the thread has in hand.
struct Watch<P> {
    connection: Held,
    subscription: Option<Held>,
    demands: Receiver<()>,
    publish: P,
}

/// The keys of one kind of tokens, and where more of them are fetched.
struct Held {
    keys: KeySet,
    endpoint: Option<Endpoint>,
}

impl<P: Fn(Arc<Keys>)> Watch<P> {
    fn run(mut self) {
        while let Some(next) = self.next() {
            let pause = next.saturating_duration_since(Instant::now());
            // What is due comes first, or those who ask without end would hold it up.
            if pause.is_zero() {
                self.fetch();
                continue;
            }
            match self.demands.recv_timeout(pause) {
                Ok(()) => {
                    let now = Instant::now();
                    self.endpoints().for_each(|endpoint| endpoint.schedule.demanded(now));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// When something is due; `None` = never, for there is nothing to fetch.
    fn next(&self) -> Option<Instant> {
        let held = [Some(&self.connection), self.subscription.as_ref()];
        let endpoints = held.into_iter().flatten().filter_map(|held| held.endpoint.as_ref());
        endpoints.map(|endpoint| endpoint.schedule.next()).min()
    }

    fn endpoints(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        let held = [Some(&mut self.connection), self.subscription.as_mut()];
        held.into_iter().flatten().filter_map(|held| held.endpoint.as_mut())
    }

    fn fetch(&mut self) {
        let fetched = self.connection.fetch_if_due();
        let fetched = self.subscription.as_mut().is_some_and(Held::fetch_if_due) || fetched;
        if fetched {
            let subscription = self.subscription.as_ref().map(|held| held.keys.clone());
            (self.publish)(Arc::new(Keys::new(self.connection.keys.clone(), subscription)));
        }
    }
}

impl Held {
    /// Whether the keys were fetched, be they others than before or not.
    fn fetch_if_due(&mut self) -> bool {
        let Some(endpoint) = &mut self.endpoint else { return false };
        if endpoint.schedule.next() > Instant::now() {
            return false;
        }
        match endpoint.fetch() {
            Some(Fetched::Same) => true,
            Some(Fetched::New(jwks)) => {
                self.keys = std::mem::take(&mut self.keys).with_jwks(jwks);
                true
            }
            None => false,
        }
    }
}

/// What a fetch brought.
enum Fetched {
    Same,
    New(Jwks),
}

/// Where a key set is fetched.
struct Endpoint {
    url: Uri,
    agent: Agent,
    schedule: Schedule,
    /// The last good answer, so that one that says the same changes nothing.
    answer: Vec<u8>,
}

impl Endpoint {
    fn new(url: Uri, pace: Pace, timeout: Duration) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            // Somebody else's address would be somebody else's keys.
            .max_redirects(0)
            .proxy(None)
            // One request in minutes: the connection would be dead by the next.
            .max_idle_connections(0);
        if url.scheme_str() == Some("https") {
            config = config.https_only(true).tls_config(trust::for_http());
        }
        let schedule = Schedule::new(pace, Instant::now());
        Self { url, agent: config.build().into(), schedule, answer: Vec::new() }
    }

    /// What the endpoint has; `None` = nothing that can be used.
    fn fetch(&mut self) -> Option<Fetched> {
        let fetched = self.answered().and_then(|answer| Ok((Jwks::parse(&answer)?, answer)));
        // The path may have a secret in its query.
        let host = self.url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        match fetched {
            Ok((jwks, answer)) => {
                self.schedule.succeeded(Instant::now());
                let is_new = answer != self.answer;
                if is_new {
                    let (keys, left_out) = (jwks.len(), jwks.left_out());
                    tracing::info!(host, keys, left_out, "fetched keys of tokens");
                    self.answer = answer;
                }
                Some(if is_new { Fetched::New(jwks) } else { Fetched::Same })
            }
            Err(error) => {
                self.schedule.failed(Instant::now());
                tracing::warn!(host, %error, "cannot fetch the keys of tokens; will try again");
                None
            }
        }
    }

    fn answered(&self) -> Result<Vec<u8>, FetchError> {
        let mut response = self.agent.get(&self.url).call()?;
        match response.status().as_u16() {
            200 => {}
            status @ 300..=399 => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        Ok(response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?)
    }
}

/// Why keys could not be fetched; for the log.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the answer is HTTP status {0}")]
    Status(u16),
    #[error("the answer is a redirect ({0}), which is not followed: name the address it leads to")]
    Redirect(u16),
    #[error(transparent)]
    Http(#[from] ureq::Error),
    #[error("{0}")]
    NoKeySet(#[from] KeyError),
}

#[cfg(test)]
mod tests;
