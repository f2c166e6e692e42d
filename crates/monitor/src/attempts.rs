//! Wrong codes and passwords make the next attempt wait, longer each time, for whoever made them.
//!
//! There are several counters. A browser that the owner has logged in with before has one of its
//! own: nobody else's attempts make it wait. Everybody else shares the counter of the network that they
//! come from, a wider one of the IPv6 site around it, and at last one of all strangers, so that many
//! addresses do not buy many guesses. An attempt is counted before the secret is looked at, and taken
//! back if it was right: of many at once none is free.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actionbooster_chassis::Client;

use crate::device::DeviceId;

/// The wait never grows beyond this, so that nobody is locked out for good.
const LONGEST: Duration = Duration::from_secs(300);
/// A counter without wrong attempts for so long starts over.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// What one browser, or one network, may get wrong before it waits.
const OWN: Allowance = Allowance { free: 5, longest: LONGEST };
/// What one IPv6 site (/48) may: it may be a household with several networks.
const SITE: Allowance = Allowance { free: 20, longest: LONGEST };
/// What all strangers together may. Their wait stays short: the owner's new browser is one of them.
const STRANGERS: Allowance = Allowance { free: 100, longest: Duration::from_secs(10) };

const MOST_DEVICES: usize = 256;
const MOST_NETWORKS: usize = 4096;
const MOST_SITES: usize = 1024;

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// Root at the box's console, who may do everything without a secret.
    Console,
    /// A browser that carries proof of an earlier login.
    Known(DeviceId),
    /// Anybody else, by the network they come from.
    Stranger(Client),
}

impl Visitor {
    /// Tells a visitor by what the request shows.
    pub fn of(client: Client, device: Option<DeviceId>) -> Self {
        match (client, device) {
            (Client::Console, _) => Self::Console,
            (_, Some(device)) => Self::Known(device),
            (client, None) => Self::Stranger(client.network()),
        }
    }

    /// Whether the owner has logged in from here before, or stands at the console.
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Stranger(_))
    }
}

/// An attempt that counts as wrong until it is known to be right.
#[derive(Debug)]
#[must_use = "an attempt that nobody ends stays counted as wrong"]
pub struct Attempt {
    visitor: Visitor,
}

/// Counts wrong attempts. Bounded: the counters that were quiet longest make room.
#[derive(Debug, Default)]
pub struct Attempts {
    counters: Mutex<Counters>,
}

#[derive(Debug)]
struct Counters {
    devices: Table<DeviceId>,
    networks: Table<Client>,
    sites: Table<Ipv6Addr>,
    strangers: Table<()>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            devices: Table::new(MOST_DEVICES, OWN),
            networks: Table::new(MOST_NETWORKS, OWN),
            sites: Table::new(MOST_SITES, SITE),
            strangers: Table::new(1, STRANGERS),
        }
    }
}

impl Attempts {
    /// Begins an attempt, or tells how long to wait for the next.
    pub fn begin(&self, visitor: Visitor, now: Instant) -> Result<Attempt, Duration> {
        let mut counters = self.lock();
        let wait = match visitor {
            Visitor::Console => Duration::ZERO,
            Visitor::Known(device) => counters.devices.wait(&device, now),
            Visitor::Stranger(client) => {
                let site = site_of(client).map_or(Duration::ZERO, |site| counters.sites.wait(&site, now));
                counters.networks.wait(&client, now).max(site).max(counters.strangers.wait(&(), now))
            }
        };
        if !wait.is_zero() {
            return Err(wait);
        }
        match visitor {
            Visitor::Console => {}
            Visitor::Known(device) => counters.devices.count(device, now),
            Visitor::Stranger(client) => {
                counters.networks.count(client, now);
                counters.strangers.count((), now);
                if let Some(site) = site_of(client) {
                    counters.sites.count(site, now);
                }
            }
        }
        Ok(Attempt { visitor })
    }

    /// It was right: the visitor's own counter starts over, and the counters shared with others lose this one.
    #[expect(clippy::needless_pass_by_value, reason = "an attempt ends once")]
    pub fn right(&self, attempt: Attempt) {
        let mut counters = self.lock();
        match attempt.visitor {
            Visitor::Console => {}
            Visitor::Known(device) => counters.devices.clear(&device),
            Visitor::Stranger(client) => {
                counters.networks.clear(&client);
                counters.forget_shared(client);
            }
        }
    }

    /// The secret was never looked at.
    #[expect(clippy::needless_pass_by_value, reason = "an attempt ends once")]
    pub fn void(&self, attempt: Attempt) {
        let mut counters = self.lock();
        match attempt.visitor {
            Visitor::Console => {}
            Visitor::Known(device) => counters.devices.take_back(&device),
            Visitor::Stranger(client) => {
                counters.networks.take_back(&client);
                counters.forget_shared(client);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn forget_shared(&mut self, client: Client) {
        self.strangers.take_back(&());
        if let Some(site) = site_of(client) {
            self.sites.take_back(&site);
        }
    }
}

/// The /48 around an IPv6 address.
fn site_of(client: Client) -> Option<Ipv6Addr> {
    match client {
        Client::Remote(Some(IpAddr::V6(address))) => {
            Some(Ipv6Addr::from(u128::from(address) & (u128::MAX << 80)))
        }
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// Wrong attempts that cost nothing.
    free: u32,
    longest: Duration,
}

impl Allowance {
    /// Nothing for the free ones, then 2, 4, 8 … seconds.
    fn delay(self, wrong: u32) -> Duration {
        match wrong.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(beyond) => Duration::from_secs(2_u64.saturating_pow(beyond + 1)).min(self.longest),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Count {
    wrong: u32,
    last: Instant,
}

/// Counters of wrong attempts by whose they are, at most so many.
#[derive(Debug)]
struct Table<K> {
    counts: HashMap<K, Count>,
    most: usize,
    allowance: Allowance,
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn new(most: usize, allowance: Allowance) -> Self {
        Self { counts: HashMap::new(), most, allowance }
    }

    fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(count) = self.counts.get(key) else { return Duration::ZERO };
        let quiet = now.saturating_duration_since(count.last);
        if quiet >= FORGOTTEN_AFTER {
            return Duration::ZERO;
        }
        self.allowance.delay(count.wrong).saturating_sub(quiet)
    }

    fn count(&mut self, key: K, now: Instant) {
        if !self.counts.contains_key(&key) && self.counts.len() >= self.most {
            self.make_room(now);
        }
        let count = self.counts.entry(key).or_insert(Count { wrong: 0, last: now });
        if now.saturating_duration_since(count.last) >= FORGOTTEN_AFTER {
            count.wrong = 0;
        }
        count.wrong = count.wrong.saturating_add(1);
        count.last = now;
    }

    fn clear(&mut self, key: &K) {
        self.counts.remove(key);
    }

    fn take_back(&mut self, key: &K) {
        if let Some(count) = self.counts.get_mut(key) {
            count.wrong = count.wrong.saturating_sub(1);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.counts.retain(|_, count| now.saturating_duration_since(count.last) < FORGOTTEN_AFTER);
        if self.counts.len() < self.most {
            return;
        }
        let quietest = self.counts.iter().min_by_key(|(_, count)| count.last).map(|(key, _)| *key);
        if let Some(key) = quietest {
            self.counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(address: &str) -> Visitor {
        Visitor::of(Client::Remote(Some(address.parse().expect("address"))), None)
    }

    fn known(number: u8) -> Visitor {
        Visitor::of(Client::Remote(None), Some(DeviceId::from([number; 16])))
    }

    /// Gets it wrong as often as it may at this instant, and says how often that was.
    fn exhaust(attempts: &Attempts, visitor: Visitor, now: Instant) -> usize {
        (0..1000).take_while(|_| attempts.begin(visitor, now).is_ok()).count()
    }

    #[test]
    fn the_wait_grows_after_five_wrong_attempts_and_ends_with_a_right_one() {
        let attempts = Attempts::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..14 {
            let wait = attempts.begin(known(1), now).err().unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            if !wait.is_zero() {
                drop(attempts.begin(known(1), now).expect("after the wait"));
            }
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        now += LONGEST;
        let attempt = attempts.begin(known(1), now).expect("after the wait");
        attempts.right(attempt);
        assert_eq!(exhaust(&attempts, known(1), now), 5);
    }

    #[test]
    fn strangers_never_make_a_known_browser_wait_nor_one_browser_another() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for number in 0..=255 {
            exhaust(&attempts, stranger(&format!("192.0.2.{number}")), now);
        }
        exhaust(&attempts, known(2), now);
        assert_eq!(exhaust(&attempts, known(1), now), 5);
    }

    #[test]
    fn a_right_attempt_clears_nobody_elses_counter() {
        let attempts = Attempts::default();
        let now = Instant::now();
        exhaust(&attempts, stranger("192.0.2.7"), now);
        for visitor in [known(1), stranger("192.0.2.8"), Visitor::Console] {
            let attempt = attempts.begin(visitor, now).expect("its counter is free");
            attempts.right(attempt);
        }
        assert!(attempts.begin(stranger("192.0.2.7"), now).is_err());
    }

    #[test]
    fn strangers_are_counted_by_network_by_site_and_all_together() {
        let now = Instant::now();
        let attempts = Attempts::default();
        assert_eq!(exhaust(&attempts, stranger("2001:db8:1:1::1"), now), 5);
        assert_eq!(exhaust(&attempts, stranger("2001:db8:1:1:ffff::2"), now), 0, "the same /64");
        let others: usize =
            (2..100).map(|net| exhaust(&attempts, stranger(&format!("2001:db8:1:{net}::1")), now)).sum();
        assert_eq!(others, 15, "a /48 has 20 in all");
        let foreign: usize =
            (2..100).map(|site| exhaust(&attempts, stranger(&format!("2001:db8:{site}::1")), now)).sum();
        assert_eq!(foreign, 80, "strangers have 100 in all");
        assert_eq!(attempts.begin(stranger("192.0.2.1"), now).err(), Some(Duration::from_secs(2)));
        assert!(attempts.begin(stranger("192.0.2.1"), now + Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn many_at_once_are_counted_before_any_of_them_is_judged() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let begun: Vec<_> = (0..20).filter_map(|_| attempts.begin(known(1), now).ok()).collect();
        assert_eq!(begun.len(), 5);
        for attempt in begun {
            attempts.void(attempt);
        }
        assert_eq!(exhaust(&attempts, known(1), now), 5, "none of them was judged");
    }

    #[test]
    fn an_hour_without_wrong_attempts_starts_over() {
        let attempts = Attempts::default();
        let now = Instant::now();
        exhaust(&attempts, stranger("192.0.2.7"), now);
        assert_eq!(exhaust(&attempts, stranger("192.0.2.7"), now + FORGOTTEN_AFTER), 5);
    }

    #[test]
    fn any_number_of_networks_takes_bounded_memory() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for number in 0..20_000_u32 {
            let now = start + Duration::from_secs(10) * number;
            let address = Ipv6Addr::from(u128::from(number) << 80);
            let visitor = Visitor::of(Client::Remote(Some(address.into())), None);
            drop(attempts.begin(visitor, now).expect("slow enough"));
        }
        let counters = attempts.lock();
        assert!(counters.networks.counts.len() <= MOST_NETWORKS && counters.sites.counts.len() <= MOST_SITES);
    }
}
