//! Plain integers that a shard counts, for metrics.

/// What a shard has counted since its start, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections now.
    pub connections: u64,
    /// Subscriptions now, those that await their answer included.
    pub subscriptions: u64,
    /// Topics owned now that have subscribers on any shard.
    pub topics: u64,
    /// Topics owned now, those included of which only the past is kept.
    pub topics_kept: u64,
    /// Bytes that the histories of owned topics hold now.
    pub history_bytes: u64,
    /// Connections since the start.
    pub connections_opened: u64,
    /// Commands of clients.
    pub commands: u64,
    /// Commands of clients that were refused.
    pub refusals: u64,
    /// Calls of backends.
    pub calls: u64,
    /// Publications that this shard sequenced.
    pub publications: u64,
    /// Publications queued for connections.
    pub deliveries: u64,
    /// Connections that the broker closed.
    pub disconnects: u64,
    /// Connections that the broker closed because they did not keep up (3008).
    pub slow: u64,
    /// Bytes from clients.
    pub received_bytes: u64,
    /// Bytes to clients that the kernel has taken.
    pub sent_bytes: u64,
}
