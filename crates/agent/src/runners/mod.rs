//! Loaded models: what may be loaded together, how runners start and end, who uses them.

mod budget;
mod launch;
mod pool;

pub(crate) use launch::Launcher;
pub(crate) use pool::{Lease, Pool, PoolError, State};
