//! The owner's wishes. The monitor writes them down; the provisioner, which may, makes them so.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::login::invalid;
use crate::system;
use crate::{Monitor, Shared};

const MOST_KEYS: usize = 32;
const LONGEST_KEY: usize = 8192;
const KEY_KINDS: [&str; 6] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
];

/// `settings.toml`. What other versions of the product wrote there is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Whether connections beyond the LAN may be opened.
    online: bool,
    /// Name of the box on the network.
    hostname: String,
    /// Public keys that may log in over SSH; none switches SSH off.
    ssh_keys: Vec<String>,
    #[serde(flatten)]
    others: toml::Table,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            online: false,
            hostname: "actionbooster".into(),
            ssh_keys: Vec::new(),
            others: toml::Table::new(),
        }
    }
}

/// Body of `PATCH /api/v1/settings`: what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    online: Option<bool>,
    hostname: Option<String>,
    ssh_keys: Option<Vec<String>>,
}

/// The settings as they are wished.
pub(crate) async fn show(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    let settings = read(&path(&monitor))?;
    Ok(Json(shown(&settings)))
}

/// Changes some settings and has the provisioner apply them.
pub(crate) async fn change(
    State(monitor): State<Shared>,
    Json(change): Json<Change>,
) -> Result<Json<Value>, Problem> {
    let path = path(&monitor);
    let settings = {
        // Two changes at once would otherwise lose one.
        let _turn = monitor.settings_turn.lock().await;
        let settings = applied(read(&path)?, change)?;
        write(&path, &settings)
            .map_err(|error| Problem::internal(format!("cannot write {}: {error}", path.display())))?;
        settings
    };
    tracing::info!(
        online = settings.online,
        hostname = settings.hostname,
        ssh_keys = settings.ssh_keys.len(),
        "settings changed"
    );
    let done = system::apply_settings().await.map_err(Problem::internal)?;
    let mut body = shown(&settings);
    body["applied"] = done.into();
    Ok(Json(body))
}

fn shown(settings: &Settings) -> Value {
    json!({"online": settings.online, "hostname": settings.hostname, "ssh_keys": settings.ssh_keys})
}

/// Where the owner's wishes are written down.
pub(crate) fn path(monitor: &Monitor) -> PathBuf {
    monitor.paths.state().join("settings/settings.toml")
}

/// Takes every SSH key out of the wishes and says how many there were. To be called with the turn held;
/// the provisioner makes it so.
pub(crate) fn forget_ssh_keys(path: &Path) -> Result<usize, Problem> {
    let mut settings = read(path)?;
    let count = settings.ssh_keys.len();
    if count > 0 {
        settings.ssh_keys.clear();
        write(path, &settings)
            .map_err(|error| Problem::internal(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(count)
}

fn applied(mut settings: Settings, change: Change) -> Result<Settings, Problem> {
    if let Some(online) = change.online {
        settings.online = online;
    }
    if let Some(hostname) = change.hostname {
        if !is_hostname(&hostname) {
            return Err(invalid(
                "hostname",
                "A name has 1 to 63 letters, digits and dashes, and neither begins nor ends with a dash.",
            ));
        }
        settings.hostname = hostname.to_ascii_lowercase();
    }
    if let Some(keys) = change.ssh_keys {
        if keys.len() > MOST_KEYS {
            return Err(invalid("ssh_keys", format!("At most {MOST_KEYS} keys are accepted.")));
        }
        let mut checked = Vec::new();
        for key in keys {
            let key = key.trim().to_owned();
            if !is_public_key(&key) {
                return Err(invalid(
                    "ssh_keys",
                    "This is not an OpenSSH public key. Paste one line of a file such as ~/.ssh/id_ed25519.pub.",
                ));
            }
            checked.push(key);
        }
        settings.ssh_keys = checked;
    }
    Ok(settings)
}

/// One label of RFC 1123.
fn is_hostname(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `kind base64 [comment]` on one line, without options: those could run commands.
fn is_public_key(key: &str) -> bool {
    let mut words = key.split(' ');
    let kind_is_known = words.next().is_some_and(|kind| KEY_KINDS.contains(&kind));
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let body_is_base64 = words.next().is_some_and(|body| body.len() >= 40 && body.bytes().all(base64));
    kind_is_known && body_is_base64 && key.len() <= LONGEST_KEY && !key.chars().any(char::is_control)
}

fn read(path: &Path) -> Result<Settings, Problem> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| {
            Problem::internal(format!("{} is damaged: {error}; remove it to start over", path.display()))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(Problem::internal(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Written beside, synced, renamed: a cut leaves the old or the new settings.
fn write(path: &Path, settings: &Settings) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let partial = path.with_extension("partial");
    let text = toml::to_string(settings).map_err(std::io::Error::other)?;
    let mut file = File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1aWx0IGZvciB0ZXN0cyBvbmx5LCBubyBzZWNyZXQ me@home";

    fn change(text: &str) -> Change {
        serde_json::from_str(text).expect("change")
    }

    #[test]
    fn names_and_keys_are_checked() {
        for (name, good) in [
            ("box", true),
            ("Box-1", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("a.b", false),
            ("ñ", false),
        ] {
            assert_eq!(is_hostname(name), good, "{name:?}");
        }
        let options = format!("command=\"sh\" {KEY}");
        let lines = format!("{KEY}\n{KEY}");
        for (key, good) in [
            (KEY, true),
            (options.as_str(), false),
            (lines.as_str(), false),
            ("ssh-ed25519 short", false),
            ("", false),
        ] {
            assert_eq!(is_public_key(key), good, "{key:?}");
        }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name_and_what_it_does_not_know() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("settings/settings.toml");
        let start: Settings = toml::from_str("hostname = \"a\"\n[cluster]\njoin = true\n").expect("parses");
        let changed = applied(start, change("{\"online\": true}")).expect("accepted");
        write(&path, &changed).expect("writes");
        let back = read(&path).expect("reads");
        assert_eq!((back.online, back.hostname.as_str()), (true, "a"));
        assert!(back.others.contains_key("cluster"));
    }
}
