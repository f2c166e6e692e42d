//! Loaded models: what may be loaded together, how runners start and end, who uses them.

mod budget;
mod lease;
mod line;
mod load;
mod pool;
mod queue;
mod report;
mod stop;

pub(crate) use lease::Lease;
pub(crate) use pool::{Books, Pool, State};
