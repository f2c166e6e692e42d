//! What programs call.

use std::io;
use std::path::{Path, PathBuf};

use actionbooster_storage::{Space, atomic};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::account::Account;
use crate::change::{Change, TurnChange};
use crate::database::{self, SEARCH, within};
use crate::error::ConversationError;
use crate::limits::Limits;
use crate::permits::{Permit, Permits};
use crate::read::{self, Conversation, Page, Selection, Summary, Turn};
use crate::thread::Thread;
use crate::write::{self, Text, Writer};

/// Bytes of turns that are read in one go.
const PIECE: u64 = 256 << 10;

/// The conversations of this box.
#[derive(Debug)]
pub struct Conversations {
    thread: Thread,
    permits: Permits,
    folder: PathBuf,
    limits: Limits,
}

/// A turn that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Put {
    /// Its identifier.
    pub id: String,
    /// When it was added.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

/// What an account has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The account.
    pub account: Account,
    /// How many conversations.
    pub conversations: u64,
    /// Bytes of their titles, prompts and turns.
    pub bytes: u64,
}

impl Conversations {
    /// Those in a folder of their own, which is made when something is kept. The file is opened by whoever
    /// needs it first.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        let total = Space::of(&folder).map_or(0, |space| space.total_bytes);
        Self::with_limits(folder, Limits::of(total))
    }

    /// The same with other limits.
    pub fn with_limits(folder: PathBuf, limits: Limits) -> io::Result<Self> {
        let thread = Thread::start(folder.clone())?;
        Ok(Self { thread, permits: Permits::default(), folder, limits })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets a request of an account in. Waits for the account's others, not for ever.
    pub async fn permit(&self, account: Account) -> Result<Permit, ConversationError> {
        self.permits.take(account).await
    }

    /// Some of the account's conversations, the newest change first. Pages follow each other without a gap and
    /// without anything twice; what is changed meanwhile goes to the front of the first one.
    pub async fn list(&self, permit: &Permit, selection: Selection) -> Result<Page, ConversationError> {
        let account = permit.account().clone();
        let work = move |database: &mut rusqlite::Connection| {
            within(database, SEARCH, |database| read::list(database, &account, &selection))
        };
        self.thread.call(work).await
    }

    /// Makes a conversation or changes it; says whether it is new.
    pub async fn put(
        &self,
        permit: &Permit,
        id: Uuid,
        change: Change,
    ) -> Result<(Summary, bool), ConversationError> {
        change.check()?;
        self.write(permit, move |writer, database| writer.put(database, id, &change)).await
    }

    /// All of a conversation but its turns.
    pub async fn get(&self, permit: &Permit, id: Uuid) -> Result<Conversation, ConversationError> {
        let account = permit.account().clone();
        self.thread.call(move |database| read::conversation(database, &account, id)).await
    }

    /// The first conversation after a key, in the order in which they were made; 0 is before all.
    pub async fn next(&self, permit: &Permit, after: i64) -> Result<Option<Conversation>, ConversationError> {
        let account = permit.account().clone();
        self.thread.call(move |database| read::next_conversation(database, &account, after)).await
    }

    /// The next turns of a conversation after a key, in order; 0 is before all. None is the end.
    pub async fn turns(
        &self,
        permit: &Permit,
        conversation: i64,
        after: i64,
    ) -> Result<Vec<Turn>, ConversationError> {
        let account = permit.account().clone();
        let work = move |database: &mut rusqlite::Connection| {
            read::turns(database, &account, conversation, after, PIECE)
        };
        self.thread.call(work).await
    }

    /// Adds a turn at the end, or replaces one in its place; says whether it is new.
    pub async fn put_turn(
        &self,
        permit: &Permit,
        id: Uuid,
        turn: Uuid,
        change: TurnChange,
    ) -> Result<(Put, bool), ConversationError> {
        let TurnChange { content, text } = change;
        let content = serde_json::Value::Object(content).to_string();
        let (bytes, most) = ((content.len() + text.len()) as u64, self.limits.turn_bytes);
        if bytes > most {
            return Err(ConversationError::TurnTooLarge { bytes, most });
        }
        let text = Text { content, text };
        let (created, updated, new) =
            self.write(permit, move |writer, database| writer.put_turn(database, id, turn, &text)).await?;
        Ok((Put { id: turn.to_string(), created, updated }, new))
    }

    /// Removes a turn, and with `following` all after it.
    pub async fn remove_turn(
        &self,
        permit: &Permit,
        id: Uuid,
        turn: Uuid,
        following: bool,
    ) -> Result<(), ConversationError> {
        self.write(permit, move |writer, database| writer.remove_turn(database, id, turn, following)).await
    }

    /// Removes a conversation.
    pub async fn remove(&self, permit: &Permit, id: Uuid) -> Result<(), ConversationError> {
        self.write(permit, move |writer, database| writer.remove(database, id)).await
    }

    /// Removes all conversations of an account that are there now; says how many.
    pub async fn clear(&self, account: &Account) -> Result<usize, ConversationError> {
        let until = self.thread.call(|database| Ok(write::last_change(database)?)).await?;
        let mut removed = 0;
        loop {
            let account = account.clone();
            let work =
                move |database: &mut rusqlite::Connection| write::remove_some(database, &account, until);
            match self.thread.call(work).await? {
                0 => return Ok(removed),
                some => removed += some,
            }
        }
    }

    /// What each account has here.
    pub async fn held(&self) -> Result<Vec<Held>, ConversationError> {
        let held = self.thread.call(|database| read::accounts(database)).await?;
        let held = held.into_iter();
        Ok(held.map(|(account, conversations, bytes)| Held { account, conversations, bytes }).collect())
    }

    /// Damaged files that were put aside. Blocks for the time of reading a folder.
    pub fn put_aside(&self) -> Vec<PathBuf> {
        database::aside(&self.folder)
    }

    /// Removes the files that were put aside; says how many. Blocks likewise.
    pub fn remove_put_aside(&self) -> io::Result<usize> {
        let files = self.put_aside();
        files.iter().try_for_each(|file| atomic::remove(file))?;
        Ok(files.len())
    }

    /// Closes the file once everything before is done.
    pub async fn close(&self) {
        self.thread.close().await;
    }

    async fn write<T: Send + 'static>(
        &self,
        permit: &Permit,
        work: impl FnOnce(&Writer<'_>, &mut rusqlite::Connection) -> Result<T, ConversationError> + Send + 'static,
    ) -> Result<T, ConversationError> {
        let (account, folder, limits) = (permit.account().clone(), self.folder.clone(), self.limits);
        let work = move |database: &mut rusqlite::Connection| {
            work(&Writer { account: &account, folder: &folder, limits: &limits }, database)
        };
        self.thread.call(work).await
    }
}
