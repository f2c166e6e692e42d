//! On whose behalf things are made, and whose they are afterwards.

/// Who asks: the box's owner, or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Identifier of the key; `None` for the box's owner.
    key: Option<String>,
    sees_all: bool,
}

impl Principal {
    /// The box's owner, to whom belongs what no key made.
    pub const OWNER: Self = Self { key: None, sees_all: true };

    /// A key. One that administers the box sees and changes what others made, too.
    pub fn key(id: impl Into<String>, administers: bool) -> Self {
        Self { key: Some(id.into()), sees_all: administers }
    }

    /// What is written down of whoever made something: the identifier of a key.
    pub(crate) fn as_owner(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether what this owner made is theirs to see and to change.
    pub(crate) fn may_use(&self, owner: Option<&str>) -> bool {
        self.sees_all || owner == self.as_owner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_what_it_made_and_owner_and_administrators_have_everything() {
        let (own, other, admin) =
            (Principal::key("a", false), Principal::key("b", false), Principal::key("c", true));
        let cases = [
            (&own, Some("a"), true),
            (&other, Some("a"), false),
            (&own, None, false),
            (&admin, Some("a"), true),
            (&admin, None, true),
            (&Principal::OWNER, Some("a"), true),
            (&Principal::OWNER, None, true),
        ];
        for (principal, owner, expected) in cases {
            assert_eq!(principal.may_use(owner), expected, "{principal:?} {owner:?}");
        }
    }
}
