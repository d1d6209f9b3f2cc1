//! Keys that tokens name and nobody has: how long to hope that they will be fetched.

use std::collections::HashMap;

use ahash::RandomState;

/// Names of keys that are remembered; when there are more, all are forgotten, and hoped for anew.
const NAMES_MAX: usize = 1024;

/// Fetches after which a key that is still unknown is given up. The first one may have begun before
/// the key was published.
const FETCHES: u64 = 2;

/// Which keys were asked for, and since when.
#[derive(Debug)]
pub(crate) struct UnknownKeys {
    /// Hash of the name; how many fetches there had been when it was first asked for.
    asked: HashMap<u64, u64, RandomState>,
    fetches: u64,
    hasher: RandomState,
}

impl UnknownKeys {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { asked: HashMap::with_hasher(hasher.clone()), fetches: 0, hasher }
    }

    /// The keys were fetched.
    pub(crate) fn fetched(&mut self) {
        self.fetches += 1;
    }

    /// Whether fetching will not bring this key; notes that it was asked for.
    pub(crate) fn is_hopeless(&mut self, name: &str) -> bool {
        if self.asked.len() >= NAMES_MAX {
            self.asked.clear();
        }
        let since = *self.asked.entry(self.hasher.hash_one(name)).or_insert(self.fetches);
        self.fetches - since >= FETCHES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_up_after_the_second_fetch_that_does_not_bring_it() {
        let mut unknown = UnknownKeys::new(RandomState::with_seeds(1, 2, 3, 4));
        unknown.fetched();
        assert!(!unknown.is_hopeless("a"));
        unknown.fetched();
        assert!(!unknown.is_hopeless("a"));
        assert!(!unknown.is_hopeless("b"));
        unknown.fetched();
        assert!(unknown.is_hopeless("a"));
        assert!(!unknown.is_hopeless("b"));
    }

    #[test]
    fn names_without_end_take_no_memory_without_end() {
        let mut unknown = UnknownKeys::new(RandomState::with_seeds(1, 2, 3, 4));
        for name in 0..10 * NAMES_MAX {
            unknown.is_hopeless(&name.to_string());
        }
        assert!(unknown.asked.len() <= NAMES_MAX);
    }
}
