//! ONNX Runtime's library, out of the wheel that its makers publish.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::builder::Builder;

/// The version that detection is measured with.
pub const VERSION: &str = "1.31.1";
/// Architecture, and the SHA-256 of its wheel for CPython 3.12, whichever Python reads it.
const WHEELS: [(&str, &str); 2] = [
    ("x86_64", "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536"),
    ("aarch64", "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc"),
];
/// Fetches the wheel, checks it, and takes the library out of it.
const FETCH: &str = r#"
set -e
version=$1 machine=$2 digest=$3 target=$4
work=$(mktemp -d)
python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" --implementation cp --abi cp312 \
  --python-version 3.12 --platform "manylinux_2_28_$machine" "onnxruntime==$version"
echo "$digest  $(ls "$work"/*.whl)" | sha256sum --check --quiet
python3 -m zipfile -e "$work"/*.whl "$work/tree"
mkdir -p "$(dirname "$target")"
cp "$work"/tree/onnxruntime/capi/libonnxruntime.so.* "$target.new"
mv "$target.new" "$target"
"#;

/// The library for this machine, fetched once per version.
pub fn library(builder: &Builder) -> Result<PathBuf> {
    let machine = std::env::consts::ARCH;
    let Some((_, digest)) = WHEELS.into_iter().find(|(known, _)| *known == machine) else {
        bail!("no ONNX Runtime is known for {machine}");
    };
    let folder = builder.cache().join("onnxruntime");
    let (file, stamp) = (folder.join("libonnxruntime.so"), folder.join("version"));
    let current = format!("{VERSION} {digest}");
    if file.exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == current) {
        return Ok(file);
    }
    let target = builder.inside(&file)?.display().to_string();
    let argv = ["sh", "-c", FETCH, "fetch", VERSION, machine, digest, &target];
    builder.run("fetching ONNX Runtime", "onnxruntime", &argv)?;
    fs::write(&stamp, current).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_wheel() {
        assert!(WHEELS.iter().any(|(machine, _)| *machine == std::env::consts::ARCH));
        assert!(WHEELS.iter().all(|(_, digest)| digest.len() == 64));
    }
}
