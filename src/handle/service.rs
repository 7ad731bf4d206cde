//! Services of a running server: connections with a name, limits, deadlines and statistics of their
//! own.

use std::fmt;
use std::sync::Arc;

use super::Core;
use super::admissions::Counts;
use super::drain::Drain;
use crate::config::{Limits, Timeouts};
use crate::stats::{Stats, StatsSnapshot};

/// A service within a server: connections with a name, limits, deadlines and statistics of their
/// own, on the threads of that server. Cheap to clone; all clones are the same service. It is given
/// to [`Listen::service`](crate::Listen::service),
/// [`ServerHandle::adopt_for`](crate::ServerHandle::adopt_for) and
/// [`ServerHandle::connect_for`](crate::ServerHandle::connect_for).
///
/// ```
/// use std::time::Duration;
/// use socketserver::{Builder, Limits, Listen, Next, Service, StreamRequest, Timeouts};
///
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let server = Builder::new().tcp("127.0.0.1:0", move |_| ignore)?.spawn()?;
///
/// let minute = Some(Duration::from_secs(60));
/// let admin = Service::new("admin")
///     .limits(Limits::default().max_connections(10))
///     .timeouts(Timeouts::default().idle(minute));
/// let options = Listen::new().service(&admin);
/// let listener = server.handle().listen("127.0.0.1:0", options, move |_| ignore)?;
/// assert_eq!(admin.stats().accepted, 0);
/// # drop(listener);
/// server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[must_use]
#[derive(Clone)]
pub struct Service(Arc<ServiceState>);

struct ServiceState {
    name: Arc<str>,
    limits: Option<Limits>,
    timeouts: Option<Timeouts>,
    stats: Arc<Stats>,
    counts: Arc<Counts>,
}

impl Service {
    /// A service with this name, which [`ConnectionInfo::service`](crate::ConnectionInfo::service)
    /// shows. It has the limits and deadlines of the server that serves it.
    pub fn new(name: impl Into<Arc<str>>) -> Service {
        Service(Arc::new(ServiceState {
            name: name.into(),
            limits: None,
            timeouts: None,
            stats: Arc::default(),
            counts: Arc::default(),
        }))
    }

    /// Limits of this service's connections. The server's
    /// [`max_connections`](Limits::max_connections) applies to all its connections together as
    /// well. Defaults to the server's limits. Clones that were made before keep theirs.
    pub fn limits(self, limits: Limits) -> Service {
        self.with(|state| state.limits = Some(limits))
    }

    /// Deadlines of this service's connections, instead of the server's. Defaults to the server's
    /// deadlines. Clones that were made before keep theirs.
    pub fn timeouts(self, timeouts: Timeouts) -> Service {
        self.with(|state| state.timeouts = Some(timeouts))
    }

    fn with(self, change: impl FnOnce(&mut ServiceState)) -> Service {
        let mut state = ServiceState {
            name: Arc::clone(&self.0.name),
            limits: self.0.limits.clone(),
            timeouts: self.0.timeouts.clone(),
            stats: Arc::clone(&self.0.stats),
            counts: Arc::clone(&self.0.counts),
        };
        change(&mut state);
        Service(Arc::new(state))
    }

    /// The name.
    ///
    /// ```
    /// use socketserver::Service;
    ///
    /// assert_eq!(Service::new("admin").name(), "admin");
    /// ```
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The statistics of this moment, of this service alone. Threads, queues and datagrams are the
    /// server's and are 0 here. The server's statistics include those of its services.
    pub fn stats(&self) -> StatsSnapshot {
        let mut snapshot = self.0.stats.snapshot();
        snapshot.open = self.0.counts.open();
        snapshot.parked = snapshot.open.saturating_sub(snapshot.active);
        snapshot
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.0.name)
            .field("limits", &self.0.limits)
            .field("timeouts", &self.0.timeouts)
            .finish_non_exhaustive()
    }
}

/// Where a connection comes from: one listening socket of a running server, or the program.
#[derive(Debug)]
pub(crate) struct Origin {
    service: Option<Service>,
    /// Whether its connections are to end. `None` for a connection of the program, which no
    /// listening socket ends: a thread that sleeps for it needs no descriptors for that.
    pub(super) drain: Option<Drain>,
}

impl Origin {
    pub(crate) fn of_listener(service: Option<Service>) -> Arc<Origin> {
        Arc::new(Origin {
            service,
            drain: Some(Drain::default()),
        })
    }

    pub(crate) fn of_program(service: Service) -> Arc<Origin> {
        Arc::new(Origin {
            service: Some(service),
            drain: None,
        })
    }

    pub(super) fn counts(&self) -> Option<&Counts> {
        self.service.as_ref().map(|service| &*service.0.counts)
    }

    /// Whether its service has limits of its own.
    pub(super) fn has_limits(&self) -> bool {
        let service = self.service.as_ref();
        service.is_some_and(|service| service.0.limits.is_some())
    }

    fn stats(&self) -> Option<&Stats> {
        self.service.as_ref().map(|service| &*service.0.stats)
    }
}

/// What applies to connections of this origin; without one, what applies to the server.
impl Core {
    pub(crate) fn timeouts<'a>(&'a self, origin: Option<&'a Arc<Origin>>) -> &'a Timeouts {
        let service = origin.and_then(|origin| origin.service.as_ref());
        let own = service.and_then(|service| service.0.timeouts.as_ref());
        own.unwrap_or(&self.config.timeouts)
    }

    pub(crate) fn limits<'a>(&'a self, origin: Option<&'a Arc<Origin>>) -> &'a Limits {
        let service = origin.and_then(|origin| origin.service.as_ref());
        let own = service.and_then(|service| service.0.limits.as_ref());
        own.unwrap_or(&self.config.limits)
    }

    /// The name under which connections of this origin are listed.
    pub(crate) fn service_name(&self, origin: Option<&Arc<Origin>>) -> Option<Arc<str>> {
        let service = origin.and_then(|origin| origin.service.as_ref());
        let own = service.map(|service| &service.0.name);
        own.or(self.config.name.as_ref()).map(Arc::clone)
    }

    /// Counts something about a connection, for the server and for the connection's service.
    #[inline]
    pub(crate) fn count(&self, origin: Option<&Arc<Origin>>, count: impl Fn(&Stats)) {
        count(&self.stats);
        if let Some(stats) = origin.and_then(|origin| origin.stats()) {
            count(stats);
        }
    }
}
