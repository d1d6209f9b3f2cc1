//! Who is subscribed to a topic, at its owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::protocol::ClientInfo;

/// The subscribers of a topic, on all shards. Counting is O(1).
#[derive(Debug, Default)]
pub(crate) struct Presence {
    members: BTreeMap<Uuid, Arc<ClientInfo>>,
    /// Connections of each user.
    users: BTreeMap<Arc<str>, u32>,
    /// Who was refused and is about to take its leave all the same.
    refused: Vec<Uuid>,
}

impl Presence {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.refused.is_empty()
    }

    /// Notes that one who wanted to come did not, so that its leave goes unheard.
    pub(crate) fn refuse(&mut self, client: Uuid) {
        self.refused.push(client);
    }

    /// Whether one who takes its leave never came; asked once for each that was refused.
    pub(crate) fn was_refused(&mut self, client: Uuid) -> bool {
        let found = self.refused.iter().position(|refused| *refused == client);
        found.map(|index| self.refused.swap_remove(index)).is_some()
    }

    /// Connections.
    pub(crate) fn client_count(&self) -> usize {
        self.members.len()
    }

    /// Users; all anonymous clients are one.
    pub(crate) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// In the order of their ids.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<ClientInfo>> {
        self.members.values()
    }

    pub(crate) fn add(&mut self, info: Arc<ClientInfo>) {
        let user = Arc::clone(&info.user);
        match self.members.insert(info.client, info) {
            None => *self.users.entry(user).or_default() += 1,
            // The user of a connection never changes.
            Some(before) => debug_assert_eq!(before.user, user),
        }
    }

    /// The same member, if it is one, with something else to say of itself.
    pub(crate) fn renew(&mut self, info: Arc<ClientInfo>) {
        if let Some(member) = self.members.get_mut(&info.client) {
            *member = info;
        }
    }

    pub(crate) fn remove(&mut self, client: Uuid) {
        let Some(info) = self.members.remove(&client) else {
            return;
        };
        if let Some(connections) = self.users.get_mut(&info.user) {
            *connections -= 1;
            if *connections == 0 {
                self.users.remove(&info.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(client: u128, user: &str) -> Arc<ClientInfo> {
        let client = Uuid::from_u128(client);
        Arc::new(ClientInfo { user: user.into(), client, conn_info: None, chan_info: None })
    }

    #[test]
    fn users_count_once_however_many_connections_they_have() {
        let mut presence = Presence::default();
        for (client, user) in [(1, "a"), (2, "a"), (3, "b"), (4, ""), (5, "")] {
            presence.add(info(client, user));
        }
        presence.add(info(1, "a"));
        assert_eq!((presence.client_count(), presence.user_count()), (5, 3));
        presence.remove(Uuid::from_u128(1));
        presence.remove(Uuid::from_u128(1));
        assert_eq!((presence.client_count(), presence.user_count()), (4, 3));
        for client in 2..=5 {
            presence.remove(Uuid::from_u128(client));
        }
        assert!(presence.is_empty() && presence.user_count() == 0);
    }

    #[test]
    fn who_was_refused_is_remembered_until_it_leaves() {
        let mut presence = Presence::default();
        let client = Uuid::from_u128(1);
        presence.refuse(client);
        assert!(!presence.is_empty() && presence.client_count() == 0);
        assert!(!presence.was_refused(Uuid::from_u128(2)) && presence.was_refused(client));
        assert!(presence.is_empty() && !presence.was_refused(client));
    }
}
