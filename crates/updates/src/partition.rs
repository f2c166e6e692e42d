//! GRUB's environment on the boot partition, which is FAT: no journal, and a rename there is not one
//! step.
//!
//! So the environment is there twice. A file of the right length is overwritten where it lies, which
//! for what fits into its first 512 bytes is one sector; and the backup is written when the first file is
//! safe. Whenever the power is cut, one of the two is whole. GRUB reads and counts in the backup
//! while the first file is damaged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::block::BYTES;
use crate::{Block, Damage, Error, Slot, Slots};

/// Where GRUB's files are on the appliance, without the first slash.
pub const FOLDER: &str = "boot/efi/grub";
/// The environment that GRUB and RAUC use.
pub const GRUBENV: &str = "grubenv";
/// Its backup.
pub const BACKUP: &str = "grubenv.bak";

/// GRUB's folder on the boot partition.
#[derive(Debug, Clone)]
pub struct BootPartition {
    folder: PathBuf,
}

impl BootPartition {
    /// The boot partition of the system below this root.
    pub fn below(root: &Path) -> Self {
        Self { folder: root.join(FOLDER) }
    }

    /// What is known of the slots.
    pub fn read(&self) -> Result<Slots, Error> {
        self.load(GRUBENV).map(|(_, slots)| slots)
    }

    /// Changes what is known of the slots, in both files.
    pub fn change(&self, change: impl FnOnce(&mut Slots)) -> Result<Slots, Error> {
        let (mut block, mut slots) = self.load(GRUBENV)?;
        change(&mut slots);
        slots.write(&mut block);
        self.store(&block, &[GRUBENV, BACKUP])?;
        Ok(slots)
    }

    /// Makes whole what is damaged; says in words what that was.
    ///
    /// `other_is_installed` is asked when nothing can be read any more.
    pub fn mend(
        &self,
        running: Slot,
        other_is_installed: impl FnOnce() -> bool,
    ) -> Result<Option<String>, Error> {
        match (self.load(GRUBENV), self.load(BACKUP)) {
            (Ok(_), Ok(_)) => Ok(None),
            (Ok((block, _)), Err(cause)) => {
                self.store(&block, &[BACKUP])?;
                Ok(Some(format!("{cause}; it was made again from {GRUBENV}")))
            }
            (Err(cause), Ok((block, slots))) if slots.is_bootable(running) => {
                self.store(&block, &[GRUBENV])?;
                Ok(Some(format!("{cause}; it was made again from {BACKUP}")))
            }
            (Err(cause), backup) => {
                let mut block = backup.map(|(block, _)| block).unwrap_or_default();
                Slots::from_running(running, other_is_installed()).write(&mut block);
                self.store(&block, &[GRUBENV, BACKUP])?;
                Ok(Some(format!("{cause}; it was made again for slot {running}, which is running")))
            }
        }
    }

    fn load(&self, name: &str) -> Result<(Block, Slots), Error> {
        let path = self.folder.join(name);
        let bytes =
            read(&path).map_err(|source| Error::File { action: "read", path: path.clone(), source })?;
        let both = Block::parse(&bytes).and_then(|block| Ok((Slots::of(&block)?, block)));
        let (slots, block) = both.map_err(|damage| Error::Damaged { path, damage })?;
        Ok((block, slots))
    }

    /// Writes the files one after the other, each safe before the next is touched.
    fn store(&self, block: &Block, names: &[&str]) -> Result<(), Error> {
        let damaged = |damage: Damage| Error::Damaged { path: self.folder.join(GRUBENV), damage };
        let bytes = block.bytes().map_err(damaged)?;
        names.iter().try_for_each(|name| {
            let path = self.folder.join(name);
            overwrite(&path, &bytes).map_err(|source| Error::File { action: "write", path, source })
        })
    }
}

/// Reads a little more than an environment has, so that one that is too long shows as such.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES as u64 * 2).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut old = Vec::new();
    Read::by_ref(&mut file).take(BYTES as u64 * 2).read_to_end(&mut old).unwrap_or_default();
    if old == bytes {
        return Ok(());
    }
    io::Seek::rewind(&mut file)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;
    use crate::Standing;

    struct Esp(tempfile::TempDir);

    impl Esp {
        /// A box that runs slot A, which works; B is another version that works.
        fn new() -> Self {
            let esp = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(esp.0.path().join(FOLDER)).unwrap();
            let mut block = Block::default();
            block.set("nonce", "0123");
            let mut slots = Slots::from_running(Slot::A, true);
            slots.mark_good(Slot::A);
            slots.mark_good(Slot::B);
            slots.write(&mut block);
            esp.partition().store(&block, &[GRUBENV, BACKUP]).unwrap();
            esp
        }

        fn partition(&self) -> BootPartition {
            BootPartition::below(self.0.path())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(FOLDER).join(name)
        }

        fn bytes(&self, name: &str) -> Vec<u8> {
            fs::read(self.path(name)).unwrap()
        }

        fn damage(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path(name), bytes).unwrap();
        }
    }

    /// What FAT leaves behind after a cut, and what dying flash does.
    fn damages() -> Vec<Vec<u8>> {
        let mut longer = vec![b'#'; BYTES + 1];
        longer[..25].copy_from_slice(b"# GRUB Environment Block\n");
        vec![Vec::new(), vec![0; BYTES], vec![0xa5; BYTES], b"# GRUB Environment Block\n".to_vec(), longer]
    }

    #[test]
    fn one_damaged_file_is_made_again_from_the_other() {
        for (name, other) in [(GRUBENV, BACKUP), (BACKUP, GRUBENV)] {
            for damage in damages() {
                let esp = Esp::new();
                let good = esp.bytes(name);
                esp.damage(name, &damage);
                let told = esp.partition().mend(Slot::A, || panic!("not asked")).unwrap().unwrap();
                assert!(told.contains(name) && told.contains(&format!("from {other}")), "{told}");
                assert_eq!(esp.bytes(name), good, "{name}");
                assert_eq!(esp.partition().mend(Slot::A, || panic!("not asked")).unwrap(), None);
            }
            let esp = Esp::new();
            fs::remove_file(esp.path(name)).unwrap();
            assert!(esp.partition().mend(Slot::A, || true).unwrap().is_some());
            assert_eq!(esp.bytes(name), esp.bytes(other));
        }
    }

    #[test]
    fn with_both_files_lost_the_running_slot_is_what_is_known() {
        for (running, installed) in [(Slot::A, true), (Slot::B, false)] {
            let esp = Esp::new();
            esp.damage(GRUBENV, b"");
            esp.damage(BACKUP, &[0; BYTES]);
            let told = esp.partition().mend(running, || installed).unwrap().unwrap();
            assert!(told.contains(&format!("slot {running}")), "{told}");
            assert_eq!(esp.partition().read().unwrap(), Slots::from_running(running, installed));
            assert_eq!(esp.bytes(GRUBENV), esp.bytes(BACKUP));
        }
    }

    #[test]
    fn a_backup_that_contradicts_what_runs_is_not_believed() {
        let esp = Esp::new();
        esp.partition().change(|slots| slots.release(Slot::B)).unwrap();
        esp.damage(GRUBENV, b"");
        esp.partition().mend(Slot::B, || true).unwrap().unwrap();
        assert_eq!(esp.partition().read().unwrap(), Slots::from_running(Slot::B, true));
        assert_eq!(
            Block::parse(&esp.bytes(GRUBENV)).unwrap().get("nonce"),
            Some("0123"),
            "other variables stay"
        );
    }

    #[test]
    fn a_change_reaches_both_files_and_leaves_other_variables_alone() {
        let esp = Esp::new();
        let slots = esp.partition().change(|slots| slots.release(Slot::B)).unwrap();
        assert_eq!(slots.states()[1].standing, Standing::Unbootable);
        assert_eq!(esp.bytes(GRUBENV), esp.bytes(BACKUP));
        assert_eq!(Block::parse(&esp.bytes(GRUBENV)).unwrap().get("nonce"), Some("0123"));
    }

    #[test]
    fn what_is_kept_fits_into_one_sector_with_room_to_spare() {
        const SECTOR: usize = 512;
        let mut block = Block::default();
        let mut slots = Slots::from_running(Slot::A, true);
        slots.mark_good(Slot::A);
        slots.mark_good(Slot::B);
        slots.write(&mut block);
        let end = block.bytes().unwrap().iter().rposition(|byte| *byte == b'\n').unwrap();
        assert!(end < SECTOR / 2, "{end} bytes");
    }

    #[test]
    fn a_damaged_environment_is_not_changed_blindly() {
        let esp = Esp::new();
        esp.damage(GRUBENV, b"");
        let error = esp.partition().change(|slots| slots.mark_good(Slot::A)).unwrap_err();
        assert!(error.to_string().contains("0 bytes"), "{error}");
        assert_eq!(esp.bytes(GRUBENV), b"");
    }
}
