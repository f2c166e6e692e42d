//! Which of the attached disks GRUB started from.
//!
//! Two disks written from one image, or one copied from the other, look the same: labels, GUIDs and
//! content are equal. So GRUB writes a word that it never used before on the disk it was read from,
//! and tells it to the kernel as well (the boot nonce, see `image/grub/grub.cfg`). The disk that holds
//! the word is the one, whatever its name and whatever else is plugged in.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::cmdline::Request;
use crate::fat;
use crate::nonce::Nonce;
use crate::partitions::{Partition, on_disk};

/// Label of the boot partition.
const ESP: &str = "esp";
/// Folder and file of the nonce on it, as short names.
const FILE: (&str, &str) = ("GRUB", "NONCE");

/// A disk that has a partition for the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The slot's partition.
    pub slot: Partition,
    /// What its boot partition holds.
    pub nonce: Option<Nonce>,
}

/// How long disks have been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Another disk may turn up at any moment.
    Briefly,
    /// The disks that are quick are all there.
    Settled,
    /// So long that nobody else is expected.
    Over,
}

/// The slot to start, and whether its disk is known to be the one GRUB started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The slot's partition.
    pub slot: Partition,
    /// Why it may be the wrong disk.
    pub doubt: Option<Doubt>,
}

/// Why it is not known which disk GRUB started from. The text is for the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Several disks fit what GRUB said.
    Alike,
    /// No disk fits what GRUB said.
    Unknown,
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Alike => {
                "two disks hold the same system, and it is not certain which of them was started; \
                 unplug one of them and restart"
            }
            Self::Unknown => {
                "no disk carries the mark of this start, so it is not certain which disk was started; \
                 unplug all other disks with ActionBooster on them and restart"
            }
        })
    }
}

/// Decides what to start; `None` as long as it is better to wait for more disks.
pub fn choose(candidates: &[Candidate], request: &Request, waited: Waited) -> Option<Choice> {
    let same_guid = |one: &&Candidate| request.slot_guid.is_none_or(|guid| one.slot.guid == guid);
    let fits = |one: &&Candidate| match &request.nonce {
        // What was just written proves itself; the GUID only has to agree.
        Some(_) => one.nonce == request.nonce && same_guid(one),
        // GRUB could not write. What it saw must then be unlike all other disks.
        None => request.slot_guid.is_some() && same_guid(one),
    };
    let fitting: Vec<&Candidate> = candidates.iter().filter(fits).collect();
    let doubt = match fitting[..] {
        [_] if request.nonce.is_none() && waited == Waited::Briefly => return None,
        [one] => return Some(Choice { slot: one.slot.clone(), doubt: None }),
        [] if waited != Waited::Over => return None,
        [] => Doubt::Unknown,
        [..] => Doubt::Alike,
    };
    // Kernel and modules are those of the slot that GRUB read, so an equal one is the best there is.
    let best = fitting.first().copied().or_else(|| candidates.iter().find(same_guid)).or(candidates.first());
    best.map(|one| Choice { slot: one.slot.clone(), doubt: Some(doubt) })
}

/// All disks that have a partition with `label`; their device nodes are in `dev`.
pub fn candidates(partitions: &[Partition], label: &str, dev: &Path) -> Vec<Candidate> {
    let slots = partitions.iter().filter(|partition| partition.label == label);
    slots
        .map(|slot| {
            let esp = on_disk(partitions, &slot.disk, ESP);
            Candidate { slot: slot.clone(), nonce: esp.and_then(|esp| nonce_on(&dev.join(&esp.name))) }
        })
        .collect()
}

fn nonce_on(device: &Path) -> Option<Nonce> {
    let environment = fat::read(&File::open(device).ok()?, FILE.0, FILE.1)?;
    Nonce::in_environment(&String::from_utf8_lossy(&environment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::{Reset, Slot};
    use crate::gpt::Guid;
    use crate::partitions::tests::partition;

    const IMAGE: &str = "3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b";
    const OTHER: &str = "00000000-6d5a-4c40-8b4a-5f1f0c2f7f3b";

    fn candidate(disk: &str, guid: &str, nonce: &str) -> Candidate {
        let slot = partition(&format!("{disk}2"), disk, "root-a", guid);
        Candidate { slot, nonce: Nonce::parse(nonce) }
    }

    fn request(guid: &str, nonce: &str) -> Request {
        let (slot_guid, nonce) = (Guid::parse(guid), Nonce::parse(nonce));
        Request { slot: Slot::A, slot_guid, nonce, reset: Some(Reset::Everything) }
    }

    /// The chosen disk and the doubt, after each of the three waits; `-` stands for waiting on.
    fn decisions(candidates: &[Candidate], request: &Request) -> [String; 3] {
        [Waited::Briefly, Waited::Settled, Waited::Over].map(|waited| {
            let Some(choice) = choose(candidates, request, waited) else { return "-".into() };
            match choice.doubt {
                None => choice.slot.disk,
                Some(doubt) => format!("{} {doubt:?}", choice.slot.disk),
            }
        })
    }

    #[test]
    fn the_disk_that_holds_the_nonce_is_certain_at_once() {
        let twins = [candidate("sda", IMAGE, "7.1"), candidate("sdb", IMAGE, "8.1")];
        for (nonce, expected) in [("7.1", "sda"), ("8.1", "sdb")] {
            assert_eq!(decisions(&twins, &request(IMAGE, nonce)), [expected; 3]);
            assert_eq!(decisions(&twins, &request("", nonce)), [expected; 3]);
        }
        // The name that sorts first may be that of another version, and of a fresh disk.
        let mixed =
            [candidate("sda", OTHER, "9"), candidate("sdb", OTHER, ""), candidate("sdc", IMAGE, "8.1")];
        assert_eq!(decisions(&mixed, &request(IMAGE, "8.1")), ["sdc"; 3]);
    }

    /// A slow disk, one that no driver was found for, one that cannot be read: none of them may make
    /// another one look like the one.
    #[test]
    fn without_the_disk_that_holds_the_nonce_nothing_is_certain() {
        let stranger = [candidate("sda", IMAGE, "6")];
        assert_eq!(decisions(&stranger, &request(IMAGE, "7")), ["-", "-", "sda Unknown"]);
        let unreadable = [candidate("sda", IMAGE, "")];
        assert_eq!(decisions(&unreadable, &request(IMAGE, "7")), ["-", "-", "sda Unknown"]);
        // The slot with the right GUID has the right modules.
        let others = [candidate("sda", OTHER, "6"), candidate("sdb", IMAGE, "6")];
        assert_eq!(decisions(&others, &request(IMAGE, "7")), ["-", "-", "sdb Unknown"]);
        // A clock that stands still could repeat a nonce, but not on a disk with these GUIDs.
        assert_eq!(
            decisions(&[candidate("sda", OTHER, "7")], &request(IMAGE, "7")),
            ["-", "-", "sda Unknown"]
        );
    }

    #[test]
    fn two_disks_with_one_nonce_are_a_doubt() {
        let twins = [candidate("sda", IMAGE, "7"), candidate("sdb", IMAGE, "7")];
        assert_eq!(decisions(&twins, &request(IMAGE, "7")), ["sda Alike"; 3]);
    }

    #[test]
    fn without_a_nonce_a_guid_that_no_other_disk_has_is_enough_after_a_while() {
        let mixed = [candidate("sda", OTHER, "7"), candidate("sdb", IMAGE, "")];
        assert_eq!(decisions(&mixed, &request(IMAGE, "")), ["-", "sdb", "sdb"]);
        assert_eq!(decisions(&mixed, &request(OTHER, "")), ["-", "sda", "sda"]);
        let twins = [candidate("sda", IMAGE, "7"), candidate("sdb", IMAGE, "")];
        assert_eq!(decisions(&twins, &request(IMAGE, "")), ["sda Alike"; 3]);
        let strangers = [candidate("sda", OTHER, "7")];
        assert_eq!(decisions(&strangers, &request(IMAGE, "")), ["-", "-", "sda Unknown"]);
    }

    #[test]
    fn a_boot_loader_that_says_nothing_leaves_a_doubt() {
        assert_eq!(decisions(&[candidate("sda", IMAGE, "7")], &request("", "")), ["-", "-", "sda Unknown"]);
    }

    #[test]
    fn without_a_disk_there_is_no_choice() {
        for nonce in ["", "7"] {
            assert_eq!(decisions(&[], &request(IMAGE, nonce)), ["-", "-", "-"]);
        }
    }
}
