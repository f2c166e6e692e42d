//! llama.cpp's start: which CPU variant of ggml is used is decided here, once per process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::{LlamaBackend, load_backends_from_path};
use llama_cpp_2::{LogOptions, send_logs_to_tracing};

use crate::Error;

/// Names the folder with `libggml-cpu-*.so`, for tests and unusual layouts.
const VARIABLE: &str = "ACTIONBOOSTER_BACKENDS";

/// llama.cpp starts once per process; every engine uses the same one.
static STARTED: OnceLock<Result<LlamaBackend, Error>> = OnceLock::new();

/// Loads the best CPU variant for this machine and starts llama.cpp.
pub(crate) fn start(wanted: Option<&Path>) -> Result<&'static LlamaBackend, Error> {
    let started = STARTED.get_or_init(|| {
        send_logs_to_tracing(LogOptions::default().with_logs_enabled(true));
        let folder = wanted.map_or_else(folder, Path::to_path_buf);
        if !holds_backends(&folder) {
            return Err(Error::NoBackend(folder.display().to_string()));
        }
        load_backends_from_path(&folder);
        LlamaBackend::init().map_err(|error| Error::Load(error.to_string()))
    });
    started.as_ref().map_err(Clone::clone)
}

/// Beside the program as installed (`../lib/actionbooster`), unless the variable names another.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(VARIABLE) {
        return folder.into();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let installed = program.parent().and_then(Path::parent).map(|base| base.join("lib/actionbooster"));
    installed.filter(|folder| holds_backends(folder)).unwrap_or_else(|| "/usr/lib/actionbooster".into())
}

fn holds_backends(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().starts_with("libggml-cpu"))
}
