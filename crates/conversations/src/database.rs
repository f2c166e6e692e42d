//! The file: opened, looked through, put aside where it is damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actionbooster_storage::atomic;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use crate::error::ConversationError;
use crate::schema::{STEPS, migrate};

/// Name of the file in its folder.
const FILE: &str = "conversations.db";
/// What SQLite keeps beside it.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// What the names of files that were put aside begin with.
const ASIDE: &str = "damaged-";
/// Another program, such as a backup, may hold the file for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looking through the file at the start ends after this; damage that it does not reach is found by whoever
/// reads there.
const LOOK: Duration = Duration::from_secs(5);
/// A search ends after this.
pub(crate) const SEARCH: Duration = Duration::from_secs(4);
/// Steps of SQLite's machine between two looks at the clock.
const STRIDE: i32 = 10_000;
/// The write-ahead log is cut to this after it grew.
const LOG_BYTES: u32 = 8 << 20;

/// Opens the file or begins one. A damaged one is put aside first.
pub(crate) fn open(folder: &Path) -> Result<Connection, ConversationError> {
    let unavailable = |error: io::Error| ConversationError::Unavailable(error.to_string());
    fs::create_dir_all(folder).map_err(unavailable)?;
    let path = folder.join(FILE);
    match look_through(&path) {
        Err(ConversationError::Damaged | ConversationError::IndexDamaged) => {
            put_aside(folder).map_err(unavailable)?;
            look_through(&path)
        }
        opened => opened,
    }
}

fn look_through(path: &Path) -> Result<Connection, ConversationError> {
    let mut database = connect(path)?;
    match within(&mut database, LOOK, is_whole) {
        Ok(true) | Err(ConversationError::Slow) => Ok(database),
        Ok(false) => mend_index(&mut database).map(|()| database),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path) -> Result<Connection, ConversationError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(PATIENCE)?;
    // What is deleted is overwritten, and its pages go back to the disk.
    database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    database.pragma_update(None, "secure_delete", true)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // What was answered as kept outlives a power cut.
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "foreign_keys", true)?;
    database.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    migrate(&mut database, STEPS)?;
    Ok(database)
}

/// Does work that is interrupted when the time is up.
pub(crate) fn within<T>(
    database: &mut Connection,
    limit: Duration,
    work: impl FnOnce(&mut Connection) -> Result<T, ConversationError>,
) -> Result<T, ConversationError> {
    let deadline = Instant::now() + limit;
    database.progress_handler(STRIDE, Some(move || Instant::now() >= deadline))?;
    let outcome = work(database);
    database.progress_handler(0, None::<fn() -> bool>)?;
    outcome
}

fn is_whole(database: &mut Connection) -> Result<bool, ConversationError> {
    let found: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(found == "ok")
}

/// Makes the index of words anew, which may be all that is damaged.
pub(crate) fn mend_index(database: &mut Connection) -> Result<(), ConversationError> {
    database.execute_batch(
        "INSERT INTO title_index (title_index) VALUES ('rebuild');
         INSERT INTO text_index (text_index) VALUES ('rebuild');",
    )?;
    match within(database, LOOK, is_whole) {
        Ok(true) | Err(ConversationError::Slow) => {
            tracing::warn!("the index of conversations was damaged and has been made anew");
            Ok(())
        }
        Ok(false) => Err(ConversationError::Damaged),
        Err(error) => Err(error),
    }
}

/// Gives the file and what lies beside it another name, under which it stays.
pub(crate) fn put_aside(folder: &Path) -> io::Result<()> {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let free = |number: &u32| {
        let name = folder.join(format!("{ASIDE}{now}-{number}.db"));
        (!name.exists()).then_some(name)
    };
    let Some(aside) = (1..).find_map(|number| free(&number)) else { return Ok(()) };
    // The log first: without it the file is whole as of the last checkpoint, while the log alone is nothing.
    for beside in BESIDE {
        match fs::rename(with_suffix(&folder.join(FILE), beside), with_suffix(&aside, beside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(folder.join(FILE), &aside)?;
    atomic::sync_folder(folder)?;
    tracing::error!(file = %aside.display(), "the file of conversations is damaged and was put aside");
    Ok(())
}

/// Files that were put aside, with what lies beside them.
pub(crate) fn aside(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let is_aside = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(ASIDE))
    };
    let mut files: Vec<PathBuf> = names.map(|entry| entry.path()).filter(is_aside).collect();
    files.sort_unstable();
    files
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
