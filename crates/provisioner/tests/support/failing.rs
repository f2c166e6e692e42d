//! A machine whose files are real and whose power goes at the n-th effect. What systemd, UFW and
//! the kernel have read is remembered, so that a test sees what would really be in force.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use booster_provisioner::Machine;
use booster_provisioner::system::{Access, System};

const SSH_LINK: &str = "etc/systemd/system/multi-user.target.wants/ssh.service";

/// What the running system has read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    pub units: BTreeMap<PathBuf, Vec<u8>>,
    pub zram: Option<Vec<u8>>,
    pub rules: Vec<Option<Vec<u8>>>,
    pub kernel: BTreeMap<String, String>,
    pub certificate: Option<Vec<u8>>,
    pub time_servers: Option<Vec<u8>>,
}

pub struct Failing {
    root: PathBuf,
    machine: Machine,
    /// Effects left before the power goes.
    left: Cell<usize>,
    /// Effects so far.
    pub effects: Cell<usize>,
    /// Writes whose path holds this find the disk full.
    pub full: RefCell<Option<String>>,
    pub started: Cell<bool>,
    pub in_force: RefCell<InForce>,
    pub commands: RefCell<Vec<String>>,
    /// What tells the TPM from another, if there is one.
    pub tpm: RefCell<Option<String>>,
}

impl Failing {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            machine: Machine::new(root),
            left: Cell::new(usize::MAX),
            effects: Cell::new(0),
            full: RefCell::default(),
            started: Cell::new(false),
            in_force: RefCell::default(),
            commands: RefCell::default(),
            tpm: RefCell::default(),
        }
    }

    /// The power goes, or the process is killed, after so many effects.
    pub fn cut_after(&self, effects: usize) {
        self.left.set(effects);
        self.effects.set(0);
    }

    /// Everything is read anew; what was in `/run` is gone.
    pub fn boot(&self) {
        drop(fs::remove_dir_all(self.root.join("run")));
        self.left.set(usize::MAX);
        self.started.set(false);
        *self.in_force.borrow_mut() = InForce::default();
        self.read_units();
        self.read_zram();
        self.read_time_servers();
    }

    /// The process starts again in a system that went on running.
    pub fn revive(&self) {
        self.left.set(usize::MAX);
    }

    /// What starts after the provisioner: the firewall, nginx.
    pub fn start_the_rest(&self) {
        self.started.set(true);
        super::write(&self.root, "run/nginx.pid", "1\n");
        self.read_rules();
        self.read_certificate();
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(path)).ok()
    }

    fn read_units(&self) {
        let folder = self.root.join("etc/systemd/system");
        let units = if folder.is_dir() { super::files(&folder) } else { BTreeMap::new() };
        self.in_force.borrow_mut().units =
            units.into_iter().filter(|(name, _)| !name.to_string_lossy().contains("/.")).collect();
    }

    fn read_zram(&self) {
        self.in_force.borrow_mut().zram = self.file("etc/systemd/zram-generator.conf");
    }

    fn read_rules(&self) {
        let names = ["etc/default/ufw", "etc/ufw/ufw.conf", "etc/ufw/user.rules", "etc/ufw/user6.rules"];
        self.in_force.borrow_mut().rules = names.iter().map(|name| self.file(name)).collect();
    }

    fn read_time_servers(&self) {
        self.in_force.borrow_mut().time_servers =
            self.file("etc/systemd/timesyncd.conf.d/50-provisioned.conf");
    }

    fn read_certificate(&self) {
        self.in_force.borrow_mut().certificate = self.file("var/lib/actionbooster/tls/server.crt");
    }

    /// Counts one effect; an error when the power is gone.
    fn effect(&self) -> io::Result<()> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(io::Error::other("the power is gone"));
        };
        self.left.set(left);
        self.effects.set(self.effects.get() + 1);
        Ok(())
    }
}

impl System for Failing {
    fn replace(&self, path: &Path, contents: &[u8], access: Access) -> io::Result<()> {
        if self.full.borrow().as_ref().is_some_and(|part| path.to_string_lossy().contains(part)) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.effect()?;
        // The first half of the effect: something is in the file beside.
        let name = format!(".{}.new", path.file_name().unwrap().to_string_lossy());
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(path.with_file_name(name), &contents[..contents.len() / 2])?;
        self.effect()?;
        self.machine.replace(path, contents, access)
    }

    fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        self.effect()?;
        self.machine.link(path, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.effect()?;
        self.machine.remove(path)
    }

    fn set_kernel(&self, key: &str, value: &str) -> io::Result<()> {
        self.effect()?;
        self.in_force.borrow_mut().kernel.insert(key.into(), value.into());
        Ok(())
    }

    fn run(&self, command: &[&str]) -> anyhow::Result<()> {
        self.effect()?;
        self.commands.borrow_mut().push(command.join(" "));
        match command {
            ["systemctl", "daemon-reload"] => self.read_units(),
            ["systemctl", "stop", "dev-zram0.swap", "systemd-zram-setup@zram0.service"] => {
                self.in_force.borrow_mut().zram = None;
            }
            ["systemctl", "start", "--no-block", "dev-zram0.swap"] => self.read_zram(),
            ["systemctl", "try-reload-or-restart", "--no-block", "nginx.service"] => {
                if self.started.get() {
                    self.read_certificate();
                }
            }
            ["systemctl", "try-restart", "--no-block", "systemd-timesyncd.service"] => {
                self.read_time_servers();
            }
            ["systemctl", "enable", .., "ssh.service"] => {
                let link = self.root.join(SSH_LINK);
                fs::create_dir_all(link.parent().unwrap())?;
                std::os::unix::fs::symlink("/usr/lib/systemd/system/ssh.service", link)?;
                self.read_units();
            }
            ["systemctl", "disable", .., "ssh.service"] => {
                fs::remove_file(self.root.join(SSH_LINK))?;
                self.read_units();
            }
            ["/usr/lib/ufw/ufw-init", "force-reload"] | ["iptables-restore" | "ip6tables-restore", ..] => {
                self.read_rules();
            }
            _ => panic!("an unknown command: {command:?}"),
        }
        Ok(())
    }

    fn is_running(&self) -> bool {
        true
    }

    fn kernel(&self, key: &str) -> Option<String> {
        self.in_force.borrow().kernel.get(key).cloned()
    }

    fn has_tpm(&self) -> bool {
        self.tpm.borrow().is_some()
    }

    fn seal(&self, name: &str, secret: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.effect()?;
        let tpm = self.tpm.borrow();
        let tpm = tpm.as_ref().ok_or_else(|| anyhow::anyhow!("there is no TPM"))?;
        Ok([tpm.as_bytes(), name.as_bytes(), secret].join(&b'|'))
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let tpm = self.tpm.borrow();
        let begin = format!("{}|{name}|", tpm.as_deref().unwrap_or_default());
        let secret = sealed.strip_prefix(begin.as_bytes()).filter(|_| tpm.is_some());
        Ok(secret.ok_or_else(|| anyhow::anyhow!("it was sealed by another TPM"))?.to_vec())
    }

    fn is_active(&self, unit: &str) -> bool {
        unit == "ufw.service" && self.started.get()
    }
}
