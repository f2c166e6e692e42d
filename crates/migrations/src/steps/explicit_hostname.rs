//! Version 2: a box without a name of its owner's is called after its machine id, so that two of them
//! never share a name. A box from before keeps the name under which its owner finds it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::Step;

const SETTINGS: &str = "settings/settings.toml";
const FIELD: &str = "hostname";
/// The default of version 1.
const NAME: &str = "actionbooster";

pub const STEP: Step =
    Step { name: "the name of the box is written down", touches: |_| Ok(vec![SETTINGS.into()]), up, down };

fn up(state: &Path) -> io::Result<()> {
    // A file that cannot be read is the owner's to mend; version 1 used the default name for it too.
    let Some(mut settings) = read(state)? else { return Ok(()) };
    if settings.contains_key(FIELD) {
        return Ok(());
    }
    settings.insert(FIELD.into(), Value::String(NAME.into()));
    write(state, &settings)
}

/// Version 1 reads a name that is written down.
fn down(_: &Path) -> io::Result<()> {
    Ok(())
}

fn read(state: &Path) -> io::Result<Option<Table>> {
    match fs::read_to_string(state.join(SETTINGS)) {
        Ok(text) => Ok(text.parse().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Table::new())),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file belongs to whom the folder belongs to. Cuts are undone by the copies.
fn write(state: &Path, settings: &Table) -> io::Result<()> {
    let path: PathBuf = state.join(SETTINGS);
    let folder = path.parent().unwrap_or(state);
    fs::create_dir_all(folder)?;
    fs::write(&path, toml::to_string(settings).map_err(io::Error::other)?)?;
    if nix::unistd::geteuid().is_root() {
        let owner = fs::metadata(folder)?;
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}
