//! Whether a name and a password belong together.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socketserver::ClientAddress;

use super::backoff::Backoff;
use super::hash::{Cost, Hasher};
use super::remembered::{Remembered, Tag};
use super::{ANONYMOUS, Account, Result, Store};

#[cfg(test)]
mod tests;

/// When to ask again if too many passwords are being checked.
const BUSY: Duration = Duration::from_secs(1);

/// The answer to a name and a password.
#[derive(Debug)]
pub enum Verdict {
    /// They are right.
    Granted(Box<Account>),
    /// They are wrong, whichever of the two: 401, or 530 in FTP, but only after this delay. Up to 2
    /// s; the connection should be parked.
    Denied(Duration),
    /// They were not checked: an answer to the address is pending, or too many passwords are being
    /// checked. 429 or 503 with `Retry-After`, or 421 in FTP. The client may try again after this
    /// time.
    Busy(Duration),
}

/// The number of each kind of answer since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The password was right.
    pub granted: u64,
    /// The number of these whose password was remembered.
    pub remembered: u64,
    /// The name or the password was wrong.
    pub denied: u64,
    /// Nothing was looked at.
    pub busy: u64,
}

/// The accounts of a server.
#[derive(Debug)]
pub struct Accounts {
    store: Arc<Store>,
    hasher: Hasher,
    remembered: Remembered,
    addresses: Backoff<Option<IpAddr>>,
    /// By tag: names come from the network, and may be long.
    names: Backoff<Tag>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    granted: AtomicU64,
    remembered: AtomicU64,
    denied: AtomicU64,
    busy: AtomicU64,
}

impl Accounts {
    /// Opens an accounts file. `cost` is what the comparison with an unknown user costs;
    /// [`Cost::OWASP`] outside of tests.
    ///
    /// # Errors
    /// There is no such file, or it is something else.
    pub fn open(path: &Path, cost: Cost) -> Result<Accounts> {
        Ok(Accounts {
            store: Arc::new(Store::open_to_count(path)?),
            hasher: Hasher::new(cost)?,
            remembered: Remembered::new()?,
            addresses: Backoff::default(),
            names: Backoff::default(),
            counters: Counters::default(),
        })
    }

    /// The file: rights, quotas, shares.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The store, for a value that lives longer than these accounts.
    pub(crate) fn shared_store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// The user whose rights everybody has who gives no name. `None` if the file has none: then a
    /// name is needed.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn anonymous(&self) -> Result<Option<Account>> {
        self.store.account(ANONYMOUS)
    }

    /// Judges a name and a password. It may take as long as a password hash (some ten
    /// milliseconds), and never sleeps.
    ///
    /// The anonymous user has no password, so none is right.
    ///
    /// # Errors
    /// The file can't be read, or the hash in it isn't one: 500, or 451 in FTP.
    pub fn verify(
        &self,
        name: &str,
        password: &str,
        client: &ClientAddress,
        now: Instant,
    ) -> Result<Verdict> {
        let account = self.store.account(name)?;
        let hash = account.as_ref().and_then(|account| account.hash.as_deref());
        let tag = self
            .remembered
            .tag(&[name, password, hash.unwrap_or_default()]);
        let network = network(client);
        // Before anything that could be exhausted by somebody else's guesses.
        let known = hash.is_some() && self.remembered.holds(&tag, now);
        if known {
            count(&self.counters.remembered);
        } else {
            let pending = self.addresses.pending(&network, now);
            if !pending.is_zero() {
                return Ok(self.busy(pending));
            }
            match self.hasher.matches(password, hash)? {
                None => return Ok(self.busy(BUSY)),
                Some(false) => return Ok(self.denied(name, network, client, now)),
                Some(true) => {
                    let tag = self.replace_hash(name, password, hash).unwrap_or(tag);
                    self.remembered.insert(tag, now);
                }
            }
        }
        let Some(account) = account else {
            return Ok(self.denied(name, network, client, now));
        };
        count(&self.counters.granted);
        Ok(Verdict::Granted(Box::new(account)))
    }

    /// Replaces the hash of another program, whose password was right, by our own. Returns the tag
    /// of the new one.
    fn replace_hash(&self, name: &str, password: &str, hash: Option<&str>) -> Option<Tag> {
        let hash = hash?;
        let replacement = self.hasher.replacement(password, hash)?;
        match self.store.replace_hash(name, hash, &replacement) {
            Ok(()) => Some(self.remembered.tag(&[name, password, &replacement])),
            Err(error) => {
                // The next login tries again.
                log::warn!("the imported password hash of a user cannot be replaced: {error}");
                None
            }
        }
    }

    fn denied(
        &self,
        name: &str,
        network: Option<IpAddr>,
        client: &ClientAddress,
        now: Instant,
    ) -> Verdict {
        count(&self.counters.denied);
        let shown: String = name.chars().take(64).collect();
        log::info!("{client}: wrong name or password for {shown:?}");
        let name = self.remembered.tag(&[name]);
        Verdict::Denied(
            self.addresses
                .failed(network, now)
                .max(self.names.failed(name, now)),
        )
    }

    fn busy(&self, again: Duration) -> Verdict {
        count(&self.counters.busy);
        Verdict::Busy(again)
    }

    /// What was answered so far.
    pub fn counts(&self) -> Counts {
        let [granted, remembered, denied, busy] = [
            &self.counters.granted,
            &self.counters.remembered,
            &self.counters.denied,
            &self.counters.busy,
        ]
        .map(|counter| counter.load(Ordering::Relaxed));
        Counts {
            granted,
            remembered,
            denied,
            busy,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The address that failures count for. A client with one IPv6 address usually has 2^64 of them
/// (RFC 4291 §2.5.1), so the network counts as one. So do all clients without an address.
fn network(client: &ClientAddress) -> Option<IpAddr> {
    client.ip().map(|ip| match ip {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        v4 => v4,
    })
}
