//! How much is kept.

const MIB: u64 = 1 << 20;

/// How much is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one turn: its content and what search finds.
    pub turn_bytes: u64,
    /// Bytes of one conversation. It is removed in one go, which needs as much room for a moment.
    pub conversation_bytes: u64,
    /// Turns of one conversation.
    pub turns: u64,
    /// Conversations of one account.
    pub conversations: u64,
    /// Bytes of the file. Keys together may take half of it, so that the owner always has room.
    pub file_bytes: u64,
}

impl Limits {
    /// Characters of a title.
    pub const TITLE: usize = 200;
    /// Bytes of a system prompt.
    pub const SYSTEM_BYTES: usize = 64 << 10;
    /// Models that one conversation names, and bytes of each name.
    pub const MODELS: (usize, usize) = (32, 256);
    /// Characters and words of a search that are looked at.
    pub const SEARCH: (usize, usize) = (200, 16);
    /// Conversations of one page when nobody says, and at most.
    pub const PAGE: (usize, usize) = (50, 200);

    /// Those on a disk of this size: a tenth of it.
    pub fn of(total_bytes: u64) -> Self {
        Self {
            turn_bytes: MIB,
            conversation_bytes: 16 * MIB,
            turns: 2000,
            conversations: 10_000,
            file_bytes: (total_bytes / 10).max(64 * MIB),
        }
    }
}
