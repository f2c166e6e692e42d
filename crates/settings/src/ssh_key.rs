//! Public keys of OpenSSH: `kind base64 [comment]` on one line.
//!
//! The body is taken apart as `sshkey.c` of OpenSSH does it, so that a key that passes here is one
//! that the server reads. Options before the kind are refused: they can run commands.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A public key, with single spaces between its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    line: String,
    /// Where the body ends in the line.
    body_end: usize,
}

/// Why a line is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The other half.
    #[error("This is a private key. Keep it to yourself and paste the .pub file.")]
    Private,
    /// Several lines, or characters that no line has.
    #[error("A public key is one line; this has several, or characters that are no text.")]
    Lines,
    /// Longer than any key.
    #[error("A public key has at most {} characters.", PublicKey::LONGEST)]
    Long,
    /// Something stands before the kind.
    #[error("Options before the key are not accepted; paste the line of the .pub file as it is.")]
    Options,
    /// No kind that OpenSSH knows.
    #[error("This is not an OpenSSH public key. Paste one line of a file such as ~/.ssh/id_ed25519.pub.")]
    Kind,
    /// The body is no base64.
    #[error("The key's body is not base64. Paste the whole line again.")]
    Base64,
    /// The body is of another kind.
    #[error("The key says one kind outside and another inside. Paste the line of the .pub file as it is.")]
    OtherKind,
    /// The body ends early, or goes on.
    #[error("The key is not whole. Paste the whole line again.")]
    Cut,
    /// The server would refuse it.
    #[error("An RSA key needs {} to {} bits.", PublicKey::SHORTEST_RSA_BITS, PublicKey::LONGEST_RSA_BITS)]
    Bits,
}

impl PublicKeyError {
    /// A name for it, which the portal has too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Lines => "lines",
            Self::Long => "long",
            Self::Options => "options",
            Self::Kind => "kind",
            Self::Base64 => "base64",
            Self::OtherKind => "other-kind",
            Self::Cut => "cut",
            Self::Bits => "bits",
        }
    }
}

/// What is inside a body, after its kind.
#[derive(Clone, Copy)]
enum Body {
    /// A point of 32 bytes.
    Ed25519,
    /// The curve's name and a point of two coordinates.
    Ecdsa { curve: &'static str, coordinate: usize },
    /// Exponent and modulus.
    Rsa,
}

/// Kind, body, and whether the key lives on a security key, which adds the application's name.
const KINDS: [(&str, Body, bool); 7] = [
    ("ssh-ed25519", Body::Ed25519, false),
    ("ssh-rsa", Body::Rsa, false),
    ("ecdsa-sha2-nistp256", Body::Ecdsa { curve: "nistp256", coordinate: 32 }, false),
    ("ecdsa-sha2-nistp384", Body::Ecdsa { curve: "nistp384", coordinate: 48 }, false),
    ("ecdsa-sha2-nistp521", Body::Ecdsa { curve: "nistp521", coordinate: 66 }, false),
    ("sk-ssh-ed25519@openssh.com", Body::Ed25519, true),
    ("sk-ecdsa-sha2-nistp256@openssh.com", Body::Ecdsa { curve: "nistp256", coordinate: 32 }, true),
];

impl PublicKey {
    /// Longest line.
    pub const LONGEST: usize = 8192;
    /// OpenSSH's own limits (`RequiredRSASize`, `SSHBUF_MAX_BIGNUM`).
    const SHORTEST_RSA_BITS: usize = 1024;
    const LONGEST_RSA_BITS: usize = 16_384;

    /// Takes one line, with blanks around it or between its parts as people paste them.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        if text.contains("PRIVATE KEY") {
            return Err(PublicKeyError::Private);
        }
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        if text.len() > Self::LONGEST {
            return Err(PublicKeyError::Long);
        }
        if text.chars().any(|letter| letter.is_control() && letter != '\t') {
            return Err(PublicKeyError::Lines);
        }
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let Some((_, body, on_security_key)) = KINDS.iter().find(|(kind, ..)| *kind == name) else {
            let later = words.any(|word| KINDS.iter().any(|(kind, ..)| *kind == word));
            return Err(if later { PublicKeyError::Options } else { PublicKeyError::Kind });
        };
        let encoded = words.next().unwrap_or_default();
        let bytes = STANDARD.decode(encoded).map_err(|_| PublicKeyError::Base64)?;
        check(&bytes, name, *body, *on_security_key)?;
        let mut line = format!("{name} {encoded}");
        let body_end = line.len();
        for word in words {
            line.push(' ');
            line.push_str(word);
        }
        Ok(Self { line, body_end })
    }

    /// The line, as `authorized_keys` has it.
    pub fn as_str(&self) -> &str {
        &self.line
    }

    /// Whether both open the same lock, whatever their comments say.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.line[..self.body_end] == other.line[..other.body_end]
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.line)
    }
}

/// Goes through the body part by part; each is its length in four bytes and so many bytes.
fn check(bytes: &[u8], name: &str, body: Body, on_security_key: bool) -> Result<(), PublicKeyError> {
    let mut parts = Parts(bytes);
    if parts.next()? != name.as_bytes() {
        return Err(PublicKeyError::OtherKind);
    }
    match body {
        Body::Ed25519 => whole(parts.next()?.len() == 32)?,
        Body::Ecdsa { curve, coordinate } => {
            if parts.next()? != curve.as_bytes() {
                return Err(PublicKeyError::OtherKind);
            }
            let point = parts.next()?;
            // Uncompressed: OpenSSH reads no other form.
            whole(point.len() == 1 + 2 * coordinate && point[0] == 4)?;
        }
        Body::Rsa => {
            bits(parts.next()?)?;
            let bits = bits(parts.next()?)?;
            if !(PublicKey::SHORTEST_RSA_BITS..=PublicKey::LONGEST_RSA_BITS).contains(&bits) {
                return Err(PublicKeyError::Bits);
            }
        }
    }
    if on_security_key {
        whole(!parts.next()?.is_empty())?;
    }
    whole(parts.0.is_empty())
}

const fn whole(it_is: bool) -> Result<(), PublicKeyError> {
    if it_is { Ok(()) } else { Err(PublicKeyError::Cut) }
}

/// Length of a positive number. The first bit would make it negative, so a zero stands before it.
fn bits(number: &[u8]) -> Result<usize, PublicKeyError> {
    whole(number.first().is_some_and(|first| first & 0x80 == 0))?;
    let start = number.iter().position(|byte| *byte != 0).ok_or(PublicKeyError::Cut)?;
    let number = &number[start..];
    Ok(number.len() * 8 - number[0].leading_zeros() as usize)
}

struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self) -> Result<&'a [u8], PublicKeyError> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(PublicKeyError::Cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (part, rest) = rest.split_at_checked(length).ok_or(PublicKeyError::Cut)?;
        self.0 = rest;
        Ok(part)
    }
}
