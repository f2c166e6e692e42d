//! What one client may take of the worker, so that others find something left.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actionbooster_chassis::Client;
use actionbooster_chassis::auth::Caller;

use crate::loaded::Key;

/// Who asks: a key where one was shown, else where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ClientId {
    /// Who is known, by key or session.
    Caller(String),
    /// A program on this box that showed no key.
    Local,
    /// An address; of IPv6 its network.
    Address(Client),
}

impl ClientId {
    pub(crate) fn of_caller(caller: &Caller) -> Self {
        Self::Caller(caller.label().to_owned())
    }

    pub(crate) fn of_address(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Local
        } else {
            Self::Address(Client::Remote(Some(address)).network())
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(label) => write!(formatter, "the key or account {label}"),
            Self::Local => formatter.write_str("programs on this box without a key"),
            Self::Address(address) => write!(formatter, "{address}"),
        }
    }
}

/// How much there is, and how much of it one client may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) client_sessions: usize,
    /// Models that one client uses at once, those that are being loaded for it included.
    pub(crate) client_models: usize,
}

/// Why a session is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "{0} sessions are open, as many as the worker takes; try again when one has ended, or raise most_sessions \
         in worker.toml"
    )]
    All(usize),
    #[error(
        "{client} has {open} sessions open, as many as one client may; end one of them first, or raise \
         client_sessions in worker.toml"
    )]
    Sessions { client: ClientId, open: usize },
    #[error(
        "{client} uses {used} models at once, as many as one client may; end its sessions at one of them first, or \
         raise client_models in worker.toml"
    )]
    Models { client: ClientId, used: usize },
}

/// Who has how much.
#[derive(Debug)]
pub(crate) struct Quotas {
    limits: Limits,
    clients: Mutex<HashMap<ClientId, HashMap<Key, usize>>>,
}

/// The right to one session at one model, while it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    quotas: Arc<Quotas>,
    client: ClientId,
    key: Key,
}

impl Quotas {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, clients: Mutex::default() })
    }

    /// Admits a session of this client at this model, loaded or not.
    pub(crate) fn admit(self: &Arc<Self>, client: &ClientId, key: &Key) -> Result<Permit, Refusal> {
        let mut clients = self.lock();
        let all: usize = clients.values().flat_map(HashMap::values).sum();
        if all >= self.limits.sessions {
            return Err(Refusal::All(all));
        }
        if let Some(models) = clients.get(client) {
            let open: usize = models.values().sum();
            if open >= self.limits.client_sessions {
                return Err(Refusal::Sessions { client: client.clone(), open });
            }
            if !models.contains_key(key) && models.len() >= self.limits.client_models {
                return Err(Refusal::Models { client: client.clone(), used: models.len() });
            }
        }
        *clients.entry(client.clone()).or_default().entry(key.clone()).or_default() += 1;
        Ok(Permit { quotas: Arc::clone(self), client: client.clone(), key: key.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, HashMap<Key, usize>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut clients = self.quotas.lock();
        let Some(models) = clients.get_mut(&self.client) else { return };
        if let Some(open) = models.get_mut(&self.key) {
            *open -= 1;
        }
        models.retain(|_, open| *open > 0);
        if models.is_empty() {
            clients.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name.into(), (1, std::time::SystemTime::UNIX_EPOCH), None)
    }

    #[test]
    fn one_client_s_share_leaves_something_for_others() {
        let quotas = Quotas::new(Limits { sessions: 5, client_sessions: 3, client_models: 2 });
        let (greedy, other) = (ClientId::Local, ClientId::of_address([192, 0, 2, 7].into()));
        let mut held: Vec<Permit> =
            ["a", "b", "a"].map(|name| quotas.admit(&greedy, &key(name)).expect("its share")).into();
        let refused = |client: &ClientId, name| quotas.admit(client, &key(name)).expect_err(name);
        assert_eq!(refused(&greedy, "a"), Refusal::Sessions { client: greedy.clone(), open: 3 });
        held.pop();
        assert_eq!(refused(&greedy, "c"), Refusal::Models { client: greedy.clone(), used: 2 });
        held.push(quotas.admit(&greedy, &key("b")).expect("a model that it uses"));
        let mut others: Vec<Permit> =
            ["c", "c"].map(|name| quotas.admit(&other, &key(name)).expect("left")).into();
        assert_eq!(refused(&other, "c"), Refusal::All(5));
        drop(held);
        others.push(quotas.admit(&other, &key("c")).expect("free again"));
        assert_eq!(quotas.lock().len(), 1, "who has nothing is forgotten");
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_address_is_the_one_it_maps() {
        let of = |address: &str| ClientId::of_address(address.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_eq!(of("::ffff:127.0.0.1"), ClientId::Local);
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
