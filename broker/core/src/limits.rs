//! Bounds that are not settings, with their units, and the relations between them.

use std::time::Duration;

/// Longest topic name, in bytes (specification, section 4).
pub const TOPIC_NAME_BYTES_MAX: usize = 255;

/// Longest token, in bytes: three base64 parts with their dots. Longer ones are not even parsed.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Longest user id, in bytes: it stands beside every publication of its user.
pub const USER_ID_BYTES_MAX: usize = 255;

/// Shortest secret of HS256 tokens, in bytes: the length of its hash (RFC 7518, section 3.2).
pub const HMAC_SECRET_BYTES_MIN: usize = 32;

/// Keys that a JSON Web Key Set may have; they are searched by walking.
pub const JWKS_KEYS_MAX: usize = 256;

/// How far the clock of who signs a token may be ahead of ours: `nbf` may be that much to come.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// Answers that one connection may wait for at a time; further commands are refused (111).
pub const PIPELINE_COMMANDS_MAX: usize = 4096;

/// Requests of one shard that may wait for other shards at a time; further ones are refused (111).
pub const REQUESTS_MAX: usize = 1 << 20;

/// Bytes that may be collected for a lane whose shard does not keep up. Past that, publications
/// that would cross it are refused (111) before they get an offset.
pub const LANE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes collected for a lane above which calls of backends wait for the next turn.
pub const LANE_BYTES_PACED: usize = 1024 * 1024;

/// Subscribers that a publication reaches before others have their turn: some 100 µs of work.
pub const FANOUT_SLICE: usize = 4096;

/// What a frame that waits costs beside its bytes: its entry, its counters and the allocator.
pub const FRAME_COST_BYTES: usize = 48;

/// Longest `idempotency_key` and `version_epoch` of a publish, in bytes. They are kept for a while.
pub const ONCE_TEXT_BYTES_MAX: usize = 255;

/// `info`, `channels`, `presence` and `history` that one call may contain; further ones are refused
/// (106). Their answers may be large, and are kept until the whole call is answered.
pub const BATCH_SURVEYS_MAX: usize = 16;

/// Lines of a feed that are published by one call; the rest of them wait until it is answered.
pub const FEED_LINES_MAX: usize = 1024;

/// What a publication costs in a history beside its payload: entries, counters, allocator.
pub const PUBLICATION_COST_BYTES: usize = 192;

/// What a topic with a history costs beside its publications and its name.
pub const TOPIC_COST_BYTES: usize = 512;

/// How long a repeated idempotency key gets the first answer (specification, section 18).
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(300);

/// Bytes of idempotency keys that one shard remembers; further publications with one are refused
/// (111) until older ones have ended.
pub const IDEMPOTENCY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest time that a token or a backend may give anything; whatever they say beyond that counts
/// as this.
pub const EXPIRY_MAX: Duration = Duration::from_hours(365 * 24);

/// Levels that the nodes of one filter over tags may have; deeper ones are refused (107).
pub const FILTER_DEPTH_MAX: usize = 16;

/// Nodes that one filter over tags may have; larger ones are refused (107). Each may be looked at
/// for every publication and subscriber.
pub const FILTER_NODES_MAX: usize = 128;

/// Memory that the texts of one filter over tags may take, in bytes, [`TEXT_COST_BYTES`] for each
/// included; larger ones are refused (107). A connection may have one for each of its topics.
pub const FILTER_BYTES_MAX: usize = 32 * 1024;

/// What a text that is kept costs beside its bytes: its place, and the allocator.
pub const TEXT_COST_BYTES: usize = 32;

/// Bytes that are kept free in an outbox beside the payload and tags of a publication: frame
/// header, topic name with every byte escaped, publisher, position.
pub const PUBLICATION_OVERHEAD_BYTES: usize = 4096;

/// How long a peer may take to answer a close frame (section 4).
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a peer that does not read may keep its socket after it was told to go.
pub const SLOW_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const _: () = assert!(PIPELINE_COMMANDS_MAX < REQUESTS_MAX);
const _: () = assert!(SLOW_CLOSE_TIMEOUT.as_millis() <= CLOSE_TIMEOUT.as_millis());
const _: () =
    assert!(PUBLICATION_OVERHEAD_BYTES > 6 * (TOPIC_NAME_BYTES_MAX + USER_ID_BYTES_MAX) + 1024);
const _: () = assert!(2 * LANE_BYTES_PACED <= LANE_BYTES_MAX);
