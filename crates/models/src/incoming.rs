//! Models on their way in: kept apart from the store until they are whole, and resumed after any cut.
//!
//! `.incoming/<upload>/upload.toml` says what is coming; the model file grows beside it. Finishing checks
//! it, writes its manifest, and moves the folder into the store by one rename.

mod announcement;
mod copy;
mod error;
mod locks;
mod tidy;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use actionbooster_storage::{Space, atomic};
use serde::Serialize;

use crate::gguf;
use crate::manifest::{Kind, Manifest, is_id};
use crate::model::{Model, check_detector, digest};
use crate::store::Store;

use announcement::{Announcement, id_of};
use error::io_error;
use locks::{Lock, Locks};

pub use announcement::{Origin, Wanted};
pub use error::IncomingError;
pub use writer::Writer;

/// Folder of the owner's store.
const FOLDER: &str = ".incoming";
const ANNOUNCEMENT: &str = "upload.toml";
/// Files and folders that one model adds.
const FILES: u64 = 4;

/// A model on its way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upload {
    /// Names this upload.
    pub upload: String,
    /// The model it will be.
    pub id: String,
    /// Bytes that will come.
    pub size_bytes: u64,
    /// Bytes that are there.
    pub received_bytes: u64,
}

/// All models on their way in.
#[derive(Debug, Clone)]
pub struct Incoming {
    store: Store,
    locks: Locks,
}

impl Incoming {
    /// Models that come into this store.
    pub fn new(store: Store) -> Self {
        Self { store, locks: Locks::default() }
    }

    /// Makes room for a model that will come.
    pub fn begin(&self, wanted: &Wanted) -> Result<Upload, IncomingError> {
        self.begin_from(wanted, None)
    }

    /// The same for an import, which goes on with what came of the same file before. What an import brought of another
    /// one under this id is given up.
    pub fn import(&self, wanted: &Wanted, origin: &Origin) -> Result<Upload, IncomingError> {
        let begun = self.begin_from(wanted, Some(origin));
        let Err(IncomingError::Coming { upload, .. }) = &begun else { return begun };
        let (_, coming) = self.open(upload)?;
        if coming.begins(wanted, origin) {
            return self.get(upload);
        }
        if coming.origin.is_none() {
            return begun;
        }
        self.abandon(upload)?;
        self.begin_from(wanted, Some(origin))
    }

    fn begin_from(&self, wanted: &Wanted, origin: Option<&Origin>) -> Result<Upload, IncomingError> {
        let id = id_of(wanted)?;
        if wanted.size_bytes == 0 {
            return Err(IncomingError::Invalid("size_bytes is 0; announce how many bytes will come".into()));
        }
        let digits = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if wanted.sha256.as_ref().is_some_and(|text| !digits(text)) {
            return Err(IncomingError::Invalid("sha256 must be 64 hexadecimal digits".into()));
        }
        // Two that begin at once would both find the id free.
        let _lock = self.lock("")?;
        if self.store.open(&id).is_ok_and(|model| !model.built_in) || self.store.own().join(&id).exists() {
            return Err(IncomingError::Taken(id));
        }
        if let Some(other) = self.list()?.into_iter().find(|other| other.id == id) {
            return Err(IncomingError::Coming { id, upload: other.upload });
        }
        // First: a full disk may have no room for the folder either.
        self.check_room(wanted.size_bytes)?;
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(io_error("cannot make the folder of uploads"))?;
        let upload = format!("u-{:016x}", rand::random::<u64>());
        let announcement = Announcement { id: id.clone(), wanted: wanted.clone(), origin: origin.cloned() };
        let text =
            toml::to_string(&announcement).map_err(|error| IncomingError::Invalid(error.to_string()))?;
        let place = folder.join(&upload);
        fs::create_dir(&place)
            .and_then(|()| atomic::write(&place.join(ANNOUNCEMENT), text.as_bytes()))
            .map_err(io_error("cannot begin an upload"))?;
        Ok(Upload { upload, id, size_bytes: wanted.size_bytes, received_bytes: 0 })
    }

    /// Everything on its way in. What cannot be read is left out.
    pub fn list(&self) -> Result<Vec<Upload>, IncomingError> {
        let entries = match fs::read_dir(self.folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(IncomingError::Io { what: "cannot list uploads".into(), source }),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut uploads: Vec<Upload> = names.filter_map(|name| self.get(&name).ok()).collect();
        uploads.sort_by(|left, right| left.upload.cmp(&right.upload));
        Ok(uploads)
    }

    /// One of them.
    pub fn get(&self, upload: &str) -> Result<Upload, IncomingError> {
        let (folder, announcement) = self.open(upload)?;
        let received_bytes = fs::metadata(folder.join(announcement.file())).map_or(0, |data| data.len());
        Ok(Upload {
            upload: upload.to_owned(),
            id: announcement.id,
            size_bytes: announcement.wanted.size_bytes,
            received_bytes,
        })
    }

    /// Locks it to write from `offset` on, which must be where it stopped.
    pub fn write(&self, upload: &str, offset: u64) -> Result<Writer, IncomingError> {
        let (folder, announcement) = self.open(upload)?;
        let lock = self.lock(upload)?;
        let path = folder.join(announcement.file());
        let opened = OpenOptions::new().create(true).append(false).write(true).truncate(false).open(path);
        let mut file = opened.map_err(io_error("cannot open the upload"))?;
        let received = file.seek(SeekFrom::End(0)).map_err(io_error("cannot read the upload"))?;
        if offset != received {
            return Err(IncomingError::Offset { received });
        }
        self.check_room(announcement.wanted.size_bytes.saturating_sub(received))?;
        Ok(Writer { file, received, size: announcement.wanted.size_bytes, _lock: lock })
    }

    /// Checks what came and moves it into the store. Reads the whole file: takes as long as the disk needs.
    pub fn finish(&self, upload: &str) -> Result<Model, IncomingError> {
        let (folder, announcement) = self.open(upload)?;
        let _lock = self.lock(upload)?;
        let path = folder.join(announcement.file());
        let cannot_read = "cannot read the upload";
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IncomingError::Unfinished { received: 0, size: announcement.wanted.size_bytes });
            }
            Err(source) => return Err(IncomingError::Io { what: cannot_read.into(), source }),
        };
        let received = file.metadata().map_err(io_error(cannot_read))?.len();
        if received != announcement.wanted.size_bytes {
            return Err(IncomingError::Unfinished { received, size: announcement.wanted.size_bytes });
        }
        let header = match announcement.kind() {
            Kind::Language => Some(gguf::read(&file, received)?),
            Kind::Detector => {
                check_detector(&path).map_err(IncomingError::Detector)?;
                None
            }
        };
        let actual = digest(&path)?;
        if let Some(expected) =
            announcement.wanted.sha256.as_ref().filter(|sum| !sum.eq_ignore_ascii_case(&actual))
        {
            return Err(IncomingError::Digest { actual, expected: expected.clone() });
        }
        let manifest = announcement.manifest(header.as_ref(), actual);
        let text = toml::to_string(&manifest).map_err(|error| IncomingError::Invalid(error.to_string()))?;
        Manifest::parse(&text).map_err(|error| IncomingError::Invalid(error.to_string()))?;
        file.sync_all().map_err(io_error("cannot keep the upload"))?;
        atomic::write(&folder.join("manifest.toml"), text.as_bytes())
            .map_err(io_error("cannot write the manifest"))?;
        let target = self.store.own().join(&announcement.id);
        if target.exists() {
            return Err(IncomingError::Taken(announcement.id));
        }
        fs::rename(&folder, &target).map_err(io_error("cannot move the model into the store"))?;
        atomic::sync_folder(self.store.own()).map_err(io_error("cannot keep the store"))?;
        // It says nothing any more; a store with it works too.
        let _ = fs::remove_file(target.join(ANNOUNCEMENT));
        Ok(Model::open(&target, false)?)
    }

    /// Gives one up.
    pub fn abandon(&self, upload: &str) -> Result<(), IncomingError> {
        let (folder, _) = self.open(upload)?;
        let _lock = self.lock(upload)?;
        self.store.discard(&folder).map_err(io_error("cannot delete the upload"))
    }

    /// Where an upload grows.
    pub fn place(&self, upload: &str) -> PathBuf {
        self.folder().join(upload)
    }

    fn folder(&self) -> PathBuf {
        self.store.own().join(FOLDER)
    }

    fn open(&self, upload: &str) -> Result<(PathBuf, Announcement), IncomingError> {
        let missing = || IncomingError::Missing(upload.to_owned());
        let number = upload.strip_prefix("u-").ok_or_else(missing)?;
        if !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let folder = self.folder().join(upload);
        let text = fs::read_to_string(folder.join(ANNOUNCEMENT)).map_err(|_| missing())?;
        let announcement: Announcement = toml::from_str(&text).map_err(|_| missing())?;
        if is_id(&announcement.id) { Ok((folder, announcement)) } else { Err(missing()) }
    }

    fn lock(&self, upload: &str) -> Result<Lock, IncomingError> {
        self.locks.take(upload).ok_or_else(|| IncomingError::Busy(upload.to_owned()))
    }

    fn check_room(&self, needed: u64) -> Result<(), IncomingError> {
        let folder = self.folder();
        let place = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
        let space = Space::of(place).map_err(io_error("cannot see how full the disk is"))?;
        Ok(space.room_for(needed, FILES)?)
    }
}

#[cfg(test)]
mod tests;
