//! Bounds the connections of a listener. When there are as many as may be, the one that has been idle longest is
//! closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// A connection this young may be about to send its first request.
const YOUNG: Duration = Duration::from_secs(1);
/// How often idle connections are looked for while a new one waits.
const RETRY: Duration = Duration::from_millis(50);
/// Connections that are closed together at most: many may wait outside.
const CLOSED_AT_ONCE: usize = 32;

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    permits: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    requests_in_flight: usize,
    idle_since: Instant,
    close: CancellationToken,
}

/// The permit of one connection, as long as it lives.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    close: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct RequestInFlight {
    limiter: Arc<ConnectionLimiter>,
    connection: u64,
}

impl ConnectionLimiter {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(most)), open: Mutex::default() })
    }

    /// Waits for a permit; idle connections are closed for it.
    pub(crate) async fn acquire(self: &Arc<Self>) -> std::io::Result<ConnectionPermit> {
        let permit = loop {
            let free = Arc::clone(&self.permits).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(RETRY, free).await {
                break permit.map_err(std::io::Error::other)?;
            }
            self.close_idle();
        };
        let close = CancellationToken::new();
        let mut open = self.lock();
        open.last_id += 1;
        let id = open.last_id;
        let connection =
            Connection { requests_in_flight: 0, idle_since: Instant::now(), close: close.clone() };
        open.connections.insert(id, connection);
        drop(open);
        Ok(ConnectionPermit { limiter: Arc::clone(self), id, close, _permit: permit })
    }

    fn close_idle(&self) {
        let open = self.lock();
        let all = || open.connections.values();
        let closing = all().filter(|connection| connection.close.is_cancelled()).count();
        let mut idle: Vec<&Connection> = all().filter(|connection| connection.is_idle()).collect();
        idle.sort_by_key(|connection| connection.idle_since);
        let most = CLOSED_AT_ONCE.min(open.connections.len().div_ceil(8)).saturating_sub(closing);
        for connection in idle.into_iter().take(most) {
            connection.close.cancel();
            metrics::counter!("http_idle_connections_ended_total").increment(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Whether nothing is lost when it is closed.
    fn is_idle(&self) -> bool {
        self.requests_in_flight == 0 && !self.close.is_cancelled() && self.idle_since.elapsed() >= YOUNG
    }
}

impl ConnectionPermit {
    /// Cancelled when this connection has to be closed.
    pub(crate) const fn close(&self) -> &CancellationToken {
        &self.close
    }

    /// How requests on this connection say that they are being answered.
    pub(crate) fn begin(&self) -> impl Fn() -> RequestInFlight + Clone + Send + Sync + use<> {
        let (limiter, connection) = (Arc::clone(&self.limiter), self.id);
        move || {
            if let Some(connection) = limiter.lock().connections.get_mut(&connection) {
                connection.requests_in_flight += 1;
            }
            RequestInFlight { limiter: Arc::clone(&limiter), connection }
        }
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        if let Some(connection) = self.limiter.lock().connections.get_mut(&self.connection) {
            connection.requests_in_flight = connection.requests_in_flight.saturating_sub(1);
            connection.idle_since = Instant::now();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.lock().connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_one_is_closed_and_busy_ones_stay() {
        let limiter = ConnectionLimiter::new(2);
        let first = limiter.acquire().await.expect("free");
        let request = (first.begin())();
        let second = limiter.acquire().await.expect("free");
        let waiting = {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move { limiter.acquire().await })
        };
        second.close().cancelled().await;
        assert!(!first.close().is_cancelled(), "it is answering");
        drop(second);
        let third = waiting.await.expect("task").expect("a permit");
        drop(request);
        let waiting = tokio::spawn(async move { limiter.acquire().await });
        third.close().cancelled().await;
        assert!(!first.close().is_cancelled(), "it has just answered");
        drop(third);
        waiting.await.expect("task").expect("a permit");
    }
}
