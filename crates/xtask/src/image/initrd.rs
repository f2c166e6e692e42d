//! The initrd: `crates/initrd` as a static program, and the kernel modules with which a disk is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use booster_initrd::modules::{Dependencies, name_of};

use super::cpio::Archive;
use crate::builder::Builder;

/// Not the host's own folder, so that the flag for a static program leaves the other builds alone.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Modules with which the initrd can reach a slot on any PC. What they need comes along.
const MODULES: &[&str] = &[
    // virtual machines
    "virtio_blk",
    "virtio_scsi",
    "hv_storvsc",
    "vmw_pvscsi",
    "mptspi",
    "xen_blkfront",
    // disks inside a PC
    "nvme",
    "vmd",
    "ahci",
    "ata_piix",
    "ata_generic",
    "sata_nv",
    "sata_sil24",
    "sd_mod",
    "megaraid_sas",
    "mpt3sas",
    "hpsa",
    "aacraid",
    // cards and eMMC
    "mmc_block",
    "sdhci_pci",
    "sdhci_acpi",
    "rtsx_pci_sdmmc",
    "rtsx_usb_sdmmc",
    // sticks and disks on USB
    "usb_storage",
    "uas",
    "xhci_pci",
    "ehci_pci",
    "ohci_pci",
    "uhci_hcd",
    // what is on them
    "squashfs",
    "overlay",
    "ext4",
    "quota_v2",
    "loop",
    "crc32c_generic",
    "crc32c_intel",
    // what an encrypted data partition needs
    "dm_crypt",
    "algif_skcipher",
    "xts",
    "aesni_intel",
];

/// Folder of a maker's microcode, how its files end, and the name under which the kernel looks for
/// all of them together.
const MICROCODE: [(&str, &str, &str); 2] =
    [("intel-ucode", "", "GenuineIntel.bin"), ("amd-ucode", ".bin", "AuthenticAMD.bin")];

/// Compiles the initrd's program and returns where it is.
pub fn compile(builder: &Builder) -> Result<PathBuf> {
    builder.run(
        "compiling the initrd's program",
        "initrd-compile",
        &[
            "env",
            "RUSTFLAGS=-C target-feature=+crt-static",
            "cargo",
            "build",
            "--release",
            "--locked",
            "--color=never",
            "--target",
            TARGET,
            "-p",
            "booster-initrd",
        ],
    )?;
    Ok(builder.cache().join("target").join(TARGET).join("release/booster-initrd"))
}

/// Packs the initrd for the kernel in `tree` and returns the path of the compressed archive.
pub fn build(builder: &Builder, tree: &Path, init: &Path) -> Result<PathBuf> {
    let folder = builder.cache().join("image/initrd");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let unpacked = folder.join("modules");
    fs::create_dir_all(&unpacked)?;

    let kernel = kernel_folder(tree)?;
    let index = |name: &str| {
        let path = kernel.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let text = index("modules.dep")?;
    let dependencies = Dependencies::parse(&text);
    let absent: Vec<_> = MODULES.iter().filter(|name| dependencies.load_order(name).is_none()).collect();
    ensure!(absent.is_empty(), "this kernel has no modules {absent:?}; adapt the list");
    let files = dependencies.closure(MODULES);
    unpack(builder, &kernel, &unpacked, &files)?;

    let mut archive = Archive::default();
    for path in ["dev", "proc", "sys", "run", "slot", "lib", "lib/modules"] {
        archive.folder(path);
    }
    // The kernel opens it for PID 1 before anything is mounted.
    archive.device("dev/console", 5, 1);
    archive.program("init", &fs::read(init).with_context(|| format!("cannot read {}", init.display()))?);
    let names: BTreeSet<String> = files.iter().map(|file| name_of(file)).collect();
    archive.file("lib/modules/modules.dep", flat_dependencies(&text, &names).as_bytes());
    archive.file("lib/modules/modules.alias", own_aliases(&index("modules.alias")?, &names).as_bytes());
    for file in &files {
        let flat = flat_name(file);
        archive.file(&format!("lib/modules/{flat}"), &fs::read(unpacked.join(&flat))?);
    }
    let plain = folder.join("initrd.cpio");
    fs::write(&plain, archive.finish())?;
    let compressed = folder.join("initrd.zst");
    builder.output(&[
        "zstd",
        "-q",
        "-f",
        "-19",
        &builder.inside(&plain)?.display().to_string(),
        "-o",
        &builder.inside(&compressed)?.display().to_string(),
    ])?;
    let mut whole = microcode(&tree.join("usr/lib/firmware"))?;
    whole.extend(fs::read(&compressed)?);
    let path = folder.join("initrd.img");
    fs::write(&path, whole)?;
    Ok(path)
}

/// The archive that the kernel reads before it unpacks anything, and so uncompressed: the makers'
/// repairs of their processors (Linux kernel documentation, "The Linux Microcode Loader").
fn microcode(firmware: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for path in ["kernel", "kernel/x86", "kernel/x86/microcode"] {
        archive.folder(path);
    }
    for (folder, ending, name) in MICROCODE {
        let folder = firmware.join(folder);
        let listing = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files: Vec<PathBuf> = listing.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.retain(|path| path.is_file() && path.to_string_lossy().ends_with(ending));
        files.sort();
        ensure!(!files.is_empty(), "{} holds no microcode", folder.display());
        let parts: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
        archive.aligned_file(&format!("kernel/x86/microcode/{name}"), &parts.concat());
    }
    Ok(archive.finish())
}

fn kernel_folder(tree: &Path) -> Result<PathBuf> {
    let modules = tree.join("usr/lib/modules");
    let mut found: Vec<PathBuf> =
        fs::read_dir(&modules)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(found.len() == 1, "{} holds {} kernels instead of one", modules.display(), found.len());
    found.pop().context("no kernel")
}

/// Unpacked modules compress far better together than one by one.
fn unpack(builder: &Builder, kernel: &Path, target: &Path, files: &BTreeSet<&str>) -> Result<()> {
    let script = "set -e; from=$1 to=$2; shift 2
        for file; do
            name=${file##*/}
            case $name in
                *.xz) xz -dc \"$from/$file\" > \"$to/${name%.xz}\" ;;
                *.zst) zstd -qdc \"$from/$file\" > \"$to/${name%.zst}\" ;;
                *) cp \"$from/$file\" \"$to/$name\" ;;
            esac
        done";
    let (from, to) = (builder.inside(kernel)?, builder.inside(target)?);
    let mut argv = vec!["sh", "-c", script, "unpack"];
    let (from, to) = (from.display().to_string(), to.display().to_string());
    argv.extend([from.as_str(), to.as_str()]);
    argv.extend(files);
    builder.output(&argv).map(drop)
}

/// The file's name without folder and compression.
fn flat_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.trim_end_matches(".xz").trim_end_matches(".zst").to_owned()
}

/// `modules.dep` for the modules in the initrd, which lie in one folder.
fn flat_dependencies(text: &str, names: &BTreeSet<String>) -> String {
    let lines = text.lines().filter_map(|line| {
        let (file, needs) = line.split_once(':')?;
        let needs: Vec<String> = needs.split_ascii_whitespace().map(flat_name).collect();
        names.contains(&name_of(file)).then(|| format!("{}: {}\n", flat_name(file), needs.join(" ")))
    });
    lines.collect()
}

/// `modules.alias` for the modules in the initrd.
fn own_aliases(text: &str, names: &BTreeSet<String>) -> String {
    let ours = text.lines().filter(|line| {
        line.rsplit_once(' ').is_some_and(|(_, module)| names.contains(&module.replace('-', "_")))
    });
    ours.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microcode_of_both_makers_comes_first_and_uncompressed() {
        let firmware = tempfile::tempdir().unwrap();
        assert!(microcode(firmware.path()).is_err());
        for (path, text) in [
            ("intel-ucode/06-0f-02", "first"),
            ("intel-ucode/06-0f-06", "second"),
            ("amd-ucode/microcode_amd.bin", "third"),
            ("amd-ucode/microcode_amd.bin.asc", "signature"),
        ] {
            let path = firmware.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let archive = microcode(firmware.path()).unwrap();
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("kernel/x86/microcode/GenuineIntel.bin\0") && text.contains("firstsecond"));
        assert!(text.contains("kernel/x86/microcode/AuthenticAMD.bin\0") && text.contains("third"));
        assert!(!text.contains("signature"));
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn indexes_shrink_to_what_is_in_the_initrd() {
        let names = BTreeSet::from(["usb_storage".to_owned(), "scsi_mod".to_owned()]);
        let dep = "kernel/drivers/usb/storage/usb-storage.ko.xz: kernel/drivers/scsi/scsi_mod.ko.xz
kernel/drivers/scsi/scsi_mod.ko.xz:
kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/raid6/raid6_pq.ko.xz
";
        assert_eq!(flat_dependencies(dep, &names), "usb-storage.ko: scsi_mod.ko\nscsi_mod.ko: \n");
        let alias = "# comment\nalias usb:v* usb_storage\nalias fs-btrfs btrfs\nalias usb:x* usb-storage\n";
        assert_eq!(own_aliases(alias, &names), "alias usb:v* usb_storage\nalias usb:x* usb-storage\n");
    }
}
