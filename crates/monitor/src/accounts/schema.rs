//! Versions of the auth database: each start brings the file to the version that this program knows.

use actionbooster_chassis::auth::SCHEMA;
use rusqlite::{Connection, TransactionBehavior};

use super::error::{AccountsError, is_unwritable};

/// What makes each version out of the one before, oldest first; a database has as many as it has seen.
/// A step that was ever shipped stays as it is.
pub const STEPS: &[&str] = &[SCHEMA];

/// Databases of before versions were counted are of this one.
const UNCOUNTED: usize = 1;

/// Takes the missing steps, all or none. Writes nothing when there are none.
pub fn migrate(database: &mut Connection, steps: &[&str]) -> Result<(), AccountsError> {
    let counted: u32 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let counted = counted as usize;
    if counted > steps.len() {
        return Err(AccountsError::FromTheFuture { found: counted, known: steps.len() });
    }
    if counted == steps.len() {
        return Ok(());
    }
    let done = if counted == 0 && has_tables(database)? { UNCOUNTED } else { counted };
    match take(database, steps, done) {
        // Only its number is missing; that can wait until the disk can be written.
        Err(error) if done == steps.len() && is_unwritable(&error) => {
            tracing::warn!(%error, "the auth database keeps no version yet");
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

fn has_tables(database: &Connection) -> rusqlite::Result<bool> {
    database.table_exists(None, "owner")
}

fn take(database: &mut Connection, steps: &[&str], done: usize) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", steps.len() as u32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD_COLOUR: &str = "ALTER TABLE owner ADD COLUMN colour TEXT";
    const USE_COLOUR: &str = "UPDATE owner SET colour = 'red'";

    fn version(database: &Connection) -> usize {
        database.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).expect("version")
            as usize
    }

    fn uncounted() -> Connection {
        let database = Connection::open_in_memory().expect("opens");
        database.execute_batch(SCHEMA).expect("schema");
        database.execute("INSERT INTO owner VALUES (1, 'ana', 'x', 0)", []).expect("owner");
        database
    }

    #[test]
    fn a_new_database_and_one_without_a_number_come_to_the_same_version() {
        for mut database in [Connection::open_in_memory().expect("opens"), uncounted()] {
            migrate(&mut database, STEPS).expect("migrates");
            assert_eq!(version(&database), STEPS.len());
            database.prepare("SELECT name FROM owner").expect("the tables are there");
        }
    }

    #[test]
    fn missing_steps_are_taken_once_and_in_order() {
        let mut database = uncounted();
        for steps in [&[SCHEMA, ADD_COLOUR][..], &[SCHEMA, ADD_COLOUR, USE_COLOUR]] {
            migrate(&mut database, steps).expect("migrates");
            migrate(&mut database, steps).expect("again");
            assert_eq!(version(&database), steps.len());
        }
        let colour: String =
            database.query_row("SELECT colour FROM owner", [], |row| row.get(0)).expect("reads");
        assert_eq!(colour, "red");
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_of_those_before_it() {
        let mut database = uncounted();
        migrate(&mut database, &[SCHEMA, ADD_COLOUR, "no SQL"]).expect_err("fails");
        assert_eq!(version(&database), 0);
        database.prepare("SELECT colour FROM owner").expect_err("there is no such column");
    }

    #[test]
    fn a_database_of_a_later_version_is_refused_and_stays_as_it_is() {
        let mut database = uncounted();
        database.pragma_update(None, "user_version", 7).expect("sets");
        let error = migrate(&mut database, STEPS).expect_err("refused").to_string();
        assert!(error.contains("version 7") && error.contains("newer"), "{error}");
        assert_eq!(version(&database), 7);
    }

    #[test]
    fn a_disk_that_cannot_be_written_stops_only_real_steps() {
        let mut database = uncounted();
        database.pragma_update(None, "query_only", true).expect("sets");
        migrate(&mut database, STEPS).expect("nothing but the number is missing");
        let error = migrate(&mut database, &[SCHEMA, ADD_COLOUR]).expect_err("refused");
        assert!(matches!(error, AccountsError::Unwritable(_)), "{error}");
    }
}
