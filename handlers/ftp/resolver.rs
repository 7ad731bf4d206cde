//! The IPv4 addresses of the names that `--passive-address` may hold.
//!
//! A name of dynamic DNS gets another address at any time, so each name is resolved again from time
//! to time, and after SIGHUP. While the name service fails, the last address stays in use.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time after which a name is resolved again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The same after a failure. Without a pause every session would wait for a name service that does
/// not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Finds the address of a name; tests replace it.
type Lookup = fn(&str) -> Option<Ipv4Addr>;

/// Resolves names, and remembers the results.
pub struct Resolver {
    lookup: Lookup,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The last address that was found.
    ip: Option<Ipv4Addr>,
    /// When the name is resolved again.
    until: Instant,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new(lookup)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.known.lock()).finish()
    }
}

impl Resolver {
    fn new(lookup: Lookup) -> Resolver {
        Resolver {
            lookup,
            known: Mutex::default(),
        }
    }

    /// The IPv4 address of a name, or the address that the text is. May wait for the name service.
    /// While one thread does so, the others get the last address.
    pub fn resolve(&self, host: &str, now: Instant) -> Option<Ipv4Addr> {
        if let Ok(ip) = host.parse() {
            return Some(ip);
        }
        let last = {
            let mut known = self.known.lock();
            match known.get_mut(host) {
                Some(known) if now < known.until => return known.ip,
                Some(known) => {
                    known.until = now + RETRY_INTERVAL;
                    known.ip
                }
                None => None,
            }
        };
        let found = (self.lookup)(host);
        if found.is_none() {
            log::warn!("--passive-address {host}: the name has no IPv4 address at the moment");
        }
        let interval = match found {
            Some(_) => REFRESH_INTERVAL,
            None => RETRY_INTERVAL,
        };
        let ip = found.or(last);
        let until = now + interval;
        self.known
            .lock()
            .insert(host.to_owned(), Known { ip, until });
        ip
    }

    /// Each name is resolved again when it is needed next.
    pub fn expire(&self, now: Instant) {
        for known in self.known.lock().values_mut() {
            known.until = now;
        }
    }
}

fn lookup(host: &str) -> Option<Ipv4Addr> {
    let mut found = (host, 0).to_socket_addrs().ok()?;
    found.find_map(|address| match address.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// What the name service of this test answers, and how many questions it got.
        static SERVICE: RefCell<(Option<Ipv4Addr>, u32)> = const { RefCell::new((None, 0)) };
    }

    fn answer_with(ip: Option<[u8; 4]>) {
        SERVICE.with_borrow_mut(|service| service.0 = ip.map(Ipv4Addr::from));
    }

    fn questions() -> u32 {
        SERVICE.with_borrow(|service| service.1)
    }

    fn resolver() -> Resolver {
        Resolver::new(|_| {
            SERVICE.with_borrow_mut(|service| {
                service.1 += 1;
                service.0
            })
        })
    }

    #[test]
    fn a_name_is_resolved_again_from_time_to_time() {
        let resolver = resolver();
        let begun = Instant::now();
        answer_with(Some([192, 0, 2, 1]));
        let first = resolver.resolve("name.test", begun);
        answer_with(Some([192, 0, 2, 2]));
        let soon = begun + REFRESH_INTERVAL - Duration::from_millis(1);
        assert_eq!(resolver.resolve("name.test", soon), first);
        let later = resolver.resolve("name.test", begun + REFRESH_INTERVAL);
        assert_eq!(later, Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!(questions(), 2);
    }

    #[test]
    fn after_a_reload_a_name_is_resolved_again() {
        let resolver = resolver();
        let now = Instant::now();
        answer_with(Some([192, 0, 2, 1]));
        resolver.resolve("name.test", now);
        answer_with(Some([192, 0, 2, 2]));
        resolver.expire(now);
        let again = resolver.resolve("name.test", now);
        assert_eq!(again, Some(Ipv4Addr::new(192, 0, 2, 2)));
    }

    #[test]
    fn while_the_name_service_fails_the_last_address_stays() {
        let resolver = resolver();
        let begun = Instant::now();
        answer_with(None);
        assert_eq!(resolver.resolve("name.test", begun), None);
        assert_eq!(resolver.resolve("name.test", begun), None);
        assert_eq!(questions(), 1, "a failure is not repeated for each client");
        let mut now = begun + RETRY_INTERVAL;
        answer_with(Some([192, 0, 2, 1]));
        let found = resolver.resolve("name.test", now);
        assert!(found.is_some());
        answer_with(None);
        now += REFRESH_INTERVAL;
        assert_eq!(resolver.resolve("name.test", now), found);
        assert_eq!(resolver.resolve("name.test", now), found);
        assert_eq!(questions(), 3);
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let resolver = resolver();
        let ip = resolver.resolve("192.0.2.7", Instant::now());
        assert_eq!((ip, questions()), (Some(Ipv4Addr::new(192, 0, 2, 7)), 0));
        assert_eq!(lookup("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(lookup("not a name"), None);
    }
}
