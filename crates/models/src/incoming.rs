//! Models on their way in: kept apart from the store until they are whole, and resumed after any cut.
//!
//! `.incoming/<upload>/upload.toml` says what is coming; the model file grows beside it. Finishing checks
//! it, writes its manifest, and moves the folder into the store by one rename.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use actionbooster_storage::{Shortage, Space, atomic};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::gguf::{self, Header, Value};
use crate::manifest::{Description, Kind, Manifest, Role, Sampling, is_id};
use crate::model::{Model, check_detector, digest};
use crate::store::Store;

/// Folder of the owner's store.
const FOLDER: &str = ".incoming";
const ABOUT: &str = "upload.toml";
/// Files and folders that one model adds.
const FILES: u64 = 4;
/// What is being removed is called so; no model is.
const TRASH: &str = ".trash-";
/// What nobody went on with for so long is removed.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a model does not come in.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// Something of what was announced makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store has a model of this id.
    #[error("there is a model {0} already; choose another id, or remove that one first")]
    Taken(String),
    /// The same model is coming in already.
    #[error("the model {id} is being added already by {upload}; go on with that one, or delete it first")]
    Coming {
        /// The model.
        id: String,
        /// The upload to go on with.
        upload: String,
    },
    /// There is no such upload.
    #[error("there is no upload {0}; it may have been finished, deleted, or left alone for a week")]
    Missing(String),
    /// Somebody else is writing to it.
    #[error("another request is writing to {0} right now; wait until it has ended")]
    Busy(String),
    /// The next byte is another one.
    #[error("{received} bytes are there; go on from that offset")]
    Offset {
        /// Bytes that are there.
        received: u64,
    },
    /// More than was announced.
    #[error("{size} bytes were announced and more came; announce the true size")]
    TooMuch {
        /// Bytes announced.
        size: u64,
    },
    /// Not all of it came.
    #[error("{received} of {size} bytes are there; send the rest first")]
    Unfinished {
        /// Bytes that are there.
        received: u64,
        /// Bytes announced.
        size: u64,
    },
    /// The disk has no room.
    #[error(transparent)]
    Full(#[from] Shortage),
    /// The content is not what was promised.
    #[error(
        "the file's SHA-256 is {actual} and {expected} was promised; it was changed on its way, send it again"
    )]
    Digest {
        /// Of the bytes that came.
        actual: String,
        /// As announced.
        expected: String,
    },
    /// The file is no model that can be used.
    #[error("this file cannot be used: {0}")]
    Refused(#[from] gguf::GgufError),
    /// It is no detector that can be used.
    #[error("this is no detector that can be used: {0}")]
    Detector(String),
    /// The store itself has a problem.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Identifier in the store; made from the file name when absent.
    pub id: Option<String>,
    /// Name for people; the file's own when absent.
    pub name: Option<String>,
    /// Name of the file as its owner knows it.
    pub file_name: String,
    /// Bytes that will come.
    pub size_bytes: u64,
    /// What the SHA-256 must be, lower-case hexadecimal; any when absent.
    pub sha256: Option<String>,
    /// Licence; the file's own when absent.
    pub licence: Option<String>,
    /// What it is good for; seen from the file when empty.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// ISO 639-1 codes.
    #[serde(default)]
    pub languages: Vec<String>,
    /// What it is, in the portal's languages.
    #[serde(default)]
    pub description: Description,
}

impl Wanted {
    /// A file about which nothing else is known.
    pub fn new(file_name: String, size_bytes: u64) -> Self {
        Self {
            id: None,
            name: None,
            file_name,
            size_bytes,
            sha256: None,
            licence: None,
            roles: Vec::new(),
            languages: Vec::new(),
            description: Description::default(),
        }
    }
}

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
    busy: Arc<Mutex<HashSet<String>>>,
}

/// The right to write to an upload; nobody else has it meanwhile.
#[derive(Debug)]
pub struct Writer {
    file: File,
    received: u64,
    size: u64,
    _turn: Turn,
}

#[derive(Debug)]
struct Turn {
    upload: String,
    busy: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.upload);
    }
}

impl Incoming {
    /// Models that come into this store.
    pub fn new(store: Store) -> Self {
        Self { store, busy: Arc::default() }
    }

    /// Makes room for a model that will come.
    pub fn begin(&self, wanted: &Wanted) -> Result<Upload, IncomingError> {
        let id = id_of(wanted)?;
        if wanted.size_bytes == 0 {
            return Err(IncomingError::Invalid("size_bytes is 0; announce how many bytes will come".into()));
        }
        let digits = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if wanted.sha256.as_ref().is_some_and(|text| !digits(text)) {
            return Err(IncomingError::Invalid("sha256 must be 64 hexadecimal digits".into()));
        }
        // Two that begin at once would both find the id free.
        let _turn = self.turn("")?;
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
        let about = About { id: id.clone(), wanted: wanted.clone() };
        let text = toml::to_string(&about).map_err(|error| IncomingError::Invalid(error.to_string()))?;
        let place = folder.join(&upload);
        fs::create_dir(&place)
            .and_then(|()| atomic::write(&place.join(ABOUT), text.as_bytes()))
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
        let (folder, about) = self.open(upload)?;
        let received_bytes = fs::metadata(folder.join(about.file())).map_or(0, |data| data.len());
        Ok(Upload {
            upload: upload.to_owned(),
            id: about.id,
            size_bytes: about.wanted.size_bytes,
            received_bytes,
        })
    }

    /// Takes the turn to write from `offset` on, which must be where it stopped.
    pub fn write(&self, upload: &str, offset: u64) -> Result<Writer, IncomingError> {
        let (folder, about) = self.open(upload)?;
        let turn = self.turn(upload)?;
        let path = folder.join(about.file());
        let opened = OpenOptions::new().create(true).append(false).write(true).truncate(false).open(path);
        let mut file = opened.map_err(io_error("cannot open the upload"))?;
        let received = file.seek(SeekFrom::End(0)).map_err(io_error("cannot read the upload"))?;
        if offset != received {
            return Err(IncomingError::Offset { received });
        }
        self.check_room(about.wanted.size_bytes.saturating_sub(received))?;
        Ok(Writer { file, received, size: about.wanted.size_bytes, _turn: turn })
    }

    /// Checks what came and moves it into the store. Reads the whole file: takes as long as the disk needs.
    pub fn finish(&self, upload: &str) -> Result<Model, IncomingError> {
        let (folder, about) = self.open(upload)?;
        let _turn = self.turn(upload)?;
        let path = folder.join(about.file());
        let cannot_read = "cannot read the upload";
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IncomingError::Unfinished { received: 0, size: about.wanted.size_bytes });
            }
            Err(source) => return Err(IncomingError::Io { what: cannot_read.into(), source }),
        };
        let received = file.metadata().map_err(io_error(cannot_read))?.len();
        if received != about.wanted.size_bytes {
            return Err(IncomingError::Unfinished { received, size: about.wanted.size_bytes });
        }
        let header = match about.kind() {
            Kind::Language => Some(gguf::read(&file, received)?),
            Kind::Detector => {
                check_detector(&path).map_err(IncomingError::Detector)?;
                None
            }
        };
        let actual = digest(&path)?;
        if let Some(expected) = about.wanted.sha256.as_ref().filter(|sum| !sum.eq_ignore_ascii_case(&actual))
        {
            return Err(IncomingError::Digest { actual, expected: expected.clone() });
        }
        let manifest = about.manifest(header.as_ref(), actual);
        let text = toml::to_string(&manifest).map_err(|error| IncomingError::Invalid(error.to_string()))?;
        Manifest::parse(&text).map_err(|error| IncomingError::Invalid(error.to_string()))?;
        file.sync_all().map_err(io_error("cannot keep the upload"))?;
        atomic::write(&folder.join("manifest.toml"), text.as_bytes())
            .map_err(io_error("cannot write the manifest"))?;
        let target = self.store.own().join(&about.id);
        if target.exists() {
            return Err(IncomingError::Taken(about.id));
        }
        fs::rename(&folder, &target).map_err(io_error("cannot move the model into the store"))?;
        atomic::sync_folder(self.store.own()).map_err(io_error("cannot keep the store"))?;
        // It says nothing any more; a store with it works too.
        let _ = fs::remove_file(target.join(ABOUT));
        Ok(Model::open(&target, false)?)
    }

    /// Gives one up.
    pub fn abandon(&self, upload: &str) -> Result<(), IncomingError> {
        let (folder, _) = self.open(upload)?;
        let _turn = self.turn(upload)?;
        self.store.discard(&folder).map_err(io_error("cannot delete the upload"))
    }

    /// Where an upload grows.
    pub fn place(&self, upload: &str) -> PathBuf {
        self.folder().join(upload)
    }

    /// Removes what nobody went on with for a week, and what was being removed when the power went.
    ///
    /// `age` tells how long something is there by its name and its date; the date is part of the name, so that
    /// what was gone on with is another thing.
    pub fn tidy(&self, mut age: impl FnMut(&str, SystemTime) -> Duration) -> Result<(), IncomingError> {
        for entry in fs::read_dir(self.store.own()).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(TRASH) {
                remove_all(&entry.path()).map_err(io_error("cannot remove a deleted model"))?;
            }
        }
        let Ok(entries) = fs::read_dir(self.folder()) else { return Ok(()) };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.turn(&name).is_err() {
                continue;
            }
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

    fn folder(&self) -> PathBuf {
        self.store.own().join(FOLDER)
    }

    fn open(&self, upload: &str) -> Result<(PathBuf, About), IncomingError> {
        let missing = || IncomingError::Missing(upload.to_owned());
        let number = upload.strip_prefix("u-").ok_or_else(missing)?;
        if !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let folder = self.folder().join(upload);
        let text = fs::read_to_string(folder.join(ABOUT)).map_err(|_| missing())?;
        let about: About = toml::from_str(&text).map_err(|_| missing())?;
        if is_id(&about.id) { Ok((folder, about)) } else { Err(missing()) }
    }

    fn turn(&self, upload: &str) -> Result<Turn, IncomingError> {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(upload.to_owned()) {
            return Err(IncomingError::Busy(upload.to_owned()));
        }
        Ok(Turn { upload: upload.to_owned(), busy: Arc::clone(&self.busy) })
    }

    fn check_room(&self, needed: u64) -> Result<(), IncomingError> {
        let folder = self.folder();
        let place = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
        let space = Space::of(place).map_err(io_error("cannot see how full the disk is"))?;
        Ok(space.room_for(needed, FILES)?)
    }
}

impl Writer {
    /// Adds bytes. What was added before an error stays.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), IncomingError> {
        if self.received + bytes.len() as u64 > self.size {
            return Err(IncomingError::TooMuch { size: self.size });
        }
        // Others write meanwhile: what was free at the beginning may be gone.
        let space = Space::of_file(&self.file).map_err(io_error("cannot see how full the disk is"))?;
        space.room_for(bytes.len() as u64, 0)?;
        self.file.write_all(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Shortage::Bytes { needed: self.size - self.received, free: 0 }.into()
            }
            _ => IncomingError::Io { what: "cannot write the upload".into(), source },
        })?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was added last; returns how many bytes are there.
    pub fn close(self) -> Result<u64, IncomingError> {
        self.file.sync_data().map_err(io_error("cannot keep the upload"))?;
        Ok(self.received)
    }
}

/// `upload.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    id: String,
    wanted: Wanted,
}

impl About {
    fn file(&self) -> String {
        format!("{}.{}", self.id, extension(&self.wanted.file_name))
    }

    fn kind(&self) -> Kind {
        Kind::of(&self.file()).unwrap_or(Kind::Language)
    }

    /// `header` is that of a language model.
    fn manifest(&self, header: Option<&Header>, sha256: String) -> Manifest {
        let said = |key: &str| match header.and_then(|header| header.metadata.get(key)) {
            Some(Value::Text(text)) if !text.trim().is_empty() => Some(one_line(text)),
            _ => None,
        };
        let wished = |wish: &Option<String>| wish.as_deref().map(one_line).filter(|text| !text.is_empty());
        let seen = match header {
            None => Vec::new(),
            Some(header) if header.only_embeds() => vec![Role::Embedding],
            Some(_) => vec![Role::General],
        };
        Manifest {
            id: self.id.clone(),
            name: wished(&self.wanted.name)
                .or_else(|| said("general.name"))
                .unwrap_or_else(|| self.id.clone()),
            file: self.file(),
            sha256,
            size_bytes: self.wanted.size_bytes,
            licence: wished(&self.wanted.licence)
                .or_else(|| said("general.license"))
                .unwrap_or_else(|| "unknown".to_owned()),
            languages: self.wanted.languages.clone(),
            roles: if self.wanted.roles.is_empty() { seen } else { self.wanted.roles.clone() },
            context_tokens: 0,
            description: self.wanted.description.clone(),
            sampling: Sampling::default(),
            detector: toml::Table::new(),
        }
    }
}

/// Of the file in the store. What is no detector by its name has to be a language model.
fn extension(file_name: &str) -> &'static str {
    let lower = file_name.to_lowercase();
    ["onnx", "rknn"].into_iter().find(|known| lower.ends_with(&format!(".{known}"))).unwrap_or("gguf")
}

/// Names that strangers wrote, made fit for a manifest.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    plain.trim().to_owned()
}

/// The id that is wished, or one made from the file's name.
fn id_of(wanted: &Wanted) -> Result<String, IncomingError> {
    let named = || {
        let name = wanted.file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        let known = name.rsplit_once('.').filter(|_| Kind::of(&name.to_lowercase()).is_some());
        slug(known.map_or(name, |(name, _)| name))
    };
    let id = wanted.id.clone().unwrap_or_else(named);
    if is_id(&id) && id != "lost+found" {
        return Ok(id);
    }
    Err(IncomingError::Invalid(format!(
        "the id {id:?} must be 1 to 48 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )))
}

fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept = lower.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' });
    let text: String = kept.collect();
    text.trim_matches(['-', '.', '_']).chars().take(48).collect()
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> IncomingError + '_ {
    move |source| IncomingError::Io { what: what.to_owned(), source }
}

/// Removes a folder that somebody else may be removing too.
fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Store {
    /// Removes an owner's model: out of the store by one rename, then its bytes.
    pub fn remove(&self, model: &Model) -> Result<(), StoreError> {
        if model.built_in {
            return Err(StoreError::BuiltIn(model.manifest.id.clone()));
        }
        self.discard(&model.folder).map_err(|source| StoreError::Write { path: model.folder.clone(), source })
    }

    /// The same model under another id. Its bytes are shared where the file system allows it.
    pub fn copy(&self, model: &Model, id: &str) -> Result<Model, IncomingError> {
        let wanted =
            Wanted { id: Some(id.to_owned()), ..Wanted::new(String::new(), model.manifest.size_bytes) };
        let id = id_of(&wanted)?;
        let target = self.own().join(&id);
        if self.open(&id).is_ok() || target.exists() {
            return Err(IncomingError::Taken(id));
        }
        let cannot = "cannot copy the model";
        let folder = self.own().join(FOLDER).join(format!("trash-{:016x}", rand::random::<u64>()));
        fs::create_dir_all(&folder).map_err(io_error(cannot))?;
        let manifest = Manifest {
            file: format!("{id}.{}", extension(&model.manifest.file)),
            id,
            ..model.manifest.clone()
        };
        let copied = (|| {
            let file = folder.join(&manifest.file);
            fs::hard_link(model.file(), &file).or_else(|_| {
                Space::of(&folder)?.room_for(model.manifest.size_bytes, 0)?;
                fs::copy(model.file(), &file).map(drop)
            })?;
            File::open(&file)?.sync_all()?;
            let text = toml::to_string(&manifest).map_err(io::Error::other)?;
            atomic::write(&folder.join("manifest.toml"), text.as_bytes())?;
            fs::rename(&folder, &target)?;
            atomic::sync_folder(self.own())
        })();
        if copied.is_err() {
            // `tidy` removes what cannot be removed now.
            let _ = fs::remove_dir_all(&folder);
        }
        copied.map_err(io_error(cannot))?;
        Ok(Model::open(&target, false)?)
    }

    /// Renames a folder away and removes it; [`Incoming::tidy`] ends what a power cut interrupts. Makes nothing
    /// new, so that a model can be removed from a disk that has no room for one more file.
    fn discard(&self, folder: &Path) -> io::Result<()> {
        let trash = self.own().join(format!("{TRASH}{:016x}", rand::random::<u64>()));
        fs::rename(folder, &trash)?;
        remove_all(&trash)
    }
}

#[cfg(test)]
mod tests;
