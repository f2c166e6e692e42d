//! Passwords of cameras as they lie on the disk: sealed, each for its camera and the place that it opens.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use actionbooster_cameras::Camera;
use actionbooster_cameras::address::{Address, HIDDEN};
use actionbooster_chassis::Paths;
use actionbooster_secrets::{BoxKey, Keyring, SealError, is_sealed};

/// What is told of a camera whose password cannot be read.
pub(super) const LOST: &str =
    "this box can no longer read the camera's password; write it again in the settings of the camera";

/// The program that the keys are for.
const PROGRAM: &str = "agent";

/// Seals and opens passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    keys: Keys,
}

/// Where the keys come from.
#[derive(Debug)]
enum Keys {
    /// The provisioner's.
    Given(PathBuf),
    /// Outside the appliance nobody gives any; a file of its own.
    Own(PathBuf),
}

impl Passwords {
    pub(super) fn new(paths: &Paths) -> Self {
        let given = paths.runtime().join("secrets").join(PROGRAM);
        let own = paths.state().join("cameras").join(".key");
        Self { keys: if paths.is_appliance() { Keys::Given(given) } else { Keys::Own(own) } }
    }

    /// The camera as it is kept.
    pub(super) fn sealed(&self, mut camera: Camera) -> io::Result<Camera> {
        let Some(address) = camera.source.url().and_then(Address::parse) else { return Ok(camera) };
        if !address.has_secrets() {
            return Ok(camera);
        }
        let keyring = self.keyring(true)?;
        let about = about(&camera.id, &address);
        let url = address
            .replaced(|secret| keyring.seal(&about, secret.as_bytes()))
            .map_err(|error: SealError| io::Error::other(format!("the password cannot be kept: {error}")))?;
        camera.source = camera.source.with_url(url);
        Ok(camera)
    }

    /// The camera with its passwords; `***` for what cannot be read. Those of earlier versions lie open.
    pub(super) fn opened(&self, mut camera: Camera) -> Camera {
        let Some(address) = camera.source.url().and_then(Address::parse) else { return camera };
        if !address.has_secrets() {
            return camera;
        }
        let keyring = self.keyring(false).unwrap_or_default();
        let about = about(&camera.id, &address);
        let Ok(url) = address.replaced(|secret| {
            if !is_sealed(secret) {
                return Ok::<_, std::convert::Infallible>(secret.to_owned());
            }
            let opened = keyring.open(&about, secret).map(String::from_utf8);
            Ok(match opened {
                Ok(Ok(password)) => password,
                Ok(Err(_)) => HIDDEN.to_owned(),
                Err(error) => {
                    tracing::warn!(camera = camera.id, "the password cannot be read: {error}");
                    HIDDEN.to_owned()
                }
            })
        });
        camera.source = camera.source.with_url(url);
        camera
    }

    /// Whether a kept camera has a password that is not sealed with the key of now.
    pub(super) fn is_outdated(&self, kept: &Camera) -> bool {
        let Some(address) = kept.source.url().and_then(Address::parse) else { return false };
        if !address.has_secrets() {
            return false;
        }
        let keyring = self.keyring(true).unwrap_or_default();
        let mut outdated = false;
        let Ok(_) = address.replaced(|secret| {
            outdated |= !keyring.is_current(secret);
            Ok::<_, std::convert::Infallible>(String::new())
        });
        outdated
    }

    fn keyring(&self, make: bool) -> io::Result<Keyring> {
        match &self.keys {
            Keys::Given(path) => Keyring::load(path),
            Keys::Own(path) => {
                let key = match std::fs::read(path) {
                    Ok(text) => BoxKey::read(&text).ok_or_else(|| {
                        io::Error::new(ErrorKind::InvalidData, format!("{} holds no key", path.display()))
                    })?,
                    Err(error) if error.kind() == ErrorKind::NotFound && make => make_key(path)?,
                    Err(error) => return Err(error),
                };
                Ok(Keyring::of(&[key], PROGRAM))
            }
        }
    }
}

/// Whether a password of the camera could not be read.
pub(super) fn is_lost(camera: &Camera) -> bool {
    camera.source.url().and_then(Address::parse).is_some_and(|address| address.is_hidden())
}

/// What a sealed password belongs to.
fn about(id: &str, address: &Address) -> String {
    format!("camera {id} {}", address.place())
}

fn make_key(path: &Path) -> io::Result<BoxKey> {
    let key = BoxKey::make().map_err(io::Error::other)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.text().as_bytes())?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use actionbooster_cameras::Source;

    use super::*;

    const URL: &str = "rtsp://owner:p@ss@10.0.0.2/live?token=Sparrow-3";

    fn camera(url: &str) -> Camera {
        Camera::new("door", Source::Rtsp { url: url.into() }, "shapes")
    }

    fn passwords(root: &Path) -> Passwords {
        Passwords::new(&Paths::below(root))
    }

    #[test]
    fn passwords_lie_sealed_and_come_back_for_the_same_camera_alone() {
        let root = tempfile::tempdir().expect("folder");
        let passwords = passwords(root.path());
        let sealed = passwords.sealed(camera(URL)).expect("sealed");
        let url = sealed.source.url().expect("an address");
        assert!(
            url.starts_with("rtsp://owner:sealed.") && !url.contains("p@ss") && !url.contains("Sparrow"),
            "{url}"
        );
        assert_eq!(passwords.opened(sealed.clone()), camera(URL));
        assert!(!passwords.is_outdated(&sealed) && passwords.is_outdated(&camera(URL)));
        for moved in [
            Camera { id: "yard".into(), ..sealed.clone() },
            camera(&url.replace("10.0.0.2", "10.0.0.3")),
            camera(&url.replace("owner", "other")),
        ] {
            let opened = passwords.opened(moved);
            assert!(is_lost(&opened), "{opened:?}");
        }
    }

    #[test]
    fn a_camera_without_a_password_needs_no_key() {
        let root = tempfile::tempdir().expect("folder");
        let passwords = passwords(root.path());
        for url in ["rtsp://10.0.0.2/live", "rtsp://owner@10.0.0.2/live?a=b"] {
            assert_eq!(passwords.sealed(camera(url)).expect("kept"), camera(url));
            assert_eq!(passwords.opened(camera(url)), camera(url));
            assert!(!passwords.is_outdated(&camera(url)));
        }
        assert!(!root.path().join("var").exists());
    }

    #[test]
    fn a_password_without_its_key_is_lost_and_an_open_one_is_not() {
        let root = tempfile::tempdir().expect("folder");
        let sealed = passwords(root.path()).sealed(camera(URL)).expect("sealed");
        let other = tempfile::tempdir().expect("folder");
        let opened = passwords(other.path()).opened(sealed);
        assert_eq!(opened.source.url(), Some("rtsp://owner:***@10.0.0.2/live?token=***"));
        assert!(is_lost(&opened));
        assert_eq!(passwords(other.path()).opened(camera(URL)), camera(URL));
    }
}
