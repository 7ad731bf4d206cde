//! Verifies user names and passwords.

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

/// The `Retry-After` time if too many passwords are being checked.
const BUSY: Duration = Duration::from_secs(1);

/// The result of checking a name and a password.
#[derive(Debug)]
pub enum Verdict {
    /// The name and the password are correct.
    Granted(Box<Account>),
    /// The name or the password is wrong. The response is 401, or 530 in FTP, after this delay of
    /// at most 2 s. The caller should park the connection meanwhile.
    Denied(Duration),
    /// The password was not checked, because a delayed response to the address is pending or too
    /// many passwords are being checked. The response is 429 or 503 with `Retry-After`, or 421 in
    /// FTP. The client may try again after this time.
    Busy(Duration),
}

/// The number of each kind of result since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Checks with a correct name and password.
    pub granted: u64,
    /// Checks whose password was remembered from an earlier one. They are also part of `granted`.
    pub remembered: u64,
    /// Checks with a wrong name or password.
    pub denied: u64,
    /// Checks that were refused without looking at the password.
    pub busy: u64,
}

/// The accounts of a server.
#[derive(Debug)]
pub struct Accounts {
    store: Arc<Store>,
    hasher: Hasher,
    remembered: Remembered,
    addresses: Backoff<Option<IpAddr>>,
    /// The key is a tag and not the name, because clients choose names, which may be long.
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
    /// Opens an accounts file. `cost` is the cost of the comparison for an unknown user; use
    /// [`Cost::OWASP`] except in tests.
    ///
    /// # Errors
    /// The file is missing, or it is not an accounts file.
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

    /// The accounts file with rights, quotas and shares.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The store, for a value that lives longer than these accounts.
    pub(crate) fn shared_store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Returns the user whose rights apply to clients without a name. `None` if the file has no
    /// such user: then clients must log in.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn anonymous(&self) -> Result<Option<Account>> {
        self.store.account(ANONYMOUS)
    }

    /// Checks a name and a password. It may take as long as one password hash (tens of
    /// milliseconds), but never sleeps.
    ///
    /// The anonymous user has no password, so every password is wrong for this user.
    ///
    /// # Errors
    /// The file cannot be read, or the hash in it is malformed. The response is 500, or 451 in FTP.
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
        // This check comes before the limits that an attacker's attempts can exhaust. So a user
        // with a remembered password is not locked out.
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

    /// Replaces the hash of another program by an argon2id hash after a correct password. Returns
    /// the tag of the new hash.
    fn replace_hash(&self, name: &str, password: &str, hash: Option<&str>) -> Option<Tag> {
        let hash = hash?;
        let replacement = self.hasher.replacement(password, hash)?;
        match self.store.replace_hash(name, hash, &replacement) {
            Ok(()) => Some(self.remembered.tag(&[name, password, &replacement])),
            Err(error) => {
                // The next login tries to replace the hash again.
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

    /// Returns the number of results so far.
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

/// Returns the address that failures are counted for. A client with one IPv6 address usually has
/// 2^64 of them (RFC 4291 §2.5.1), so its /64 network counts as one address. All clients without an
/// address count as one, too.
fn network(client: &ClientAddress) -> Option<IpAddr> {
    client.ip().map(|ip| match ip {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        v4 => v4,
    })
}
