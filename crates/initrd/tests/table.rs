//! New GUIDs on a disk that was partitioned by sfdisk, judged by sfdisk.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use booster_initrd::disk::Disk;
use booster_initrd::gpt::Guid;

const DISK_BYTES: u64 = 64 << 20;
const SCRIPT: &str = "label: gpt\nsize=8M, name=esp, type=uefi\nsize=8M, name=root-a\nsize=8M, name=root-b\n";

struct Machine {
    folder: tempfile::TempDir,
    image: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("dev/sda");
        let disk = folder.path().join("sys/class/block/sda");
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir_all(folder.path().join("dev")).unwrap();
        fs::write(disk.join("size"), format!("{}\n", DISK_BYTES / 512)).unwrap();
        fs::write(disk.join("queue/logical_block_size"), "512\n").unwrap();
        File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        let mut sfdisk =
            Command::new("sfdisk").args(["-q"]).arg(&image).stdin(Stdio::piped()).spawn().unwrap();
        sfdisk.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        Self { folder, image }
    }

    fn disk(&self) -> Disk {
        let root = self.folder.path();
        Disk::open_for_writing(&root.join("sys"), &root.join("dev"), "sda").unwrap()
    }

    /// Spoils a byte of the header in this block.
    fn spoil(&self, block: u64) {
        let file = File::options().write(true).open(&self.image).unwrap();
        file.write_all_at(&[0xff], block * 512 + 40).unwrap();
    }
}

/// What sfdisk says: its complaints, and each line that names a GUID.
fn sfdisk(image: &Path) -> (String, Vec<String>) {
    let output = Command::new("sfdisk").args(["--dump"]).arg(image).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.contains("uuid=") || line.starts_with("label-id"));
    // The name of the image is in each line.
    let lines = lines.map(|line| line.rsplit(" : ").next().unwrap().to_owned()).collect();
    (String::from_utf8(output.stderr).unwrap(), lines)
}

#[test]
fn sfdisk_finds_two_whole_tables_with_the_new_guids_and_the_same_partitions() {
    let machine = Machine::new();
    let (_, before) = sfdisk(&machine.image);
    let mut last = 0x10;
    machine
        .disk()
        .renew_guids(|| {
            last += 1;
            Ok(Guid::random([last; 16]))
        })
        .unwrap();
    let (complaints, after) = sfdisk(&machine.image);
    assert_eq!(complaints, "");
    assert_eq!((before.len(), after.len()), (4, 4), "the disk and three partitions");
    assert!(after[0].contains(&Guid::random([0x11; 16]).to_string().to_uppercase()), "{after:?}");
    for (partition, (old, new)) in before.iter().zip(&after).skip(1).enumerate() {
        let guid = Guid::random([0x12 + u8::try_from(partition).unwrap(); 16]).to_string().to_uppercase();
        let place = |line: &str| line.split(", uuid=").next().unwrap().to_owned();
        assert!(new.contains(&guid), "{new} without {guid}");
        assert_eq!(place(old), place(new));
    }

    // Either table alone says the same.
    machine.spoil(1);
    let (complaints, copy) = sfdisk(&machine.image);
    assert_eq!((complaints.is_empty(), copy), (false, after));
}

#[test]
fn what_sfdisk_wrote_is_read_from_either_table() {
    let machine = Machine::new();
    let labels = |machine: &Machine| {
        let table = machine.disk().table()?;
        Some((1..=4).filter_map(|number| table.entry(number)).map(|entry| entry.label).collect::<Vec<_>>())
    };
    let expected = Some(["esp", "root-a", "root-b"].map(str::to_owned).to_vec());
    assert_eq!(labels(&machine), expected);
    machine.spoil(1);
    assert_eq!(labels(&machine), expected);
    machine.spoil(DISK_BYTES / 512 - 1);
    assert_eq!(labels(&machine), None);
}
