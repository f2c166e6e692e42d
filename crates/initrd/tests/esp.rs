//! The mark of a start is found on a boot partition made with the tools that make the image's.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use booster_initrd::choice::candidates;
use booster_initrd::gpt::Guid;
use booster_initrd::nonce::Nonce;
use booster_initrd::partitions::Partition;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn partition(name: &str, label: &str) -> Partition {
    Partition {
        name: name.into(),
        disk: "sda".into(),
        label: label.into(),
        guid: Guid::random([7; 16]),
        start_sectors: 2048,
        length_sectors: 4096,
    }
}

/// A boot partition in `dev`, as `cargo xtask image` makes it.
fn make(dev: &Path, nonce: &str) {
    let (esp, file) = (dev.join("sda1"), dev.join("nonce"));
    File::create(&esp).unwrap().set_len(260 << 20).unwrap();
    let (esp, file) = (esp.display().to_string(), file.display().to_string());
    run("mkfs.vfat", &["-F", "32", "-n", "ESP", &esp]);
    run("grub-editenv", &[&file, "create"]);
    run("grub-editenv", &[&file, "set", "BOOT_COUNT=41", &format!("BOOT_NONCE={nonce}")]);
    run("mmd", &["-i", &esp, "::/EFI", "::/grub"]);
    for other in ["grub.cfg", "grubenv"] {
        fs::write(dev.join(other), vec![b'#'; 3000]).unwrap();
        run("mcopy", &["-i", &esp, &dev.join(other).display().to_string(), "::/grub/"]);
    }
    run("mcopy", &["-i", &esp, &file, "::/grub/"]);
}

#[test]
fn the_mark_is_found_on_a_real_boot_partition() {
    let dev = tempfile::tempdir().unwrap();
    make(dev.path(), "41.2026-11-27-12-0-5.9f3a");
    let disk = [partition("sda1", "esp"), partition("sda2", "root-a")];
    let found = candidates(&disk, "root-a", dev.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].nonce, Nonce::parse("41.2026-11-27-12-0-5.9f3a"));
    assert_eq!(found[0].slot, disk[1]);
    assert_eq!(candidates(&disk[1..], "root-a", dev.path())[0].nonce, None);
}
