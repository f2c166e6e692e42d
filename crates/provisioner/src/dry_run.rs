//! A machine that does nothing: what `plan` runs the steps against.

use std::io;
use std::path::Path;

use crate::system::{Access, System};

/// Answers as the wrapped machine does, and changes nothing.
pub struct DryRun<'a>(pub &'a dyn System);

impl System for DryRun<'_> {
    fn replace(&self, _: &Path, _: &[u8], _: Access) -> io::Result<()> {
        Ok(())
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn set_kernel(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn run(&self, _: &[&str]) -> anyhow::Result<()> {
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    fn kernel(&self, key: &str) -> Option<String> {
        self.0.kernel(key)
    }

    fn has_tpm(&self) -> bool {
        self.0.has_tpm()
    }

    fn seal(&self, _: &str, secret: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(secret.to_vec())
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.0.unseal(name, sealed)
    }

    fn is_active(&self, unit: &str) -> bool {
        self.0.is_active(unit)
    }
}
