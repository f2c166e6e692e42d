//! An emulated TPM for a machine. It keeps what it has sealed from one start to the next.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::builder::Builder;

/// Where QEMU reaches it, in the machine's folder.
pub const SOCKET: &str = "tpm.sock";
const STATE: &str = "tpm";
const LOG: &str = "tpm.log";
/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// The TPM of one machine.
pub struct Tpm {
    folder: PathBuf,
    child: Option<Child>,
}

impl Tpm {
    /// The one whose state is in a machine's `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), child: None }
    }

    /// Starts it. It ends when QEMU does.
    pub fn start(&mut self, builder: &Builder) -> Result<()> {
        if let Some(mut before) = self.child.take() {
            before.wait()?;
        }
        let socket = self.folder.join(SOCKET);
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        fs::create_dir_all(self.folder.join(STATE))?;
        let state = format!("dir={}", builder.inside(&self.folder.join(STATE))?.display());
        let control = format!("type=unixio,path={}", builder.inside(&socket)?.display());
        let emulator = ["setpriv", "--pdeathsig", "KILL", "--", "swtpm", "socket", "--tpm2", "--terminate"];
        let options = ["--tpmstate", &state, "--ctrl", &control];
        let log = File::create(self.folder.join(LOG))?;
        let mut command = builder.command(&[&emulator[..], &options].concat());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("cannot start the emulator of a TPM")?);
        let started = Instant::now();
        while !socket.exists() {
            let log = fs::read_to_string(self.folder.join(LOG)).unwrap_or_default();
            ensure!(started.elapsed() < LIMIT, "the emulator of a TPM does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Forgets everything, while it is off.
    pub fn clear(&self) -> Result<()> {
        fs::remove_dir_all(self.folder.join(STATE)).context("cannot clear the emulated TPM")
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have outlived a QEMU that never spoke to it.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
