//! Loaded models: what may be loaded together, how runners start and end, who uses them.

mod budget;
mod children;
mod launch;
mod lease;
mod line;
mod load;
mod pool;
mod process;
mod queue;
mod report;
mod stop;
mod systemd;

pub(crate) use launch::Launcher;
pub(crate) use lease::Lease;
pub(crate) use pool::{Books, Pool, State};
