//! Looks up who asks, on threads of its own: whatever else waits for a disk keeps nobody from being known.

use std::io;

use axum::http::{HeaderMap, Method};
use tokio::runtime::{Builder, Runtime};

use super::{AuthReader, Caller};
use crate::layers::unix_now;
use crate::problem::Problem;

/// SQLite blocks, for as long as the monitor commits.
const THREADS: usize = 4;

/// Who asks, looked up aside.
pub(crate) struct Authenticator {
    reader: AuthReader,
    /// Of which only the threads for blocking work are used; there until this is dropped.
    threads: Option<Runtime>,
}

impl Authenticator {
    pub(crate) fn new(reader: AuthReader) -> io::Result<Self> {
        let threads =
            Builder::new_current_thread().max_blocking_threads(THREADS).thread_name("auth").build()?;
        Ok(Self { reader, threads: Some(threads) })
    }

    /// Who sent a request with these headers.
    pub(crate) async fn identify(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Caller>, Problem> {
        let (reader, method, headers) = (self.reader.clone(), method.clone(), headers.clone());
        let look = move || reader.identify(&method, &headers, unix_now());
        let threads = self.threads.as_ref().ok_or_else(|| Problem::internal("the daemon ends"))?;
        threads.spawn_blocking(look).await.map_err(Problem::internal)?
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        // Waiting for the threads here would block those of the daemon.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
