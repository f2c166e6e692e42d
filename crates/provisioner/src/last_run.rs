//! What a run leaves for the next ones.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::decide::Remembered;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::{Access, System};

/// What a run leaves for the next ones.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The hardware it found.
    pub hardware: Remembered,
    /// The name it gave the box where the owner gave none; earlier versions wrote none down.
    #[serde(default)]
    pub own_name: Option<String>,
}

/// What the last run left.
pub fn read(layout: &Layout) -> Option<LastRun> {
    let text = read_small(&layout.state("provisioner/last-plan.json")).ok().flatten()?;
    serde_json::from_slice(&text).ok()
}

/// Leaves this for the next run.
pub fn write(run: &LastRun, layout: &Layout, system: &dyn System) -> Result<()> {
    if read(layout).as_ref() == Some(run) {
        return Ok(());
    }
    let path = layout.state("provisioner/last-plan.json");
    let text = serde_json::to_vec_pretty(run)?;
    system.replace(&path, &text, Access::PUBLIC).with_context(|| format!("cannot write {}", path.display()))
}
