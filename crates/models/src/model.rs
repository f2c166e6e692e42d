//! A model of the store: its manifest, and the file that must be what the manifest says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::gguf::{self, Header};
use crate::manifest::{Kind, Manifest};
use crate::onnx::{self, OnnxHead};
use crate::settings::ModelOptions;

/// Manifests are small; a larger file is not one.
const MANIFEST_LIMIT: u64 = 64 * 1024;

/// Bytes of a detector's file at most.
const DETECTOR_LIMIT: u64 = 512 << 20;

/// Context when the manifest does not say: enough for a conversation, small enough to fit.
const DEFAULT_CONTEXT: u32 = 4096;

/// A model of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether it came with the image.
    pub built_in: bool,
}

impl Model {
    /// Reads the model in `folder`.
    pub fn open(folder: &Path, built_in: bool) -> Result<Self, StoreError> {
        let path = folder.join("manifest.toml");
        let unreadable = |source| StoreError::Read { path: path.clone(), source };
        // Before it is opened: opening a pipe would wait for its other end.
        let data = std::fs::metadata(&path).map_err(unreadable)?;
        if !data.is_file() || data.len() > MANIFEST_LIMIT {
            return Err(StoreError::NotManifest { path });
        }
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        let manifest =
            Manifest::parse(&text).map_err(|source| StoreError::Manifest { path: path.clone(), source })?;
        Ok(Self { manifest, folder: folder.to_path_buf(), built_in })
    }

    /// The model file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.manifest.file)
    }

    /// Checks the file's size and head without reading its weights.
    pub fn header(&self) -> Result<Header, StoreError> {
        let path = self.sized_file()?;
        let file = File::open(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        gguf::read(file, self.manifest.size_bytes).map_err(|source| StoreError::Gguf { path, source })
    }

    /// The model file, which is there and has the size that the manifest says.
    fn sized_file(&self) -> Result<PathBuf, StoreError> {
        let path = self.file();
        let data = match std::fs::metadata(&path) {
            Ok(data) => data,
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        if !data.is_file() {
            return Err(StoreError::NotFile { path });
        }
        let (actual, expected) = (data.len(), self.manifest.size_bytes);
        if actual != expected {
            return Err(StoreError::Size { path, actual, expected });
        }
        Ok(path)
    }

    /// What its file is for.
    pub fn kind(&self) -> Kind {
        // Manifests with other names are refused.
        Kind::of(&self.manifest.file).unwrap_or(Kind::Language)
    }

    /// Checks the file's size and what is in it, as far as that can be seen without loading it.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.kind() == Kind::Language {
            return self.header().map(drop);
        }
        let path = self.sized_file()?;
        check_detector(&path).map(drop).map_err(|reason| StoreError::Detector { path, reason })
    }

    /// What a detector's file says of itself; nothing when it is no ONNX file.
    pub fn onnx(&self) -> Result<Option<OnnxHead>, StoreError> {
        let path = self.sized_file()?;
        check_detector(&path).map_err(|reason| StoreError::Detector { path, reason })
    }

    /// Tokens of context that one request gets: what the owner set, but no more than the model can; else
    /// what the manifest says, else the model's own up to [`DEFAULT_CONTEXT`].
    pub fn context_tokens_for(&self, header: &Header, options: &ModelOptions) -> u32 {
        let most = header.integer("context_length").unwrap_or(u64::MAX);
        match options.context_tokens {
            Some(wanted) => u64::from(wanted).min(most.max(1)) as u32,
            None => self.context_tokens(header),
        }
    }

    /// The same when the owner set nothing.
    pub fn context_tokens(&self, header: &Header) -> u32 {
        if self.manifest.context_tokens > 0 {
            return self.manifest.context_tokens;
        }
        let own = header.integer("context_length").unwrap_or(u64::from(DEFAULT_CONTEXT));
        own.clamp(1, DEFAULT_CONTEXT.into()) as u32
    }

    /// Reads the whole file and compares its SHA-256 with the manifest's.
    pub fn verify(&self) -> Result<(), StoreError> {
        self.check()?;
        let path = self.file();
        let digest = digest(&path)?;
        if digest.eq_ignore_ascii_case(&self.manifest.sha256) {
            Ok(())
        } else {
            Err(StoreError::Digest { path })
        }
    }
}

/// Looks through a detector's file; tells what an ONNX file says of itself.
pub(crate) fn check_detector(path: &Path) -> Result<Option<OnnxHead>, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if length > DETECTOR_LIMIT {
        return Err(format!("it has {length} bytes; a detector has at most {} MiB", DETECTOR_LIMIT >> 20));
    }
    if path.extension().is_some_and(|extension| extension == "rknn") {
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(unreadable)?;
        return if &magic == b"RKNN" {
            Ok(None)
        } else {
            Err("it does not begin as an RKNN file does".into())
        };
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    onnx::read(&bytes).map(Some).map_err(|error| error.to_string())
}

/// SHA-256 of a file, lower-case hexadecimal.
pub(crate) fn digest(path: &Path) -> Result<String, StoreError> {
    let unreadable = |source| StoreError::Read { path: path.to_path_buf(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixture::add;
    use crate::gguf::GgufError;

    #[test]
    fn a_changed_byte_is_found_by_the_digest() {
        let root = tempfile::tempdir().expect("folder");
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide");
        let content = std::fs::read(format!("{guide}/guide.gguf")).expect("the guide");
        add(root.path(), "guide", "guide", &content, content.len() as u64);
        let model = Model::open(&root.path().join("guide"), false).expect("opens");
        model.verify().expect("whole");
        let mut changed = content;
        *changed.last_mut().expect("not empty") ^= 1;
        std::fs::write(model.file(), changed).expect("write");
        assert!(matches!(model.verify(), Err(StoreError::Digest { .. })));
    }

    #[test]
    fn the_context_is_the_manifests_or_the_models_within_reason() {
        let root = tempfile::tempdir().expect("folder");
        add(root.path(), "m", "m", b"x", 1);
        let mut model = Model::open(&root.path().join("m"), false).expect("opens");
        for (manifest, own, expected) in [
            (0, Some(512), 512),
            (0, Some(131_072), 4096),
            (0, None, 4096),
            (0, Some(0), 1),
            (9000, Some(512), 9000),
        ] {
            let mut metadata = BTreeMap::new();
            metadata.insert("general.architecture".into(), gguf::Value::Text("llama".into()));
            if let Some(own) = own {
                metadata.insert("llama.context_length".into(), gguf::Value::Integer(own));
            }
            model.manifest.context_tokens = manifest;
            assert_eq!(
                model.context_tokens(&Header {
                    metadata,
                    tensors: 1,
                    tensor_bytes: 1,
                    parameters: 1,
                    tensor_type: "F32",
                }),
                expected
            );
        }
    }

    #[test]
    fn a_file_of_another_size_or_kind_is_refused() {
        let root = tempfile::tempdir().expect("folder");
        add(root.path(), "short", "short", b"GGUF", 9);
        add(root.path(), "zip", "zip", b"PK\x03\x04....", 8);
        add(root.path(), "folder", "folder", b"", 0);
        std::fs::remove_file(root.path().join("folder/m.gguf")).expect("remove");
        std::fs::create_dir(root.path().join("folder/m.gguf")).expect("folder");
        let open = |id: &str| {
            Model::open(&root.path().join(id), false).expect("opens").header().expect_err("refused")
        };
        assert!(matches!(open("short"), StoreError::Size { actual: 4, expected: 9, .. }));
        assert!(matches!(open("folder"), StoreError::NotFile { .. }));
        assert!(matches!(open("zip"), StoreError::Gguf { source: GgufError::Magic(_), .. }));
    }
}
