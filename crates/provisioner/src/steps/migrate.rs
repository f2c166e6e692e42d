//! What earlier or later versions of the product kept is brought to this one's form.

use actionbooster_migrations::{Data, Outcome};

use super::{Status, StepReport};
use crate::layout::Layout;

/// Runs first: every other step reads the data.
pub fn migrate(layout: &Layout) -> StepReport {
    let (status, detail) = match Data::below(&layout.state("")).migrate() {
        Ok(Outcome::Fresh | Outcome::Current) => (Status::Unchanged, String::new()),
        Ok(Outcome::Renumbered) => {
            (Status::Applied, "the version of the data could not be read and was written anew".into())
        }
        Ok(Outcome::Migrated { from, to }) => {
            (Status::Applied, format!("the data was taken from version {from} to {to}"))
        }
        Ok(Outcome::Restored { from, to }) => {
            (Status::Applied, format!("the data was put back from version {from} to {to}"))
        }
        Err(error) => (Status::Failed, format!("{:#}", anyhow::Error::new(error))),
    };
    StepReport { name: "data".into(), status, detail }
}
