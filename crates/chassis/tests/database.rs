//! Reading keys and sessions while the database comes, goes and changes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use actionbooster_chassis::Paths;
use actionbooster_chassis::auth::{AuthReader, Caller, SCHEMA, token_hash};
use actionbooster_chassis::axum::http::{HeaderMap, HeaderValue, Method};
use rusqlite::Connection;

fn create(path: &Path, key: &str) {
    let database = Connection::open(path).unwrap();
    database.execute_batch(SCHEMA).unwrap();
    database
        .execute("INSERT INTO api_key VALUES (?1, 'name', 'read', ?2, 'ab_…', 0)", (key, token_hash(key)))
        .unwrap();
}

fn who(reader: &AuthReader, key: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
    let caller = reader.identify(&Method::GET, &headers, 0).unwrap();
    caller.as_ref().map(Caller::label).map(str::to_owned)
}

#[test]
fn a_database_that_appears_or_is_replaced_is_seen_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.db");
    let reader = AuthReader::new(path.clone());
    assert_eq!(who(&reader, "ab_first"), None, "no file yet");
    std::fs::write(&path, "").unwrap();
    assert_eq!(who(&reader, "ab_first"), None, "created, but without tables yet");
    create(&path, "ab_first");
    assert_eq!(who(&reader, "ab_first").as_deref(), Some("ab_first"));
    let restored = folder.path().join("restored.db");
    create(&restored, "ab_second");
    std::fs::rename(&restored, &path).unwrap();
    assert_eq!(who(&reader, "ab_first"), None);
    assert_eq!(who(&reader, "ab_second").as_deref(), Some("ab_second"));
}

#[test]
fn an_unfinished_write_of_the_monitor_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.db");
    create(&path, "ab_first");
    let reader = AuthReader::new(path.clone());
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM api_key;").unwrap();
    assert_eq!(who(&reader, "ab_first").as_deref(), Some("ab_first"), "still a key");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(who(&reader, "ab_first"), None, "revoked");
}

#[test]
fn a_damaged_database_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.db");
    std::fs::write(&path, "not a database at all, and long enough to be read as a header of one").unwrap();
    let reader = AuthReader::new(path);
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("ab_first"));
    let problem = reader.identify(&Method::GET, &headers, 0).unwrap_err();
    assert_eq!(problem.status().as_u16(), 500);
    assert!(!problem.detail().contains("auth.db"), "the reason is for the journal: {}", problem.detail());
}

#[test]
fn a_database_that_stays_locked_is_a_reason_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.db");
    create(&path, "ab_first");
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("ab_first"));
    let problem = AuthReader::new(path).identify(&Method::GET, &headers, 0).unwrap_err();
    assert_eq!(problem.status().as_u16(), 503);
    assert!(problem.retry_after_seconds().is_some());
}

fn session_of(reader: &AuthReader, token: &str, now: i64) -> Option<Caller> {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_str(&format!("booster_session={token}")).unwrap());
    reader.identify(&Method::GET, &headers, now).unwrap()
}

#[test]
fn a_session_that_could_not_be_kept_holds_until_it_ends_and_while_there_is_an_owner() {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::below(root.path());
    for file in [paths.auth_database(), paths.temporary_sessions()] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    let reader = AuthReader::of(&paths);
    create(&paths.auth_database(), "ab_first");
    let kept = Connection::open(paths.auth_database()).unwrap();
    kept.execute("INSERT INTO owner VALUES (1, 'ana', 'x', 0)", []).unwrap();
    assert_eq!(session_of(&reader, "token", 0), None, "no temporary session was ever opened");
    let temporary = Connection::open(paths.temporary_sessions()).unwrap();
    temporary.execute_batch(SCHEMA).unwrap();
    assert_eq!(session_of(&reader, "token", 0), None);
    temporary.execute("INSERT INTO session VALUES (?1, 0, 100)", [token_hash("token")]).unwrap();
    let expected = Caller::Session { owner: "ana".into(), hash: token_hash("token") };
    assert_eq!(session_of(&reader, "token", 99), Some(expected));
    assert_eq!(session_of(&reader, "token", 100), None, "it has ended");
    assert_eq!(session_of(&reader, "other", 0), None);
    kept.execute("INSERT INTO session VALUES (?1, 0, 100)", [token_hash("kept")]).unwrap();
    assert!(session_of(&reader, "kept", 0).is_some());
    temporary.execute("INSERT INTO session VALUES (?1, 0, 0)", [token_hash("kept")]).unwrap();
    assert_eq!(session_of(&reader, "kept", 0), None, "it was ended while that could not be written");
    kept.execute("DELETE FROM owner", []).unwrap();
    assert_eq!(session_of(&reader, "token", 0), None, "nobody owns the box");
}

#[test]
fn a_database_of_a_later_version_is_read_as_far_as_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.db");
    create(&path, "ab_first");
    let later =
        "ALTER TABLE api_key ADD COLUMN colour TEXT; CREATE TABLE passkey (id); PRAGMA user_version = 9";
    Connection::open(&path).unwrap().execute_batch(later).unwrap();
    assert_eq!(who(&AuthReader::new(path), "ab_first").as_deref(), Some("ab_first"));
}
