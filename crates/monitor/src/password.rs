//! Passwords: what is stored of them, and how many are looked at in one go.
//!
//! Argon2 is meant to be slow and large: 19 MiB and tens of milliseconds of a core for each password.
//! So browsers that the owner has logged in with and strangers have one permit each, with a short queue
//! before it: a crowd of strangers costs neither the box its memory nor the owner the turn.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_chassis::Problem;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::attempts::Visitor;

/// Who wait behind the one whose password is looked at.
const QUEUE: usize = 8;
/// How long they wait.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Argon2id with the library's defaults (19 MiB, two passes), as OWASP recommends.
pub fn hash(password: &str) -> Result<String, Problem> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(Problem::internal)?;
    Ok(hash.to_string())
}

/// Whether this is the password behind the hash.
pub fn is_right(password: &str, hash: &str) -> Result<bool, Problem> {
    let parsed = PasswordHash::new(hash).map_err(Problem::internal)?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
}

/// Bounds the passwords that are looked at in one go.
#[derive(Debug, Default)]
pub struct Hashing {
    known: Admission,
    strangers: Admission,
}

#[derive(Debug)]
struct Admission {
    permit: Arc<Semaphore>,
    /// The one that has the permit, and those who wait for it.
    queue: Arc<Semaphore>,
}

impl Default for Admission {
    fn default() -> Self {
        Self { permit: Arc::new(Semaphore::new(1)), queue: Arc::new(Semaphore::new(1 + QUEUE)) }
    }
}

impl Hashing {
    /// Works on a password when there is a permit for this visitor; 503 when too many wait.
    pub async fn run<T: Send + 'static>(
        &self,
        visitor: Visitor,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let admission = if visitor.is_known() { &self.known } else { &self.strangers };
        let queued = Arc::clone(&admission.queue).try_acquire_owned().map_err(|_| busy())?;
        let permit = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&admission.permit).acquire_owned()).await;
        let permit = permit.map_err(|_| busy())?.map_err(Problem::internal)?;
        let worked = tokio::task::spawn_blocking(move || {
            // Until the work is done, even if nobody waits for it any more.
            let _held = (queued, permit);
            work()
        });
        worked.await.map_err(Problem::internal)?
    }
}

fn busy() -> Problem {
    let seconds = QUEUE_TIMEOUT.as_secs();
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "login-busy",
        "Too many log in at once",
        format!("Many passwords are being checked at this moment. Try again in {seconds} seconds."),
    )
    .retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use actionbooster_chassis::Client;

    use super::*;
    use crate::device::DeviceId;

    const STRANGER: Visitor = Visitor::Stranger(Client::Remote(None));

    /// What a monitor takes besides passwords: its binary, SQLite's cache, connections.
    const ITSELF_BYTES: u64 = 24 << 20;

    /// Work that says that it began and goes on until told to end.
    fn patient() -> (Sender<()>, Receiver<()>, impl FnOnce() -> Result<(), Problem> + Send + 'static) {
        let ((end, told), (show, shown)) = (channel(), channel());
        let work = move || {
            show.send(()).map_err(Problem::internal)?;
            told.recv().map_err(Problem::internal)
        };
        (end, shown, work)
    }

    #[tokio::test]
    async fn one_password_at_a_time_a_short_queue_and_a_permit_of_the_owners_own() {
        let hashing = Arc::new(Hashing::default());
        let (end, began, work) = patient();
        let first = {
            let hashing = Arc::clone(&hashing);
            tokio::spawn(async move { hashing.run(STRANGER, work).await })
        };
        tokio::task::spawn_blocking(move || began.recv()).await.expect("joins").expect("began");
        let mut queue = Vec::new();
        for _ in 0..QUEUE {
            let hashing = Arc::clone(&hashing);
            queue.push(tokio::spawn(async move { hashing.run(STRANGER, || Ok(())).await }));
        }
        while hashing.strangers.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = hashing.run(STRANGER, || Ok(())).await.expect_err("the queue is full");
        assert_eq!((refused.status().as_u16(), refused.retry_after_seconds()), (503, Some(10)));
        let known = Visitor::Known(DeviceId::from([1; 16]));
        hashing.run(known, || Ok(())).await.expect("the owner's browser does not wait behind strangers");
        end.send(()).expect("it waits");
        first.await.expect("joins").expect("done");
        for waiting in queue {
            waiting.await.expect("joins").expect("its turn came");
        }
        assert_eq!(hashing.strangers.queue.available_permits(), 1 + QUEUE);
    }

    #[tokio::test]
    async fn a_visitor_that_leaves_keeps_the_permit_until_the_work_is_done() {
        let hashing = Arc::new(Hashing::default());
        let (end, began, work) = patient();
        let left = {
            let hashing = Arc::clone(&hashing);
            tokio::spawn(async move { hashing.run(STRANGER, work).await })
        };
        tokio::task::spawn_blocking(move || began.recv()).await.expect("joins").expect("began");
        left.abort();
        assert!(left.await.expect_err("it was aborted").is_cancelled());
        assert_eq!(hashing.strangers.permit.available_permits(), 0);
        end.send(()).expect("it works still");
        hashing.run(STRANGER, || Ok(())).await.expect("the permit is free again");
    }

    #[test]
    fn the_monitors_smallest_memory_limit_holds_a_password_for_every_permit() {
        let modes = include_str!("../../../provisioning/modes.toml").parse::<toml::Table>().expect("TOML");
        let limit = modes["daemons"]["monitor"]["min_mib"].as_integer().expect("a number");
        let limit = u64::try_from(limit).expect("positive") << 20;
        let permits = 2;
        let passwords = permits * u64::from(argon2::Params::DEFAULT_M_COST) * 1024;
        // Above MemoryHigh, nine tenths of the limit, the kernel slows it down.
        assert!(ITSELF_BYTES + passwords <= limit / 10 * 9, "{passwords} bytes of {limit}");
    }

    #[test]
    fn a_password_is_told_from_another_by_its_hash_alone() {
        let kept = hash("correct horse").expect("hashes");
        assert!(kept.starts_with("$argon2id$") && !kept.contains("horse"));
        assert!(is_right("correct horse", &kept).expect("reads"));
        assert!(!is_right("correct horsE", &kept).expect("reads"));
        assert!(is_right("x", "not a hash").is_err());
    }
}
