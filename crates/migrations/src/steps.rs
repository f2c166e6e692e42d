//! The steps, oldest first. A step is never changed once it was released.

use crate::Step;

mod explicit_hostname;

/// From version 1, one version a step.
pub const STEPS: &[Step] = &[explicit_hostname::STEP];
