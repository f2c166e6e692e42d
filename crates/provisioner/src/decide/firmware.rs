//! What supplies the firmware that is missing.

use actionbooster_hardware::MissingFirmware;
use serde::{Deserialize, Serialize};

use crate::data::Firmware;
use crate::text::Text;

/// A missing file, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFirmwareAdvice {
    /// Driver that asked.
    pub driver: String,
    /// Device as the kernel names it.
    pub device: String,
    /// File, relative to `/lib/firmware`.
    pub file: String,
    /// Debian package that holds it, where one is known.
    pub package: Option<String>,
    /// For the owner.
    pub advice: Text,
}

/// Names the package of every missing file.
pub fn advise(missing: &[MissingFirmware], data: &Firmware) -> Vec<MissingFirmwareAdvice> {
    let mut all: Vec<_> = missing.iter().map(|entry| advise_one(entry, data)).collect();
    all.dedup();
    all
}

fn advise_one(missing: &MissingFirmware, data: &Firmware) -> MissingFirmwareAdvice {
    let package = data
        .packages
        .iter()
        .flat_map(|(package, prefixes)| prefixes.iter().map(move |prefix| (prefix, package)))
        .filter(|(prefix, _)| missing.file.starts_with(prefix.as_str()))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, package)| package.clone());
    let template = if package.is_some() { &data.advice.known } else { &data.advice.unknown };
    let advice = template
        .with("package", &Text::same(package.clone().unwrap_or_default()))
        .with("file", &Text::same(&missing.file))
        .with("name", &Text::same(missing.file.rsplit('/').next().unwrap_or(&missing.file)))
        .with("driver", &Text::same(&missing.driver));
    MissingFirmwareAdvice {
        driver: missing.driver.clone(),
        device: missing.device.clone(),
        file: missing.file.clone(),
        package,
        advice,
    }
}
