//! `serve`: one service in the foreground.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use socketserver::{
    Address, AddressFilter, Builder, ClientAddress, Error, ForkingMixIn, Networks, Refusal, Server,
    ServerHooks, Synchronous, ThreadPerRequest, ThreadingMixIn, Timeout, Timeouts, Tls,
    drop_privileges, reload_on_hangup, shutdown_on_ctrl_c,
};

use super::honoured::{self, Ignored};
use super::logging;
use super::options::{Model, Serve, ServerOptions};
use super::self_signed::SelfSigned;
use crate::auth::authenticated::Gate;
use crate::auth::keys::{Keys, VARIABLE};
use crate::common::access_log::AccessLog;
use crate::common::command::supervisor;
use crate::common::log_writer::LogWriter;
use crate::common::trace;
use crate::service::{AtReload, Context, Failure, Identity, Served, Service, refusal_line};

const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs a service until a signal ends it. Returns the exit code.
pub(crate) fn serve<S: Service>(arguments: Serve<S>, ignored: &[Ignored]) -> Result<u8, Failure> {
    // `SOCKETSERVER_KEY` is not an option, so it is checked separately.
    let honours_keys = !honoured::unsupported(&arguments)
        .iter()
        .any(|group| group.options.contains(&"auth_key_file"));
    let Serve {
        service,
        server: options,
    } = arguments;
    // A server that forks must not have threads, not even one that writes logs.
    let threads = !options.forks();
    let log = logging::start(&options.logs, threads)?;
    ignored.iter().for_each(Ignored::warn);
    let access_log = open_access_log(&options, threads)?;
    supervisor::start_supervising().map_err(Failure::run)?;
    let filter = Arc::new(RwLock::new(Arc::new(address_filter(&options)?)));
    let keys = if honours_keys { keys(&options)? } else { None };
    raise_descriptor_limit(options.max_connections);

    let addresses = addresses(&options, &service);
    honoured::warn_about_unix_sockets(&options, &addresses);
    let tls = tls::<S>(&options, &addresses)?;
    // These settings are for connections with TLS from the first byte.
    let opening_tls = tls.clone().filter(|_| !service.starts_tls());
    let context = Context {
        access_log: access_log.clone(),
        authenticated: keys.is_some(),
        tls: tls.is_some(),
        certificate: tls.clone(),
        addresses: addresses.clone(),
        forks: !threads,
        is_sequential: options.is_sequential(),
        ..Context::default()
    };
    let identity = service.identity()?;
    let served = match &keys {
        Some(keys) => behind_gate(service.open(&context)?, keys, &options)?,
        None => service.open(&context)?,
    };
    let refusal = if let Served::Stream { refusal, .. } = &served {
        *refusal
    } else {
        |_| None
    };
    let hooks = Hooks {
        filter: Arc::clone(&filter),
        refusal,
        refused: Refused::default(),
    };
    let scheme = if opening_tls.is_some() {
        S::TLS_SCHEME
    } else {
        S::SCHEME
    };
    let mut builder = builder::<S>(&options, opening_tls)?.hooks(hooks);
    if options.logs.trace {
        builder = builder.trace(trace::server);
    }
    let reload = Reload {
        options,
        log: Arc::clone(&log),
        access_log: access_log.clone(),
        filter,
        tls,
        keys,
        identity,
        at_reload: context.at_reload.clone(),
    };
    let result = listen::<S>(builder, served, &addresses, scheme, reload);
    // A server that could not start has nothing to wait for.
    let until = match &result {
        Ok(ended) => ended.grace_deadline,
        Err(_) => Some(Instant::now()),
    };
    let aborted = context.at_end.run(until);
    log.finish();
    if let Some(access_log) = access_log {
        access_log.finish();
    }
    Ok(u8::from(result?.aborted || aborted))
}

/// Returns the addresses that the server listens on.
pub(super) fn addresses<S: Service>(options: &ServerOptions, service: &S) -> Vec<Address> {
    let given = options.bind.iter().flat_map(|addresses| &addresses.0);
    let mut addresses: Vec<Address> = given.cloned().collect();
    if addresses.is_empty() {
        addresses.push(Address::Inet {
            host: "127.0.0.1".to_owned(),
            port: service.port(),
        });
    }
    addresses
}

/// How a server has ended.
struct Ended {
    /// Whether requests in flight were aborted.
    aborted: bool,
    /// When the grace time ends; `None` if it does not end.
    grace_deadline: Option<Instant>,
}

fn listen<S: Service>(
    builder: Builder,
    served: Served,
    addresses: &[Address],
    scheme: &str,
    reload: Reload,
) -> Result<Ended, Failure> {
    match served {
        Served::Stream { class, .. } => {
            let mut server = builder.bind(&addresses[0], class)?;
            addresses[1..]
                .iter()
                .try_for_each(|address| server.listen_also(address))?;
            run::<S>(server, scheme, reload)
        }
        Served::Datagram(class) => {
            let mut server = builder.bind_datagram(&addresses[0], class)?;
            addresses[1..]
                .iter()
                .try_for_each(|address| server.listen_also(address))?;
            run::<S>(server, "udp", reload)
        }
    }
}

fn run<S: Service>(mut server: Server, scheme: &str, reload: Reload) -> Result<Ended, Failure> {
    if let Some(Identity { user, group }) = reload.identity {
        drop_privileges(user, group).map_err(|error| {
            Failure::run(format!("cannot run as user {user}, group {group}: {error}"))
        })?;
    }
    let handle = server.handle();
    shutdown_on_ctrl_c(handle.clone())?;
    reload_on_hangup(&handle, move || reload.run())?;
    server.server_activate()?;
    for address in server.server_addresses() {
        // Without a reader of standard output the service still runs.
        let _ = writeln!(
            io::stdout(),
            "{} listening on {}",
            S::NAME,
            address.url(scheme)
        );
    }
    let _ = io::stdout().flush();
    server.serve_forever()?;
    server.server_close();
    Ok(Ended {
        aborted: handle.stats().aborted > 0,
        grace_deadline: handle.grace_deadline(),
    })
}

/// Returns the keys that clients must prove to have; `None` if no keys are given.
fn keys(options: &ServerOptions) -> Result<Option<Arc<Keys>>, Failure> {
    Ok(options.keys.keys()?.map(Arc::new))
}

/// Puts the service behind the challenge, so that it serves only clients with a key.
fn behind_gate(
    served: Served,
    keys: &Arc<Keys>,
    options: &ServerOptions,
) -> Result<Served, Failure> {
    match served {
        Served::Stream { class, .. } => {
            if options.keys.auth_key_file.is_none() {
                log::info!("{VARIABLE} is set: only clients that hold this key are served");
            }
            if options.model == Model::Processes {
                log::warn!(
                    "each process counts wrong answers by itself: with another --model, guessing \
                     is slowed down"
                );
            }
            let gate = Gate::new(Arc::clone(keys), options.head_timeout.0);
            Ok(Served::Stream {
                class: gate.wrap(class),
                // The service's own protocol begins only after the challenge.
                refusal: |why| Some(refusal_line(why).as_bytes()),
            })
        }
        // This cannot happen on the command line: a service with datagrams does not honour keys, so
        // the option was refused before.
        Served::Datagram(_) => Err(Failure::usage("a key does not protect datagrams")),
    }
}

fn open_access_log(
    options: &ServerOptions,
    threads: bool,
) -> Result<Option<Arc<AccessLog>>, Failure> {
    let Some(path) = &options.logs.access_log else {
        return Ok(None);
    };
    let log = AccessLog::open(path)
        .map_err(|error| Failure::usage(format!("--access-log {}: {error}", path.display())))?;
    if threads {
        log.start().map_err(Failure::run)?;
    }
    Ok(Some(Arc::new(log)))
}

pub(super) fn address_filter(options: &ServerOptions) -> Result<AddressFilter, Failure> {
    Ok(AddressFilter::new(
        networks("--allow", &options.allow)?,
        networks("--deny", &options.deny)?,
    ))
}

/// Parses the networks that an option lists. An error names the option.
fn networks(option: &str, list: &[String]) -> Result<Networks, Failure> {
    if list.iter().any(|network| network == "@") {
        return Err(Failure::usage(format!(
            "{option}: invalid network `@`: use @FILE with the name of a file"
        )));
    }
    Networks::parse(list.iter().map(String::as_str))
        .map_err(|error| Failure::usage(format!("{option}: {error}")))
}

pub(super) fn tls<S: Service>(
    options: &ServerOptions,
    addresses: &[Address],
) -> Result<Option<Tls>, Failure> {
    if options.tls_self_signed {
        let SelfSigned { certificate, key } = SelfSigned::for_server(addresses)?;
        let tls = Tls::from_pem_files(&certificate, key, S::ALPN)?;
        let path = certificate.display();
        log::info!(
            "the development certificate is {path}: clients accept it with --tls-ca {path} \
             (curl: --cacert)"
        );
        return Ok(Some(tls));
    }
    match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(Tls::from_pem_files(certificate, key, S::ALPN)?)),
        _ => Ok(None),
    }
}

pub(super) fn builder<S: Service>(
    options: &ServerOptions,
    tls: Option<Tls>,
) -> Result<Builder, Failure> {
    let proxies = networks("--proxy-protocol", &options.proxy_protocol)?;
    let mut timeouts = Timeouts::default();
    timeouts.head = options.head_timeout.0;
    timeouts.idle = options
        .idle_timeout
        .map_or(Some(S::IDLE_TIMEOUT), |time| time.0);
    timeouts.read = options.read_timeout.0;
    timeouts.write = options.write_timeout.0;
    timeouts.min_rate = options.min_rate;
    let builder = Builder::new()
        .timeouts(timeouts)
        .grace(options.grace)
        .max_connections(options.max_connections)
        .max_per_address(options.max_per_ip)
        .request_queue_size(options.backlog)
        // The maximum of UDP. The default of 8 KiB, which is that of Python, would truncate an
        // echo.
        .max_packet_size(65_535)
        .proxy_protocol(Some(proxies))
        // No service needs periodic actions, so an idle server does not wake up.
        .poll_interval(NEVER)
        .tls(tls)
        .allow_plaintext(S::PLAINTEXT);
    Ok(match options.model {
        Model::Pool => {
            let max_threads = options.max_threads;
            let threads = match options.threads {
                Some(threads) if threads > max_threads => {
                    return Err(Failure::usage(format!(
                        "--threads {threads} exceeds --max-threads {max_threads}: raise \
                         --max-threads or lower --threads"
                    )));
                }
                Some(threads) => threads,
                None => ThreadingMixIn::default_threads().min(max_threads),
            };
            builder.process(
                ThreadingMixIn::new()
                    .threads(threads)
                    .max_threads(max_threads),
            )
        }
        Model::Threads => builder.process(
            ThreadPerRequest::new()
                .max_threads(options.max_threads)
                .daemon_threads(true),
        ),
        Model::Processes => builder.process(ForkingMixIn::new().max_children(options.max_threads)),
        Model::Sequential => builder.process(Synchronous),
    })
}

/// Each connection needs a descriptor. Raises the limit as far as the system allows, and warns if
/// that is not enough.
fn raise_descriptor_limit(max_connections: usize) {
    const OWN: u64 = 64;
    let wanted = (max_connections as u64).saturating_add(OWN);
    let now_possible = crate::descriptors::raise(wanted);
    if let Some(possible) = now_possible.filter(|possible| *possible < wanted) {
        log::warn!(
            "the system allows {possible} open files, too few for {max_connections} connections: \
             raise it (ulimit -n, LimitNOFILE=) or lower --max-connections"
        );
    }
}

/// The hooks of the server, the same for all services.
struct Hooks {
    filter: Arc<RwLock<Arc<AddressFilter>>>,
    refusal: fn(Refusal) -> Option<&'static [u8]>,
    refused: Refused,
}

/// Counts refused connections, which the access log does not contain. Many refusals lead to only
/// one line per interval.
#[derive(Default)]
struct Refused(Mutex<(u64, Option<Instant>)>);

impl Refused {
    const LOG_INTERVAL: Duration = Duration::from_secs(10);

    /// Counts one more refusal. Returns the number since the last line, if the next line is due.
    fn count(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let (count, logged) = &mut *state;
        *count += 1;
        if logged.is_some_and(|at| at.elapsed() < Refused::LOG_INTERVAL) {
            return None;
        }
        *logged = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

impl ServerHooks for Hooks {
    fn verify_request(&self, client: &ClientAddress) -> bool {
        self.filter.read().permits(client)
    }

    fn handle_error(&self, client: &ClientAddress, error: &Error) {
        match error {
            Error::Timeout(Timeout::Idle) => log::debug!("{client}: {error}"),
            Error::Panicked(_) => log::error!("{client}: {error}"),
            _ => log::info!("{client}: {error}"),
        }
    }

    fn handle_refusal(&self, client: &ClientAddress, why: Refusal) -> Option<&[u8]> {
        log::debug!("{client}: refused: {why}");
        // The operator has configured denied addresses, so they need no log line. A reached limit
        // needs attention.
        if why != Refusal::Denied
            && let Some(count) = self.refused.count()
        {
            log::warn!("{client}: refused: {why}; {count} refused since the last such line");
        }
        (self.refusal)(why)
    }
}

/// The settings that a SIGHUP reads again. All of them are read before any of them changes.
struct Reload {
    options: ServerOptions,
    log: Arc<LogWriter>,
    access_log: Option<Arc<AccessLog>>,
    filter: Arc<RwLock<Arc<AddressFilter>>>,
    tls: Option<Tls>,
    keys: Option<Arc<Keys>>,
    /// The user and group that the server runs as once it has bound its addresses.
    identity: Option<Identity>,
    /// The files that the service reads again.
    at_reload: AtReload,
}

impl Reload {
    fn run(&self) {
        match self.try_run() {
            Ok(()) => log::info!("reloaded"),
            Err(failure) => log::error!("nothing is reloaded: {}", failure.message),
        }
    }

    fn try_run(&self) -> Result<(), Failure> {
        let filter = address_filter(&self.options)?;
        let keys = self
            .keys
            .as_ref()
            .map(|keys| Ok::<_, Error>((keys, keys.reread()?)))
            .transpose()?;
        let log = self.log.open_anew().map_err(Error::from)?;
        let access_log = self
            .access_log
            .as_ref()
            .map(|log| Ok::<_, Error>((log, log.open_anew()?)))
            .transpose()?;
        let commits = self.at_reload.prepare()?;
        // This is the last step that can fail, because it reads the certificates and also puts them
        // in use.
        if let Some(tls) = &self.tls {
            tls.reload()?;
        }
        if let Some((keys, list)) = keys {
            keys.replace(list);
        }
        *self.filter.write() = Arc::new(filter);
        self.log.switch(log);
        if let Some((access_log, opened)) = access_log {
            access_log.switch(opened);
        }
        commits.into_iter().for_each(|commit| commit());
        Ok(())
    }
}
