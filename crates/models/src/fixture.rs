//! Models for tests.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Puts a model into a store: its folder, the id that its manifest says, its file, and the size it claims.
pub fn add(store: &Path, folder: &str, id: &str, content: &[u8], size: u64) {
    let target = store.join(folder);
    std::fs::create_dir_all(&target).expect("folder");
    let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        "id = {id:?}\nname = \"N\"\nfile = \"m.gguf\"\nsha256 = {digest:?}\nsize_bytes = {size}\nlicence = \"MIT\"\n"
    );
    std::fs::write(target.join("manifest.toml"), manifest).expect("manifest");
    std::fs::write(target.join("m.gguf"), content).expect("model");
}
