//! The box's key, with which its programs seal the secrets that they keep.
//!
//! It lies in `secrets/<number>-<id>.tpm`, sealed by the TPM, or in `secrets/<number>-<id>.key` on a box
//! without one: then whoever holds the disk can read it. A key that the TPM does not open is left where it
//! is, because a TPM that was switched off or replaced may come back; a new one then takes its place, with
//! a higher number. At every boot the programs get keys of their own, in memory; where the whole disk is
//! encrypted, the monitor gets the recovery key, to show it to the owner.

use std::fs;
use std::path::{Path, PathBuf};

use actionbooster_secrets::{BoxKey, Keyring};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Context, current};
use crate::facts::data_is_encrypted;
use crate::layout::Layout;
use crate::system::Access;

/// Under which the TPM seals it.
const NAME: &str = "actionbooster-box-key";
/// Programs that keep secrets, and the users they run as.
const PROGRAMS: [(&str, Option<&str>); 2] = [("provisioner", None), ("agent", Some("booster-agent"))];
/// Opens an encrypted disk where its TPM does not.
const RECOVERY_KEY: &str = "recovery-key";
/// Keys at most: a TPM that forgets at every boot must not fill the folder.
const MOST: usize = 8;

/// What protects the secrets on the disk, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// What the key is bound to.
    pub bound_to: BoundTo,
    /// Keys that the TPM does not open.
    pub closed: usize,
}

/// What a key is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoundTo {
    /// The TPM of this machine: a stolen disk gives nothing.
    Tpm,
    /// Nothing: it lies on the disk.
    Disk,
}

/// A key's file.
struct Kept {
    path: PathBuf,
    number: u32,
    id: String,
    bound_to: BoundTo,
}

/// Makes sure that there is a key, and that every program has its own of it.
pub fn ensure(context: &Context) -> Result<()> {
    let kept = list(context.layout);
    if !is_handed_out(&kept, context) {
        // What a cut left, and whatever else is no key.
        for path in paths(context.layout).filter(|path| read_name(path).is_none()) {
            context.ensure_absent(&path)?;
        }
        let keys = open(&kept, context)?;
        for (program, owner) in PROGRAMS {
            let access = Access { mode: 0o400, owner };
            let text = Keyring::of(&keys, program).text();
            context.ensure(&place(context.layout, program), text.as_bytes(), access)?;
        }
        context.set_keyring(Keyring::of(&keys, PROGRAMS[0].0));
    }
    hand_out_recovery_key(context)
}

/// The initrd makes it, and keeps it within the partition that it opens.
fn hand_out_recovery_key(context: &Context) -> Result<()> {
    let place = place(context.layout, RECOVERY_KEY);
    match current(&context.layout.at("data").join(RECOVERY_KEY)) {
        Some(key) if data_is_encrypted(context.layout) => {
            context.ensure(&place, &key, Access { mode: 0o400, owner: Some("booster-monitor") }).map(drop)
        }
        _ => context.ensure_absent(&place).map(drop),
    }
}

/// This program's own keys; none before they were made.
pub fn keyring(layout: &Layout) -> Keyring {
    Keyring::load(&place(layout, PROGRAMS[0].0)).unwrap_or_default()
}

/// Whether a key that cannot be used now may come back: a TPM has sealed it.
pub fn may_come_back(id: &str, layout: &Layout) -> bool {
    list(layout).iter().any(|kept| kept.id == id && kept.bound_to == BoundTo::Tpm)
}

/// What protects the secrets, if there is a key.
pub fn describe(layout: &Layout) -> Option<Secrets> {
    let keyring = keyring(layout);
    let ids: Vec<&str> = keyring.ids().collect();
    let kept = list(layout);
    let sealing = kept.iter().find(|kept| Some(&kept.id.as_str()) == ids.first())?;
    let closed = kept.iter().filter(|kept| !ids.contains(&kept.id.as_str())).count();
    Some(Secrets { bound_to: sealing.bound_to, closed })
}

/// Whether the programs have got theirs since the system started.
fn is_handed_out(kept: &[Kept], context: &Context) -> bool {
    let sealing = keyring(context.layout).ids().next().map(str::to_owned);
    kept.iter().any(|kept| Some(&kept.id) == sealing.as_ref())
        && PROGRAMS.iter().all(|(program, _)| Keyring::load(&place(context.layout, program)).is_ok())
}

/// The keys that can be opened, the newest first; a new one where there is none.
fn open(kept: &[Kept], context: &Context) -> Result<Vec<BoxKey>> {
    let tpm = context.system.has_tpm();
    let mut keys: Vec<BoxKey> = Vec::new();
    for kept in kept {
        // A cut came between sealing it and removing it.
        if keys.iter().any(|key| key.id() == kept.id) {
            continue;
        }
        let Some(text) = current(&kept.path) else { continue };
        let key = match kept.bound_to {
            BoundTo::Tpm => context.system.unseal(NAME, &text).map(|text| BoxKey::read(&text)),
            BoundTo::Disk => Ok(BoxKey::read(&text)),
        };
        match key {
            Ok(Some(key)) if key.id() == kept.id => {
                if tpm && kept.bound_to == BoundTo::Disk {
                    // A TPM that fails leaves the key where it is.
                    match keep(&key, kept.number, true, context) {
                        Ok(()) => drop(context.ensure_absent(&kept.path)?),
                        Err(error) => context.note(format!("the key stays on the disk: {error:#}")),
                    }
                }
                keys.push(key);
            }
            // Nothing will ever be opened with it.
            Ok(_) => drop(context.ensure_absent(&kept.path)?),
            Err(error) => context.note(format!("the TPM does not open the key {}: {error:#}", kept.id)),
        }
    }
    if keys.is_empty() {
        let number = kept.first().map_or(1, |newest| newest.number.saturating_add(1));
        let key = BoxKey::make()?;
        if let Err(error) = keep(&key, number, tpm, context) {
            if !tpm {
                return Err(error);
            }
            context.note(format!("the TPM cannot be used: {error:#}"));
            keep(&key, number, false, context)?;
        }
        keys.push(key);
        for old in kept.iter().skip(MOST - 1) {
            context.ensure_absent(&old.path)?;
        }
    }
    Ok(keys)
}

fn keep(key: &BoxKey, number: u32, tpm: bool, context: &Context) -> Result<()> {
    let (ending, text) = if tpm {
        ("tpm", context.system.seal(NAME, key.text().as_bytes()).context("the TPM does not seal")?)
    } else {
        ("key", key.text().into_bytes())
    };
    let path = folder(context.layout).join(format!("{number}-{}.{ending}", key.id()));
    context.replace(&path, &text, Access::SECRET)
}

/// The keys' files, the newest first.
fn list(layout: &Layout) -> Vec<Kept> {
    let mut kept: Vec<Kept> = paths(layout).filter_map(|path| read_name(&path)).collect();
    kept.sort_by(|left, right| right.number.cmp(&left.number).then_with(|| left.path.cmp(&right.path)));
    kept
}

fn paths(layout: &Layout) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder(layout)).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn read_name(path: &Path) -> Option<Kept> {
    let bound_to = match path.extension()?.to_str()? {
        "tpm" => BoundTo::Tpm,
        "key" => BoundTo::Disk,
        _ => return None,
    };
    let (number, id) = path.file_stem()?.to_str()?.split_once('-')?;
    Some(Kept { path: path.to_path_buf(), number: number.parse().ok()?, id: id.to_owned(), bound_to })
}

fn folder(layout: &Layout) -> PathBuf {
    layout.state("secrets")
}

/// Where a program finds its keys.
fn place(layout: &Layout, program: &str) -> PathBuf {
    layout.run("secrets").join(program)
}
