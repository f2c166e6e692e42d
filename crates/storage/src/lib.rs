//! The space of the data partition: who may use how much of it, what is left, what takes it, and when it will
//! be full. And files that no cut leaves half written: [`atomic`].
//!
//! Everybody asks here, so that all stop at the same mark. From the empty disk to the full one:
//!
//! | mark | who stops there |
//! |---|---|
//! | twice the [`Floor`] | nobody; health warns |
//! | the [`Floor`] | what asks before it writes: uploads, imports, recordings, assets, files of sessions |
//! | half the floor | the daemons and the owner's shell, by a [`Quota`] of the file system |
//! | the reserve ([`reserve_bytes`]) | everybody but the system and the monitor, which keeps logins and settings |

pub mod atomic;
mod forecast;
mod level;
mod rules;
mod size;
mod space;
mod usage;

pub use forecast::{Forecast, History};
pub use level::Level;
pub use rules::{Floor, Quota, RESERVE_GROUP, quotas, reserve_bytes};
pub use size::Size;
pub use space::{Shortage, Space};
pub use usage::{Usage, measure};
