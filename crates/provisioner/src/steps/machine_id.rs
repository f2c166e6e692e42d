//! The machine's identity. systemd makes it at the first boot; here it is checked, and made again
//! where a cut left it empty or torn.

use anyhow::Result;

use super::{Context, current};
use crate::system::Access;

pub fn ensure(context: &Context) -> Result<()> {
    let path = context.layout.at("etc/machine-id");
    if current(&path).is_some_and(|text| is_machine_id(&text)) {
        return Ok(());
    }
    // systemd runs with this one when it could not write the other.
    let running = current(&context.layout.at("run/machine-id")).filter(|text| is_machine_id(text));
    let identity = running.unwrap_or_else(|| format!("{:032x}\n", random_identity()).into_bytes());
    context.replace(&path, &identity, Access { mode: 0o444, owner: None })
}

/// 128 random bits as a version 4 UUID, as systemd makes them.
fn random_identity() -> u128 {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0x3 << 62;
    (rand::random::<u128>() & !VERSION & !VARIANT) | (0x4 << 76) | (0x2 << 62)
}

fn is_machine_id(text: &[u8]) -> bool {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.len() == 32
        && text.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
        && text.iter().any(|byte| *byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_identity_is_valid_and_of_version_4() {
        let text = format!("{:032x}\n", random_identity());
        assert!(is_machine_id(text.as_bytes()));
        assert_eq!(&text[12..13], "4");
    }

    #[test]
    fn torn_identities_are_known() {
        for text in [
            "",
            "\n",
            "uninitialized\n",
            "0123",
            "00000000000000000000000000000000",
            "g1234567890123456789012345678901",
        ] {
            assert!(!is_machine_id(text.as_bytes()), "{text:?}");
        }
    }
}
