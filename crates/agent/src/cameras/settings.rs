//! The cameras' settings on the disk: `<camera>/camera.json` each.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use actionbooster_cameras::Camera;

const FILE: &str = "camera.json";

/// Reads and writes settings. Blocks, for small files.
#[derive(Debug)]
pub(super) struct Settings {
    root: PathBuf,
}

impl Settings {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Every camera that can be read, by id.
    pub(super) fn all(&self) -> Vec<Camera> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let ids = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
        let mut cameras: Vec<Camera> = ids.filter_map(|id| self.get(&id)).collect();
        cameras.sort_by(|left, right| left.id.cmp(&right.id));
        cameras
    }

    /// The camera of this id.
    pub(super) fn get(&self, id: &str) -> Option<Camera> {
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
            camera.check().map_err(|error| error.to_string())?;
            if camera.id == id { Ok(camera) } else { Err(format!("it says its id is {}", camera.id)) }
        });
        read.inspect_err(|error| tracing::error!("{} is no camera: {error}", path.display())).ok()
    }

    /// Keeps a camera's settings: whole, or the ones before.
    pub(super) fn keep(&self, camera: &Camera) -> io::Result<()> {
        let folder = self.root.join(&camera.id);
        std::fs::create_dir_all(&folder)?;
        let (path, beside) = (folder.join(FILE), folder.join("camera.json.new"));
        let text = serde_json::to_vec_pretty(camera)?;
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

/// The settings may hold the password of a camera: they are nobody else's to read.
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

    use super::*;

    #[test]
    fn cameras_are_kept_changed_and_forgotten() {
        let root = tempfile::tempdir().expect("folder");
        let settings = Settings::new(root.path().into());
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
