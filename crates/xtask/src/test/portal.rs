//! The portal's own quick tests: types, translations, stream parsing.

use anyhow::Result;

use super::Tally;
use crate::builder::Builder;

pub fn run(builder: &Builder) -> Result<Tally> {
    let mut tally = Tally::default();
    crate::payload::build_portal(builder)?;
    for (name, script) in [("the portal's types hold", "check"), ("the portal's unit tests pass", "test")] {
        let log = format!("portal-{script}");
        tally.check(name, builder.run(name, &log, &["npm", "--prefix", "nginx/portal", "run", script]));
    }
    Ok(tally)
}
