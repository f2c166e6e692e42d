//! Machines to decide for, and a machine that fails on command.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test uses its part")]

pub mod failing;
pub mod machines;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use booster_provisioner::data::Data;

/// The rules that the image ships.
pub fn rules() -> Data {
    Data::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../provisioning")).unwrap()
}

/// Every file below a folder, by path.
pub fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                all.insert(name, fs::read(&path).unwrap_or_default());
            }
        }
    }
    all
}

pub fn write(root: &Path, path: &str, contents: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}
