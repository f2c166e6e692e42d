//! Sessions that could not be written to the disk: kept below `/run` until the next start of the box, so
//! that a full or failing disk does not keep its owner out.

use std::path::{Path, PathBuf};

use actionbooster_chassis::auth::SCHEMA;
use rusqlite::{Connection, params};

/// What a session on the disk that could not be removed there is marked with.
const ENDED: i64 = 0;

/// A file like the auth database, of which only the sessions are used. Opened when it is needed.
#[derive(Debug)]
pub struct TemporarySessions {
    path: PathBuf,
}

impl TemporarySessions {
    /// The sessions in this file, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens a session, in Unix seconds.
    pub fn add(&self, hash: &[u8], now: i64, expires: i64) -> rusqlite::Result<()> {
        let database = self.create()?;
        database.execute("DELETE FROM session WHERE expires_at BETWEEN 1 AND ?1", [now])?;
        put(&database, hash, now, expires)
    }

    /// Remembers that a session on the disk has ended.
    pub fn end(&self, hash: &[u8], now: i64) -> rusqlite::Result<()> {
        put(&self.create()?, hash, now, ENDED)
    }

    /// Ends one of these sessions; false when it is none.
    pub fn close(&self, hash: &[u8]) -> rusqlite::Result<bool> {
        if !self.path.exists() {
            return Ok(false);
        }
        Ok(connect(&self.path)?.execute("DELETE FROM session WHERE hash = ?1", [hash])? > 0)
    }

    /// Ends every session but `keep`, and says how many.
    pub fn close_others(&self, keep: Option<&[u8]>) -> rusqlite::Result<usize> {
        if !self.path.exists() {
            return Ok(0);
        }
        connect(&self.path)?
            .execute("DELETE FROM session WHERE expires_at <> 0 AND (?1 IS NULL OR hash <> ?1)", [keep])
    }

    fn create(&self) -> rusqlite::Result<Connection> {
        // On the appliance the folder is there, and belongs to the group of those who read it.
        if let Some(folder) = self.path.parent()
            && let Err(error) = std::fs::create_dir_all(folder)
        {
            tracing::warn!(%error, "cannot create {}", folder.display());
        }
        let database = connect(&self.path)?;
        database.execute_batch(SCHEMA)?;
        Ok(database)
    }
}

fn put(database: &Connection, hash: &[u8], now: i64, expires: i64) -> rusqlite::Result<()> {
    database.execute(
        "INSERT OR REPLACE INTO session (hash, created_at, expires_at) VALUES (?1, ?2, ?3)",
        params![hash, now, expires],
    )?;
    Ok(())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(std::time::Duration::from_secs(5))?;
    database.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(database)
}
