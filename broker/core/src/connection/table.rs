//! The connections of a shard.

use std::ops::{Deref, DerefMut};

use slotmap::SlotMap;

use super::Connection;
use crate::ids::ConnectionId;
use crate::session::Session;

/// The connections of a shard by their ids; it is a map, with a short way to their sessions. It is
/// looked into several times per delivery, so it stands in one piece, not in chunks.
#[derive(Debug, Default)]
pub(crate) struct Connections(SlotMap<ConnectionId, Connection>);

impl Connections {
    /// What a connection has become, if it lives and is a session.
    pub(crate) fn session(&self, id: ConnectionId) -> Option<&Session> {
        self.0.get(id)?.session()
    }

    /// The same, to change it.
    pub(crate) fn session_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.0.get_mut(id)?.session_mut()
    }
}

impl Deref for Connections {
    type Target = SlotMap<ConnectionId, Connection>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Connections {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
