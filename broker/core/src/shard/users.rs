//! Users and their connections: found by name on each shard, counted at one shard for the node.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ahash::RandomState;

use super::message::Message;
use super::{Pending, Shard};
use crate::fault::{Disconnect, Refusal};
use crate::ids::{ConnectionId, RequestId, ShardIndex};

/// Connections of this shard by user, but those without one.
pub(super) type LocalUsers = HashMap<Arc<str>, OfUser, RandomState>;

/// Connections of the node by user, at the shard that counts them.
pub(super) type CountedUsers = HashMap<Arc<str>, BTreeSet<(ShardIndex, ConnectionId)>, RandomState>;

/// The connections of one user. Mostly one; but all clients of an application may be one user, and
/// go at the same time, so none is searched for by walking.
#[derive(Debug)]
pub(super) enum OfUser {
    One(ConnectionId),
    Some(BTreeSet<ConnectionId>),
}

impl OfUser {
    fn add(&mut self, id: ConnectionId) {
        match self {
            Self::One(first) => *self = Self::Some([*first, id].into()),
            Self::Some(connections) => {
                connections.insert(id);
            }
        }
    }

    /// Removes one; whether none is left.
    fn remove(&mut self, id: ConnectionId) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Some(connections) => {
                connections.remove(&id);
                connections.is_empty()
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ConnectionId> {
        let (one, several) = match self {
            Self::One(id) => (Some(*id), None),
            Self::Some(connections) => (None, Some(connections)),
        };
        one.into_iter().chain(several.into_iter().flatten().copied())
    }
}

impl Shard {
    /// A session of a user has begun; whether its connect must wait for the count.
    pub(super) fn user_came(&mut self, id: ConnectionId, user: &Arc<str>) -> Result<bool, Refusal> {
        if user.is_empty() {
            return Ok(false);
        }
        match self.local_users.entry(Arc::clone(user)) {
            Entry::Vacant(entry) => {
                entry.insert(OfUser::One(id));
            }
            Entry::Occupied(mut entry) => entry.get_mut().add(id),
        }
        let client = &self.settings.client;
        let single = client.personal_topic.as_ref().is_some_and(|topic| topic.single_connection);
        if client.user_connections_max == 0 && !single {
            return Ok(false);
        }
        // Who cannot be counted is not let in.
        let request = self.ask(Pending::Attend { connection: id })?;
        if let Some(session) = self.connections.session_mut(id) {
            session.attended = true;
        }
        let (to, user) = (self.owner(user), Arc::clone(user));
        self.lanes.send(to, Message::Attend { user, connection: id, request });
        Ok(true)
    }

    /// A session of a user is over.
    pub(super) fn user_left(&mut self, id: ConnectionId, user: &Arc<str>, attended: bool) {
        let of_user = self.local_users.get_mut(user);
        if of_user.is_some_and(|connections| connections.remove(id)) {
            self.local_users.remove(user);
        }
        if attended {
            let (to, user) = (self.owner(user), Arc::clone(user));
            self.lanes.send(to, Message::Absent { user, connection: id });
        }
    }

    /// Counts one more connection of a user, if it may have one more.
    pub(super) fn own_attend(
        &mut self,
        from: ShardIndex,
        user: Arc<str>,
        connection: ConnectionId,
        request: RequestId,
    ) {
        let client = &self.settings.client;
        let single = client.personal_topic.as_ref().is_some_and(|topic| topic.single_connection);
        let connections = self.counted_users.entry(user).or_default();
        let max = client.user_connections_max;
        let admitted = single || max == 0 || connections.len() < max;
        if single {
            for (shard, connection) in std::mem::take(connections) {
                self.lanes.send(shard, Message::Supersede { connection });
            }
        }
        if admitted {
            connections.insert((from, connection));
        }
        self.lanes.send(from, Message::Attended { request, admitted });
    }

    /// A connection of a user is gone.
    pub(super) fn own_absent(&mut self, from: ShardIndex, user: &str, connection: ConnectionId) {
        if let Some(connections) = self.counted_users.get_mut(user) {
            connections.remove(&(from, connection));
            if connections.is_empty() {
                self.counted_users.remove(user);
            }
        }
    }

    /// Whether a user may have this connection.
    pub(super) fn attended(&mut self, request: RequestId, admitted: bool) {
        let Some(Pending::Attend { connection }) = self.requests.remove(request) else {
            debug_assert!(false, "an answer about a user that nobody awaits");
            return;
        };
        if admitted {
            self.connect_goes_on(connection, None);
        } else {
            let cause = "more connections of its user than user_connections_max";
            self.disconnect(connection, &Disconnect::CONNECTION_LIMIT, cause);
        }
    }

    /// A newer connection of its user takes this one's place.
    pub(super) fn superseded(&mut self, connection: ConnectionId) {
        let cause = "a newer connection of its user";
        self.disconnect(connection, &Disconnect::CONNECTION_LIMIT, cause);
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn a_user_is_there_until_the_last_of_its_connections_is_gone() {
        let mut ids = SlotMap::<ConnectionId, ()>::with_key();
        let [a, b, c, other] = std::array::from_fn(|_| ids.insert(()));
        let mut user = OfUser::One(a);
        assert!(user.iter().eq([a]) && !user.remove(other));
        user.add(b);
        user.add(c);
        assert!(user.iter().eq([a, b, c]));
        assert!(!user.remove(a) && !user.remove(a) && !user.remove(c));
        assert!(user.iter().eq([b]) && user.remove(b));
        assert!(OfUser::One(a).remove(a));
    }
}
