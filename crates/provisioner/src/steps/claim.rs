//! The claim code: made while the box has no owner, shown on the consoles, used once.

use actionbooster_settings::claim_code;
use anyhow::Result;

use super::Context;
use crate::decide::Plan;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::Access;

pub fn ensure(_: &Plan, context: &Context) -> Result<()> {
    // In this order: the monitor marks the box as claimed before it takes the code away.
    if code(context.layout).is_some() || is_marked(context.layout) {
        return Ok(());
    }
    let code = claim_code::from_random(rand::random());
    let access = Access { mode: 0o600, owner: Some("booster-monitor") };
    context.replace(&context.layout.state("auth/claim-code"), code.as_bytes(), access)
}

/// The code in place, if it is a whole one.
pub fn code(layout: &Layout) -> Option<String> {
    let text = read_small(&layout.state("auth/claim-code")).ok().flatten()?;
    let text = String::from_utf8_lossy(text.trim_ascii()).into_owned();
    Some(text).filter(|text| claim_code::is_code(text))
}

/// Whether the monitor says that there is an owner.
pub fn is_marked(layout: &Layout) -> bool {
    layout.state("auth/claimed").symlink_metadata().is_ok()
}
