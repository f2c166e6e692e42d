//! Virtual machines: the image on a disk of its own, in QEMU inside the builder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actionbooster_settings::claim_code;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::appliance::{Appliance, Ports};
use crate::builder::Builder;
use crate::progress::{human, step};

mod disk;
mod menu;
mod tpm;

pub use disk::{Bus, Disk};
pub use menu::Entry;
use tpm::Tpm;

/// Guest memory. Small on purpose: the image must be comfortable on a small board.
const MEMORY_MIB: u32 = 2048;
/// How long a kernel may take to boot under a KVM that works.
const KVM_PROBE_LIMIT: Duration = Duration::from_secs(20);
/// How long the first page may take; emulation on a busy machine is slow.
pub const BOOT_LIMIT: Duration = Duration::from_secs(420);
/// How long the guest may take to shut down.
const OFF_LIMIT: Duration = Duration::from_secs(180);

/// Address in a network that is not the guest's LAN, behind the second interface.
pub const FAR_ADDRESS: &str = "203.0.113.80";
const FAR_NETWORK: &str = "203.0.113.0/24";

/// Where the guest's serial console takes what is typed.
const KEYBOARD: &str = "keyboard.sock";
/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acceleration {
    Kvm,
    Emulation,
}

/// Ports on the loopback interface of this host that lead into the guest.
#[derive(Debug, Clone, Copy)]
pub struct Forwards {
    /// Portal and the plain page.
    pub web: Ports,
    /// SSH.
    pub ssh: u16,
}

impl Forwards {
    /// Consecutive ports from `first`.
    pub const fn from(first: u16) -> Self {
        Self { web: Ports { https: first, http: first + 1, worker: None }, ssh: first + 2 }
    }
}

/// A virtual machine with disks and firmware variables of its own.
pub struct Vm<'a> {
    builder: &'a Builder,
    folder: PathBuf,
    disks: Vec<Disk>,
    /// Which of the disks the firmware starts.
    started: usize,
    forwards: Forwards,
    /// Further ports of the host, with the guest's port behind each.
    probes: Vec<(u16, u16)>,
    acceleration: Acceleration,
    child: Option<Child>,
    /// Whether the battery of its clock is empty: then it starts in the year 2000.
    battery_is_empty: bool,
    tpm: Tpm,
    tpm_is_fitted: bool,
    boots: u32,
}

impl<'a> Vm<'a> {
    /// Makes a machine named `name` whose disk starts as a copy of `image` (a raw image below the cache).
    ///
    /// `kernel` is any bootable kernel; it shows whether KVM really works here.
    pub fn create(
        builder: &'a Builder,
        name: &str,
        image: &Path,
        kernel: &Path,
        forwards: Forwards,
    ) -> Result<Self> {
        let acceleration = acceleration(builder, kernel)?;
        let folder = builder.cache().join("vm").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let disk = Disk::over(builder, image, "raw", folder.join("disk.qcow2"), Bus::Virtio)?;
        let tpm = Tpm::new(&folder);
        let vm = Self {
            builder,
            folder,
            disks: vec![disk],
            started: 0,
            forwards,
            probes: Vec::new(),
            acceleration,
            child: None,
            battery_is_empty: false,
            tpm,
            tpm_is_fitted: false,
            boots: 0,
        };
        vm.forget_firmware_settings()?;
        Ok(vm)
    }

    /// Replaces the disks by `disks`, in the order in which the machine finds them, and has the firmware
    /// start the one at `started`. Takes effect at the next power-on.
    pub fn plug(&mut self, disks: Vec<Disk>, started: usize) {
        (self.disks, self.started) = (disks, started);
    }

    /// Makes the firmware's variables those of a new machine, which has started nothing yet.
    pub fn forget_firmware_settings(&self) -> Result<()> {
        self.builder.output(&["cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", &self.path("vars.fd")?]).map(drop)
    }

    /// Leads one more port of the host into the guest. Takes effect at the next power-on.
    pub fn forward(&mut self, host: u16, guest: u16) {
        self.probes.push((host, guest));
    }

    /// Puts its TPM in, or takes it out. Takes effect at the next power-on.
    pub fn fit_tpm(&mut self, fitted: bool) {
        self.tpm_is_fitted = fitted;
    }

    /// Makes its TPM one that never sealed anything, as on another machine.
    pub fn replace_tpm(&self) -> Result<()> {
        ensure!(self.child.is_none(), "the machine is on");
        self.tpm.clear()
    }

    /// Takes the battery of its clock away, or puts one in. Takes effect at the next power-on.
    pub fn empty_battery(&mut self, empty: bool) {
        self.battery_is_empty = empty;
    }

    /// The machine's own folder on the host.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ports it was made with.
    pub fn forwards(&self) -> Forwards {
        self.forwards
    }

    /// Presses the power button of a machine that is off.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the machine is already on");
        self.boots += 1;
        let log = File::create(self.folder.join("qemu.log"))?;
        if self.tpm_is_fitted {
            self.tpm.start(self.builder)?;
        }
        let mut command = self.builder.command(&self.arguments()?);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("cannot start QEMU")?);
        Ok(())
    }

    /// Pulls the plug: QEMU is killed at once, and nothing in the guest notices.
    pub fn cut_power(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the machine is off")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
        child.wait()?;
        Ok(())
    }

    /// Stops the guest as suddenly, but keeps all that it has written, flushed or not: for looking at what
    /// it wrote where.
    pub fn stop(&mut self) -> Result<()> {
        let child = self.child.as_ref().context("the machine is off")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        self.wait_off()
    }

    /// Waits until the guest has switched itself off.
    pub fn wait_off(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the machine is off")?;
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            if started.elapsed() > OFF_LIMIT {
                bail!(
                    "the guest did not switch off within {OFF_LIMIT:?}; its console ends with:\n{}",
                    self.console_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.child = None;
        Ok(())
    }

    /// Fails when QEMU has ended by itself.
    pub fn alive(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else { bail!("the machine is off") };
        if let Some(status) = child.try_wait()? {
            let log = fs::read_to_string(self.folder.join("qemu.log")).unwrap_or_default();
            bail!("QEMU ended ({status}): {log}\nconsole:\n{}", self.console_tail());
        }
        Ok(())
    }

    /// What the current boot has written to the serial console so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.console_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the serial console shows something for which `pick` finds a value.
    pub fn wait_console<T>(
        &mut self,
        limit: Duration,
        what: &str,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = pick(&self.console()) {
                return Ok(found);
            }
            self.alive()?;
            if started.elapsed() > limit {
                bail!(
                    "the console did not show {what} within {limit:?}; it ends with:\n{}",
                    self.console_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the portal answers.
    pub fn reach(&mut self) -> Result<Appliance<'a>> {
        let started = Instant::now();
        let (builder, ports, folder) = (self.builder, self.forwards.web, self.folder.clone());
        let outcome = Appliance::reach(builder, ports, &folder, BOOT_LIMIT, || self.alive());
        let appliance =
            outcome.with_context(|| format!("the console ends with:\n{}", self.console_tail()))?;
        eprintln!("  the portal answers ({})", human(started.elapsed()));
        Ok(appliance)
    }

    /// The claim code as the serial console shows it.
    pub fn claim_code(&mut self) -> Result<String> {
        self.wait_console(BOOT_LIMIT, "a claim code", find_claim_code)
    }

    /// Runs a command in the guest as its owner, over SSH with this private key, and returns what it printed.
    pub fn ssh(&self, key: &Path, script: &str) -> Result<String> {
        let key = self.builder.inside(key)?.display().to_string();
        let port = self.forwards.ssh.to_string();
        self.builder.output(&[
            "ssh",
            "-q",
            "-i",
            &key,
            "-p",
            &port,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=60",
            "owner@127.0.0.1",
            script,
        ])
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let (machine, cpu) = match self.acceleration {
            Acceleration::Kvm => ("kvm", "host"),
            Acceleration::Emulation => ("tcg,thread=multi,tb-size=512", "max"),
        };
        let mut forwards =
            vec![(self.forwards.web.https, 443), (self.forwards.web.http, 80), (self.forwards.ssh, 22)];
        forwards.extend(&self.probes);
        let forwards: String =
            forwards.iter().map(|(host, guest)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}")).collect();
        let console = self.builder.inside(&self.console_path())?.display().to_string();
        let mut argv: Vec<String> =
            ["setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-nodefaults", "-display", "none"]
                .map(str::to_owned)
                .into();
        let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
        add("-machine", "q35".into());
        add("-accel", machine.into());
        add("-cpu", cpu.into());
        add("-smp", "2".into());
        add("-m", MEMORY_MIB.to_string());
        let keyboard = self.path(KEYBOARD)?;
        add("-chardev", format!("socket,id=console,path={keyboard},server=on,wait=off,logfile={console}"));
        add("-serial", "chardev:console".into());
        add("-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd".into());
        add("-drive", format!("if=pflash,format=raw,file={}", self.path("vars.fd")?));
        if self.disks.iter().any(|disk| disk.bus == Bus::Usb) {
            add("-device", "qemu-xhci".into());
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let file = self.builder.inside(&disk.file)?.display().to_string();
            add("-drive", format!("if=none,id=disk{number},format=qcow2,cache=writeback,file={file}"));
            let order = if number == self.started { 1 } else { number + 2 };
            add("-device", format!("{},drive=disk{number},bootindex={order}", disk.device(number)));
        }
        if self.battery_is_empty {
            add("-rtc", "base=2000-01-01T00:00:00".into());
        }
        if self.tpm_is_fitted {
            add("-chardev", format!("socket,id=tpm,path={}", self.path(tpm::SOCKET)?));
            add("-tpmdev", "emulator,id=tpm0,chardev=tpm".into());
            add("-device", "tpm-crb,tpmdev=tpm0".into());
        }
        add("-device", "virtio-rng-pci".into());
        add("-device", "i6300esb".into());
        add("-netdev", format!("user,id=lan,restrict=on{forwards}"));
        add("-device", "virtio-net-pci,netdev=lan,romfile=".into());
        add(
            "-netdev",
            format!("user,id=far,net={FAR_NETWORK},restrict=on,guestfwd=tcp:{FAR_ADDRESS}:80-cmd:echo far"),
        );
        add("-device", "virtio-net-pci,netdev=far,romfile=".into());
        Ok(argv)
    }

    fn path(&self, name: &str) -> Result<String> {
        Ok(self.builder.inside(&self.folder.join(name))?.display().to_string())
    }

    fn console_path(&self) -> PathBuf {
        self.folder.join(format!("console-{}.log", self.boots))
    }

    fn console_tail(&self) -> String {
        let text = self.console();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Vm<'_> {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(cause) = self.cut_power()
        {
            eprintln!("  cannot stop QEMU: {cause:#}");
        }
    }
}

/// Decides once whether KVM works here, by booting a real kernel: a device node alone proves nothing.
fn acceleration(builder: &Builder, kernel: &Path) -> Result<Acceleration> {
    let verdict = builder.cache().join("kvm-verdict");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if let Ok(text) = fs::read_to_string(&verdict)
        && let Some(word) = text.strip_prefix(boot_id.trim())
    {
        return Ok(if word.trim() == "works" { Acceleration::Kvm } else { Acceleration::Emulation });
    }
    let works = Path::new("/dev/kvm").exists()
        && step("trying whether KVM boots a kernel here", || kvm_boots(builder, kernel))?;
    let word =
        if works { "works" } else { "does not work; QEMU will emulate, which is about ten times slower" };
    eprintln!("  KVM {word}");
    fs::write(&verdict, format!("{} {word}", boot_id.trim()))?;
    Ok(if works { Acceleration::Kvm } else { Acceleration::Emulation })
}

/// A kernel without a root file system gets as far as its panic, and `-no-reboot` ends QEMU there.
fn kvm_boots(builder: &Builder, kernel: &Path) -> Result<bool> {
    let serial = builder.cache().join("kvm-probe.log");
    let mut command: Command = builder.command(&[
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        "qemu-system-x86_64",
        "-nodefaults",
        "-display",
        "none",
        "-machine",
        "q35",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "512",
        "-no-reboot",
        "-kernel",
        &builder.inside(kernel)?.display().to_string(),
        "-append",
        "console=ttyS0 panic=-1 quiet",
        "-serial",
        &format!("file:{}", builder.inside(&serial)?.display()),
    ]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > KVM_PROBE_LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = fs::read(&serial).unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).contains("Unable to mount root fs"))
}

/// A claim code is shown in two groups.
fn find_claim_code(console: &str) -> Option<String> {
    console.split(|character: char| character.is_whitespace() || character.is_control()).find_map(|word| {
        let code = claim_code::normalise(word);
        (claim_code::is_code(&code) && claim_code::shown(&code) == word).then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::find_claim_code;

    #[test]
    fn a_claim_code_is_found_among_console_noise() {
        let cases = [
            ("[  1.2] x86-64 ABCD-EFG\r\nClaim code: K7PM-2XWQ\r\n", Some("K7PM-2XWQ")),
            ("ABCD-EF0H", None),
            ("AAAA-BBBB-CCCC", None),
            ("", None),
        ];
        for (console, expected) in cases {
            assert_eq!(find_claim_code(console).as_deref(), expected, "{console:?}");
        }
    }
}
