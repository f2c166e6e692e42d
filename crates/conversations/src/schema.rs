//! Versions of the file: each start brings it to the version that this program knows.
//!
//! Steps add and never rename or remove, so that a program of before, which the box goes back to when an update
//! fails, works with a file of later.

use rusqlite::{Connection, TransactionBehavior};

/// What makes each version out of the one before, oldest first. A step that was ever shipped stays as it is.
pub(crate) const STEPS: &[&str] = &[FIRST];

/// Times are Unix milliseconds. `change` grows with every change of any conversation: the clock may be put back.
/// What is deleted leaves the index at once (`secure-delete`), not when it is next put in order.
const FIRST: &str = "
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    conversations INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE conversation (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    change INTEGER NOT NULL UNIQUE,
    turns INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL,
    title TEXT NOT NULL,
    models TEXT NOT NULL,
    system TEXT NOT NULL,
    UNIQUE (account, id)
);
CREATE INDEX conversation_newest ON conversation (account, change);
CREATE TABLE turn (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    id TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    content TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (conversation, id)
);
CREATE INDEX turn_order ON turn (conversation, key);

CREATE TRIGGER account_more AFTER INSERT ON conversation BEGIN
    INSERT INTO account VALUES (new.account, 1, new.bytes)
        ON CONFLICT DO UPDATE SET conversations = conversations + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER account_change AFTER UPDATE OF bytes ON conversation BEGIN
    UPDATE account SET bytes = bytes + new.bytes - old.bytes WHERE name = new.account;
END;
CREATE TRIGGER account_less AFTER DELETE ON conversation BEGIN
    UPDATE account SET conversations = conversations - 1, bytes = bytes - old.bytes WHERE name = old.account;
    DELETE FROM account WHERE name = old.account AND conversations = 0;
END;
CREATE TRIGGER turns_more AFTER INSERT ON turn BEGIN
    UPDATE conversation SET turns = turns + 1, bytes = bytes + new.bytes WHERE key = new.conversation;
END;
CREATE TRIGGER turns_change AFTER UPDATE OF bytes ON turn BEGIN
    UPDATE conversation SET bytes = bytes + new.bytes - old.bytes WHERE key = new.conversation;
END;
CREATE TRIGGER turns_less AFTER DELETE ON turn BEGIN
    UPDATE conversation SET turns = turns - 1, bytes = bytes - old.bytes WHERE key = old.conversation;
END;

CREATE VIRTUAL TABLE title_index USING fts5 (
    title, content = 'conversation', content_rowid = 'key',
    tokenize = \"unicode61 remove_diacritics 2 categories 'L* N* Co So'\"
);
CREATE VIRTUAL TABLE text_index USING fts5 (
    text, content = 'turn', content_rowid = 'key',
    tokenize = \"unicode61 remove_diacritics 2 categories 'L* N* Co So'\"
);
INSERT INTO title_index (title_index, rank) VALUES ('secure-delete', 1);
INSERT INTO text_index (text_index, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER title_more AFTER INSERT ON conversation BEGIN
    INSERT INTO title_index (rowid, title) VALUES (new.key, new.title);
END;
CREATE TRIGGER title_change AFTER UPDATE OF title ON conversation WHEN old.title IS NOT new.title BEGIN
    INSERT INTO title_index (title_index, rowid, title) VALUES ('delete', old.key, old.title);
    INSERT INTO title_index (rowid, title) VALUES (new.key, new.title);
END;
CREATE TRIGGER title_less AFTER DELETE ON conversation BEGIN
    INSERT INTO title_index (title_index, rowid, title) VALUES ('delete', old.key, old.title);
END;
CREATE TRIGGER text_more AFTER INSERT ON turn BEGIN
    INSERT INTO text_index (rowid, text) VALUES (new.key, new.text);
END;
CREATE TRIGGER text_change AFTER UPDATE OF text ON turn WHEN old.text IS NOT new.text BEGIN
    INSERT INTO text_index (text_index, rowid, text) VALUES ('delete', old.key, old.text);
    INSERT INTO text_index (rowid, text) VALUES (new.key, new.text);
END;
CREATE TRIGGER text_less AFTER DELETE ON turn BEGIN
    INSERT INTO text_index (text_index, rowid, text) VALUES ('delete', old.key, old.text);
END;
";

/// Takes the missing steps, all or none.
pub(crate) fn migrate(database: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let done: u32 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(missing) = steps.get(done as usize..).filter(|missing| !missing.is_empty()) else {
        return Ok(());
    };
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", steps.len() as u32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(database: &Connection) -> u32 {
        database.pragma_query_value(None, "user_version", |row| row.get(0)).expect("version")
    }

    #[test]
    fn missing_steps_are_taken_once_and_all_or_none() {
        let mut database = Connection::open_in_memory().expect("opens");
        let added = [FIRST, "ALTER TABLE conversation ADD COLUMN colour TEXT"];
        for steps in [STEPS, STEPS, &added, &added] {
            migrate(&mut database, steps).expect("migrates");
            assert_eq!(version(&database) as usize, steps.len());
        }
        let broken = [added[0], added[1], "ALTER TABLE turn ADD COLUMN colour TEXT", "no SQL"];
        migrate(&mut database, &broken).expect_err("fails");
        assert_eq!(version(&database), 2);
        database.prepare("SELECT colour FROM turn").expect_err("nothing of the steps before it is left");
    }
}
