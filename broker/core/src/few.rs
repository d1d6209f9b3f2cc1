//! Lists of mostly one: the subscriptions of a session, the subscribers of a topic, the shards that
//! are interested in it. A shard has hundreds of thousands of them, so the usual case takes no
//! memory of its own, and the rest is behind one pointer.

use std::ops::{Deref, DerefMut};

/// A slice that grows, in no order.
#[derive(Debug)]
pub(crate) enum Few<T> {
    /// The usual case.
    One(T),
    /// None, or several.
    Many(Option<Box<Several<T>>>),
}

/// A list in one piece.
#[derive(Debug)]
pub(crate) struct Several<T>(Vec<T>);

impl<T> Few<T> {
    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, entry: T) {
        if let Self::Many(Some(several)) = self {
            several.0.push(entry);
            return;
        }
        *self = match std::mem::take(self) {
            Self::One(first) => Self::Many(Some(Box::new(Several(vec![first, entry])))),
            Self::Many(_) => Self::One(entry),
        };
    }

    /// Takes out the entry at an index, if there is one; the last takes its place.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Option<T> {
        if let Self::Many(Some(several)) = self
            && several.0.len() > 1
        {
            return (index < several.0.len()).then(|| several.0.swap_remove(index));
        }
        if index > 0 {
            return None;
        }
        match std::mem::take(self) {
            Self::One(only) => Some(only),
            Self::Many(several) => several?.0.pop(),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(Some(several)) => &several.0,
            Self::Many(None) => &[],
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::One(only) => std::slice::from_mut(only),
            Self::Many(Some(several)) => &mut several.0,
            Self::Many(None) => &mut [],
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Few<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list_whatever_is_added_and_taken_out() {
        let mut few = Few::default();
        let mut model = Vec::new();
        for round in 0..200_usize {
            // Up to five, down to none, and again.
            if round % 10 < 5 {
                few.push(round);
                model.push(round);
            } else {
                let index = round * 7 % model.len();
                assert_eq!(few.swap_remove(index), Some(model.swap_remove(index)));
            }
            assert_eq!(*few, *model);
            assert_eq!(few.swap_remove(model.len()), None);
            for (entry, expected) in (&mut few).into_iter().zip(&model) {
                assert_eq!(entry, expected);
            }
            assert!((&few).into_iter().eq(&model));
        }
        assert!(matches!(few, Few::Many(None)));
    }
}
