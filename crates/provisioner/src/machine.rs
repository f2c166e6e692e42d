//! The real machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::process::{Command, Stdio};

use actionbooster_storage::atomic;
use anyhow::{Context, bail};
use nix::fcntl::OFlag;
use nix::unistd::User;

use crate::system::{Access, System};

/// The kernel's way to a TPM 2.0 that several programs share.
const TPM: &str = "/dev/tpmrm0";
/// Speaks with the TPM. A TPM that hangs must not keep the box from starting.
const CREDS: [&str; 3] = ["timeout", "20", "systemd-creds"];

/// The machine this program runs on, or a folder laid out like one.
#[derive(Debug)]
pub struct Machine {
    running: bool,
}

impl Machine {
    /// The machine whose root folder this is.
    pub fn new(root: &Path) -> Self {
        Self { running: root == Path::new("/") && Path::new("/run/systemd/system").is_dir() }
    }

    fn own(&self, file: &File, access: Access) -> io::Result<()> {
        let Some(owner) = access.owner.filter(|_| self.running) else { return Ok(()) };
        let user = User::from_name(owner)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no user {owner}")))?;
        fchown(file.as_fd(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))
    }
}

impl System for Machine {
    fn replace(&self, path: &Path, contents: &[u8], access: Access) -> io::Result<()> {
        make_folder(path)?;
        atomic::write_private(path, contents, |file| {
            self.own(file, access)?;
            file.set_permissions(fs::Permissions::from_mode(access.mode))
        })
    }

    fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        make_folder(path)?;
        atomic::link(path, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        atomic::remove(path)
    }

    fn set_kernel(&self, key: &str, value: &str) -> io::Result<()> {
        fs::write(Path::new("/proc/sys").join(key), value)
    }

    fn run(&self, command: &[&str]) -> anyhow::Result<()> {
        let [program, arguments @ ..] = command else { bail!("an empty command") };
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed ({}): {}", command.join(" "), output.status, words.trim());
        }
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn kernel(&self, key: &str) -> Option<String> {
        fs::read_to_string(Path::new("/proc/sys").join(key)).ok().map(|text| text.trim().to_owned())
    }

    fn has_tpm(&self) -> bool {
        self.running && Path::new(TPM).exists()
    }

    // Not bound to what the firmware measured: an update of the firmware must not lose the box's secrets.
    fn seal(&self, name: &str, secret: &[u8]) -> anyhow::Result<Vec<u8>> {
        let name_is = format!("--name={name}");
        let options = ["encrypt", "--with-key=tpm2", "--tpm2-pcrs=", &name_is, "-", "-"];
        let sealed = pipe(&[&CREDS[..], &options].concat(), secret)?;
        if self.unseal(name, &sealed)? != secret {
            bail!("the TPM gives back something else than it got");
        }
        Ok(sealed)
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let name_is = format!("--name={name}");
        pipe(&[&CREDS[..], &["decrypt", &name_is, "-", "-"]].concat(), sealed)
    }

    fn is_active(&self, unit: &str) -> bool {
        let status = Command::new("systemctl")
            .args(["is-active", "--quiet", unit])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }
}

/// Runs a program that reads this and whose output counts.
fn pipe(command: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let [program, arguments @ ..] = command else { bail!("an empty command") };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    // It fits into the pipe. A program that does not read it says why.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", command.join(" "), output.status, words.trim());
    }
    written.with_context(|| format!("{program} did not read what it was given"))?;
    Ok(output.stdout)
}

/// Makes the folder of a file.
fn make_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Reads a small file that another user may have written: never through a link, never from a
/// pipe that would wait for ever. Absent and unreadable are different answers.
pub fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    const MOST_BYTES: u64 = 1 << 20;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file of at most 1 MiB"));
    }
    let mut contents = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut contents)?;
    Ok(Some(contents))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_the_access_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file");
        let machine = Machine::new(folder.path());
        machine.replace(&path, b"one", Access::PUBLIC).unwrap();
        machine.replace(&path, b"two", Access::SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn a_link_under_the_temporary_name_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(".code.new")).unwrap();
        Machine::new(folder.path()).replace(&folder.path().join("code"), b"x", Access::SECRET).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn only_plain_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "text").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&plain, &link).unwrap();
        assert_eq!(read_small(&plain).unwrap().unwrap(), b"text");
        assert!(read_small(&folder.path().join("absent")).unwrap().is_none());
        assert!(read_small(&link).is_err());
        assert!(read_small(folder.path()).is_err());
    }
}
