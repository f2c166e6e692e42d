//! Versions of what is kept below `/var/lib/actionbooster`, and the steps between them.
//!
//! A file beside the data says which version it has. A newer program takes it up step by step. Before a
//! step changes anything, the files that it will touch are copied aside, so that
//!
//! - a step that was cut is undone and done again,
//! - an older program that gets the data back, because the newer one failed while it was on trial, puts
//!   the copies back without knowing what the step did,
//! - once the newer program has proven itself, [`Data::settle`] drops the copies. From then on the way
//!   back is the step's own [`Step::down`], which keeps what was changed since.

mod originals;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use actionbooster_storage::atomic;
use originals::Originals;

/// Name of the file that holds the version, a decimal number.
pub const VERSION_FILE: &str = "data-version";
/// Data from before there were numbers.
const FIRST: u32 = 1;

/// The steps of this product, oldest first; the first leads from version 1 to version 2. A step is never
/// changed once it was released. None was needed so far.
pub const STEPS: &[Step] = &[];

/// What one version does to the data of the version before.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What it is about, for the report.
    pub name: &'static str,
    /// Files and folders that [`Step::up`] and [`Step::down`] may change, make or remove, relative to the
    /// state folder. Must not be large: they are copied.
    pub touches: fn(state: &Path) -> io::Result<Vec<PathBuf>>,
    /// To this step's version. Only sees data of the version before.
    pub up: fn(state: &Path) -> io::Result<()>,
    /// Back to the version before.
    pub down: fn(state: &Path) -> io::Result<()>,
}

/// Why the data cannot be brought to the wanted version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    File {
        /// What was being done, as a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A step did not do its work; the data is as it was before it.
    #[error("the data stays at version {version}: the step \"{step}\" failed")]
    Step {
        /// Version the data has.
        version: u32,
        /// The step.
        step: &'static str,
        /// What the step said.
        source: io::Error,
    },
    /// A newer program has been at work, and there is no way back.
    #[error(
        "the data has version {version}, this program knows up to {known}; install the newer version again, \
         or restore a backup from before the update"
    )]
    FromTheFuture {
        /// Version the data has.
        version: u32,
        /// Newest version this program knows.
        known: u32,
    },
}

/// What [`Data::migrate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was kept yet.
    Fresh,
    /// The number was damaged. It is written whole, so a disk or a hand did that, and the program that
    /// runs is the likeliest to have written the data.
    Renumbered,
    /// The data has the right version.
    Current,
    /// Steps were taken.
    Migrated {
        /// Version before.
        from: u32,
        /// Version now.
        to: u32,
    },
    /// What a newer version had changed was put back.
    Restored {
        /// Version before.
        from: u32,
        /// Version now.
        to: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Version(u32),
    /// Nothing was kept yet.
    Nothing,
    Damaged,
}

/// The state folder, and the steps that are known.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    state: &'a Path,
    steps: &'a [Step],
}

impl<'a> Data<'a> {
    /// The state folder of this product.
    pub fn below(state: &'a Path) -> Self {
        Self::with_steps(state, STEPS)
    }

    /// With other steps; the first leads from version 1 to version 2.
    pub fn with_steps(state: &'a Path, steps: &'a [Step]) -> Self {
        Self { state, steps }
    }

    /// The newest version that is known.
    pub fn newest(&self) -> u32 {
        self.steps.iter().fold(FIRST, |version, _| version + 1)
    }

    /// What the version file says.
    fn written(&self) -> Result<Written, Error> {
        let path = self.version_path();
        match fs::read(&path) {
            Ok(bytes) => {
                let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
                Ok(number.filter(|version| *version >= FIRST).map_or(Written::Damaged, Written::Version))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let used = self.is_used().map_err(file("look into", self.state))?;
                Ok(if used { Written::Version(FIRST) } else { Written::Nothing })
            }
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    /// Brings the data to the newest version that is known, from an older or from a newer one.
    pub fn migrate(&self) -> Result<Outcome, Error> {
        let newest = self.newest();
        let found = match self.written()? {
            Written::Version(version) => version,
            other => {
                self.write_version(newest)?;
                return Ok(if other == Written::Nothing { Outcome::Fresh } else { Outcome::Renumbered });
            }
        };
        let mut version = found;
        while version > newest {
            if !Originals::of(self.state, version).put_back()? {
                return Err(Error::FromTheFuture { version, known: newest });
            }
            version -= 1;
            self.write_version(version)?;
            Originals::of(self.state, version + 1).drop_them()?;
        }
        if version < found {
            return Ok(Outcome::Restored { from: found, to: version });
        }
        // The number also names steps whose copies a cut has left behind.
        while let Some(step) = self.step_to(version + 1) {
            self.take_up(version, step)?;
            version += 1;
        }
        if found == version {
            // Data from before there were numbers gets its own.
            if !self.version_path().exists() {
                self.write_version(version)?;
            }
            return Ok(Outcome::Current);
        }
        Ok(Outcome::Migrated { from: found, to: version })
    }

    /// Takes the data back to `version` by the steps' own way down, for an owner who goes back to an older
    /// version of the product. Keeps what was changed since the step up, where the step can.
    pub fn revert(&self, version: u32) -> Result<Outcome, Error> {
        let Written::Version(found) = self.written()? else { return self.migrate() };
        let mut now = found;
        while now > version.max(FIRST) {
            let step =
                self.step_to(now).ok_or(Error::FromTheFuture { version: now, known: self.newest() })?;
            let originals = Originals::of(self.state, now);
            // The copies from the way up are older than what would be saved here.
            originals.drop_them()?;
            self.guarded(now, step, &originals, step.down)?;
            now -= 1;
            self.write_version(now)?;
            originals.drop_them()?;
        }
        Ok(if now == found { Outcome::Current } else { Outcome::Restored { from: found, to: now } })
    }

    /// Drops the copies: the running version has proven itself, and what is kept is its own from now on.
    pub fn settle(&self) -> Result<(), Error> {
        (FIRST + 1..=self.newest()).try_for_each(|version| Originals::of(self.state, version).drop_them())
    }

    fn take_up(&self, version: u32, step: &Step) -> Result<(), Error> {
        let originals = Originals::of(self.state, version + 1);
        // Whole copies without the new number: the step was cut.
        originals.put_back()?;
        originals.drop_them()?;
        self.guarded(version, step, &originals, step.up)?;
        self.write_version(version + 1)
    }

    /// Runs one direction of a step with copies of what it touches, which are put back if it fails.
    fn guarded(
        &self,
        version: u32,
        step: &Step,
        originals: &Originals,
        run: fn(&Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Step { version, step: step.name, source };
        let touched = (step.touches)(self.state).map_err(failed)?;
        originals.keep(&touched)?;
        if let Err(error) = run(self.state) {
            originals.put_back()?;
            originals.drop_them()?;
            return Err(failed(error));
        }
        nix::unistd::sync();
        Ok(())
    }

    /// The step whose result is this version.
    fn step_to(&self, version: u32) -> Option<&'a Step> {
        self.steps.get(usize::try_from(version.checked_sub(FIRST + 1)?).ok()?)
    }

    /// Folders alone are made by every boot; only files are somebody's.
    fn is_used(&self) -> io::Result<bool> {
        let mut folders = vec![self.state.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn version_path(&self) -> PathBuf {
        self.state.join(VERSION_FILE)
    }

    fn write_version(&self, version: u32) -> Result<(), Error> {
        let path = self.version_path();
        fs::create_dir_all(self.state)
            .and_then(|()| atomic::write(&path, format!("{version}\n").as_bytes()))
            .map_err(file("write", &path))
    }
}

fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { action, path, source }
}

#[cfg(test)]
mod tests;
