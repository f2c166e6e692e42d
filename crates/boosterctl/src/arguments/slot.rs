//! `boosterctl slot …`.

use std::net::SocketAddr;

use clap::{Args, Subcommand};

/// The two slots that the system lives in.
#[derive(Debug, Subcommand)]
pub enum Slot {
    /// Say whether this slot works: its daemons, the portal, detection; whatever the owner's things are like.
    Check(Wait),
    /// Check this slot; keep it when it works, restart the box when it is on trial and does not. Run at every boot.
    Prove(Wait),
    /// Say that something else is about to be written into the other slot. Run by RAUC before an installation.
    Release,
}

/// How a slot is checked.
#[derive(Debug, Args)]
pub struct Wait {
    /// Ask again for up to this many seconds until everything works.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,
    /// Where nginx serves the portal.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:443")]
    pub portal: SocketAddr,
}
