//! Browsers that the owner has logged in with: each carries a signed cookie that says so.
//!
//! The cookie opens nothing. It only keeps its browser apart from strangers while attempts are counted,
//! so it lives as long as browsers allow and outlives sessions and passwords. A reset of the owner makes
//! a new key, which ends them all.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use actionbooster_chassis::auth::cookie;
use actionbooster_storage::atomic;
use axum::http::HeaderMap;
use rand::Rng;
use ring::hmac;

/// Name of the cookie.
pub const DEVICE_COOKIE: &str = "booster_device";
/// What browsers keep at most, 400 days.
pub const DEVICE_COOKIE_AGE_S: i64 = 400 * 86_400;

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 16;

/// One browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId([u8; ID_BYTES]);

impl From<[u8; ID_BYTES]> for DeviceId {
    fn from(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }
}

impl DeviceId {
    fn random() -> Self {
        let mut bytes = [0; ID_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }
}

/// Signs and recognises the cookies.
pub struct Devices {
    path: PathBuf,
    key: RwLock<hmac::Key>,
}

impl Devices {
    /// Reads the key, or makes one. On a disk that cannot be written it lives until the next start.
    pub fn open(folder: &Path) -> Self {
        let path = folder.join("device.key");
        let kept = std::fs::read(&path).ok().filter(|bytes| bytes.len() == KEY_BYTES);
        let bytes = kept.unwrap_or_else(|| {
            let bytes = random_key();
            if let Err(error) = write(&path, &bytes) {
                tracing::warn!(%error, "browsers will be strangers after a restart: {} cannot be written", path.display());
            }
            bytes.to_vec()
        });
        Self { path, key: RwLock::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)) }
    }

    /// The browser that sent these headers, if it is one of ours.
    pub fn recognise(&self, headers: &HeaderMap) -> Option<DeviceId> {
        let (id, tag) = cookie(headers, DEVICE_COOKIE)?.split_once('.')?;
        let (id, tag) = (from_hex::<ID_BYTES>(id)?, from_hex::<KEY_BYTES>(tag)?);
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        // Compares in constant time.
        hmac::verify(&key, &id, &tag).ok()?;
        Some(DeviceId(id))
    }

    /// The value of the cookie for a browser; one that is new gets a name.
    pub fn cookie_of(&self, device: Option<DeviceId>) -> String {
        let DeviceId(id) = device.unwrap_or_else(DeviceId::random);
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        format!("{}.{}", to_hex(&id), to_hex(hmac::sign(&key, &id).as_ref()))
    }

    /// Forgets every browser.
    pub fn forget_all(&self) -> std::io::Result<()> {
        let bytes = random_key();
        write(&self.path, &bytes)?;
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(())
    }
}

fn random_key() -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Readable by the monitor alone.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    atomic::write_private(path, bytes, |_| Ok(()))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn carrying(value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("a=b; {DEVICE_COOKIE}={value}")).expect("header");
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn only_cookies_of_this_box_are_recognised_also_after_a_restart() {
        let (here, elsewhere) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let devices = Devices::open(here.path());
        let ours = devices.cookie_of(None);
        let device = devices.recognise(&carrying(&ours)).expect("ours");
        assert_eq!(devices.cookie_of(Some(device)), ours, "a browser keeps its name");
        assert_ne!(devices.cookie_of(None), ours, "another gets another");
        assert_eq!(Devices::open(here.path()).recognise(&carrying(&ours)), Some(device));
        let foreign = Devices::open(elsewhere.path()).cookie_of(Some(device));
        let (name, tag) = ours.split_once('.').expect("two parts");
        for forged in [
            foreign.as_str(),
            name,
            &format!("{name}."),
            &format!("{name}.{name}{name}"),
            &format!("{}.{tag}", "0".repeat(32)),
            &format!("{name}.{}", tag.replace(|digit: char| digit.is_ascii_digit(), "é")),
            "",
        ] {
            assert_eq!(devices.recognise(&carrying_bytes(forged)), None, "{forged:?}");
        }
    }

    fn carrying_bytes(value: &str) -> HeaderMap {
        let value = HeaderValue::from_bytes(format!("{DEVICE_COOKIE}={value}").as_bytes()).expect("header");
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn a_reset_forgets_every_browser() {
        let folder = tempfile::tempdir().expect("folder");
        let devices = Devices::open(folder.path());
        let before = devices.cookie_of(None);
        devices.forget_all().expect("writes");
        assert_eq!(devices.recognise(&carrying(&before)), None);
        assert_eq!(Devices::open(folder.path()).recognise(&carrying(&before)), None);
        let after = devices.cookie_of(None);
        assert!(Devices::open(folder.path()).recognise(&carrying(&after)).is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_written_does_not_stop_it() {
        let devices = Devices::open(Path::new("/proc/nowhere"));
        let ours = devices.cookie_of(None);
        assert!(devices.recognise(&carrying(&ours)).is_some());
    }
}
