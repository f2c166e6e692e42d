//! The folder of authorities: one file for each, with its key and its certificate, sealed with the box's key.
//!
//! Both in one file, because no cut may come between a key and its certificate. One that was sealed with a
//! key that a TPM does not open now is left where it is: that key may come back.

use std::fs;
use std::path::{Path, PathBuf};

use actionbooster_secrets::{OpenError, is_sealed};
use anyhow::{Context as _, Result};

use super::secrets::may_come_back;
use super::{Context, current};
use crate::system::Access;
use crate::tls::{Authority, Key, Root, Rotation};

/// How the first versions kept the one authority, which had no limits: its key, and what is handed out.
const FIRST_KEY: &str = "ca.key";
/// Handed out: the authority that signs, and the next one where there is one.
pub const HANDED_OUT: &str = "ca.crt";
/// Handed out: the next one alone.
pub const NEXT: &str = "ca-next.crt";

/// The authorities for this moment, as files hold them.
pub fn ensure(own_names: &[String], context: &Context) -> Result<Rotation> {
    let folder = context.layout.state("tls");
    let files = folder.join("authorities");
    adopt(&folder, &files, context)?;
    let Found { authorities, closed } = read(&files, own_names, context)?;
    let settled = Rotation::settle(authorities, own_names, context.now)?;
    let all = || [&settled.signer].into_iter().chain(&settled.next).chain(&settled.kept);
    for authority in all() {
        keep(&place(&files, authority), authority, context)?;
    }
    let mut wanted: Vec<PathBuf> = all().map(|authority| place(&files, authority)).collect();
    wanted.extend(closed);
    for path in list(&files).into_iter().filter(|path| !wanted.contains(path)) {
        context.ensure_absent(&path)?;
    }
    let next = settled.next.as_ref().map(|next| next.root().pem());
    let both = settled.signer.root().pem().to_owned() + next.unwrap_or_default();
    context.ensure(&folder.join(HANDED_OUT), both.as_bytes(), Access::PUBLIC)?;
    match next {
        Some(next) => context.ensure(&folder.join(NEXT), next.as_bytes(), Access::PUBLIC)?,
        None => context.ensure_absent(&folder.join(NEXT))?,
    };
    Ok(settled)
}

/// Takes over the authority of a first version, whose key lay beside its certificate.
fn adopt(folder: &Path, files: &Path, context: &Context) -> Result<()> {
    let text = |name: &str| current(&folder.join(name)).and_then(|text| String::from_utf8(text).ok());
    let first = text(FIRST_KEY).and_then(|key| {
        let root = Root::read_all(&text(HANDED_OUT)?).into_iter().next()?;
        Authority::new(Key::read(&key)?, root).ok()
    });
    if let Some(first) = first {
        keep(&place(files, &first), &first, context)?;
    }
    context.ensure_absent(&folder.join(FIRST_KEY)).map(drop)
}

/// Seals an authority into its file, unless that holds it already.
fn keep(path: &Path, authority: &Authority, context: &Context) -> Result<()> {
    let keyring = context.keyring();
    let (about, text) = (about(path), authority.text());
    let holds = |sealed: &str| {
        keyring.is_current(sealed) && keyring.open(&about, sealed).is_ok_and(|kept| kept == text.as_bytes())
    };
    let kept = current(path).and_then(|kept| String::from_utf8(kept).ok());
    if kept.is_some_and(|kept| holds(kept.trim_end())) {
        return Ok(());
    }
    let sealed = keyring.seal(&about, text.as_bytes()).context("the authority cannot be kept")?;
    context.replace(path, (sealed + "\n").as_bytes(), Access::SECRET)
}

/// What is in the folder.
#[derive(Default)]
struct Found {
    authorities: Vec<Authority>,
    /// Sealed with a key that may come back.
    closed: Vec<PathBuf>,
}

/// Reads the folder. A key whose certificate is damaged gets another: to devices it is the same authority.
fn read(files: &Path, own_names: &[String], context: &Context) -> Result<Found> {
    let keyring = context.keyring();
    let mut found = Found::default();
    for path in list(files) {
        let Some(mut text) = current(&path).and_then(|text| String::from_utf8(text).ok()) else { continue };
        // Those of earlier versions are not sealed.
        if is_sealed(&text) {
            match keyring.open(&about(&path), text.trim_end()).map(String::from_utf8) {
                Ok(Ok(opened)) => text = opened,
                Err(OpenError::UnknownKey(id)) if may_come_back(&id, context.layout) => {
                    found.closed.push(path);
                    continue;
                }
                Ok(Err(_)) | Err(_) => continue,
            }
        }
        let Some(key) = Key::read(&text) else { continue };
        let root = Root::read_all(&text).into_iter().find(|root| root.is_of(&key));
        found.authorities.push(match root {
            Some(root) => Authority::new(key, root)?,
            None => Authority::make(key, own_names, context.now)?,
        });
    }
    Ok(found)
}

/// What a sealed file belongs to.
fn about(path: &Path) -> String {
    format!("authority {}", path.file_stem().unwrap_or_default().display())
}

fn place(files: &Path, authority: &Authority) -> PathBuf {
    files.join(format!("{}.pem", authority.short()))
}

/// Everything in the folder, with what a cut may have left there.
fn list(files: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(files).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
