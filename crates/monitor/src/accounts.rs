//! The auth database, from its writer's side: one owner, API keys, portal sessions.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actionbooster_chassis::auth::{KEY_PREFIX, SCHEMA, Scope, token_hash};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use rand::RngExt;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;

const TOKEN_CHARACTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN_LENGTH: usize = 40;

/// Why the database refuses.
#[derive(Debug)]
pub enum AccountsError {
    /// Somebody owns the box already.
    Claimed,
    /// Nobody owns it yet, or name or password are wrong.
    WrongCredentials,
    /// No such key.
    NoSuchKey,
    /// SQLite or the password hash failed.
    Broken(String),
}

impl From<rusqlite::Error> for AccountsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl std::fmt::Display for AccountsError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claimed => formatter.write_str("the box has an owner already"),
            Self::WrongCredentials => formatter.write_str("name or password are wrong"),
            Self::NoSuchKey => formatter.write_str("there is no such key"),
            Self::Broken(cause) => write!(formatter, "the auth database failed: {cause}"),
        }
    }
}

impl std::error::Error for AccountsError {}

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
    database: Mutex<Connection>,
}

impl Accounts {
    /// Opens or creates the database.
    ///
    /// The rollback journal lets readers do without write access to the folder; `synchronous =
    /// EXTRA` also syncs the folder, so that a committed claim survives a power cut.
    pub fn open(path: &Path) -> Result<Self, AccountsError> {
        let database = Connection::open(path)?;
        database.busy_timeout(std::time::Duration::from_secs(5))?;
        database.pragma_update(None, "journal_mode", "DELETE")?;
        database.pragma_update(None, "synchronous", "EXTRA")?;
        database.execute_batch(SCHEMA)?;
        use_group_readable(path).map_err(|error| AccountsError::Broken(error.to_string()))?;
        Ok(Self { database: Mutex::new(database) })
    }

    /// The owner's name, if the box is claimed.
    pub fn owner(&self) -> Result<Option<String>, AccountsError> {
        let database = self.lock();
        Ok(database.query_row("SELECT name FROM owner", [], |row| row.get(0)).optional()?)
    }

    /// Makes the first and only owner. Of two at once exactly one wins.
    pub fn claim(&self, name: &str, password: &str, now: i64) -> Result<(), AccountsError> {
        let hash = hash_password(password)?;
        let added = self.lock().execute(
            "INSERT INTO owner (id, name, password_hash, created_at) VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![name, hash, now],
        )?;
        if added == 1 { Ok(()) } else { Err(AccountsError::Claimed) }
    }

    /// Checks name and password. Takes equally long whether the name is known or not.
    pub fn check(&self, name: &str, password: &str) -> Result<(), AccountsError> {
        let known: Option<(String, String)> = self
            .lock()
            .query_row("SELECT name, password_hash FROM owner", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((owner, hash)) = known else {
            hash_password(password)?;
            return Err(AccountsError::WrongCredentials);
        };
        let parsed = PasswordHash::new(&hash).map_err(|error| AccountsError::Broken(error.to_string()))?;
        let right = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
        if right && owner == name { Ok(()) } else { Err(AccountsError::WrongCredentials) }
    }

    /// Opens a session and returns its token.
    pub fn open_session(&self, now: i64, days: u32) -> Result<String, AccountsError> {
        let token = random_token();
        let database = self.lock();
        database.execute("DELETE FROM session WHERE expires_at <= ?1", [now])?;
        let expires = now.saturating_add(i64::from(days) * 86_400);
        database.execute(
            "INSERT INTO session (hash, created_at, expires_at) VALUES (?1, ?2, ?3)",
            params![token_hash(&token), now, expires],
        )?;
        Ok(token)
    }

    /// Ends one session.
    pub fn close_session(&self, hash: &[u8]) -> Result<(), AccountsError> {
        self.lock().execute("DELETE FROM session WHERE hash = ?1", [hash])?;
        Ok(())
    }

    /// Sets a new password and ends every session but `keep`.
    pub fn change_password(&self, password: &str, keep: Option<&[u8]>) -> Result<(), AccountsError> {
        let hash = hash_password(password)?;
        let mut database = self.lock();
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE owner SET password_hash = ?1", [hash])?;
        transaction.execute("DELETE FROM session WHERE ?1 IS NULL OR hash <> ?1", [keep])?;
        transaction.commit()?;
        Ok(())
    }

    /// Removes the owner and every session. API keys stay: programs of the house go on working.
    pub fn reset_owner(&self) -> Result<(), AccountsError> {
        let mut database = self.lock();
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM session", [])?;
        transaction.execute("DELETE FROM owner", [])?;
        transaction.commit()?;
        Ok(())
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
        self.lock().execute(
            "INSERT INTO api_key (id, name, scopes, hash, hint, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, name, words.join(" "), token_hash(&key), hint, now],
        )?;
        Ok((KeyInfo { id, name: name.to_owned(), scopes: scopes.to_vec(), created_at: now, hint }, key))
    }

    /// Every key, oldest first.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, AccountsError> {
        let database = self.lock();
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
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Removes a key; it is refused from now on.
    pub fn revoke_key(&self, id: &str) -> Result<(), AccountsError> {
        let removed = self.lock().execute("DELETE FROM api_key WHERE id = ?1", [id])?;
        if removed == 1 { Ok(()) } else { Err(AccountsError::NoSuchKey) }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readers are in the folder's group.
fn use_group_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640))
}

/// Argon2id with the library's defaults (19 MiB, two passes), as OWASP recommends.
fn hash_password(password: &str) -> Result<String, AccountsError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| AccountsError::Broken(error.to_string()))
}

fn random_token() -> String {
    let mut generator = rand::rng();
    (0..TOKEN_LENGTH)
        .map(|_| char::from(TOKEN_CHARACTERS[generator.random_range(0..TOKEN_CHARACTERS.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let folder = tempfile::tempdir().expect("folder");
        let accounts = Accounts::open(&folder.path().join("auth.db")).expect("opens");
        (folder, accounts)
    }

    #[test]
    fn of_many_claims_at_once_exactly_one_wins() {
        let (_folder, accounts) = accounts();
        let won = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..4)
                .map(|number| {
                    let accounts = &accounts;
                    scope.spawn(move || accounts.claim(&format!("owner{number}"), "long enough", 0).is_ok())
                })
                .collect();
            claims.into_iter().filter_map(|claim| claim.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn a_password_change_ends_the_other_sessions() {
        let (_folder, accounts) = accounts();
        accounts.claim("ana", "first password", 0).expect("claims");
        let kept = accounts.open_session(0, 1).expect("opens");
        accounts.open_session(0, 1).expect("opens");
        accounts.change_password("second password", Some(&token_hash(&kept))).expect("changes");
        let sessions: i64 =
            accounts.lock().query_row("SELECT count(*) FROM session", [], |row| row.get(0)).expect("counts");
        assert_eq!(sessions, 1);
        assert!(accounts.check("ana", "first password").is_err());
        assert!(accounts.check("ana", "second password").is_ok());
        assert!(accounts.check("bob", "second password").is_err());
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
}
