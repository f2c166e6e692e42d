//! The auth database, from its writer's side: one owner, API keys, portal sessions.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use actionbooster_chassis::auth::{KEY_PREFIX, Scope, token_hash};
use rand::RngExt;
use rusqlite::ErrorCode::ReadOnly;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;

use crate::temporary::TemporarySessions;

mod error;
mod schema;

pub use error::{AccountsError, cannot_write};

const TOKEN_CHARACTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN_LENGTH: usize = 40;

/// An API key as it is listed: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Identifier.
    pub id: String,
    /// Name the owner gave it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Unix seconds.
    pub created_at: i64,
    /// Its beginning, to recognise it by.
    pub hint: String,
}

/// The database.
pub struct Accounts {
    path: PathBuf,
    /// What it holds, in memory, for all who read it when the disk cannot be read.
    copy: PathBuf,
    database: Mutex<Connection>,
    temporary: TemporarySessions,
}

/// What a reset took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Revoked {
    /// Portal sessions.
    pub sessions: usize,
    /// Keys of programs.
    pub api_keys: usize,
}

impl Accounts {
    /// Opens or creates the database at `path`, and brings it to this program's version. Sessions that
    /// cannot be written there go to the file `temporary`. `copy` follows every change; where the disk
    /// cannot even be read, it stands in.
    pub fn open(path: &Path, temporary: PathBuf, copy: PathBuf) -> Result<Self, AccountsError> {
        let (database, is_disk) = match open_on_disk(path) {
            Err(AccountsError::Unwritable(cause)) if copy.exists() => {
                tracing::error!(cause, "the auth database cannot be read; its copy in memory stands in");
                (read_only(&copy)?, false)
            }
            opened => (opened?, true),
        };
        let temporary = TemporarySessions::new(temporary);
        let accounts = Self { path: path.to_path_buf(), copy, database: Mutex::new(database), temporary };
        if is_disk {
            accounts.renew_copy();
        }
        Ok(accounts)
    }

    /// The owner's name, if the box is claimed.
    pub fn owner(&self) -> Result<Option<String>, AccountsError> {
        self.read(|database| database.query_row("SELECT name FROM owner", [], |row| row.get(0)).optional())
    }

    /// The owner's name and the hash of the password, if the box is claimed.
    pub fn credentials(&self) -> Result<Option<(String, String)>, AccountsError> {
        self.read(|database| {
            let row = database
                .query_row("SELECT name, password_hash FROM owner", [], |row| Ok((row.get(0)?, row.get(1)?)));
            row.optional()
        })
    }

    /// Makes the first and only owner. Of two at once exactly one wins.
    pub fn claim(&self, name: &str, password_hash: &str, now: i64) -> Result<(), AccountsError> {
        let added = self.write(|database| {
            database.execute(
                "INSERT INTO owner (id, name, password_hash, created_at) VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![name, password_hash, now],
            )
        })?;
        if added == 1 { Ok(()) } else { Err(AccountsError::Claimed) }
    }

    /// Opens a session and returns its token. Where the disk cannot be written, it lasts until the box
    /// restarts.
    pub fn open_session(&self, now: i64, days: u32) -> Result<String, AccountsError> {
        let token = random_token();
        let hash = token_hash(&token);
        let expires = now.saturating_add(i64::from(days) * 86_400);
        let kept = self.write(|database| {
            database.execute("DELETE FROM session WHERE expires_at <= ?1", [now])?;
            database.execute(
                "INSERT INTO session (hash, created_at, expires_at) VALUES (?1, ?2, ?3)",
                params![hash, now, expires],
            )
        });
        match kept {
            Err(AccountsError::Unwritable(cause)) => {
                tracing::warn!(cause, "a session is kept in memory: the disk cannot be written");
                self.temporary.add(&hash, now, expires)?;
            }
            other => drop(other?),
        }
        Ok(token)
    }

    /// Ends one session. Where the disk cannot be written, that is remembered until the box restarts.
    pub fn close_session(&self, hash: &[u8], now: i64) -> Result<(), AccountsError> {
        if self.temporary.close(hash)? {
            return Ok(());
        }
        match self.write(|database| database.execute("DELETE FROM session WHERE hash = ?1", [hash])) {
            Err(AccountsError::Unwritable(cause)) => {
                tracing::warn!(cause, "the end of a session is kept in memory: the disk cannot be written");
                Ok(self.temporary.end(hash, now)?)
            }
            outcome => outcome.map(drop),
        }
    }

    /// Sets a new password and ends every session but `keep`.
    pub fn change_password(&self, password_hash: &str, keep: Option<&[u8]>) -> Result<(), AccountsError> {
        self.write(|database| {
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("UPDATE owner SET password_hash = ?1", [password_hash])?;
            transaction.execute("DELETE FROM session WHERE ?1 IS NULL OR hash <> ?1", [keep])?;
            transaction.commit()
        })?;
        self.temporary.close_others(keep)?;
        Ok(())
    }

    /// Removes the owner and every session, and every API key unless they are to stay.
    pub fn reset_owner(&self, keep_keys: bool) -> Result<Revoked, AccountsError> {
        let mut revoked = self.write(|database| {
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sessions = transaction.execute("DELETE FROM session", [])?;
            let api_keys = if keep_keys { 0 } else { transaction.execute("DELETE FROM api_key", [])? };
            transaction.execute("DELETE FROM owner", [])?;
            transaction.commit()?;
            Ok(Revoked { sessions, api_keys })
        })?;
        revoked.sessions += self.temporary.close_others(None)?;
        Ok(revoked)
    }

    /// Makes a key and returns it with its description; it cannot be shown again.
    pub fn create_key(
        &self,
        name: &str,
        scopes: &[Scope],
        now: i64,
    ) -> Result<(KeyInfo, String), AccountsError> {
        let key = format!("{KEY_PREFIX}{}", random_token());
        let id = random_token()[..12].to_owned();
        let hint = format!("{}…", &key[..KEY_PREFIX.len() + 4]);
        let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let (words, hash) = (words.join(" "), token_hash(&key));
        self.write(|database| {
            database.execute(
                "INSERT INTO api_key (id, name, scopes, hash, hint, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![id, name, words, hash, hint, now],
            )
        })?;
        Ok((KeyInfo { id, name: name.to_owned(), scopes: scopes.to_vec(), created_at: now, hint }, key))
    }

    /// Every key, oldest first.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, AccountsError> {
        self.read(|database| {
            let mut query = database
                .prepare("SELECT id, name, scopes, created_at, hint FROM api_key ORDER BY created_at, id")?;
            let rows = query.query_map([], |row| {
                let scopes: String = row.get(2)?;
                Ok(KeyInfo {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    scopes: scopes.split(' ').filter_map(Scope::parse).collect(),
                    created_at: row.get(3)?,
                    hint: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Removes a key; it is refused from now on.
    pub fn revoke_key(&self, id: &str) -> Result<(), AccountsError> {
        let removed = self.write(|database| database.execute("DELETE FROM api_key WHERE id = ?1", [id]))?;
        if removed == 1 { Ok(()) } else { Err(AccountsError::NoSuchKey) }
    }

    fn write<T>(&self, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T, AccountsError> {
        let mut database = self.lock();
        let done = match work(&mut database) {
            // A file that was opened while the disk could only be read stays so, whatever the disk does.
            Err(error) if error.sqlite_error_code() == Some(ReadOnly) => {
                *database = connect(&self.path)?;
                work(&mut database)?
            }
            outcome => outcome?,
        };
        self.renew_copy();
        Ok(done)
    }

    /// Asks the database, or its copy where the disk cannot be read.
    fn read<T>(&self, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, AccountsError> {
        match question(&self.lock()) {
            Err(error) if error::is_unwritable(&error) && self.copy.exists() => {
                Ok(question(&read_only(&self.copy)?)?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Nobody writes meanwhile: this is the only writer. A copy that does not follow goes, as it would
    /// still know keys that were revoked.
    fn renew_copy(&self) {
        let beside = self.copy.with_extension("new");
        let folder = self.copy.parent().map_or(Ok(()), std::fs::create_dir_all);
        let renewed = folder
            .and_then(|()| std::fs::copy(&self.path, &beside))
            .and_then(|_| std::fs::rename(&beside, &self.copy));
        if let Err(error) = renewed {
            tracing::warn!(%error, "there is no copy of the auth database in memory");
            let _ = std::fs::remove_file(&self.copy);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_on_disk(path: &Path) -> Result<Connection, AccountsError> {
    let mut database = connect(path)?;
    schema::migrate(&mut database, schema::STEPS)?;
    if let Err(error) = use_group_readable(path) {
        tracing::warn!(%error, "other daemons may be unable to read {}", path.display());
    }
    Ok(database)
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// The rollback journal lets readers do without write access to the folder; `synchronous = EXTRA` also
/// syncs the folder, so that a committed claim survives a power cut.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(std::time::Duration::from_secs(5))?;
    database.pragma_update(None, "journal_mode", "DELETE")?;
    database.pragma_update(None, "synchronous", "EXTRA")?;
    Ok(database)
}

/// Readers are in the folder's group.
fn use_group_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const MODE: u32 = 0o640;
    // A disk that can only be read refuses even what changes nothing.
    if std::fs::metadata(path)?.permissions().mode() & 0o777 == MODE {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
}

fn random_token() -> String {
    let mut generator = rand::rng();
    (0..TOKEN_LENGTH)
        .map(|_| char::from(TOKEN_CHARACTERS[generator.random_range(0..TOKEN_CHARACTERS.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use actionbooster_chassis::auth::AuthReader;
    use actionbooster_chassis::{Paths, Problem};

    use super::*;

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let folder = tempfile::tempdir().expect("folder");
        let accounts = open(folder.path()).expect("opens");
        (folder, accounts)
    }

    fn open(folder: &Path) -> Result<Accounts, AccountsError> {
        Accounts::open(
            &folder.join("auth.db"),
            folder.join("run/sessions.db"),
            folder.join("run/accounts.db"),
        )
    }

    fn sessions(accounts: &Accounts) -> i64 {
        accounts.lock().query_row("SELECT count(*) FROM session", [], |row| row.get(0)).expect("counts")
    }

    /// Leaves no room for another page, as a disk does that is full.
    fn fill(accounts: &Accounts) {
        let database = accounts.lock();
        let pages: i64 = database.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("counts");
        let most: i64 = database
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0))
            .expect("limits");
        assert_eq!(most, pages);
        let filled = (0..10_000_u32).find_map(|number| {
            let row = params![number.to_le_bytes().repeat(8)];
            database.execute("INSERT INTO session VALUES (?1, 0, 9223372036854775807)", row).err()
        });
        assert!(error::is_unwritable(&filled.expect("it is full some day")));
    }

    #[test]
    fn of_many_claims_at_once_exactly_one_wins() {
        let (_folder, accounts) = accounts();
        let won = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..4)
                .map(|number| {
                    let accounts = &accounts;
                    scope.spawn(move || accounts.claim(&format!("owner{number}"), "hash", 0).is_ok())
                })
                .collect();
            claims.into_iter().filter_map(|claim| claim.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn a_password_change_ends_the_other_sessions() {
        let (_folder, accounts) = accounts();
        accounts.claim("ana", "first", 0).expect("claims");
        let kept = accounts.open_session(0, 1).expect("opens");
        accounts.open_session(0, 1).expect("opens");
        accounts.change_password("second", Some(&token_hash(&kept))).expect("changes");
        assert_eq!(sessions(&accounts), 1);
        assert_eq!(accounts.credentials().expect("reads"), Some(("ana".into(), "second".into())));
    }

    #[test]
    fn keys_are_shown_once_and_gone_when_revoked() {
        let (_folder, accounts) = accounts();
        let (info, key) = accounts.create_key("script", &[Scope::Infer, Scope::Read], 7).expect("creates");
        assert!(key.starts_with("ab_") && key.len() == 43);
        assert_eq!(accounts.keys().expect("lists"), std::slice::from_ref(&info));
        accounts.revoke_key(&info.id).expect("revokes");
        assert!(matches!(accounts.revoke_key(&info.id), Err(AccountsError::NoSuchKey)));
    }

    #[test]
    fn a_reset_takes_the_keys_along_unless_they_are_to_stay() {
        for keep in [false, true] {
            let (_folder, accounts) = accounts();
            accounts.claim("ana", "hash", 0).expect("claims");
            accounts.open_session(0, 1).expect("opens");
            accounts.create_key("script", &[Scope::Infer], 0).expect("creates");
            let revoked = accounts.reset_owner(keep).expect("resets");
            assert_eq!(revoked, Revoked { sessions: 1, api_keys: usize::from(!keep) });
            assert_eq!(accounts.keys().expect("lists").len(), usize::from(keep));
            assert_eq!((accounts.owner().expect("reads"), sessions(&accounts)), (None, 0));
        }
    }

    #[test]
    fn with_a_full_disk_sessions_open_end_and_fall_with_the_password() {
        let (folder, accounts) = accounts();
        accounts.claim("ana", "hash", 0).expect("claims");
        fill(&accounts);
        let temporary = || {
            let file = Connection::open(folder.path().join("run/sessions.db")).expect("opens");
            file.query_row("SELECT count(*) FROM session", [], |row| row.get::<_, i64>(0)).expect("counts")
        };
        let tokens: Vec<_> = (0..3).map(|_| accounts.open_session(0, 1).expect("opens")).collect();
        assert_eq!(temporary(), 3);
        accounts.close_session(&token_hash(&tokens[0]), 0).expect("ends");
        assert_eq!(temporary(), 2);
        let refused = (0..100).find_map(|_| accounts.create_key("script", &[Scope::Infer], 0).err());
        assert_eq!(Problem::from(refused.expect("there is no room")).status().as_u16(), 507);
        // What makes room, or needs none, still works.
        accounts.change_password("other", Some(&token_hash(&tokens[1]))).expect("changes");
        assert_eq!(temporary(), 1);
        assert_eq!(accounts.reset_owner(false).expect("resets").sessions, 1);
        assert_eq!(temporary(), 0);
    }

    #[test]
    fn a_file_that_could_only_be_read_is_opened_again_to_write() {
        let (_folder, accounts) = accounts();
        accounts.lock().pragma_update(None, "query_only", true).expect("sets");
        accounts.claim("ana", "hash", 0).expect("claims");
    }

    #[test]
    fn when_the_disk_cannot_be_read_a_copy_in_memory_knows_owner_keys_and_what_was_revoked() {
        let (folder, accounts) = accounts();
        accounts.claim("ana", "hash", 0).expect("claims");
        let (kept, key) = accounts.create_key("script", &[Scope::Infer], 0).expect("creates");
        let (revoked, _) = accounts.create_key("other", &[Scope::Infer], 0).expect("creates");
        accounts.revoke_key(&revoked.id).expect("revokes");
        drop(accounts);
        // Something that no program can read as a file.
        std::fs::remove_file(folder.path().join("auth.db")).expect("removed");
        std::fs::create_dir(folder.path().join("auth.db")).expect("made");
        let accounts = open(folder.path()).expect("opens");
        assert_eq!(accounts.credentials().expect("reads"), Some(("ana".into(), "hash".into())));
        assert_eq!(accounts.keys().expect("reads"), std::slice::from_ref(&kept));
        accounts.open_session(0, 1).expect("opens");
        assert!(matches!(accounts.revoke_key(&kept.id), Err(AccountsError::Unwritable(_))));
        let paths = Paths::below(folder.path().join("box"));
        std::fs::create_dir_all(paths.auth_database()).expect("made");
        std::fs::create_dir_all(paths.runtime().join("auth")).expect("made");
        std::fs::copy(folder.path().join("run/accounts.db"), paths.auth_copy()).expect("copied");
        let caller = AuthReader::of(&paths).of_key(&key).expect("reads");
        assert!(caller.is_some_and(|caller| caller.may(Scope::Infer)));
        assert!(AuthReader::of(&paths).of_key("ab_other").expect("reads").is_none());
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused_with_words() {
        let (folder, accounts) = accounts();
        accounts.lock().pragma_update(None, "user_version", 99).expect("sets");
        drop(accounts);
        let error = open(folder.path()).err().expect("refused").to_string();
        assert!(error.contains("version 99") && error.contains("newer version"), "{error}");
    }
}
