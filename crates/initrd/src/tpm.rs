//! The TPM, as far as systemd's own tools leave something to do.
//!
//! A TPM counts each start that follows a power cut as a try at guessing, once something that it protects against
//! guessing was used, and after some of them it is locked: nothing can be sealed or opened for hours. What this box
//! seals has no password that could be guessed, so the count is taken back at every start.
//!
//! Commands: TCG, TPM 2.0 Library, Part 3: 25.2 `TPM2_DictionaryAttackLockReset`, 30.2 `TPM2_GetCapability`.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::console;

/// The TPM as programs share it.
pub(crate) const DEVICE: &str = "/dev/tpmrm0";

const GET_CAPABILITY: u32 = 0x17a;
const RESET_LOCK: u32 = 0x139;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// The hierarchy that may take the count back.
const LOCKOUT: u32 = 0x4000_000a;
/// Authorisation by a password, here an empty one: handle, no nonce, no attributes, no password.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
const PROPERTIES: u32 = 6;
/// `TPM_PT_PERMANENT`, and in it whether somebody has set a password for the hierarchy.
const PERMANENT: u32 = 0x200;
const LOCKOUT_PASSWORD_SET: u32 = 1 << 2;
/// `TPM_PT_LOCKOUT_COUNTER`.
const COUNTER: u32 = 0x20e;
/// Before the parameters of an answer: tag, size, response code.
const HEAD: usize = 10;
const LONGEST_ANSWER: usize = 4096;

/// Takes back what power cuts have made the TPM count. What cannot be done is told: the box may have to ask for its
/// recovery key.
pub(crate) fn forgive_power_cuts() {
    if !Path::new(DEVICE).exists() {
        return;
    }
    let mut exchange = |command: &[u8]| {
        let mut device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
        device.write_all(command)?;
        let mut answer = vec![0; LONGEST_ANSWER];
        let length = device.read(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    match reset(&mut exchange) {
        Ok(None) => {}
        Ok(Some(count)) => {
            console::note(&format!("the TPM had counted {count} power cuts as tries to guess"));
        }
        Err(error) => console::note(&format!("the TPM's count of tries stays: {error}")),
    }
}

/// Resets the count where there is one, and returns it.
fn reset(exchange: &mut dyn FnMut(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Option<u32>> {
    let mut property = |name| number(&exchange(&ask(name))?, name);
    let count = property(COUNTER)?;
    if count == 0 {
        return Ok(None);
    }
    if property(PERMANENT)? & LOCKOUT_PASSWORD_SET != 0 {
        // A wrong password would lock the hierarchy itself.
        return Err(io::Error::other("another system has set a password for it"));
    }
    parameters(&exchange(&command(SESSIONS, RESET_LOCK, &lock_reset()))?)?;
    Ok(Some(count))
}

fn lock_reset() -> Vec<u8> {
    let size = u32::try_from(EMPTY_PASSWORD.len()).unwrap_or_default();
    [&LOCKOUT.to_be_bytes()[..], &size.to_be_bytes(), &EMPTY_PASSWORD].concat()
}

fn ask(property: u32) -> Vec<u8> {
    let parameters = [PROPERTIES, property, 1].map(u32::to_be_bytes).concat();
    command(NO_SESSIONS, GET_CAPABILITY, &parameters)
}

fn command(tag: u16, code: u32, parameters: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEAD + parameters.len()).unwrap_or_default();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), parameters].concat()
}

/// What follows the head of an answer to a command that was carried out.
fn parameters(answer: &[u8]) -> io::Result<&[u8]> {
    let code = answer.get(6..HEAD).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    match code {
        Some(0) => Ok(&answer[HEAD..]),
        Some(code) => Err(io::Error::other(format!("it answers {code:#x}"))),
        None => Err(io::Error::other("it answers nothing that makes sense")),
    }
}

/// The value of a property in the answer: one of more to come or not, kind, number of values, name, value.
fn number(answer: &[u8], name: u32) -> io::Result<u32> {
    let expected = [PROPERTIES, 1, name].map(u32::to_be_bytes).concat();
    let found = parameters(answer)?.get(1..).and_then(|rest| rest.strip_prefix(&expected[..]));
    let value = found.and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
    value.ok_or_else(|| io::Error::other(format!("it does not tell its property {name:#x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u32, parameters: &[u8]) -> Vec<u8> {
        command(NO_SESSIONS, code, parameters)
    }

    fn told(name: u32, value: u32) -> Vec<u8> {
        answer(0, &[&[0][..], &[PROPERTIES, 1, name, value].map(u32::to_be_bytes).concat()].concat())
    }

    /// A TPM with these two properties; the code is what it answers to a reset.
    fn outcome(count: u32, permanent: u32, code: u32) -> (Result<Option<u32>, String>, bool) {
        let mut asked = false;
        let outcome = reset(&mut |command| {
            let text: Vec<String> = command.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(match text.concat().as_str() {
                "8001000000160000017a000000060000020e00000001" => told(COUNTER, count),
                "8001000000160000017a000000060000020000000001" => told(PERMANENT, permanent),
                "80020000001b000001394000000a00000009400000090000000000" => {
                    asked = true;
                    answer(code, &[])
                }
                other => panic!("{other}"),
            })
        });
        (outcome.map_err(|error| error.to_string()), asked)
    }

    #[test]
    fn a_count_is_taken_back_where_that_needs_no_password() {
        assert_eq!(outcome(0, 0, 0), (Ok(None), false));
        assert_eq!(outcome(3, 0x200, 0), (Ok(Some(3)), true));
        let (refused, asked) = outcome(3, LOCKOUT_PASSWORD_SET, 0);
        assert!(!asked && refused.unwrap_err().contains("password"));
        let (failed, asked) = outcome(3, 0, 0x921);
        assert!(asked && failed.unwrap_err().contains("0x921"));
    }

    #[test]
    fn answers_that_make_no_sense_are_errors() {
        for answer in [vec![], vec![0; 9], answer(0, &[]), told(PERMANENT, 1), answer(0x101, &[])] {
            assert!(number(&answer, COUNTER).is_err(), "{answer:?}");
        }
    }
}
