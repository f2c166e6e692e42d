//! The cameras' settings on the disk: `<camera>/camera.json` each.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use actionbooster_cameras::Camera;

use super::passwords::{Passwords, is_lost};

const FILE: &str = "camera.json";

/// Reads and writes settings. Blocks, for small files.
#[derive(Debug)]
pub(super) struct Settings {
    root: PathBuf,
    passwords: Passwords,
}

impl Settings {
    pub(super) const fn new(root: PathBuf, passwords: Passwords) -> Self {
        Self { root, passwords }
    }

    /// Seals the passwords that an earlier version kept open, or that another key sealed.
    pub(super) fn seal(&self) {
        for kept in self.ids().iter().filter_map(|id| self.kept(id)) {
            let camera = self.passwords.opened(kept.clone());
            if is_lost(&camera) || !self.passwords.is_outdated(&kept) {
                continue;
            }
            if let Err(error) = self.keep(&camera) {
                tracing::error!(camera = camera.id, "the camera's password is not sealed: {error}");
            }
        }
    }

    /// Every camera that can be read, by id.
    pub(super) fn all(&self) -> Vec<Camera> {
        self.ids().iter().filter_map(|id| self.get(id)).collect()
    }

    /// The camera of this id. A password that cannot be read is `***` in it.
    pub(super) fn get(&self, id: &str) -> Option<Camera> {
        let camera = self.passwords.opened(self.kept(id)?);
        let checked = camera.check();
        checked.inspect_err(|error| tracing::error!("{id} is no camera: {error}")).ok().map(|()| camera)
    }

    fn ids(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        let mut ids: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        ids.sort_unstable();
        ids
    }

    /// A camera as it is kept.
    fn kept(&self, id: &str) -> Option<Camera> {
        // Ids come from addresses.
        let plain = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if id.is_empty() || !plain {
            return None;
        }
        let path = self.root.join(id).join(FILE);
        let text = match std::fs::read(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return None;
            }
            text => text,
        };
        let read = text.map_err(|error| error.to_string()).and_then(|text| {
            let camera: Camera = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            if camera.id == id { Ok(camera) } else { Err(format!("it says its id is {}", camera.id)) }
        });
        read.inspect_err(|error| tracing::error!("{} is no camera: {error}", path.display())).ok()
    }

    /// Keeps a camera's settings: whole, or the ones before.
    pub(super) fn keep(&self, camera: &Camera) -> io::Result<()> {
        let folder = self.root.join(&camera.id);
        std::fs::create_dir_all(&folder)?;
        let (path, beside) = (folder.join(FILE), folder.join("camera.json.new"));
        let text = serde_json::to_vec_pretty(&self.passwords.sealed(camera.clone())?)?;
        let kept = write_whole(&beside, &text).and_then(|()| std::fs::rename(&beside, &path));
        if kept.is_err() {
            // Half a file, and the folder of a camera that is none; one with something in it stays.
            let _ = std::fs::remove_file(&beside);
            let _ = std::fs::remove_dir(&folder);
        }
        kept.and_then(|()| std::fs::File::open(&folder)?.sync_all())
    }

    /// Forgets a camera. Its sessions stay.
    pub(super) fn forget(&self, id: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(id).join(FILE))
    }
}

/// The settings may hold the password of a camera, sealed: they are still nobody else's to read.
fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use actionbooster_cameras::Source;
    use actionbooster_chassis::Paths;

    use super::*;

    fn settings(root: &Path) -> Settings {
        Settings::new(root.into(), Passwords::new(&Paths::below(root)))
    }

    #[test]
    fn passwords_are_sealed_on_the_disk_also_those_of_earlier_versions() {
        let root = tempfile::tempdir().expect("folder");
        let settings = settings(root.path());
        let source = Source::Rtsp { url: "rtsp://owner:secret@10.0.0.2/live".into() };
        let camera = Camera::new("door", source, "shapes");
        let text = || std::fs::read_to_string(root.path().join("door/camera.json")).expect("kept");
        settings.keep(&camera).expect("kept");
        assert!(text().contains("owner:sealed.") && !text().contains("secret"), "{}", text());
        assert_eq!(settings.get("door"), Some(camera.clone()));
        let open = serde_json::to_string(&camera).expect("text");
        std::fs::write(root.path().join("door/camera.json"), open).expect("written");
        assert_eq!(settings.get("door"), Some(camera.clone()));
        settings.seal();
        assert!(text().contains("owner:sealed.") && !text().contains("secret"), "{}", text());
        assert_eq!(settings.get("door"), Some(camera));
        let before = text();
        settings.seal();
        assert_eq!(text(), before, "sealed again for nothing");
    }

    #[test]
    fn cameras_are_kept_changed_and_forgotten() {
        let root = tempfile::tempdir().expect("folder");
        let settings = settings(root.path());
        assert!(settings.all().is_empty());
        let source = Source::Folder { path: "/pictures".into(), repeat: true };
        let mut camera = Camera::new("door", source, "shapes");
        settings.keep(&camera).expect("kept");
        camera.threshold = 0.5;
        settings.keep(&camera).expect("changed");
        assert_eq!(settings.all(), [camera]);
        // One that somebody damaged does not hide the others.
        std::fs::create_dir(root.path().join("yard")).expect("folder");
        std::fs::write(root.path().join("yard/camera.json"), "{\"id\":").expect("written");
        assert_eq!(settings.all().len(), 1);
        for id in ["", "..", "door/../door", "Door", "gate"] {
            assert!(settings.get(id).is_none(), "{id}");
        }
        settings.forget("door").expect("forgotten");
        assert!(settings.all().is_empty());
    }
}
