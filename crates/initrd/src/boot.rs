//! The way from the kernel's start to systemd.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::mount::MsFlags;
use nix::unistd::{chdir, chroot, execv};

use crate::choice::{self, Choice, Waited};
use crate::cmdline::{self, Request};
use crate::hotplug::Hotplug;
use crate::modules::Loader;
use crate::partitions::{self, Partition};
use crate::{Error, console, data, mounts};

/// Disks inside a PC and on a hub have shown up after this long.
const SETTLED: Duration = Duration::from_secs(12);
/// Slow USB bridges take this long to show their disk.
const SLOT_LIMIT: Duration = Duration::from_secs(45);
const MODULES: &str = "/lib/modules";
const SLOT: &str = "/slot";
/// What no device asks for by itself. The last line is for an encrypted data partition.
const ALWAYS: &[&str] = &[
    "loop",
    "squashfs",
    "overlay",
    "crc32c_generic",
    "crc32c_intel",
    "ext4",
    "quota_v2",
    "sd_mod",
    "dm_crypt",
    "algif_skcipher",
    "xts",
    "aesni_intel",
];
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Starts the system. Comes back only when there is none to start.
pub fn run() -> Result<Infallible, Error> {
    mounts::kernel_file_systems()?;
    let line = fs::read_to_string("/proc/cmdline").map_err(Error::file("read", "/proc/cmdline"))?;
    let request = cmdline::parse(&line)?;
    let Choice { slot, doubt } = find_slot(&request)?;
    match doubt {
        None => {
            name_partitions(&slot.disk)?;
            enter(&slot)?;
            data::provide(&slot.disk, request.reset)?;
        }
        // No name is given to what may be another box's: tries would be counted there.
        Some(doubt) => {
            enter(&slot)?;
            data::withhold(doubt, request.reset)?;
        }
    }
    hand_over()
}

fn find_slot(request: &Request) -> Result<Choice, Error> {
    let (sys, dev) = (Path::new("/sys"), Path::new("/dev"));
    let label = request.slot.label();
    let hotplug = Hotplug::listen()?;
    let mut loader = Loader::open(Path::new(MODULES))?;
    for module in ALWAYS {
        loader.load(module);
    }
    let look = |waited| {
        let candidates = choice::candidates(&partitions::scan(sys, dev), label, dev);
        choice::choose(&candidates, request, waited)
    };
    for (waited, limit) in [(Waited::Briefly, SETTLED), (Waited::Settled, SLOT_LIMIT.saturating_sub(SETTLED))]
    {
        let found = hotplug.wait_for(limit, || {
            loader.load_for_devices(sys);
            look(waited)
        });
        if let Some(found) = found {
            return Ok(found);
        }
    }
    look(Waited::Over).ok_or_else(|| {
        let names: Vec<String> = partitions::scan(sys, dev).into_iter().map(|one| one.name).collect();
        let seen = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        Error::SlotMissing { label, seconds: SLOT_LIMIT.as_secs(), seen }
    })
}

/// Tells udev which partitions are ours, for when it starts.
fn name_partitions(disk: &str) -> Result<(), Error> {
    let folder = Path::new("/run/udev/rules.d");
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let rules = partitions::udev_rules(&partitions::scan(Path::new("/sys"), Path::new("/dev")), disk);
    let path = folder.join("60-actionbooster-disk.rules");
    fs::write(&path, rules).map_err(Error::file("write", path))
}

/// Makes the slot the root, with the kernel's file systems in it, and frees the initrd's memory.
fn enter(slot: &Partition) -> Result<(), Error> {
    mounts::attach(&slot.device(), SLOT, "squashfs", MsFlags::MS_RDONLY | MsFlags::MS_NODEV, "")?;
    for folder in ["dev", "proc", "sys", "run"] {
        mounts::relocate(&format!("/{folder}"), &format!("{SLOT}/{folder}"))?;
    }
    for folder in [MODULES, "/init"] {
        let path = Path::new(folder);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(Error::file("remove", path))?;
    }
    chdir(SLOT).map_err(Error::system("enter the slot"))?;
    mounts::relocate(".", "/")?;
    chroot(".").map_err(Error::system("enter the slot"))?;
    chdir("/").map_err(Error::system("enter the slot"))
}

fn hand_over() -> Result<Infallible, Error> {
    console::note("handing over to systemd");
    let path = CString::new(SYSTEMD).map_err(|error| Error::file("start", SYSTEMD)(error.into()))?;
    execv(&path, &[c"/sbin/init"]).map_err(Error::system("start systemd"))
}
