//! A copy of the owner's settings from when nothing in them was wrong. Whatever cannot be used later
//! is then as it was there.

use anyhow::{Result, bail};

use super::Context;
use crate::facts::{LAST_GOOD, OwnersSettings};
use crate::system::Access;

pub fn keep(found: &OwnersSettings, context: &Context) -> Result<()> {
    let copy = context.layout.state(LAST_GOOD);
    if let Some(text) = &found.good {
        context.ensure(&copy, text.as_bytes(), Access::PUBLIC)?;
    } else if found.faults.is_empty() {
        // The owner took the file away to start over.
        context.ensure_absent(&copy)?;
    } else {
        let words: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        bail!("{}; these settings are as they were last good", words.join("; "));
    }
    Ok(())
}
