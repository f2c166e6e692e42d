//! One writer for each upload.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The uploads that somebody writes to now.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<HashSet<String>>>);

/// The right to write to one of them, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    upload: String,
    locks: Locks,
}

impl Locks {
    /// Locks an upload; nothing when somebody else has it.
    pub fn take(&self, upload: &str) -> Option<Lock> {
        let is_free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(upload.to_owned());
        is_free.then(|| Lock { upload: upload.to_owned(), locks: self.clone() })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.upload);
    }
}
