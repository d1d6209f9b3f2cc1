//! The keys of tokens, as the shards have them: the thread that fetches keys puts them in, every
//! shard looks whether there are others and takes them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fanwire_core::keys::Keys;

use crate::mesh::Doorbell;
use crate::side::jwks::KeyDemand;

/// Where the keys are.
#[derive(Debug)]
pub(crate) struct Keyring {
    /// Taken a few times an hour.
    keys: Mutex<Arc<Keys>>,
    /// How often they were replaced.
    version: AtomicU64,
    doorbells: Vec<Arc<Doorbell>>,
    demand: OnceLock<KeyDemand>,
}

impl Keyring {
    /// With the keys that stand in the configuration.
    pub(crate) fn new(keys: Arc<Keys>, doorbells: Vec<Arc<Doorbell>>) -> Self {
        let (version, demand) = (AtomicU64::new(0), OnceLock::new());
        Self { keys: Mutex::new(keys), version, doorbells, demand }
    }

    /// Replaces the keys and wakes the shards.
    pub(crate) fn replace(&self, keys: Arc<Keys>) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        self.version.fetch_add(1, Ordering::Release);
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }

    /// How often the keys were replaced.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The keys as they are now.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets whom to ask for keys that nobody has; once.
    pub(crate) fn set_demand(&self, demand: KeyDemand) {
        let _ = self.demand.set(demand);
    }

    /// Asks for keys that nobody has.
    pub(crate) fn demand(&self) {
        if let Some(demand) = self.demand.get() {
            demand.ask();
        }
    }
}
