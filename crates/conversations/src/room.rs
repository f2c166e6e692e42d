//! Whether there is room, asked before each write.

use std::path::Path;

use actionbooster_storage::{Size, Space};
use rusqlite::Connection;

use crate::account::Account;
use crate::error::ConversationError;
use crate::limits::Limits;

/// What a byte that is kept takes while it is written: in the log and in the file, itself and its words.
const COPIES: u64 = 4;
/// What every change takes besides.
const OVERHEAD_BYTES: u64 = 256 << 10;
/// Files that SQLite may add.
const FILES: u64 = 2;

/// Whether so many bytes may be written, `more` of which come on top of what is kept.
pub(crate) fn ask(
    database: &Connection,
    folder: &Path,
    limits: &Limits,
    account: &Account,
    (written, more): (u64, u64),
) -> Result<(), ConversationError> {
    let full = |reason: String| ConversationError::Full(format!("{reason}. What was kept stays as it was."));
    let space = Space::of(folder).map_err(|error| ConversationError::Unavailable(error.to_string()))?;
    space
        .room_for(written * COPIES + OVERHEAD_BYTES, FILES)
        .map_err(|shortage| full(shortage.to_string()))?;
    if more == 0 {
        return Ok(());
    }
    let limit = |limit: u64, whose: &str| {
        full(format!(
            "the conversations of {whose} take the {} that they may take; delete some in the portal, or all of \
             them with `boosterctl storage delete-conversations`",
            Size(limit)
        ))
    };
    if used(database)? + more > limits.file_bytes {
        return Err(limit(limits.file_bytes, "all accounts"));
    }
    if matches!(account, Account::Key(_)) {
        let keys: u64 = database.query_row(
            "SELECT coalesce(sum(bytes), 0) FROM account WHERE name <> ?1",
            [Account::Owner.to_string()],
            |row| row.get(0),
        )?;
        if keys + more > limits.file_bytes / 2 {
            return Err(limit(limits.file_bytes / 2, "all keys"));
        }
    }
    Ok(())
}

/// Bytes of the file that hold something.
fn used(database: &Connection) -> rusqlite::Result<u64> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok((number("page_count")?.saturating_sub(number("freelist_count")?)) * number("page_size")?)
}
