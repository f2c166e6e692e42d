//! The two slots.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key on the kernel's command line by which GRUB says which slot it starts.
const KEY: &str = "actionbooster.slot";

/// One of the two places a system lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// Partition `root-a`.
    A,
    /// Partition `root-b`.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Reads the name that GRUB and RAUC use.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.name() == name)
    }

    /// The slot that was started, from the kernel's command line. The last of several words counts, as
    /// with the kernel's own.
    pub fn started(command_line: &str) -> Option<Self> {
        let mut values = command_line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        values.rfind(|(key, _)| *key == KEY).and_then(|(_, name)| Self::parse(name))
    }

    /// The name that GRUB and RAUC use.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// The label of the slot's partition.
    pub fn label(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }

    /// The one that is not this one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Slot;

    #[test]
    fn the_last_word_on_the_command_line_counts() {
        for (line, expected) in [
            ("quiet actionbooster.slot=A", Some(Slot::A)),
            ("actionbooster.slot=A actionbooster.slot=B\n", Some(Slot::B)),
            ("actionbooster.slot=A actionbooster.slot=C", None),
            ("xactionbooster.slot=A rauc.slot=A", None),
            ("actionbooster.slot", None),
            ("", None),
        ] {
            assert_eq!(Slot::started(line), expected, "{line:?}");
        }
    }
}
