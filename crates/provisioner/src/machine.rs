//! The real machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
        let (folder, beside) = beside(path)?;
        fs::create_dir_all(folder)?;
        // A leftover of a cut, or a link set as a trap in a folder that is not root's.
        remove_if_there(&beside)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&beside)?;
        let written = (|| {
            file.write_all(contents)?;
            self.own(&file, access)?;
            file.set_permissions(fs::Permissions::from_mode(access.mode))?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            File::open(folder)?.sync_all()
        })();
        if written.is_err() {
            // A full disk should not keep half a file.
            drop(fs::remove_file(&beside));
        }
        written
    }

    fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (folder, beside) = beside(path)?;
        fs::create_dir_all(folder)?;
        remove_if_there(&beside)?;
        symlink(target, &beside)?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        remove_if_there(path)?;
        match path.parent().map(File::open) {
            Some(Ok(folder)) => folder.sync_all(),
            _ => Ok(()),
        }
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

/// The folder of a file, and the name it is first written under.
fn beside(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "a path without folder or name");
    let folder = path.parent().ok_or_else(invalid)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or_else(invalid)?);
    name.push(".new");
    Ok((folder, folder.join(name)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
