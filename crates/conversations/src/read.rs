//! What is read of the file.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::account::Account;
use crate::change::Kind;
use crate::error::ConversationError;
use crate::limits::Limits;
use crate::search;

/// Words of an excerpt, and characters at most: a word may be long.
const EXCERPT: (u32, usize) = (24, 300);
/// Columns of a [`Summary`].
const SUMMARY: &str = "c.id, c.kind, c.title, c.models, c.created, c.updated, c.turns";

/// A conversation as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its identifier, made by the client.
    pub id: String,
    /// Where it was held.
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// The models that it was held with.
    pub models: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// How many turns it has.
    pub turns: u64,
    /// The place that a search found in its turns.
    pub excerpt: Option<String>,
}

/// All of a conversation but its turns.
#[derive(Debug, Clone, Serialize)]
pub struct Conversation {
    /// Where it lies in the file; later ones have larger numbers.
    #[serde(skip)]
    pub key: i64,
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its system prompt.
    pub system: String,
}

/// A turn.
#[derive(Debug, Clone, Serialize)]
pub struct Turn {
    /// Where it lies in the file; later ones have larger numbers.
    #[serde(skip)]
    pub key: i64,
    /// Its identifier, made by the client.
    pub id: String,
    /// When it was added.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// What the client keeps in it: an object, as JSON.
    #[serde(serialize_with = "as_json")]
    pub content: String,
    /// What search finds.
    pub text: String,
}

fn as_json<S: Serializer>(content: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let value: serde_json::Value = serde_json::from_str(content).map_err(serde::ser::Error::custom)?;
    value.serialize(serializer)
}

/// Which conversations are listed.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Words that are in a title or a turn.
    pub search: Option<String>,
    /// Those after this place of another page: its `next`.
    pub before: Option<i64>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// Some conversations, the one that was changed last first.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// The conversations.
    pub conversations: Vec<Summary>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<i64>,
}

fn read_summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let models: String = row.get(3)?;
    Ok(Summary {
        id: row.get(0)?,
        kind: row.get(1)?,
        title: row.get(2)?,
        models: serde_json::from_str(&models).unwrap_or_default(),
        created: time(row, 4)?,
        updated: time(row, 5)?,
        turns: row.get(6)?,
        excerpt: None,
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millisecond(row.get(column)?).unwrap_or_default())
}

pub(crate) fn summary(database: &Connection, key: i64) -> rusqlite::Result<Summary> {
    let query = format!("SELECT {SUMMARY} FROM conversation c WHERE c.key = ?1");
    database.query_row(&query, [key], read_summary)
}

/// One page of an account's conversations.
pub(crate) fn list(
    database: &Connection,
    account: &Account,
    selection: &Selection,
) -> Result<Page, ConversationError> {
    let limit = selection.limit.unwrap_or(Limits::PAGE.0).clamp(1, Limits::PAGE.1);
    let before = selection.before.unwrap_or(i64::MAX);
    let words = selection.search.as_deref().filter(|typed| !typed.trim().is_empty());
    let mut rows = match words.map(search::query) {
        None => all(database, account, before, limit + 1)?,
        Some(None) => Vec::new(),
        Some(Some(query)) => found(database, account, before, limit + 1, &query)?,
    };
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(change, _)| *change);
    Ok(Page { conversations: rows.into_iter().map(|(_, summary)| summary).collect(), next })
}

fn all(
    database: &Connection,
    account: &Account,
    before: i64,
    most: usize,
) -> rusqlite::Result<Vec<(i64, Summary)>> {
    let mut query = database.prepare_cached(&format!(
        "SELECT {SUMMARY}, c.change FROM conversation c WHERE c.account = ?1 AND c.change < ?2
         ORDER BY c.change DESC LIMIT ?3"
    ))?;
    let rows = query
        .query_map(params![account.to_string(), before, most], |row| Ok((row.get(7)?, read_summary(row)?)))?;
    rows.collect()
}

/// Those with these words in their title or in one turn.
fn found(
    database: &Connection,
    account: &Account,
    before: i64,
    most: usize,
    words: &str,
) -> rusqlite::Result<Vec<(i64, Summary)>> {
    let mut query = database.prepare_cached(&format!(
        "WITH hit AS (
            SELECT t.conversation AS conversation, max(t.key) AS turn
            FROM text_index JOIN turn t ON t.key = text_index.rowid
            WHERE text_index MATCH ?4 GROUP BY t.conversation
         ),
         titled AS (SELECT rowid AS conversation FROM title_index WHERE title_index MATCH ?4)
         SELECT {SUMMARY}, c.change, hit.turn
         FROM conversation c LEFT JOIN hit ON hit.conversation = c.key
         WHERE c.account = ?1 AND c.change < ?2
            AND (hit.turn IS NOT NULL OR c.key IN (SELECT conversation FROM titled))
         ORDER BY c.change DESC LIMIT ?3"
    ))?;
    let mut excerpt = database.prepare_cached(&format!(
        "SELECT snippet(text_index, 0, '', '', '…', {}) FROM text_index WHERE text_index MATCH ?1 AND rowid = ?2",
        EXCERPT.0
    ))?;
    let rows = query.query_map(params![account.to_string(), before, most, words], |row| {
        Ok((row.get(7)?, read_summary(row)?, row.get::<_, Option<i64>>(8)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (change, mut summary, turn) = row?;
        if let Some(turn) = turn {
            let place: Option<String> =
                excerpt.query_row(params![words, turn], |row| row.get(0)).optional()?;
            summary.excerpt = place.map(|place| place.chars().take(EXCERPT.1).collect());
        }
        found.push((change, summary));
    }
    Ok(found)
}

const CONVERSATION: &str = "c.system, c.key";

fn read_conversation(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    Ok(Conversation { summary: read_summary(row)?, system: row.get(7)?, key: row.get(8)? })
}

/// One conversation of an account.
pub(crate) fn conversation(
    database: &Connection,
    account: &Account,
    id: Uuid,
) -> Result<Conversation, ConversationError> {
    let query =
        format!("SELECT {SUMMARY}, {CONVERSATION} FROM conversation c WHERE c.account = ?1 AND c.id = ?2");
    let found = database.query_row(&query, params![account.to_string(), id.to_string()], read_conversation);
    found.optional()?.ok_or(ConversationError::Missing)
}

/// The account's next conversation after a key, in the order in which they were made.
pub(crate) fn next_conversation(
    database: &Connection,
    account: &Account,
    after: i64,
) -> Result<Option<Conversation>, ConversationError> {
    let query = format!(
        "SELECT {SUMMARY}, {CONVERSATION} FROM conversation c WHERE c.account = ?1 AND c.key > ?2
         ORDER BY c.key LIMIT 1"
    );
    Ok(database.query_row(&query, params![account.to_string(), after], read_conversation).optional()?)
}

/// Some turns of a conversation after a key, in order: as many as have `bytes` together, and one at least.
pub(crate) fn turns(
    database: &Connection,
    account: &Account,
    conversation: i64,
    after: i64,
    bytes: u64,
) -> Result<Vec<Turn>, ConversationError> {
    let mut query = database.prepare_cached(
        "SELECT t.key, t.id, t.created, t.updated, t.bytes, t.content, t.text
         FROM turn t JOIN conversation c ON c.key = t.conversation
         WHERE t.conversation = ?1 AND c.account = ?2 AND t.key > ?3 ORDER BY t.key",
    )?;
    let mut rows = query.query(params![conversation, account.to_string(), after])?;
    let (mut turns, mut read) = (Vec::new(), 0);
    while read < bytes
        && let Some(row) = rows.next()?
    {
        read += row.get::<_, u64>(4)?;
        turns.push(Turn {
            key: row.get(0)?,
            id: row.get(1)?,
            created: time(row, 2)?,
            updated: time(row, 3)?,
            content: row.get(5)?,
            text: row.get(6)?,
        });
    }
    Ok(turns)
}

/// Each account with how many conversations it has, and their bytes.
pub(crate) fn accounts(database: &Connection) -> Result<Vec<(Account, u64, u64)>, ConversationError> {
    let mut query = database.prepare("SELECT name, conversations, bytes FROM account ORDER BY name")?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let mut accounts = Vec::new();
    for row in rows {
        let (name, conversations, bytes) = row?;
        accounts.extend(Account::parse(&name).map(|account| (account, conversations, bytes)));
    }
    Ok(accounts)
}
