//! Loaded models: what may be loaded together, how runners start and end, who uses them.

mod budget;
mod children;
mod failures;
mod launch;
mod lease;
mod load;
mod pool;
mod process;
mod systemd;

pub(crate) use launch::Launcher;
pub(crate) use lease::Lease;
pub(crate) use pool::{Pool, PoolError, State};
