//! Whose conversations they are.

use std::fmt;

/// What accounts of keys begin with in the file.
const KEY: &str = "key:";
/// The owner's account in the file. The box has one owner at a time: who claims it after a reset finds what is
/// kept, as with everything else on the disk.
const OWNER: &str = "owner";

/// Whose conversations they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The owner's, in the portal and at the console.
    Owner,
    /// Those of a program, by the identifier of its key.
    Key(String),
}

impl Account {
    /// The account of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name.strip_prefix(KEY) {
            Some(id) => Some(Self::Key(id.to_owned())),
            None => (name == OWNER).then_some(Self::Owner),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => formatter.write_str(OWNER),
            Self::Key(id) => write!(formatter, "{KEY}{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_taken_for_the_owner() {
        for account in [Account::Owner, Account::Key("owner".into()), Account::Key("key:x".into())] {
            assert_eq!(Account::parse(&account.to_string()), Some(account));
        }
        assert_eq!(Account::parse("other"), None);
    }
}
