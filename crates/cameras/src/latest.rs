//! A place for one value, in which a newer one replaces one that nobody has taken.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The place. One task puts, one takes.
#[derive(Debug)]
pub struct Latest<T> {
    value: Mutex<Option<T>>,
    put: Notify,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), put: Notify::new() }
    }
}

impl<T> Latest<T> {
    /// Puts a value and gives back the one it replaces.
    pub fn put(&self, value: T) -> Option<T> {
        let replaced = self.value.lock().unwrap_or_else(PoisonError::into_inner).replace(value);
        self.put.notify_one();
        replaced
    }

    /// Takes the value, once there is one. Nothing is lost when this is dropped while it waits.
    pub async fn take(&self) -> T {
        loop {
            let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(value) = value {
                return value;
            }
            self.put.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_is_taken_and_what_it_replaced_comes_back() {
        let latest = Latest::default();
        assert_eq!([latest.put(1), latest.put(2), latest.put(3)], [None, Some(1), Some(2)]);
        assert_eq!(latest.take().await, 3);
        let (taken, ()) = tokio::join!(latest.take(), async {
            tokio::task::yield_now().await;
            assert_eq!(latest.put(4), None);
        });
        assert_eq!(taken, 4);
    }

    #[tokio::test]
    async fn a_taker_that_gives_up_loses_nothing() {
        let latest = Latest::default();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = latest.take() => panic!("there is nothing yet"),
        }
        latest.put(5);
        assert_eq!(latest.take().await, 5);
    }
}
