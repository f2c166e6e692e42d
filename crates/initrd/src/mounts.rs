//! Mounting, with errors that say what was mounted where.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::Error;

/// Mounts a file system.
pub fn attach(what: &str, target: &str, kind: &str, flags: MsFlags, options: &str) -> Result<(), Error> {
    mount(Some(what), target, Some(kind), flags, Some(options)).map_err(refused(what, target))
}

/// Shows a folder at a second place.
pub fn bind(what: &str, target: &str) -> Result<(), Error> {
    mount(Some(what), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(refused(what, target))
}

/// Moves a mount to another place.
pub fn relocate(what: &str, target: &str) -> Result<(), Error> {
    mount(Some(what), target, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(refused(what, target))
}

/// Takes a mount away.
pub fn detach(target: &str) -> Result<(), Error> {
    umount2(target, MntFlags::empty()).map_err(refused("nothing", target))
}

/// The kernel's own file systems below `/`.
pub fn kernel_file_systems() -> Result<(), Error> {
    let common = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    attach("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, "mode=0755")?;
    attach("proc", "/proc", "proc", common | MsFlags::MS_NODEV, "")?;
    attach("sysfs", "/sys", "sysfs", common | MsFlags::MS_NODEV, "")?;
    attach("tmpfs", "/run", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755,size=20%")
}

fn refused(what: &str, target: &str) -> impl FnOnce(nix::Error) -> Error {
    let (what, target) = (what.to_owned(), Path::new(target).to_owned());
    move |source| Error::Mount { what, target, source }
}
