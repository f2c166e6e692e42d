//! A running box can say which image it runs.

use anyhow::Result;

use super::{Lint, Severity, Subject};

/// Fields of os-release(5) that name an image.
const FIELDS: &[&str] = &["IMAGE_ID", "IMAGE_VERSION", "VARIANT_ID"];

pub const LINT: Lint = Lint {
    name: "image-version",
    promise: "/etc/os-release names image and version",
    severity: Severity::Fatal,
    check,
};

fn check(subject: &Subject) -> Result<Vec<String>> {
    let text = subject.tree.text("usr/lib/os-release")?;
    let values = |field: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| *name == field)
            .map(|(_, value)| value.trim_matches('"'))
            .collect::<Vec<_>>()
    };
    let found = FIELDS.iter().filter_map(|field| match values(field).as_slice() {
        [] | [""] => Some(format!("{field} is missing")),
        [_] => None,
        several => Some(format!("{field} is there {} times", several.len())),
    });
    let mut found: Vec<String> = found.collect();
    if values("IMAGE_VERSION").iter().any(|version| *version != env!("CARGO_PKG_VERSION")) {
        found.push(format!("IMAGE_VERSION is not {}", env!("CARGO_PKG_VERSION")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check(&Subject::of(Tree::default().file("usr/lib/os-release", 0o644, text))).unwrap()
    }

    #[test]
    fn image_version_and_variant_must_be_named_once() {
        let version = env!("CARGO_PKG_VERSION");
        let good = format!("ID=debian\nVARIANT_ID=x\nIMAGE_ID=x\nIMAGE_VERSION=\"{version}\"\n");
        assert!(findings(&good).is_empty());
        assert_eq!(findings(&good.replace("IMAGE_ID=x\n", "")), ["IMAGE_ID is missing"]);
        assert_eq!(findings(&format!("{good}IMAGE_ID=y\n")), ["IMAGE_ID is there 2 times"]);
        assert_eq!(
            findings(&good.replace(version, "")),
            ["IMAGE_VERSION is missing", &format!("IMAGE_VERSION is not {version}")]
        );
    }
}
