//! What the running system says of its slot: `slot.json` in the runtime folder.

use serde::{Deserialize, Serialize};

use crate::{AfterFailure, Slot, SlotState};

/// Whether the running slot works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Check {
    /// It is being found out.
    Pending,
    /// It does.
    Passed,
    /// It does not.
    Failed {
        /// What does not work.
        problems: Vec<String>,
        /// What follows; nothing where the boot partition cannot be used.
        then: Option<AfterFailure>,
    },
}

/// `slot.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The slot that runs.
    pub running: Slot,
    /// Whether it works.
    pub check: Check,
    /// What was damaged in GRUB's environment when the box started.
    pub mended: Option<String>,
    /// Both slots in the order in which GRUB asks them; none where the boot partition cannot be used.
    pub slots: Vec<SlotState>,
}

impl Report {
    /// The file's name.
    pub const FILE: &str = "slot.json";

    /// Whether the owner must be told that something is wrong.
    pub fn is_well(&self) -> bool {
        !matches!(self.check, Check::Failed { .. })
    }

    /// What the owner should know, in one line; empty when there is nothing.
    pub fn detail(&self) -> String {
        let mut parts = Vec::new();
        if let Check::Failed { problems, then } = &self.check {
            let then = match then {
                Some(AfterFailure::Restart) => {
                    "the box restarts, and takes the other slot when the tries are used up"
                }
                Some(AfterFailure::StayProven) => "it is kept, because it worked before",
                Some(AfterFailure::StayAlone) => "it is kept, because the other slot cannot take over",
                Some(AfterFailure::StayUncounted) => "it is kept, because GRUB cannot count its tries",
                None => "what GRUB knows of the slots cannot be kept",
            };
            parts.push(format!("slot {} does not work: {}; {then}", self.running, problems.join("; ")));
        }
        if let Some(first) = self.slots.first().filter(|first| first.slot != self.running) {
            parts.push(format!(
                "slot {} runs in the place of slot {}, which did not work",
                self.running, first.slot
            ));
        }
        parts.extend(self.mended.iter().map(|damage| format!("GRUB's environment was mended: {damage}")));
        parts.join(". ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::Slots;

    fn report(check: Check) -> Report {
        let slots = Slots::from_running(Slot::A, false).states().into();
        Report { running: Slot::A, check, mended: None, slots }
    }

    #[test]
    fn only_what_the_owner_should_know_is_told() {
        let failed = |then| Check::Failed { problems: vec!["nginx is silent".into()], then };
        for (report, well, words) in [
            (report(Check::Pending), true, ""),
            (report(Check::Passed), true, ""),
            (report(failed(Some(AfterFailure::Restart))), false, "nginx is silent; the box restarts"),
            (report(failed(Some(AfterFailure::StayProven))), false, "worked before"),
            (report(failed(None)), false, "cannot be kept"),
            (Report { mended: Some("grubenv".into()), ..report(Check::Passed) }, true, "mended: grubenv"),
            (
                Report { running: Slot::B, ..report(Check::Passed) },
                true,
                "slot B runs in the place of slot A",
            ),
        ] {
            assert_eq!(report.is_well(), well, "{report:?}");
            assert!(report.detail().contains(words), "{}", report.detail());
            assert_eq!(report.detail().is_empty(), words.is_empty(), "{}", report.detail());
        }
    }

    #[test]
    fn the_file_has_a_plain_shape() {
        let json = serde_json::to_value(report(Check::Passed)).unwrap();
        assert_eq!(
            json["slots"][0],
            serde_json::json!({"slot": "A", "standing": "on-trial", "tries_left": 3})
        );
        assert_eq!(json["check"]["state"], "passed");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report(Check::Passed));
    }
}
