//! A loaded model lives in a process of its own: this program, started again as `booster-worker detector`.
//!
//! What it takes goes back to the system whole when it ends, a model that hangs can be killed, and one that
//! brings its library down brings nothing else down. Orders and reports go over the socket that is the process's
//! standard input ([`talk`]); pictures lie in shared memory, its standard output, and are copied once.

mod inside;
mod outside;
mod talk;

pub(crate) use inside::run;
pub(crate) use outside::{Process, Start, describe};
pub(crate) use talk::About;

/// The argument that makes the program a detector's process.
pub(crate) const ARGUMENT: &str = "detector";
