//! Files that are whole or not there, whatever happens while they are written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces a file by one rename; makes its folder if need be.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{:08x}", rand::random::<u32>()));
    let written = (|| {
        let mut file = File::create_new(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // It is hidden and small; `tidy` removes what cannot be removed now.
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_folder(folder)
}

/// Makes renames in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
