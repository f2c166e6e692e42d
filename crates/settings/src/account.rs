//! The owner's name and password.

/// Fewest characters of a password.
pub const SHORTEST_PASSWORD: usize = 10;
/// Most bytes of one: its hash reads them all, and nobody types more.
pub const LONGEST_PASSWORD_BYTES: usize = 1024;
/// Most characters of the owner's name, and of a key's.
pub const LONGEST_NAME: usize = 64;

/// Why a name or password is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Empty, too long, or with characters that are no text.
    #[error("The name must have 1 to {LONGEST_NAME} characters.")]
    Name,
    /// Too short.
    #[error("The password has {0} characters; it needs at least {SHORTEST_PASSWORD}.")]
    Short(usize),
    /// Too long.
    #[error("The password may have at most {LONGEST_PASSWORD_BYTES} bytes.")]
    Long,
}

/// A name without the blanks around it.
pub fn name(typed: &str) -> Result<&str, AccountError> {
    let name = typed.trim();
    let bad = name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control);
    if bad { Err(AccountError::Name) } else { Ok(name) }
}

/// Checks a new password.
pub fn check_password(password: &str) -> Result<(), AccountError> {
    let length = password.chars().count();
    if length < SHORTEST_PASSWORD {
        return Err(AccountError::Short(length));
    }
    if password.len() > LONGEST_PASSWORD_BYTES { Err(AccountError::Long) } else { Ok(()) }
}
