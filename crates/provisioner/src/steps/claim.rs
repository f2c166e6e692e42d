//! The claim code: made while the box has no owner, shown on the consoles, used once.

use anyhow::Result;

use super::Context;
use crate::decide::Plan;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::Access;

/// Without the letters and digits that people confuse; 32 of them, so five random bits each.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const LENGTH: usize = 8;

pub fn ensure(_: &Plan, context: &Context) -> Result<()> {
    // In this order: the monitor marks the box as claimed before it takes the code away.
    if code(context.layout).is_some() || is_marked(context.layout) {
        return Ok(());
    }
    let code: Vec<u8> =
        rand::random::<[u8; LENGTH]>().iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
    let access = Access { mode: 0o600, owner: Some("booster-monitor") };
    context.replace(&context.layout.state("auth/claim-code"), &code, access)
}

/// The code in place, if it is a whole one.
pub fn code(layout: &Layout) -> Option<String> {
    let text = read_small(&layout.state("auth/claim-code")).ok().flatten()?;
    let text = text.trim_ascii();
    let whole = text.len() == LENGTH && text.iter().all(|byte| ALPHABET.contains(byte));
    whole.then(|| String::from_utf8_lossy(text).into_owned())
}

/// Whether the monitor says that there is an owner.
pub fn is_marked(layout: &Layout) -> bool {
    layout.state("auth/claimed").symlink_metadata().is_ok()
}
