//! The claim code and the marker that it is used up: two files shared with the provisioner.
//!
//! The provisioner writes a code only when neither file exists. The marker is made before the code
//! is removed, so a cut in between leaves a useless code and never an unowned, codeless box.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use actionbooster_settings::claim_code::{self, LENGTH, normalise};
use actionbooster_storage::atomic;

/// The files in the auth folder.
pub struct ClaimFiles {
    folder: PathBuf,
}

impl ClaimFiles {
    /// The files below this folder.
    pub fn below(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Whether `given` is the code. Lower case, spaces and dashes do not matter.
    pub fn matches(&self, given: &str) -> std::io::Result<bool> {
        let code = match std::fs::read_to_string(self.code_path()) {
            Ok(text) => normalise(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let given = normalise(given);
        if code.len() != LENGTH || given.len() != LENGTH {
            return Ok(false);
        }
        // Every byte is compared, so the time tells nothing.
        let difference = code.bytes().zip(given.bytes()).fold(0, |sum, (left, right)| sum | (left ^ right));
        Ok(difference == 0)
    }

    /// Whether the box is marked as claimed and has no code.
    pub fn is_used_up(&self) -> bool {
        self.marker_path().exists() && !self.code_path().exists()
    }

    /// Notes that the box has an owner and removes the code. Writes nothing where that is done.
    pub fn mark_claimed(&self) -> std::io::Result<()> {
        if self.is_used_up() {
            return Ok(());
        }
        atomic::write(&self.marker_path(), b"")?;
        atomic::remove(&self.code_path())
    }

    /// Writes a fresh code and takes the marker away. Returns the code.
    pub fn renew(&self) -> std::io::Result<String> {
        let code = claim_code::from_random(rand::random());
        atomic::write_private(&self.code_path(), code.as_bytes(), |_| Ok(()))?;
        atomic::remove(&self.marker_path())?;
        Ok(code)
    }

    fn code_path(&self) -> PathBuf {
        self.folder.join("claim-code")
    }

    fn marker_path(&self) -> PathBuf {
        self.folder.join("claimed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_accepted_however_it_is_typed_and_only_once() {
        let folder = tempfile::tempdir().expect("folder");
        let files = ClaimFiles::below(folder.path());
        assert!(!files.matches("").expect("reads"), "without a file nothing matches");
        std::fs::write(folder.path().join("claim-code"), "K7PM2XWQ\n").expect("writes");
        for (given, right) in [
            ("K7PM2XWQ", true),
            ("k7pm-2xwq", true),
            (" K7PM 2XWQ ", true),
            ("K7PM2XWR", false),
            ("K7PM2XW", false),
            ("", false),
        ] {
            assert_eq!(files.matches(given).expect("reads"), right, "{given:?}");
        }
        assert!(!files.is_used_up());
        files.mark_claimed().expect("marks");
        assert!(files.is_used_up());
        assert!(!files.matches("K7PM2XWQ").expect("reads"));
        let fresh = files.renew().expect("renews");
        assert!(files.matches(&fresh).expect("reads"));
        assert!(!folder.path().join("claimed").exists());
    }
}
