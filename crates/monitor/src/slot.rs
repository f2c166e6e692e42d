//! What the running slot says of itself, as a part of the box's health.

use std::path::Path;

use actionbooster_chassis::health::{Component, Status};
use actionbooster_updates::Report;

/// The part; none where there are no slots, or before the slot was looked at.
pub(crate) fn component(runtime: &Path) -> Option<Component> {
    let bytes = std::fs::read(runtime.join(Report::FILE)).ok()?;
    let (status, detail) = match serde_json::from_slice::<Report>(&bytes) {
        Ok(report) if report.is_well() => (Status::Ok, report.detail()),
        Ok(report) => (Status::Degraded, report.detail()),
        Err(error) => (Status::Degraded, format!("the report on the slot is damaged: {error}")),
    };
    Some(Component { name: "slot".into(), status, detail })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_does_not_work_degrades_the_box_and_one_that_was_mended_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(component(folder.path()), None, "no slots");
        let failed = r#"{"running":"A","check":{"state":"failed","problems":["nginx is silent"],"then":"stay-proven"},
                         "mended":null,"slots":[]}"#;
        let mended = r#"{"running":"A","check":{"state":"passed"},"mended":"grubenv is damaged","slots":[]}"#;
        for (text, status, words) in [
            (failed, Status::Degraded, "nginx is silent"),
            (mended, Status::Ok, "grubenv is damaged"),
            ("{", Status::Degraded, "damaged"),
        ] {
            std::fs::write(folder.path().join(Report::FILE), text).unwrap();
            let part = component(folder.path()).unwrap();
            assert_eq!(part.status, status, "{text}");
            assert!(part.detail.contains(words), "{}", part.detail);
        }
    }
}
