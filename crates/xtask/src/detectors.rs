//! Real detectors from outside the repository, for tests and benches where they are at hand.

use std::fs;
use std::path::Path;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::builder::{Builder, hex};

/// Files beside the checkout (`../shared/assets`), and what they are called in the store.
const MODELS: [(&str, &str); 2] = [("yolox_nano.onnx", "yolox-nano"), ("nanodet_m_320.onnx", "nanodet-m")];

/// Adds the detectors that are at hand to the store below `root`.
pub fn add(builder: &Builder, root: &Path) -> Result<()> {
    for (file, id) in MODELS {
        let Ok(bytes) = fs::read(builder.checkout().join("../shared/assets").join(file)) else { continue };
        let folder = root.join("var/lib/actionbooster/models").join(id);
        fs::create_dir_all(&folder)?;
        let manifest = format!(
            "id = \"{id}\"\nname = \"{id}\"\nfile = \"{id}.onnx\"\nsha256 = \"{}\"\nsize_bytes = {}\n\
             licence = \"Apache-2.0\"\n",
            hex(&Sha256::digest(&bytes)),
            bytes.len()
        );
        fs::write(folder.join(format!("{id}.onnx")), &bytes)?;
        fs::write(folder.join("manifest.toml"), manifest)?;
    }
    Ok(())
}
