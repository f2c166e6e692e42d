//! The slot's file system, GRUB, and the disk around them.

use std::fs;
use std::path::Path;

use actionbooster_updates::{BACKUP, GRUBENV};
use anyhow::{Context, Result};

use super::grub;
use crate::builder::{Builder, TREE};

/// The slot's file system in the artifacts' folder.
pub const ROOT: &str = "root.squashfs";

/// What GRUB needs to read its configuration and the slots, and to start a kernel.
const GRUB_MODULES: &[&str] = &[
    "part_gpt",
    "fat",
    "squash4",
    "gzio",
    "xzio",
    "normal",
    "configfile",
    "loadenv",
    "datehook",
    "rdmsr",
    "test",
    "regexp",
    "probe",
    "echo",
    "linux",
    "boot",
    "serial",
    "terminal",
    "reboot",
    "halt",
    "sleep",
    "all_video",
];

/// The steps whose logs make the build log.
const LOGS: &[&str] = &[
    "compile",
    "portal-build",
    "initrd-compile",
    "image-tree",
    "image-squashfs",
    "image-grub",
    "image-disk",
];

/// Makes the file system and the raw disk in `folder`.
pub fn build(builder: &Builder, tree: &Path, initrd: &Path, folder: &Path, name: &str) -> Result<()> {
    let path = |host: &Path| Ok::<_, anyhow::Error>(builder.inside(host)?.display().to_string());
    let (tree, initrd) = (path(tree)?, path(initrd)?);
    let root = path(&folder.join(ROOT))?;
    // /var is on the data partition, and tmpfiles fills it. Kernel and initrd are compressed already,
    // and GRUB reads plain blocks much faster.
    builder.run(
        "packing the root file system",
        "image-squashfs",
        &[
            "mksquashfs",
            &tree,
            &root,
            "-noappend",
            "-no-progress",
            "-comp",
            "gzip",
            "-b",
            "256K",
            "-p",
            &format!("boot/initrd.img f 644 0 0 cat {initrd}"),
            "-action",
            "uncompressed@name(vmlinuz)||name(initrd.img)",
            "-wildcards",
            "-e",
            "var/*",
            // In the initrd, where alone the kernel takes it from.
            "usr/lib/firmware/intel-ucode",
            "usr/lib/firmware/amd-ucode",
        ],
    )?;
    builder.output(&["cp", &format!("{tree}/boot/vmlinuz"), &path(&folder.join("vmlinuz"))?])?;

    let parts = folder.join("parts");
    let inside = path(&parts)?;
    let template = builder.checkout().join("image/grub/grub.cfg");
    let template =
        fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    fs::create_dir_all(parts.join("esp/grub"))?;
    fs::write(parts.join("esp/grub/grub.cfg"), grub::config(&template)?)?;
    let script = format!(
        "set -e; mkdir -p {inside}/esp/EFI/BOOT {inside}/esp/grub; cd {inside}
         grub-mkimage -O x86_64-efi -p /grub -o esp/EFI/BOOT/BOOTX64.EFI {modules}
         grub-script-check esp/grub/grub.cfg
         grub-editenv esp/grub/{GRUBENV} create
         grub-editenv esp/grub/{GRUBENV} set 'ORDER=A B' A_OK=1 A_TRY=0 B_OK=0 B_TRY=0
         cp esp/grub/{GRUBENV} esp/grub/{BACKUP}
         grub-editenv esp/grub/nonce create
         ln {root} root.squashfs",
        modules = GRUB_MODULES.join(" ")
    );
    builder.run("making the boot partition", "image-grub", &["sh", "-c", &script])?;
    let image = path(&folder.join(format!("{name}.img")))?;
    builder.run(
        "assembling the disk",
        "image-disk",
        &[
            "systemd-repart",
            "--empty=create",
            "--size=auto",
            "--dry-run=no",
            "--offline=yes",
            "--seed",
            &seed(name),
            &format!("--definitions={TREE}/image/repart"),
            &format!("--root={inside}"),
            &image,
        ],
    )?;
    builder.output(&["rm", "-rf", &inside]).map(drop)
}

/// Makes what is handed out beside the raw disk: compressed copy, block map, log and checksums.
pub fn finish(builder: &Builder, folder: &Path, name: &str) -> Result<()> {
    let inside = builder.inside(folder)?.display().to_string();
    let script = format!(
        "set -e; cd {inside}
         bmaptool -q create -o {name}.img.bmap {name}.img
         zstd -q -f -T0 -9 {name}.img -o {name}.img.zst"
    );
    builder.run("compressing the image", "image-compress", &["sh", "-c", &script])?;
    let log: String = LOGS
        .iter()
        .map(|part| {
            let text = fs::read(builder.log(part)).unwrap_or_default();
            format!("== {part}\n{}\n", String::from_utf8_lossy(&text))
        })
        .collect();
    fs::write(folder.join("build.log"), log).context("cannot write the build log")?;
    let sums = format!(
        "cd {inside} && sha256sum {name}.img.zst {name}.img.bmap {name}.cdx.json build.log > SHA256SUMS"
    );
    builder.output(&["sh", "-c", &sums]).map(drop)
}

/// Partition identifiers follow from the image's name, so that the same input gives the same table.
/// Each disk gets identifiers of its own when it is started first (see the initrd).
fn seed(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let text = crate::builder::hex(&Sha256::digest(name));
    format!("{}-{}-4{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..32])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seed_is_a_uuid_that_follows_from_the_name() {
        let seed = super::seed("actionbooster-0.1.0-x86-64");
        let lengths: Vec<usize> = seed.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(seed, super::seed("actionbooster-0.1.0-x86-64"));
        assert_ne!(seed, super::seed("actionbooster-0.1.1-x86-64"));
    }
}
