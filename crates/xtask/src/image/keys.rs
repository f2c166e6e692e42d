//! The key pair that signs updates during development. It never leaves the cache.

use std::path::PathBuf;

use anyhow::Result;

use crate::builder::Builder;

/// The certificate of the development authority, made at its first use.
///
/// Beside it are `signing.pem` and `signing.key`, with which a bundle for such an image is signed.
pub fn development(builder: &Builder) -> Result<PathBuf> {
    let folder = builder.cache().join("keys/development");
    let authority = folder.join("authority.pem");
    if !folder.join("signing.pem").exists() {
        let script = "set -e; umask 077; mkdir -p \"$1\"; cd \"$1\"
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7300 \
                -subj '/CN=ActionBooster development authority' -keyout authority.key -out authority.pem
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                -subj '/CN=ActionBooster development signer' -keyout signing.key -out signing.csr
            openssl x509 -req -in signing.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
                -days 7300 -out signing.part
            chmod 644 authority.pem; mv signing.part signing.pem";
        let inside = builder.inside(&folder)?.display().to_string();
        builder.run("making the development keys", "keys", &["sh", "-c", script, "keys", &inside])?;
        builder.output(&["chmod", "755", &inside])?;
    }
    Ok(authority)
}
