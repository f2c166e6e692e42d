//! What polkit lets every local user do by default.

use anyhow::Result;

use super::{Lint, Severity, Subject};

const ACTIONS: &str = "usr/share/polkit-1/actions";
const ALLOWED: &str = "<allow_any>yes</allow_any>";

/// Looked at: they put off a shutdown for seconds, or concern the caller's own session alone.
const HARMLESS: &[&str] = &[
    "org.freedesktop.login1.inhibit-block-idle",
    "org.freedesktop.login1.inhibit-delay-shutdown",
    "org.freedesktop.login1.inhibit-delay-sleep",
    "org.freedesktop.login1.set-self-linger",
];

pub const LINT: Lint = Lint {
    name: "open-actions",
    promise: "no service lets every user do what nobody has looked at",
    severity: Severity::Warning,
    check,
};

fn check(subject: &Subject) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in subject.tree.files(ACTIONS, ".policy") {
        let text = subject.tree.text(path)?;
        let open = text.split("<action id=\"").skip(1).filter(|action| action.contains(ALLOWED));
        let ids = open.filter_map(|action| action.split('"').next()).filter(|id| !HARMLESS.contains(id));
        found.extend(ids.map(|id| format!("/{path} lets everybody do {id}")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn actions_that_are_open_to_all_are_named() {
        let policy = "<action id=\"a.closed\"><defaults><allow_any>no</allow_any></defaults></action>\n\
                      <action id=\"a.open\"><defaults><allow_any>yes</allow_any></defaults></action>\n\
                      <action id=\"org.freedesktop.login1.set-self-linger\"><allow_any>yes</allow_any></action>";
        let tree = Tree::default().file("usr/share/polkit-1/actions/a.policy", 0o644, policy);
        assert_eq!(
            check(&Subject::of(tree)).unwrap(),
            ["/usr/share/polkit-1/actions/a.policy lets everybody do a.open"]
        );
    }
}
