//! The data partition: made, grown, repaired, reset, and put in place as `/var` and `/etc`.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use nix::mount::MsFlags;

use crate::choice::Doubt;
use crate::cmdline::Reset;
use crate::disk::{Disk, RANDOM, SECTOR_BYTES, sectors};
use crate::gpt::Guid;
use crate::partitions::{Partition, has_twin, on_disk, scan};
use crate::superblock::{self, Superblock};
use crate::tools::Kind;
use crate::{Error, console, encryption, limits, mounts, reset, tools, tpm};

/// Label of the partition.
pub const LABEL: &str = "data";
/// Where it is mounted; `/var` and the upper side of `/etc` are folders in it.
pub const MOUNT: &str = "/data";
/// Says, in words for the owner, why the data partition is not in use.
pub const DAMAGED: &str = "/run/actionbooster/data-damaged";

/// Beside [`DAMAGED`]: the partition is encrypted, and nobody opened it.
pub const LOCKED: &str = "/run/actionbooster/data-locked";

const SYS: &str = "/sys";
const DEV: &str = "/dev";
/// Free space behind the partition that is worth growing into.
const WORTH_GROWING_SECTORS: u64 = 64 * 1024 * 1024 / SECTOR_BYTES;

/// What has to be done to the partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableStep {
    /// Nothing.
    Keep,
    /// There is no data partition yet.
    Make,
    /// The disk is larger than it was.
    Grow,
    /// The owner wants everything gone.
    Recreate,
}

/// Decides about the partition table.
pub fn table_step(data: Option<&Partition>, disk_sectors: u64, reset: Option<Reset>) -> TableStep {
    match (data, reset) {
        (None, _) => TableStep::Make,
        (Some(_), Some(Reset::Everything | Reset::Encrypt)) => TableStep::Recreate,
        (Some(data), _) => {
            let end = data.start_sectors.saturating_add(data.length_sectors);
            let free = disk_sectors.saturating_sub(end);
            if free >= WORTH_GROWING_SECTORS { TableStep::Grow } else { TableStep::Keep }
        }
    }
}

/// Whether the disk still has the GUIDs it was made with, by the image or as a copy of another disk.
///
/// A disk without a data partition has never been started, or not for long enough to be known to
/// anybody by its GUIDs.
pub fn needs_new_guids(data: Option<&Partition>, has_twin: bool) -> bool {
    data.is_none() || has_twin
}

/// Whether the file system should be checked before it is mounted.
///
/// A power cut alone is no reason: the kernel replays the journal. No superblock is one, because
/// the check can bring a copy of it back.
pub fn needs_check(superblock: Option<Superblock>) -> bool {
    superblock.is_none_or(|found| found.errors)
}

/// Whether the file system is smaller than the device it is on.
pub fn needs_growing(superblock: Superblock, device_bytes: u64) -> bool {
    device_bytes.saturating_sub(superblock.size_bytes) >= WORTH_GROWING_SECTORS * SECTOR_BYTES
}

/// Puts `/var` and `/etc` in place: from the data partition if it can be used at all, else from
/// memory, and then with the reason in [`DAMAGED`].
pub fn provide(disk: &str, asked: Option<Reset>) -> Result<(), Error> {
    let Err(reason) = from_disk(disk, asked) else { return Ok(()) };
    console::tell(&format!("the data partition cannot be used: {reason}"));
    from_memory(&reason)
}

/// Leaves the data partitions of all disks alone, because it is not certain which one is ours, and
/// puts `/var` and `/etc` in place from memory. No reset is carried out.
pub fn withhold(doubt: Doubt, asked: Option<Reset>) -> Result<(), Error> {
    let reason = Error::Uncertain { doubt };
    console::tell(&format!("no data partition is used: {reason}"));
    if asked.is_some() {
        console::tell("factory reset refused: nothing was erased");
    }
    from_memory(&reason)
}

/// The data partition as a file system can be mounted from it.
struct Volume {
    /// The partition itself.
    partition: String,
    /// The device with its content: another one where the partition is encrypted.
    content: String,
}

impl Volume {
    /// Opens the partition if it is encrypted.
    fn open(partition: &Partition) -> Result<Self, Error> {
        let partition = partition.device();
        let content = if encryption::is_encrypted(&partition) {
            encryption::open(&partition)?
        } else {
            partition.clone()
        };
        Ok(Self { partition, content })
    }

    fn is_encrypted(&self) -> bool {
        self.partition != self.content
    }

    fn close(&self) -> Result<(), Error> {
        if self.is_encrypted() { encryption::close() } else { Ok(()) }
    }
}

fn from_disk(disk: &str, asked: Option<Reset>) -> Result<(), Error> {
    // The provisioner uses it too, also where the disk is not encrypted.
    tpm::forgive_power_cuts();
    let asked = asked.filter(|grade| is_possible(*grade));
    let mut volume = prepare(disk, asked)?;
    let mut wanted = reset::requested(Path::new(MOUNT));
    if wanted.is_some_and(|grade| !is_possible(grade)) {
        // It must not come true when the TPM is back, and nobody expects it any more.
        reset::withdraw(Path::new(MOUNT))?;
        wanted = None;
    }
    if asked == Some(Reset::Settings) {
        reset::request(Path::new(MOUNT), Reset::Settings)?;
        wanted = asked;
    }
    match wanted {
        Some(Reset::Settings) => {
            console::tell("factory reset: removing settings, keeping models");
            reset::clear_settings(Path::new(MOUNT))?;
        }
        Some(Reset::Everything | Reset::Encrypt) => {
            mounts::detach(MOUNT)?;
            volume.close()?;
            volume = prepare(disk, wanted)?;
        }
        None => {}
    }
    put_in_place().or_else(|error| {
        console::tell(&format!("{error}; checking the data partition"));
        mounts::detach(MOUNT)?;
        tools::repair(&volume.content)?;
        mount_data(&volume.content)?;
        put_in_place()
    })?;
    if volume.is_encrypted() {
        // The TPM opens it all the same, and the next start tries again.
        encryption::ensure_recovery_key(&volume.partition, Path::new(MOUNT))
            .unwrap_or_else(|error| console::tell(&error.to_string()));
    }
    Ok(())
}

/// Whether this machine can do what a reset asks for. One that it cannot do erases nothing.
fn is_possible(grade: Reset) -> bool {
    let possible = grade != Reset::Encrypt || encryption::has_tpm();
    if !possible {
        console::tell("the disk is not encrypted: this machine has no TPM 2.0, or it is switched off");
        console::tell("factory reset refused: nothing was erased");
    }
    possible
}

/// Makes the data partition as far as needed, and mounts it.
fn prepare(disk: &str, reset: Option<Reset>) -> Result<Volume, Error> {
    let volume = Volume::open(&prepare_table(disk, reset)?)?;
    mount(&volume.content)?;
    Ok(volume)
}

/// Brings the partition table in order and returns the data partition.
fn prepare_table(disk: &str, reset: Option<Reset>) -> Result<Partition, Error> {
    let before = scan(Path::new(SYS), Path::new(DEV));
    let existing = on_disk(&before, disk, LABEL);
    if needs_new_guids(existing, has_twin(&before, disk)) {
        console::note("giving this disk identifiers of its own");
        // The boot nonce keeps equal disks apart too.
        renew_guids(disk).unwrap_or_else(|error| console::tell(&error.to_string()));
    }
    let length = sectors(Path::new(SYS), disk).unwrap_or(0);
    // An encrypted disk stays one, also where the power went between the old partition and the new one.
    let encrypted = reset == Some(Reset::Encrypt)
        || existing.is_some_and(|data| encryption::is_encrypted(&data.device()))
        || Disk::open(Path::new(SYS), Path::new(DEV), disk).is_some_and(|disk| disk.is_to_be_encrypted());
    match table_step(existing, length, reset) {
        TableStep::Keep => {}
        TableStep::Make => {
            console::note("making the data partition");
            make(disk, false, encrypted)?;
        }
        TableStep::Recreate => {
            console::tell("factory reset: making a new data partition");
            make(disk, true, encrypted)?;
        }
        TableStep::Grow => {
            console::note("growing the data partition");
            // A partition that did not grow is still a good one.
            tools::repart(disk, false, Kind::Plain).unwrap_or_else(|error| console::tell(&error.to_string()));
        }
    }
    let after = scan(Path::new(SYS), Path::new(DEV));
    on_disk(&after, disk, LABEL).cloned().ok_or_else(|| Error::NoData { disk: disk.to_owned() })
}

/// Makes a data partition. A TPM that is gone or fails leaves one that is not encrypted, which every report
/// says.
fn make(disk: &str, recreate: bool, encrypted: bool) -> Result<(), Error> {
    if encrypted && encryption::has_tpm() {
        console::tell("encrypting the data partition");
        remember(disk).unwrap_or_else(|error| console::tell(&error.to_string()));
        match tools::repart(disk, recreate, Kind::Encrypted) {
            Ok(()) => return Ok(()),
            Err(error) => console::tell(&error.to_string()),
        }
    }
    if encrypted {
        console::tell("the disk is NOT encrypted: the TPM could not be used");
    }
    tools::repart(disk, recreate, Kind::Plain)
}

/// A cut before the partition is there must not leave one that is not encrypted.
fn remember(disk: &str) -> Result<(), Error> {
    tools::relocate_table(disk)?;
    Disk::open_for_writing(Path::new(SYS), Path::new(DEV), disk)?.mark_to_be_encrypted()
}

fn renew_guids(disk: &str) -> Result<(), Error> {
    tools::relocate_table(disk)?;
    let mut random = File::open(RANDOM).map_err(Error::file("open", RANDOM))?;
    Disk::open_for_writing(Path::new(SYS), Path::new(DEV), disk)?.renew_guids(|| {
        let mut bytes = [0; 16];
        random.read_exact(&mut bytes)?;
        Ok(Guid::random(bytes))
    })
}

/// Mounts the device, checking and repairing it when it asks for it or cannot be mounted.
fn mount(device: &str) -> Result<(), Error> {
    if needs_check(read_superblock(device)) {
        console::tell("checking the data partition");
        tools::repair(device)?;
    }
    if let Some(found) = read_superblock(device) {
        limits::prepare(device, found);
    }
    mount_data(device)
        .or_else(|error| {
            console::tell(&format!("{error}; checking the data partition"));
            tools::repair(device)?;
            mount_data(device)
        })
        .or_else(|error| {
            if !read_superblock(device).is_some_and(|found| found.user_quota) {
                return Err(error);
            }
            // What users take can be counted anew at the next start.
            console::tell(&format!("{error}; trying without quotas"));
            tools::drop_quota(device)?;
            mount_data(device)
        })?;
    if read_superblock(device).is_some_and(|found| needs_growing(found, length_bytes(device))) {
        tools::grow(device).unwrap_or_else(|error| console::tell(&error.to_string()));
    }
    limits::set(device, MOUNT);
    Ok(())
}

fn mount_data(device: &str) -> Result<(), Error> {
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mounts::attach(device, MOUNT, "ext4", flags, &limits::mount_options())
}

/// Length of a device; 0, which is never more than its file system's, if it does not tell.
fn length_bytes(device: &str) -> u64 {
    File::open(device).and_then(|mut file| file.seek(SeekFrom::End(0))).unwrap_or(0)
}

fn read_superblock(device: &str) -> Option<Superblock> {
    let mut block = [0; superblock::BYTES];
    File::open(device).ok()?.read_exact_at(&mut block, superblock::OFFSET).ok()?;
    Superblock::parse(&block)
}

/// Makes the folders that `/var` and `/etc` come from and puts them in place.
///
/// The features that tie an overlay to one lower side stay off: the lower side is a slot, and slots
/// change with every update.
fn put_in_place() -> Result<(), Error> {
    for folder in ["var", "etc-overlay", "etc-overlay/upper", "etc-overlay/work"] {
        let path = Path::new(MOUNT).join(folder);
        DirBuilder::new().mode(0o755).recursive(true).create(&path).map_err(Error::file("make", &path))?;
    }
    let options = format!(
        "lowerdir=/etc,upperdir={MOUNT}/etc-overlay/upper,workdir={MOUNT}/etc-overlay/work,\
         index=off,redirect_dir=off,metacopy=off,xino=off"
    );
    mounts::attach("etc", "/etc", "overlay", MsFlags::MS_NOATIME, &options)?;
    mounts::bind(&format!("{MOUNT}/var"), "/var")
}

fn from_memory(reason: &Error) -> Result<(), Error> {
    // It may be that only a later step failed.
    while mounts::detach(MOUNT).is_ok() {}
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mounts::attach("tmpfs", MOUNT, "tmpfs", flags, "mode=0755,size=50%")?;
    let folder = Path::new(DAMAGED).parent().unwrap_or(Path::new("/run"));
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    fs::write(DAMAGED, format!("{reason}\n")).map_err(Error::file("write", DAMAGED))?;
    if matches!(reason, Error::Locked) {
        fs::write(LOCKED, "").map_err(Error::file("write", LOCKED))?;
    }
    put_in_place()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn partition(start_gib: u64, length_gib: u64) -> Partition {
        Partition {
            name: "vda4".into(),
            disk: "vda".into(),
            label: LABEL.into(),
            guid: Guid::parse("3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b").unwrap(),
            start_sectors: start_gib * GIB / SECTOR_BYTES,
            length_sectors: length_gib * GIB / SECTOR_BYTES,
        }
    }

    fn superblock(errors: bool, size_bytes: u64) -> Superblock {
        Superblock { errors, size_bytes, block_bytes: 4096, reserved_blocks: 0, user_quota: true }
    }

    #[test]
    fn the_table_changes_only_when_it_must() {
        let data = partition(3, 5);
        let gib = GIB / SECTOR_BYTES;
        for (existing, disk, reset, expected) in [
            (None, 8 * gib, None, TableStep::Make),
            (None, 8 * gib, Some(Reset::Everything), TableStep::Make),
            (Some(&data), 8 * gib, None, TableStep::Keep),
            (Some(&data), 8 * gib + 100, None, TableStep::Keep),
            (Some(&data), 16 * gib, None, TableStep::Grow),
            (Some(&data), 8 * gib, Some(Reset::Settings), TableStep::Keep),
            (Some(&data), 16 * gib, Some(Reset::Everything), TableStep::Recreate),
            // A disk whose size is unknown must not look as if it had room.
            (Some(&data), 0, None, TableStep::Keep),
        ] {
            assert_eq!(table_step(existing, disk, reset), expected, "{disk} {reset:?}");
        }
    }

    #[test]
    fn guids_are_renewed_on_a_fresh_disk_and_on_one_of_two_equal_ones() {
        let data = partition(3, 5);
        for (existing, twin, expected) in
            [(None, false, true), (None, true, true), (Some(&data), true, true), (Some(&data), false, false)]
        {
            assert_eq!(needs_new_guids(existing, twin), expected, "{existing:?} {twin}");
        }
    }

    #[test]
    fn only_a_missing_or_complaining_file_system_is_checked() {
        for (superblock, expected) in
            [(None, true), (Some(superblock(true, GIB)), true), (Some(superblock(false, GIB)), false)]
        {
            assert_eq!(needs_check(superblock), expected, "{superblock:?}");
        }
    }

    #[test]
    fn a_file_system_grows_to_its_partition() {
        for (size_bytes, expected) in
            [(5 * GIB, false), (5 * GIB - 4096, false), (2 * GIB, true), (6 * GIB, false)]
        {
            assert_eq!(needs_growing(superblock(false, size_bytes), 5 * GIB), expected, "{size_bytes}");
        }
    }
}
