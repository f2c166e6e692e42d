//! What was left alone.

use std::fs;
use std::time::{Duration, SystemTime};

use super::Incoming;
use super::error::{IncomingError, io_error};

/// What nobody went on with for so long is removed.
pub(super) const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

impl Incoming {
    /// Removes what nobody went on with for a week, and what was being removed when the power went.
    ///
    /// `age` tells how long something is there by its name and its date; the date is part of the name, so that
    /// what was gone on with is another thing.
    pub fn tidy(&self, mut age: impl FnMut(&str, SystemTime) -> Duration) -> Result<(), IncomingError> {
        self.store.empty_trash().map_err(io_error("cannot remove a deleted model"))?;
        let Ok(entries) = fs::read_dir(self.folder()) else { return Ok(()) };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(_lock) = self.lock(&name) else { continue };
            let path = entry.path();
            let touched = [path.clone()].into_iter().chain(
                fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok).map(|inner| inner.path()),
            );
            let newest = touched.filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max();
            let old = newest.is_some_and(|time| {
                let moment = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
                age(&format!("{name} {moment}"), time) > ABANDONED
            });
            if name.starts_with("trash-") || old {
                fs::remove_dir_all(&path).map_err(io_error("cannot remove an old upload"))?;
            }
        }
        Ok(())
    }
}
