//! What GRUB asks for on the kernel command line.

pub use actionbooster_updates::Slot;

use crate::nonce::Nonce;
use crate::{Error, gpt::Guid};

/// How much a factory reset takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Settings, accounts and history; the models stay.
    Settings,
    /// The whole data partition.
    Everything,
    /// The whole data partition, and the new one is encrypted.
    Encrypt,
}

impl Reset {
    /// Reads the word used on the command line and in the request file.
    pub fn parse(word: &str) -> Option<Self> {
        match word.trim() {
            "settings" => Some(Self::Settings),
            "everything" => Some(Self::Everything),
            "encrypt" => Some(Self::Encrypt),
            _ => None,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Everything => "everything",
            Self::Encrypt => "encrypt",
        }
    }
}

/// What this boot is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The slot to start.
    pub slot: Slot,
    /// The partition GRUB loaded the kernel from.
    pub slot_guid: Option<Guid>,
    /// What GRUB wrote down on the disk it was read from.
    pub nonce: Option<Nonce>,
    /// A factory reset chosen in GRUB's menu.
    pub reset: Option<Reset>,
}

/// Reads the kernel command line. The last of several equal keys counts, as with the kernel's own.
pub fn parse(line: &str) -> Result<Request, Error> {
    let slot = Slot::started(line);
    let (mut slot_guid, mut nonce, mut reset) = (None, None, None);
    for word in line.split_ascii_whitespace() {
        match word.split_once('=') {
            Some(("actionbooster.partition", guid)) => slot_guid = Guid::parse(guid),
            Some(("actionbooster.nonce", word)) => nonce = Nonce::parse(word),
            Some(("actionbooster.factory-reset", grade)) => reset = Reset::parse(grade),
            _ => {}
        }
    }
    Ok(Request { slot: slot.ok_or(Error::NoSlot)?, slot_guid, nonce, reset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_required_and_the_last_one_counts() {
        for (line, expected) in [
            ("quiet actionbooster.slot=A", Some(Slot::A)),
            ("actionbooster.slot=A actionbooster.slot=B\n", Some(Slot::B)),
            ("quiet", None),
            ("actionbooster.slot=C", None),
            ("xactionbooster.slot=A", None),
        ] {
            assert_eq!(parse(line).ok().map(|request| request.slot), expected, "{line:?}");
        }
    }

    #[test]
    fn a_reset_needs_one_of_the_two_words() {
        for (word, expected) in [
            ("settings", Some(Reset::Settings)),
            ("everything", Some(Reset::Everything)),
            ("yes", None),
            ("", None),
        ] {
            let line = format!("actionbooster.slot=A actionbooster.factory-reset={word}");
            assert_eq!(parse(&line).unwrap().reset, expected, "{word:?}");
        }
    }

    #[test]
    fn a_malformed_partition_or_nonce_is_ignored_rather_than_fatal() {
        let request =
            parse("actionbooster.slot=A actionbooster.partition=banana actionbooster.nonce=").unwrap();
        assert_eq!((request.slot_guid, request.nonce), (None, None));
        let request = parse("actionbooster.slot=A actionbooster.nonce=7.2026.1").unwrap();
        assert_eq!(request.nonce, Nonce::parse("7.2026.1"));
    }
}
