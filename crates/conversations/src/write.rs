//! What changes the file. Each call is one transaction: it happens whole or not at all.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use crate::account::Account;
use crate::change::Change;
use crate::error::ConversationError;
use crate::limits::Limits;
use crate::read::{Summary, summary};

/// Bytes of conversations that are removed in one transaction at most, and how many.
const BATCH: (u64, usize) = (8 << 20, 200);
/// Free pages that go back to the disk after one removal at most.
const PAGES: u32 = 16_384;

/// In whose name, and within which bounds.
pub(crate) struct Writer<'a> {
    pub(crate) account: &'a Account,
    pub(crate) folder: &'a Path,
    pub(crate) limits: &'a Limits,
}

/// A turn as it is kept.
pub(crate) struct Text {
    pub(crate) content: String,
    pub(crate) text: String,
}

impl Writer<'_> {
    /// Makes a conversation or changes it; says whether it is new.
    pub(crate) fn put(
        &self,
        database: &mut Connection,
        id: Uuid,
        change: &Change,
    ) -> Result<(Summary, bool), ConversationError> {
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let models = change.models.as_ref().map(|models| serde_json::json!(models).to_string());
        let bytes = |text: Option<&String>| text.map_or(0, String::len) as u64;
        let size = bytes(change.title.as_ref()) + bytes(change.system.as_ref()) + bytes(models.as_ref());
        self.room(&transaction, (size, size))?;
        let now = Timestamp::now().as_millisecond();
        let key = self.find(&transaction, id)?;
        if key.is_none() {
            let query = "SELECT conversations FROM account WHERE name = ?1";
            let there: Option<u64> =
                transaction.query_row(query, [self.account.to_string()], |row| row.get(0)).optional()?;
            if there.unwrap_or_default() >= self.limits.conversations {
                return Err(ConversationError::TooMany { most: self.limits.conversations });
            }
            transaction.execute(
                "INSERT INTO conversation (account, id, kind, created, updated, change, bytes, title, models, system)
                 VALUES (?1, ?2, ?3, ?4, ?4, (SELECT coalesce(max(change), 0) + 1 FROM conversation), 0, '', '[]', '')",
                params![self.account.to_string(), id.to_string(), change.kind.unwrap_or_default(), now],
            )?;
        }
        let new = key.is_none();
        let key = key.unwrap_or_else(|| transaction.last_insert_rowid());
        transaction.execute(
            "UPDATE conversation SET kind = coalesce(?2, kind), title = coalesce(?3, title),
                models = coalesce(?4, models), system = coalesce(?5, system) WHERE key = ?1",
            params![key, change.kind, change.title, models, change.system],
        )?;
        // What turns take is counted by the file itself.
        transaction.execute(
            "UPDATE conversation SET bytes = octet_length(title) + octet_length(models) + octet_length(system)
                + (SELECT coalesce(sum(bytes), 0) FROM turn WHERE conversation = ?1) WHERE key = ?1",
            [key],
        )?;
        mark(&transaction, key, now)?;
        let summary = summary(&transaction, key)?;
        transaction.commit()?;
        Ok((summary, new))
    }

    /// Adds a turn at the end, or replaces one in its place; says whether it is new.
    pub(crate) fn put_turn(
        &self,
        database: &mut Connection,
        id: Uuid,
        turn: Uuid,
        text: &Text,
    ) -> Result<(Timestamp, Timestamp, bool), ConversationError> {
        let size = (text.content.len() + text.text.len()) as u64;
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let key = self.find(&transaction, id)?.ok_or(ConversationError::Missing)?;
        let query = "SELECT created, bytes FROM turn WHERE conversation = ?1 AND id = ?2";
        let there: Option<(i64, u64)> = transaction
            .query_row(query, params![key, turn.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let more = size.saturating_sub(there.map_or(0, |(_, bytes)| bytes));
        let query = "SELECT turns, bytes FROM conversation WHERE key = ?1";
        let (turns, bytes): (u64, u64) =
            transaction.query_row(query, [key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Limits { turns: most, conversation_bytes, .. } = *self.limits;
        if (there.is_none() && turns >= most) || (more > 0 && bytes + more > conversation_bytes) {
            return Err(ConversationError::ConversationFull { turns: most, bytes: conversation_bytes });
        }
        self.room(&transaction, (size, more))?;
        let now = Timestamp::now().as_millisecond();
        transaction.execute(
            "INSERT INTO turn (conversation, id, created, updated, bytes, content, text)
             VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)
             ON CONFLICT (conversation, id) DO UPDATE SET updated = excluded.updated, bytes = excluded.bytes,
                content = excluded.content, text = excluded.text",
            params![key, turn.to_string(), now, size, text.content, text.text],
        )?;
        mark(&transaction, key, now)?;
        transaction.commit()?;
        let created = there.map_or(now, |(created, _)| created);
        Ok((time(created), time(now), there.is_none()))
    }

    /// Removes a turn, and all after it if they are to go, too.
    pub(crate) fn remove_turn(
        &self,
        database: &mut Connection,
        id: Uuid,
        turn: Uuid,
        following: bool,
    ) -> Result<(), ConversationError> {
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let key = self.find(&transaction, id)?.ok_or(ConversationError::Missing)?;
        let query = "SELECT key FROM turn WHERE conversation = ?1 AND id = ?2";
        let first: i64 = transaction
            .query_row(query, params![key, turn.to_string()], |row| row.get(0))
            .optional()?
            .ok_or(ConversationError::MissingTurn)?;
        transaction.execute(
            "DELETE FROM turn WHERE conversation = ?1 AND (key = ?2 OR (?3 AND key > ?2))",
            params![key, first, following],
        )?;
        mark(&transaction, key, Timestamp::now().as_millisecond())?;
        transaction.commit()?;
        give_back(database)
    }

    /// Removes a conversation.
    pub(crate) fn remove(&self, database: &mut Connection, id: Uuid) -> Result<(), ConversationError> {
        let removed = database.execute(
            "DELETE FROM conversation WHERE account = ?1 AND id = ?2",
            params![self.account.to_string(), id.to_string()],
        )?;
        if removed == 0 {
            return Err(ConversationError::Missing);
        }
        give_back(database)
    }

    fn room(&self, database: &Connection, bytes: (u64, u64)) -> Result<(), ConversationError> {
        crate::room::ask(database, self.folder, self.limits, self.account, bytes)
    }

    fn find(&self, database: &Connection, id: Uuid) -> rusqlite::Result<Option<i64>> {
        find(database, self.account, id)
    }
}

/// The key of an account's conversation.
pub(crate) fn find(database: &Connection, account: &Account, id: Uuid) -> rusqlite::Result<Option<i64>> {
    let query = "SELECT key FROM conversation WHERE account = ?1 AND id = ?2";
    database.query_row(query, params![account.to_string(), id.to_string()], |row| row.get(0)).optional()
}

/// The number of the last change.
pub(crate) fn last_change(database: &Connection) -> rusqlite::Result<i64> {
    database.query_row("SELECT coalesce(max(change), 0) FROM conversation", [], |row| row.get(0))
}

/// Removes some conversations of an account that nobody changed after `until`; says how many. Large accounts go
/// in several steps, so that others get their turn.
pub(crate) fn remove_some(
    database: &mut Connection,
    account: &Account,
    until: i64,
) -> Result<usize, ConversationError> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut keys, mut bytes) = (Vec::new(), 0);
    {
        let mut query = transaction.prepare(
            "SELECT key, bytes FROM conversation WHERE account = ?1 AND change <= ?2 ORDER BY change LIMIT ?3",
        )?;
        let mut rows = query.query(params![account.to_string(), until, BATCH.1])?;
        while bytes < BATCH.0
            && let Some(row) = rows.next()?
        {
            keys.push(row.get::<_, i64>(0)?);
            bytes += row.get::<_, u64>(1)?;
        }
    }
    for key in &keys {
        transaction.execute("DELETE FROM conversation WHERE key = ?1", [key])?;
    }
    transaction.commit()?;
    if !keys.is_empty() {
        give_back(database)?;
    }
    Ok(keys.len())
}

/// Makes a conversation the newest.
fn mark(transaction: &Transaction<'_>, key: i64, now: i64) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE conversation SET updated = ?2, change = (SELECT max(change) + 1 FROM conversation) WHERE key = ?1",
        params![key, now],
    )?;
    Ok(())
}

/// Gives free pages back to the disk, and empties the log, where what was deleted still lies. What is deleted
/// stays so when that fails.
fn give_back(database: &Connection) -> Result<(), ConversationError> {
    match vacuum(database).map_err(ConversationError::from) {
        Err(error @ ConversationError::Damaged) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "the space of deleted conversations is not free yet");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn vacuum(database: &Connection) -> rusqlite::Result<()> {
    // Each row is one page.
    let mut query = database.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut pages = query.query([])?;
    while pages.next()?.is_some() {}
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}
