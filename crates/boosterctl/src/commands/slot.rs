//! `boosterctl slot …`: the slots of the box this runs on.

mod check;

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use actionbooster_migrations::Data;
use actionbooster_storage::atomic;
use actionbooster_updates as updates;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use updates::{AfterFailure, BootPartition, Check, Report, Slots};

use crate::arguments::{Slot, Wait};
use crate::client::Client;
use crate::errors::Usage;
use crate::table::{cell, pairs, show, table};

/// Between two attempts while the box starts.
const PAUSE: Duration = Duration::from_secs(2);
/// What a root file system begins with.
const SQUASHFS: &[u8; 4] = b"hsqs";

/// Runs one of the commands on slots.
pub async fn run(client: &Client, command: Option<Slot>, json: bool) -> Result<ExitCode> {
    let root = client.root().ok_or_else(|| Usage("slots are looked at on the box itself".into()))?;
    match command {
        None => show_slots(root, json),
        Some(Slot::Check(how)) => {
            let problems = settle(client, &how).await?;
            show(&json!({"ok": problems.is_empty(), "problems": problems}), json, verdict);
            Ok(exit(problems.is_empty()))
        }
        Some(Slot::Prove(how)) => prove(client, &RunningSlot::find(root)?, &how).await,
        Some(Slot::Release) => {
            let here = RunningSlot::find(root)?;
            here.partition.change(|slots| slots.release(here.running.other()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The box and the slot it runs.
struct RunningSlot {
    root: PathBuf,
    running: updates::Slot,
    partition: BootPartition,
}

impl RunningSlot {
    fn find(root: &Path) -> Result<Self> {
        let path = root.join("proc/cmdline");
        let line = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let running = updates::Slot::started(&line)
            .context("this machine was not started from a slot; run this on the box itself")?;
        Ok(Self { root: root.to_owned(), running, partition: BootPartition::below(root) })
    }

    /// Whether a system is in the other slot. It may be half of one: GRUB then finds no kernel.
    fn other_is_installed(&self) -> bool {
        let device = self.root.join("dev/actionbooster").join(self.running.other().label());
        let mut start = [0; SQUASHFS.len()];
        File::open(device).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *SQUASHFS
    }

    /// Puts the report where the monitor reads it.
    fn report(&self, check: Check, mended: Option<&String>, slots: Option<&Slots>) -> Result<Report> {
        let slots = slots.map_or_else(Vec::new, |slots| slots.states().into());
        let report = Report { running: self.running, check, mended: mended.cloned(), slots };
        let path = report_path(&self.root);
        let readable = |file: &File| file.set_permissions(Permissions::from_mode(0o644));
        atomic::write_private(&path, json!(report).to_string().as_bytes(), readable)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(report)
    }
}

fn report_path(root: &Path) -> PathBuf {
    root.join("run/actionbooster").join(Report::FILE)
}

/// Mends GRUB's environment, finds out whether the slot works, and does what follows.
async fn prove(client: &Client, here: &RunningSlot, how: &Wait) -> Result<ExitCode> {
    let mended = here.partition.mend(here.running, || here.other_is_installed());
    let mended = mended.inspect_err(|error| eprintln!("boosterctl: {error}")).unwrap_or_default();
    if let Some(damage) = &mended {
        eprintln!("boosterctl: GRUB's environment was mended: {damage}");
    }
    here.report(Check::Pending, mended.as_ref(), here.partition.read().ok().as_ref())?;
    let mut problems = settle(client, how).await?;
    // Read anew: much may have happened since.
    let outcome = if problems.is_empty() {
        keep_data(&here.root);
        here.partition.change(|slots| slots.mark_good(here.running))
    } else {
        here.partition.read()
    };
    let slots = outcome.map_err(|error| problems.push(error.to_string())).ok();
    let then = slots.as_ref().filter(|_| !problems.is_empty()).map(|slots| slots.after_failure(here.running));
    let check = if problems.is_empty() { Check::Passed } else { Check::Failed { problems, then } };
    let report = here.report(check, mended.as_ref(), slots.as_ref())?;
    if report.is_well() {
        println!("slot {} works and is kept", here.running);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("boosterctl: {}", report.detail());
    if then == Some(AfterFailure::Restart) {
        restart(&here.root)?;
    }
    Ok(ExitCode::FAILURE)
}

/// From now on the data is this version's: nobody goes back to what an older one left. That the copies
/// take space is all that follows when it fails.
fn keep_data(root: &Path) {
    let state = root.join("var/lib/actionbooster");
    if let Err(error) = Data::below(&state).settle() {
        eprintln!("boosterctl: {:#}", anyhow::Error::new(error));
    }
}

/// What does not work, once everything does or the time is over.
async fn settle(client: &Client, how: &Wait) -> Result<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(how.wait);
    loop {
        let problems = check::problems(client, how.portal).await?;
        if problems.is_empty() || Instant::now() + PAUSE > deadline {
            return Ok(problems);
        }
        sleep(PAUSE).await;
    }
}

/// Restarts the machine; a folder that is laid out like a box is none.
fn restart(root: &Path) -> Result<()> {
    if root == Path::new("/") {
        let status = Command::new("systemctl").arg("reboot").status().context("cannot start systemctl")?;
        ensure!(status.success(), "`systemctl reboot` failed: {status}");
    }
    Ok(())
}

fn show_slots(root: &Path, json: bool) -> Result<ExitCode> {
    let path = report_path(root);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            anyhow::bail!("nothing is known of slots: the box is starting, or this is not the box itself")
        }
        outcome => outcome.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let report: Report =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    show(&json!(report), json, |value| text(&report, value));
    Ok(exit(report.is_well()))
}

fn exit(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn verdict(report: &Value) -> String {
    if report["ok"] == true {
        "this slot works\n".into()
    } else {
        format!("FAILED: {}\n", cell(&report["problems"]))
    }
}

/// The slots in GRUB's order.
fn text(report: &Report, value: &Value) -> String {
    let row = |state: &Value| {
        let runs = if state["slot"] == value["running"] { "runs" } else { "" };
        vec![cell(&state["slot"]), runs.to_owned(), cell(&state["standing"]), cell(&state["tries_left"])]
    };
    let rows: Vec<_> = value["slots"].as_array().into_iter().flatten().map(row).collect();
    let facts = pairs(&[
        ("running", report.running.to_string()),
        ("works", cell(&value["check"]["state"])),
        ("note", report.detail()),
    ]);
    format!("{}\n{facts}", table(&["SLOT", "", "STANDING", "TRIES LEFT"], &rows))
}
