//! Names of time zones, as the zone database has them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const LONGEST: usize = 64;
/// How every file of the database begins.
const MAGIC: &[u8; 4] = b"TZif";

/// A name such as `Europe/Madrid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(String);

/// Why a text is no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeZoneError {
    /// Its letters.
    #[error("A time zone is a name such as Europe/Madrid or UTC.")]
    Shape,
    /// The database has none of this name.
    #[error("This box knows no time zone of that name; they are called Europe/Madrid or UTC.")]
    Unknown,
}

impl TimeZone {
    /// Takes a name of the right shape. Whether there is such a zone says [`Self::is_known`].
    pub fn parse(text: &str) -> Result<Self, TimeZoneError> {
        // A name is a path below the database's folder: no part may lead out of it.
        let part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphabetic())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
        };
        let shaped = text.len() <= LONGEST && text.split('/').count() <= 3 && text.split('/').all(part);
        if shaped { Ok(Self(text.to_owned())) } else { Err(TimeZoneError::Shape) }
    }

    /// Whether the database in this folder (`/usr/share/zoneinfo`) has it.
    pub fn is_known(&self, database: &Path) -> bool {
        let mut start = [0; MAGIC.len()];
        let file = File::open(database.join(&self.0));
        file.is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && &start == MAGIC
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self("UTC".into())
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_when_its_file_is_one_of_the_database() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("Europe")).expect("made");
        std::fs::write(folder.path().join("Europe/Madrid"), b"TZif2\0\0").expect("written");
        std::fs::write(folder.path().join("tzdata"), b"# version").expect("written");
        for (name, known) in
            [("Europe/Madrid", true), ("Europe/Atlantis", false), ("Europe", false), ("tzdata", false)]
        {
            let zone = TimeZone::parse(name).expect("a name");
            assert_eq!(zone.is_known(folder.path()), known, "{name}");
        }
    }
}
