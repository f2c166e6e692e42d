//! The library that computes: ONNX Runtime, loaded when it is first needed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::Error;

/// Names the library, for tests and unusual layouts.
const VARIABLE: &str = "ACTIONBOOSTER_ONNXRUNTIME";
/// Where it is installed, seen from the folder of the programs.
const INSTALLED: &str = "../lib/actionbooster/libonnxruntime.so";
/// The oldest minor version of 1.x that has everything we call.
const OLDEST: u32 = ort::MINOR_VERSION;

/// ONNX Runtime can be loaded once in a process; what came of it stays.
static LOADED: OnceLock<Result<Runtime, Error>> = OnceLock::new();

/// ONNX Runtime, loaded.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    file: PathBuf,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runtime").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Runtime {
    /// The library of this process: the file that `ACTIONBOOSTER_ONNXRUNTIME` names, else `wanted`, else the
    /// installed one.
    pub fn load(wanted: Option<&Path>) -> Result<Self, Error> {
        LOADED
            .get_or_init(|| {
                let named = std::env::var_os(VARIABLE).map(PathBuf::from);
                open(&named.or_else(|| wanted.map(Path::to_path_buf)).unwrap_or_else(installed))
            })
            .clone()
    }

    pub(crate) const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The library's own words about itself: version and how it was built.
    pub fn describe(&self) -> String {
        format!("{}: {}", self.file.display(), ort::info())
    }
}

fn installed() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let file = program.parent().map(|folder| folder.join(INSTALLED)).unwrap_or_default();
    file.canonicalize().unwrap_or(file)
}

fn open(file: &Path) -> Result<Runtime, Error> {
    // The loader's own message for a missing file names no remedy.
    if !file.exists() {
        return Err(Error::Runtime(format!(
            "{} is missing: detection needs ONNX Runtime 1.{OLDEST} or newer; install it there or name it in {VARIABLE}",
            file.display()
        )));
    }
    let builder = ort::init_from(file).map_err(|error| {
        Error::Runtime(format!(
            "{} cannot be used: {error}; detection needs ONNX Runtime 1.{OLDEST} or newer",
            file.display()
        ))
    })?;
    let wrong = |error: ort::Error| Error::Runtime(format!("{} does not start: {error}", file.display()));
    let environment = builder.with_name("actionbooster").with_telemetry(false).build().map_err(wrong)?;
    // Models of older exporters make it print a line for every tensor.
    environment.set_log_level(LogLevel::Error);
    Ok(Runtime { environment, file: file.to_path_buf() })
}
