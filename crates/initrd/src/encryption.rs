//! An encrypted data partition (LUKS2): opened by the machine's TPM, or by the recovery key that the owner
//! has on paper.
//!
//! The TPM asks for nothing but itself: no state of firmware or system is bound, so that both can be
//! updated. Outside its machine the disk gives nothing; with the machine, it opens at every start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actionbooster_settings::recovery_key;

use crate::disk::RANDOM;
use crate::tpm::DEVICE as TPM;
use crate::{Error, console, prompt, tools};

/// The recovery key, for its owner to look up while the box runs. It lies within what it opens.
pub const RECOVERY_KEY: &str = "recovery-key";
/// How the key is called until it opens the partition.
const RECOVERY_KEY_COMING: &str = "recovery-key.new";
/// The open partition.
const NAME: &str = "data";
const OPEN: &str = "/dev/mapper/data";
/// Where a typed key lies, in memory, while it is used.
const TYPED: &str = "/run/recovery-key";
/// How long somebody at the console may take. Then the box starts without its data, and a page says why.
const PATIENCE: Duration = Duration::from_secs(180);

/// LUKS2 On-Disk Format Specification, 2.1: the two headers and, with the smallest size of one, their places.
const HEADERS: [(u64, &[u8; 6]); 2] = [(0, b"LUKS\xba\xbe"), (0x4000, b"SKUL\xba\xbe")];

/// Whether the machine has a TPM that a new partition can be bound to.
pub(crate) fn has_tpm() -> bool {
    Path::new(TPM).exists()
}

/// Whether the partition is encrypted. One of the two headers is enough, as it is for opening it.
pub(crate) fn is_encrypted(device: &str) -> bool {
    File::open(device).is_ok_and(|file| has_header(&file))
}

fn has_header(file: &File) -> bool {
    HEADERS.iter().any(|(place, magic)| {
        let mut found = [0; 6];
        file.read_exact_at(&mut found, *place).is_ok() && found == **magic
    })
}

/// Opens an encrypted partition and returns the device with its content.
pub(crate) fn open(device: &str) -> Result<String, Error> {
    if !opened_by_tpm(device) {
        open_with_recovery_key(device)?;
    }
    Ok(OPEN.to_owned())
}

fn opened_by_tpm(device: &str) -> bool {
    if !has_tpm() {
        console::tell("the disk is encrypted, and this machine has no TPM 2.0, or it is switched off");
        return false;
    }
    let opened = tools::open_with_tpm(device, NAME, TPM).is_ok();
    if !opened {
        // The reason is in the kernel's log, and says little to an owner.
        console::tell("the disk is encrypted, and the TPM does not open it");
    }
    opened
}

/// Closes what [`open`] opened.
pub(crate) fn close() -> Result<(), Error> {
    tools::close(NAME)
}

/// Asks at the console until a key fits. From then on this machine's TPM opens the disk, if there is one.
fn open_with_recovery_key(device: &str) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let question = format!(
        "\r\nThis disk is encrypted, and this machine's TPM does not open it.\r\n\
         Type its recovery key and press Enter. In {} s the box starts without its data.\r\n",
        PATIENCE.as_secs()
    );
    let mut consoles = prompt::Consoles::open(Path::new("/sys"), Path::new("/dev"));
    consoles.show(&question);
    while let Some(line) = consoles.line(deadline) {
        let Some(key) = recovery_key::read(&line) else {
            consoles.show(&format!("A recovery key has {} letters and digits.\r\n", recovery_key::LENGTH));
            continue;
        };
        if try_key(device, &key)? {
            consoles.show("The recovery key opens the disk.\r\n");
            return Ok(());
        }
        consoles.show("This key does not open the disk.\r\n");
    }
    Err(Error::Locked)
}

fn try_key(device: &str, key: &str) -> Result<bool, Error> {
    write_secret(Path::new(TYPED), key)?;
    let opened = tools::open_with_key(device, NAME, TYPED).is_ok();
    if opened && has_tpm() {
        // The disk is open; that it will not be at the next start is for then.
        tools::bind_to_tpm(device, TYPED, TPM).unwrap_or_else(|error| console::tell(&error.to_string()));
    }
    fs::remove_file(TYPED).map_err(Error::file("remove", TYPED))?;
    Ok(opened)
}

/// Makes a recovery key for an open partition that has none, and keeps it within, on `mount`.
///
/// It gets its name when it opens the partition; a cut before makes the next start begin anew.
pub(crate) fn ensure_recovery_key(device: &str, mount: &Path) -> Result<(), Error> {
    let (path, coming) = (mount.join(RECOVERY_KEY), mount.join(RECOVERY_KEY_COMING));
    if fs::read_to_string(&path).is_ok_and(|key| recovery_key::read(&key).is_some()) {
        return Ok(());
    }
    console::note("making a recovery key");
    let mut bytes = [0; recovery_key::LENGTH];
    File::open(RANDOM)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::file("read", RANDOM))?;
    let key = recovery_key::from_random(bytes);
    write_secret(&coming, &key)?;
    tools::set_recovery_key(device, &key, TPM)?;
    fs::rename(&coming, &path).map_err(Error::file("rename", &coming))?;
    File::open(mount).and_then(|folder| folder.sync_all()).map_err(Error::file("write out", mount))
}

/// What a reset that keeps the partition has to keep as well.
pub(crate) fn kept(mount: &Path) -> PathBuf {
    mount.join(RECOVERY_KEY)
}

fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("remove", path)(error));
        }
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(parts: &[(usize, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 0x8000];
        for (place, part) in parts {
            bytes[*place..place + part.len()].copy_from_slice(part);
        }
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    #[test]
    fn either_header_tells_that_a_partition_is_encrypted() {
        let (first, second) = (HEADERS[0].1.as_slice(), HEADERS[1].1.as_slice());
        for (parts, expected) in [
            (vec![(0, first), (0x4000, second)], true),
            (vec![(0, first)], true),
            (vec![(0x4000, second)], true),
            (vec![], false),
            (vec![(0, second)], false),
        ] {
            assert_eq!(has_header(&image(&parts)), expected, "{parts:?}");
        }
        assert!(!has_header(&tempfile::tempfile().unwrap()));
    }

    #[test]
    fn a_secret_is_nobody_elses_and_replaces_what_a_cut_left() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECOVERY_KEY_COMING);
        fs::write(&path, "half of").unwrap();
        write_secret(&path, "key").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
