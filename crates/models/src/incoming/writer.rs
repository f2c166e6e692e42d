//! Bytes of an upload on their way to the disk.

use std::fs::File;
use std::io::{self, Write};

use actionbooster_storage::{Shortage, Space};

use super::error::{IncomingError, io_error};
use super::locks::Lock;

/// The right to write to an upload; nobody else has it meanwhile.
#[derive(Debug)]
pub struct Writer {
    pub(super) file: File,
    pub(super) received: u64,
    pub(super) size: u64,
    pub(super) _lock: Lock,
}

impl Writer {
    /// Adds bytes. What was added before an error stays.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), IncomingError> {
        if self.received + bytes.len() as u64 > self.size {
            return Err(IncomingError::TooMuch { size: self.size });
        }
        // Others write meanwhile: what was free at the beginning may be gone.
        let space = Space::of_file(&self.file).map_err(io_error("cannot see how full the disk is"))?;
        space.room_for(bytes.len() as u64, 0)?;
        self.file.write_all(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Shortage::Bytes { needed: self.size - self.received, free: 0 }.into()
            }
            _ => IncomingError::Io { what: "cannot write the upload".into(), source },
        })?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was added last; returns how many bytes are there.
    pub fn close(self) -> Result<u64, IncomingError> {
        self.file.sync_data().map_err(io_error("cannot keep the upload"))?;
        Ok(self.received)
    }
}
