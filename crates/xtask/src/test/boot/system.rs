//! The system below the product: units, kernel, memory, disk, accounts, slot.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Session, contains, empty, equal, no_match, until};
use crate::test::Tally;

const JOURNAL: &str = "sudo journalctl -b --no-pager -o cat _PID=1";

const SETUID: &str = "sudo find / -xdev -type f -perm /6000";
const WATCHDOG: &str = "cd /sys/class/watchdog/watchdog0 && echo $(cat state) $(cat timeout)";
const FIRMWARE: &str = "path=$(cat /sys/module/firmware_class/parameters/path); test -d $path && echo $path";

/// Settings of the kernel, below `/proc/sys`, that an attacker would like to be otherwise.
const KERNEL: &[(&str, &str)] = &[
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/yama/ptrace_scope", "1"),
    ("net/core/bpf_jit_harden", "2"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("fs/suid_dumpable", "0"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
];

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    let shell = |script: &str| session.shell(script);
    tally.check("no unit failed", no_unit_failed(session));
    tally.check("there are no ordering cycles", no_match(&shell(JOURNAL)?, "ordering cycle"));
    tally.check("the kernel is not tainted", equal(&shell("cat /proc/sys/kernel/tainted")?, "0"));
    tally.check("the kernel guards itself", hardened(session));
    tally.check("the image says which it is", contains(&shell("cat /etc/os-release")?, "IMAGE_VERSION="));
    tally.check("nothing but sudo is setuid", equal(&shell(SETUID)?, "/usr/bin/sudo"));
    tally.check("the hardware watchdog is fed", equal(&shell(WATCHDOG)?, "active 60"));
    tally.check(
        "the owner's firmware is looked for",
        equal(&shell(FIRMWARE)?, "/var/lib/actionbooster/firmware"),
    );
    tally.check("the right slot is running", slot(&shell("cat /proc/cmdline")?));
    tally.check("zRAM is swap and has the planned size", zram(session));
    tally.check("the data partition grew to the disk", grown(&shell("df -B1 --output=size /var | tail -1")?));
    tally.check("the root file system is read-only", equal(&shell("findmnt -no FSTYPE /")?, "squashfs"));
    tally.check(
        "no account has a password",
        empty(&shell("sudo cut -d: -f2 /etc/shadow | grep '^[$]'; true")?),
    );
    tally.check("boosterctl does the same from a shell", command_line(session));
    tally.check("the running slot is marked good", slot_is_good(session));
    Ok(())
}

pub fn no_unit_failed(session: &Session) -> Result<()> {
    empty(&session.shell("systemctl --failed --no-legend --plain")?)
}

/// The device that is swap now has the planned size.
pub fn zram(session: &Session) -> Result<()> {
    let planned = session.provisioning()?["memory"]["zram_bytes"].as_u64();
    let planned = planned.context("the report plans no zRAM")?;
    let actual: u64 = session.shell("cat /sys/block/zram0/disksize")?.trim().parse()?;
    // zram-generator rounds to whole mebibytes.
    ensure!(planned.abs_diff(actual) <= 1 << 20, "planned {planned} bytes, active {actual}");
    contains(&session.shell("cat /proc/swaps")?, "/dev/zram0")
}

/// Kernel settings are in force, only signed modules load, and nobody writes into the kernel.
fn hardened(session: &Session) -> Result<()> {
    let paths: Vec<_> = KERNEL.iter().map(|(path, _)| format!("/proc/sys/{path}")).collect();
    let values = session.shell(&format!("sudo cat {}", paths.join(" ")))?;
    for ((path, wanted), value) in KERNEL.iter().zip(values.lines()) {
        ensure!(value == *wanted, "{path} is {value} instead of {wanted}");
    }
    ensure!(values.lines().count() == KERNEL.len(), "some settings are missing: {values}");
    equal(&session.shell("sudo cat /sys/module/module/parameters/sig_enforce")?, "Y")?;
    contains(&session.shell("sudo cat /sys/kernel/security/lockdown")?, "[integrity]")
}

fn command_line(session: &Session) -> Result<()> {
    session.shell("sudo boosterctl status")?;
    let inventory: Value = serde_json::from_str(&session.shell("sudo boosterctl --json hardware")?)?;
    ensure!(inventory["board"]["kind"].is_string(), "no board in {inventory}");
    contains(&session.shell("sudo boosterctl provisioning")?, "zram")?;
    contains(&session.shell("sudo boosterctl ask --model guide 'What is online mode?'")?, "firewall")?;
    contains(&session.shell("sudo boosterctl vision selftest")?, "detection works")?;
    let made: Value =
        serde_json::from_str(&session.shell("sudo boosterctl --json keys create shell --scope infer")?)?;
    let (id, own) = (made["id"].as_str().context("no id")?, made["key"].as_str().context("no key")?);
    session.shell(&format!("sudo boosterctl keys revoke {id}"))?;
    // A revoked key opens nothing, not even for root.
    let refused = session.shell(&format!("sudo boosterctl --api-key {own} models; echo status $?"))?;
    contains(&refused, "status 4")
}

fn grown(size: &str) -> Result<()> {
    let bytes: u64 = size.trim().parse()?;
    ensure!(bytes > 4 << 30, "/var has {bytes} bytes on a disk of 8 GiB");
    Ok(())
}

fn slot(cmdline: &str) -> Result<()> {
    contains(cmdline, "actionbooster.slot=A")
}

/// Marking happens a moment after everything is healthy.
fn slot_is_good(session: &mut Session) -> Result<()> {
    until(session, |session| {
        let status = session.shell("sudo rauc status --output-format=json")?;
        let status: Value = serde_json::from_str(&status)?;
        let slots = status["slots"].as_array().context("no slots")?;
        let booted = slots
            .iter()
            .flat_map(|slot| slot.as_object().into_iter().flatten().map(|(_, data)| data))
            .find(|data| data["state"] == "booted")
            .context("no booted slot")?;
        ensure!(booted["boot_status"] == "good", "boot status {}", booted["boot_status"]);
        Ok(())
    })
}
