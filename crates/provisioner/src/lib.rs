//! Fits a system to its hardware and to its owner's settings.
//!
//! [`decide`] turns what is (inventory, settings, rules) into what should be, without touching
//! anything. `steps` make it so, each leaving alone what is already right, each safe to cut at
//! any instant. `report` says what was found and done.

pub mod data;
pub mod decide;
pub mod layout;
pub mod report;
pub mod system;
pub mod text;

mod clock;
mod console;
mod dry_run;
mod facts;
mod last_run;
mod machine;
mod overlay;
mod run;
mod steps;
mod tls;

pub use machine::Machine;
pub use run::{World, announce, announce_in, apply, apply_in, plan, tend_clock};
pub use steps::{Status, StepReport};
