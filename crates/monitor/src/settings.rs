//! The owner's wishes. The monitor writes them down; the provisioner, which may, makes them so.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use actionbooster_chassis::{Json, Paths, Problem};
use actionbooster_settings::{Change, Fault, Problem as Wrong, PublicKey, Settings, TimeZoneError};
use actionbooster_storage::atomic;
use axum::extract::State;
use serde_json::{Value, json};

use crate::login::invalid;
use crate::{Shared, reports, system};

/// The settings as they are wished.
pub(crate) async fn show(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    let (settings, faults) = read(&monitor.paths)?;
    Ok(Json(shown(&settings, &faults, &reports::network(&monitor))))
}

/// Changes some settings and has the provisioner apply them.
pub(crate) async fn change(
    State(monitor): State<Shared>,
    Json(change): Json<Change>,
) -> Result<Json<Value>, Problem> {
    let settings = {
        // Two changes at once would otherwise lose one.
        let _lock = monitor.settings_lock.lock().await;
        // What could not be read is written down as it is used, so a change mends the file.
        let (settings, _) = read(&monitor.paths)?;
        let settings = settings.changed(change).map_err(|fault| refused(&fault))?;
        check_zone(&settings, &monitor.paths)?;
        write(&path(&monitor.paths), &settings)?;
        settings
    };
    tracing::info!(
        online = settings.online,
        hostname = settings.hostname.as_ref().map(ToString::to_string),
        time_zone = settings.time_zone.as_str(),
        ssh_keys = settings.ssh_keys.len(),
        "settings changed"
    );
    let done = system::apply_settings(&monitor.paths).await.map_err(Problem::internal)?;
    let mut body = shown(&settings, &[], &reports::network(&monitor));
    body["applied"] = done.into();
    Ok(Json(body))
}

/// Takes every SSH key out of the wishes and says how many there were. To be called with the turn held;
/// the provisioner makes it so.
pub(crate) fn forget_ssh_keys(paths: &Paths) -> Result<usize, Problem> {
    let (mut settings, _) = read(paths)?;
    let count = settings.ssh_keys.len();
    if count > 0 {
        settings.ssh_keys.clear();
        write(&path(paths), &settings)?;
    }
    Ok(count)
}

/// The settings as they are used, and what in the file cannot be.
pub(crate) fn read(paths: &Paths) -> Result<(Settings, Vec<Fault>), Problem> {
    let last_good = || {
        // A copy that the provisioner makes; without one the defaults are all there is.
        let path = paths.state().join("provisioner/settings.last-good.toml");
        Settings::read(&std::fs::read_to_string(path).unwrap_or_default(), &Settings::default()).0
    };
    let path = path(paths);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Settings::read(&String::from_utf8_lossy(&bytes), &last_good())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((Settings::default(), Vec::new())),
        Err(error) => Err(Problem::internal(format!("cannot read {}: {error}", path.display()))),
    }
}

fn shown(settings: &Settings, faults: &[Fault], network: &Value) -> Value {
    let keys: Vec<&str> = settings.ssh_keys.iter().map(PublicKey::as_str).collect();
    let hostname =
        settings.hostname.as_ref().map_or_else(|| network["hostname"].clone(), |name| name.as_str().into());
    json!({
        "online": settings.online,
        "hostname": hostname,
        "mdns_name": network["mdns_name"],
        "taken_name": network["taken_name"],
        "time_zone": settings.time_zone.as_str(),
        "ssh_keys": keys,
        "faults": faults.iter().map(fault).collect::<Vec<_>>(),
    })
}

fn fault(fault: &Fault) -> Value {
    json!({"field": fault.field, "detail": fault.problem.to_string()})
}

fn refused(fault: &Fault) -> Problem {
    let position = fault.field.strip_prefix("ssh_keys[").and_then(|rest| rest.strip_suffix(']'));
    let detail = match position.and_then(|index| index.parse::<usize>().ok()) {
        Some(index) => format!("Key {}: {}", index + 1, fault.problem),
        None => fault.problem.to_string(),
    };
    invalid(fault.setting(), detail)
}

/// A zone of the right shape may be none that this box knows.
fn check_zone(settings: &Settings, paths: &Paths) -> Result<(), Problem> {
    let database = paths.root().join("usr/share/zoneinfo");
    if settings.time_zone.is_known(&database) || !database.is_dir() {
        return Ok(());
    }
    Err(refused(&Fault::new("time_zone", Wrong::TimeZone(TimeZoneError::Unknown))))
}

fn path(paths: &Paths) -> PathBuf {
    paths.state().join("settings/settings.toml")
}

/// A cut leaves the old or the new settings.
fn write(path: &Path, settings: &Settings) -> Result<(), Problem> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
        .and_then(|()| atomic::write(path, settings.to_toml().as_bytes()))
        .map_err(|error| Problem::internal(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_it_does_not_name_and_mends_what_is_damaged() {
        let root = tempfile::tempdir().expect("folder");
        let paths = Paths::below(root.path());
        let file = path(&paths);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, "hostname = \"kitchen\"\nonline = 3\n[cluster]\nfuture = true\n")
            .expect("written");
        let (settings, faults) = read(&paths).expect("reads");
        assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["online"]);
        let change = serde_json::from_str("{\"time_zone\": \"Europe/Madrid\"}").expect("a change");
        write(&file, &settings.changed(change).expect("accepted")).expect("writes");
        let (settings, faults) = read(&paths).expect("reads");
        assert_eq!((faults, settings.online), (vec![], false));
        assert_eq!(settings.hostname.map(|name| name.to_string()).as_deref(), Some("kitchen"));
        assert!(std::fs::read_to_string(&file).expect("reads").contains("future = true"));
    }

    #[test]
    fn the_last_good_settings_stand_in_for_a_damaged_file() {
        let root = tempfile::tempdir().expect("folder");
        let paths = Paths::below(root.path());
        for (name, bytes) in [
            ("settings/settings.toml", &b"hostname = \xff"[..]),
            ("provisioner/settings.last-good.toml", b"hostname = \"kitchen\"\nonline = true\n"),
        ] {
            let path = paths.state().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        let (settings, faults) = read(&paths).expect("reads");
        let shown = shown(&settings, &faults, &Value::Null);
        assert_eq!((&shown["hostname"], &shown["online"]), (&json!("kitchen"), &json!(false)));
        assert_eq!(shown["faults"][0]["field"], "settings.toml");
    }

    #[test]
    fn a_refused_key_is_counted_as_people_do() {
        let problem = refused(&Fault::new("ssh_keys[1]", Wrong::TooMany(2)));
        let text = format!("{problem:?}");
        assert!(text.contains("Key 2: at most 2 are accepted") && text.contains("\"ssh_keys\""), "{text}");
    }
}
