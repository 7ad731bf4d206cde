//! Resolves the names in `--passive-address` to IPv4 addresses.
//!
//! The address of a name of dynamic DNS can change at any time. So a name that clients need is
//! resolved again every 60 seconds, and after SIGHUP. While the name service fails, the last
//! address stays in use.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time after which a name is resolved again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Time after a failure until the name is resolved again. Without this time, every session would
/// wait for a name service that does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// A function that finds the address of a name. Tests replace it.
type Lookup = Arc<dyn Fn(&str) -> Option<Ipv4Addr> + Send + Sync>;

/// Resolves names, and remembers the results.
pub struct Resolver {
    names: Arc<Names>,
    /// Whether a known name is resolved again on a separate thread.
    is_in_background: AtomicBool,
}

struct Names {
    /// Finds the address of a name.
    lookup: Lookup,
    /// The last result for each name. The names come from `--passive-address`, so their number is
    /// limited.
    known: Mutex<HashMap<String, Known>>,
}

/// The last result for a name.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The last address that was found; `None` if none was found yet.
    ip: Option<Ipv4Addr>,
    /// When the name is resolved again.
    until: Instant,
    /// Whether the name is being resolved again.
    is_pending: bool,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new(Arc::new(lookup))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver")
            .field(&self.names.known.lock())
            .finish()
    }
}

impl Resolver {
    fn new(lookup: Lookup) -> Resolver {
        Resolver {
            names: Arc::new(Names {
                lookup,
                known: Mutex::default(),
            }),
            is_in_background: AtomicBool::new(false),
        }
    }

    /// From now on, resolves known names again on separate threads, so that no session waits for
    /// the name service. A server that forks must not call this, because the result in a child
    /// process is lost when the child ends.
    pub fn resolve_in_background(&self) {
        self.is_in_background.store(true, Ordering::Relaxed);
    }

    /// The IPv4 address of a host, which is a name or an address; `None` if the name has no
    /// address. Waits for the name service only if the name is not known yet, or if names are not
    /// resolved in the background. While a known name is resolved again, callers get its last
    /// address.
    pub fn resolve(&self, host: &str, now: Instant) -> Option<Ipv4Addr> {
        if let Ok(ip) = host.parse() {
            return Some(ip);
        }
        let last = match self.names.known.lock().get_mut(host) {
            Some(known) if known.is_pending || now < known.until => return known.ip,
            Some(known) => {
                known.is_pending = true;
                Some(known.ip)
            }
            None => None,
        };
        match last {
            Some(ip) if self.is_in_background.load(Ordering::Relaxed) => {
                self.look_up_in_background(host, now);
                ip
            }
            _ => self.names.look_up(host, now),
        }
    }

    fn look_up_in_background(&self, host: &str, now: Instant) {
        let (names, name) = (Arc::clone(&self.names), host.to_owned());
        let thread = std::thread::Builder::new().name("resolve".to_owned());
        if let Err(error) = thread.spawn(move || names.look_up(&name, now)) {
            log::warn!("--passive-address {host} cannot be resolved again: {error}");
            self.names.note(host, None, now);
        }
    }

    /// Makes the next use of each name resolve it again.
    pub fn expire(&self, now: Instant) {
        for known in self.names.known.lock().values_mut() {
            known.until = now;
        }
    }
}

impl Names {
    fn look_up(&self, host: &str, now: Instant) -> Option<Ipv4Addr> {
        let found = (self.lookup)(host);
        if found.is_none() {
            log::warn!("--passive-address {host}: the name has no IPv4 address at the moment");
        }
        self.note(host, found, now)
    }

    /// Stores the result of a lookup. Returns the address to use. After a failure this is the last
    /// address that was found.
    fn note(&self, host: &str, found: Option<Ipv4Addr>, now: Instant) -> Option<Ipv4Addr> {
        let interval = match found {
            Some(_) => REFRESH_INTERVAL,
            None => RETRY_INTERVAL,
        };
        let mut known = self.known.lock();
        let ip = found.or_else(|| known.get(host).and_then(|known| known.ip));
        let entry = Known {
            ip,
            until: now + interval,
            is_pending: false,
        };
        known.insert(host.to_owned(), entry);
        ip
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
    use std::sync::mpsc;

    use super::*;

    /// A name service: its next answer, and the number of questions so far.
    #[derive(Default)]
    struct Service(Mutex<(Option<Ipv4Addr>, u32)>);

    impl Service {
        fn answer_with(&self, ip: Option<[u8; 4]>) {
            self.0.lock().0 = ip.map(Ipv4Addr::from);
        }

        fn questions(&self) -> u32 {
            self.0.lock().1
        }
    }

    fn resolver() -> (Resolver, Arc<Service>) {
        let service = Arc::new(Service::default());
        let asked = Arc::clone(&service);
        let lookup = move |_: &str| {
            let mut state = asked.0.lock();
            state.1 += 1;
            state.0
        };
        (Resolver::new(Arc::new(lookup)), service)
    }

    #[test]
    fn no_session_waits_while_a_known_name_is_resolved_again() {
        let first = Ipv4Addr::new(192, 0, 2, 1);
        let second = Ipv4Addr::new(192, 0, 2, 2);
        let (answers, questions) = mpsc::channel();
        let questions = Mutex::new(questions);
        // Each question waits until the test sends an answer.
        let lookup = move |_: &str| questions.lock().recv().unwrap();
        let resolver = Resolver::new(Arc::new(lookup));
        let begun = Instant::now();
        answers.send(Some(first)).unwrap();
        assert_eq!(resolver.resolve("name.test", begun), Some(first));
        resolver.resolve_in_background();
        let later = begun + REFRESH_INTERVAL;
        assert_eq!(resolver.resolve("name.test", later), Some(first));
        let much_later = later + REFRESH_INTERVAL;
        assert_eq!(resolver.resolve("name.test", much_later), Some(first));
        answers.send(Some(second)).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while resolver.resolve("name.test", later) != Some(second) {
            assert!(Instant::now() < until, "the answer is not noted");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_name_is_resolved_again_from_time_to_time() {
        let (resolver, service) = resolver();
        let begun = Instant::now();
        service.answer_with(Some([192, 0, 2, 1]));
        let first = resolver.resolve("name.test", begun);
        service.answer_with(Some([192, 0, 2, 2]));
        let soon = begun + REFRESH_INTERVAL - Duration::from_millis(1);
        assert_eq!(resolver.resolve("name.test", soon), first);
        let later = resolver.resolve("name.test", begun + REFRESH_INTERVAL);
        assert_eq!(later, Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!(service.questions(), 2);
    }

    #[test]
    fn after_a_reload_a_name_is_resolved_again() {
        let (resolver, service) = resolver();
        let now = Instant::now();
        service.answer_with(Some([192, 0, 2, 1]));
        resolver.resolve("name.test", now);
        service.answer_with(Some([192, 0, 2, 2]));
        resolver.expire(now);
        let again = resolver.resolve("name.test", now);
        assert_eq!(again, Some(Ipv4Addr::new(192, 0, 2, 2)));
    }

    #[test]
    fn while_the_name_service_fails_the_last_address_stays() {
        let (resolver, service) = resolver();
        let begun = Instant::now();
        service.answer_with(None);
        assert_eq!(resolver.resolve("name.test", begun), None);
        assert_eq!(resolver.resolve("name.test", begun), None);
        assert_eq!(
            service.questions(),
            1,
            "a failure is not repeated for each client"
        );
        let mut now = begun + RETRY_INTERVAL;
        service.answer_with(Some([192, 0, 2, 1]));
        let found = resolver.resolve("name.test", now);
        assert!(found.is_some());
        service.answer_with(None);
        now += REFRESH_INTERVAL;
        assert_eq!(resolver.resolve("name.test", now), found);
        assert_eq!(resolver.resolve("name.test", now), found);
        assert_eq!(service.questions(), 3);
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let (resolver, service) = resolver();
        let ip = resolver.resolve("192.0.2.7", Instant::now());
        assert_eq!(
            (ip, service.questions()),
            (Some(Ipv4Addr::new(192, 0, 2, 7)), 0)
        );
        assert_eq!(lookup("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(lookup("not a name"), None);
    }
}
