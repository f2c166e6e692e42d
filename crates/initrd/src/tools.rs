//! The slot's own tools for partitions and file systems.

use std::process::{Command, Output, Stdio};

use crate::{Error, console};

const PLAIN: &str = "--definitions=/usr/share/actionbooster/repart.d";
const ENCRYPTED: &str = "--definitions=/usr/share/actionbooster/repart-encrypted.d";
/// There is no udev yet: the device mapper's library makes its nodes itself.
const NO_UDEV: (&str, &str) = ("DM_DISABLE_UDEV", "1");
/// No state of firmware or system is bound, so that both can be updated.
const NO_PCRS: &str = "--tpm2-pcrs=";
/// For a new file system: what each user takes is counted from the beginning. The other extended options are
/// those that systemd-repart gives, which these replace.
const MKFS_OPTIONS: (&str, &str) =
    ("SYSTEMD_REPART_MKFS_OPTIONS_EXT4", "-O quota -E nodiscard,lazy_itable_init=1,quotatype=usrquota");
/// e2fsck(8): bits of the exit code from here up mean that errors are left.
const FSCK_ERRORS_LEFT: i32 = 4;

/// Moves the copy of the partition table to the disk's end, and repairs it or the first one.
pub(crate) fn relocate_table(disk: &str) -> Result<(), Error> {
    let device = format!("/dev/{disk}");
    let moved =
        run("sfdisk", "/usr/sbin/sfdisk", &["--relocate", "gpt-bak-std", "--no-tell-kernel", &device])?;
    if moved.status.success() { Ok(()) } else { Err(failed("sfdisk", &moved)) }
}

/// How a data partition is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// LUKS2, opened by the TPM.
    Encrypted,
}

/// Makes the data partition, or grows it to the end of the disk.
///
/// systemd-repart makes the file system first and writes the partition table last. It counts as free
/// only what the table says is usable, so the table's end has to be moved to the disk's first.
pub(crate) fn repart(disk: &str, recreate: bool, kind: Kind) -> Result<(), Error> {
    relocate_table(disk)?;
    let device = format!("/dev/{disk}");
    let mut arguments =
        vec!["--dry-run=no", "--pretty=no", "--empty=refuse", "--offline=no", "--seed=random"];
    match kind {
        Kind::Plain => arguments.push(PLAIN),
        Kind::Encrypted => arguments.extend([ENCRYPTED, "--tpm2-device=auto", NO_PCRS]),
    }
    if recreate {
        arguments.push("--factory-reset=yes");
    }
    arguments.push(&device);
    let output = run("systemd-repart", "/usr/bin/systemd-repart", &arguments)?;
    if output.status.success() { Ok(()) } else { Err(failed("systemd-repart", &output)) }
}

/// Repairs a file system: first what is safe, then everything.
pub(crate) fn repair(device: &str) -> Result<(), Error> {
    let mut last = None;
    for grade in [["-p"].as_slice(), ["-f", "-y"].as_slice()] {
        let mut arguments = grade.to_vec();
        arguments.push(device);
        let output = run("e2fsck", "/usr/sbin/e2fsck", &arguments)?;
        if output.status.code().is_some_and(|code| code < FSCK_ERRORS_LEFT) {
            return Ok(());
        }
        last = Some(failed("e2fsck", &output));
    }
    last.map_or(Ok(()), Err)
}

/// Has an unmounted file system count what each user takes.
///
/// The superblock asks for a check before anything changes, so that a cut in between is mended at the next
/// start; the check at the end takes that back.
pub(crate) fn add_quota(device: &str) -> Result<(), Error> {
    for arguments in [["-E", "force_fsck"].as_slice(), &["-O", "quota", "-Q", "usrquota,^grpquota,^prjquota"]]
    {
        tune(device, arguments)?;
    }
    repair(device)
}

/// Forgets what each user takes: for a file system that cannot be mounted because of its quotas alone.
pub(crate) fn drop_quota(device: &str) -> Result<(), Error> {
    tune(device, &["-O", "^quota"])
}

/// Sets how many blocks of an unmounted file system only the system may use.
pub(crate) fn reserve(device: &str, blocks: u64) -> Result<(), Error> {
    tune(device, &["-r", &blocks.to_string()])
}

fn tune(device: &str, arguments: &[&str]) -> Result<(), Error> {
    let output = run("tune2fs", "/usr/sbin/tune2fs", &[arguments, &[device]].concat())?;
    if output.status.success() { Ok(()) } else { Err(failed("tune2fs", &output)) }
}

/// Grows a mounted file system to its partition.
pub(crate) fn grow(device: &str) -> Result<(), Error> {
    let output = run("resize2fs", "/usr/sbin/resize2fs", &[device])?;
    if output.status.success() { Ok(()) } else { Err(failed("resize2fs", &output)) }
}

/// Opens an encrypted partition as `/dev/mapper/NAME` with the key that the TPM has sealed.
pub(crate) fn open_with_tpm(device: &str, name: &str, tpm: &str) -> Result<(), Error> {
    let options = format!("tpm2-device={tpm},headless=true,discard");
    cryptsetup(&["attach", name, device, "-", &options])
}

/// Opens an encrypted partition as `/dev/mapper/NAME` with the key in a file.
pub(crate) fn open_with_key(device: &str, name: &str, file: &str) -> Result<(), Error> {
    cryptsetup(&["attach", name, device, file, "headless=true,discard"])
}

/// Closes `/dev/mapper/NAME`.
pub(crate) fn close(name: &str) -> Result<(), Error> {
    cryptsetup(&["detach", name])
}

/// Has the TPM open a partition that the key in a file opens; what another TPM has sealed is forgotten.
pub(crate) fn bind_to_tpm(device: &str, file: &str, tpm: &str) -> Result<(), Error> {
    // In one go nothing would be done: what the other TPM has sealed looks the same.
    cryptenroll(&["--wipe-slot=tpm2", device], &[])?;
    let (file, tpm) = (format!("--unlock-key-file={file}"), format!("--tpm2-device={tpm}"));
    cryptenroll(&[&file, &tpm, NO_PCRS, device], &[])
}

/// Makes `key` the recovery key of a partition that the TPM opens, in place of an earlier one.
pub(crate) fn set_recovery_key(device: &str, key: &str, tpm: &str) -> Result<(), Error> {
    let tpm = format!("--unlock-tpm2-device={tpm}");
    cryptenroll(&[&tpm, "--wipe-slot=password", "--password", device], &[("NEWPASSWORD", key)])
}

fn cryptsetup(arguments: &[&str]) -> Result<(), Error> {
    let output = run("systemd-cryptsetup", "/usr/bin/systemd-cryptsetup", arguments)?;
    if output.status.success() { Ok(()) } else { Err(failed("systemd-cryptsetup", &output)) }
}

fn cryptenroll(arguments: &[&str], secrets: &[(&str, &str)]) -> Result<(), Error> {
    let output = run_with("systemd-cryptenroll", "/usr/bin/systemd-cryptenroll", arguments, secrets)?;
    if output.status.success() { Ok(()) } else { Err(failed("systemd-cryptenroll", &output)) }
}

fn run(tool: &'static str, path: &'static str, arguments: &[&str]) -> Result<Output, Error> {
    run_with(tool, path, arguments, &[])
}

fn run_with(
    tool: &'static str,
    path: &'static str,
    arguments: &[&str],
    secrets: &[(&str, &str)],
) -> Result<Output, Error> {
    let output = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .envs([MKFS_OPTIONS, NO_UDEV])
        .envs(secrets.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(Error::file("start", path))?;
    for line in printed(&output).lines() {
        console::note(&format!("{tool}: {line}"));
    }
    Ok(output)
}

fn printed(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn failed(tool: &'static str, output: &Output) -> Error {
    let text = printed(output);
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Error::Tool { tool, detail: format!("{} ({})", last.trim(), output.status) }
}
