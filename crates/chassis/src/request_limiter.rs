//! Bounds the requests that keys have in work, streams included, by the connections that there are: some are left for
//! other keys, for the portal, and for whoever asks whether the box is well.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::auth::Caller;
use crate::fair_share::{Exhausted, FairShare};
use crate::problem::Problem;

/// One in so many connections is for others than keys.
const RESERVED: u64 = 8;
/// Seconds after which a client should try again.
const RETRY_AFTER_S: u64 = 5;

/// The requests of keys that are being answered.
#[derive(Debug)]
pub(crate) struct RequestLimiter(Arc<FairShare>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    share: Arc<FairShare>,
    key: String,
}

impl RequestLimiter {
    /// A limiter for a listener of so many connections.
    pub(crate) fn new(connections: usize) -> Self {
        let connections = connections as u64;
        Self(Arc::new(FairShare::new(connections - connections / RESERVED)))
    }

    /// Admits a request. Those of others than keys are not counted.
    pub(crate) fn admit(&self, caller: Option<&Caller>) -> Result<Option<RequestPermit>, Problem> {
        let Some(Caller::Key { id, .. }) = caller else { return Ok(None) };
        self.0.take(id, 1).map_err(refused)?;
        Ok(Some(RequestPermit { share: Arc::clone(&self.0), key: id.clone() }))
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.share.give_back(&self.key, 1);
    }
}

fn refused(why: Exhausted) -> Problem {
    metrics::counter!("http_requests_refused_total").increment(1);
    let (status, kind, title, detail) = match why {
        Exhausted::Share => (
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests are in work for this key",
            "The key has as many requests and streams open as one key may have. Close some, or wait until they are \
             answered.",
        ),
        Exhausted::Total => (
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many requests are in work",
            "Other keys have as many requests and streams open as there may be. Try again in a moment.",
        ),
    };
    Problem::new(status, kind, title, detail).retry_after(RETRY_AFTER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leaves_requests_for_others_and_the_owner_is_not_counted() {
        let limiter = RequestLimiter::new(16);
        let key = |id: &str| Caller::Key { id: id.into(), name: String::new(), scopes: [].into() };
        let admit = |id: &str| limiter.admit(Some(&key(id)));
        let held: Vec<_> = (0..7).map(|_| admit("a").expect("half of what is not reserved")).collect();
        let refused = admit("a").expect_err("its share");
        assert_eq!((refused.status().as_u16(), refused.retry_after_seconds()), (429, Some(5)));
        assert!(admit("b").is_ok());
        let portal = Caller::Session { owner: "ana".into(), hash: Vec::new() };
        for caller in [Some(&portal), Some(&Caller::Console), None] {
            assert!(limiter.admit(caller).expect("always").is_none());
        }
        drop(held);
        assert!(admit("a").is_ok());
    }
}
