//! How much one account does at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::account::Account;
use crate::error::ConversationError;

/// Requests of one account at once. Taken before a body is read, so it bounds what bodies take, too.
const AT_ONCE: usize = 8;
/// A request waits so long for the others of its account.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request of an account.
#[derive(Debug)]
pub struct Permit {
    account: Account,
    _turn: OwnedSemaphorePermit,
}

impl Permit {
    /// Whose it is.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

/// The requests of each account that is asking now.
#[derive(Debug, Default)]
pub(crate) struct Permits(Mutex<BTreeMap<Account, Weak<Semaphore>>>);

impl Permits {
    pub(crate) async fn take(&self, account: Account) -> Result<Permit, ConversationError> {
        let turns = self.of(&account);
        let turn = tokio::time::timeout(PATIENCE, turns.acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(ConversationError::Busy)?;
        Ok(Permit { account, _turn: turn })
    }

    fn of(&self, account: &Account) -> Arc<Semaphore> {
        let mut asking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = asking.get(account).and_then(Weak::upgrade) {
            return turns;
        }
        asking.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        asking.insert(account.clone(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_account_waits_for_itself_and_for_nobody_else() {
        let permits = Permits::default();
        let mut taken = Vec::new();
        for _ in 0..AT_ONCE {
            taken.push(permits.take(Account::Key("a".into())).await.expect("free"));
        }
        let one_more = permits.take(Account::Key("a".into())).await;
        assert!(matches!(one_more, Err(ConversationError::Busy)));
        permits.take(Account::Owner).await.expect("another account");
        taken.pop();
        permits.take(Account::Key("a".into())).await.expect("one is free again");
        drop(taken);
        permits.take(Account::Key("b".into())).await.expect("free");
        assert!(permits.0.lock().expect("lock").len() <= 2, "accounts that ask no more are forgotten");
    }
}
