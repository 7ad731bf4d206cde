//! `serve http --upload`: stores, replaces, moves and removes files below the served root.
//!
//! `Uploads` gets each request before the site does. It handles the methods that change something
//! and leaves the others to the site. Files are written through the shared
//! [`store`](crate::common::store), which gives a file its name only when the file is complete.
//!
//! | module | purpose |
//! |---|---|
//! | `put` | `PUT`: one file, complete |
//! | `form` | `POST` of an HTML form with files |
//! | `tus` | resumable uploads of the protocol tus |
//! | `change` | `DELETE`, `MKCOL`, `MOVE` |
//! | `after` | the command of `--after-upload` for each stored file |

mod after;
mod change;
mod destination;
pub mod form;
mod guard;
mod origin;
mod put;
mod refusal;
mod tus;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use clap::Args;
use socketserver::{ClientAddress, RFile};
use socketserver_http::engine::after_body::after_body;
use socketserver_http::engine::application::{Begun, Receiver, Receiving, Stopped};
use socketserver_http::engine::body::Body;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::{Head, Method};
use socketserver_http::protocol::target::{self, Target, TargetError};

use super::access::Permit;
use super::site::Site;
use super::site::options::cors;
use super::site::pages::upload_area;
use super::site::respond::METHODS;
use crate::accounts::Accounts;
use crate::common::store::{
    Intent, MAX_PARTIALS, Name, OnDuplicate, Partial, Published, ReceiveError, Store, StoreError,
    StoreOptions, is_reserved,
};
use crate::common::values::{duration, size, umask};
use after::AfterUpload;
pub use after::CommandLine;
use refusal::say;
use tus::Verb;

/// The methods of a site that accepts uploads.
const ALLOW: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE, MKCOL, MOVE";
/// How long one turn reads from a sender that never pauses. Then other connections are served.
const RECEIVE_TIME_PER_TURN: Duration = Duration::from_millis(100);

/// What clients may change.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Uploads")]
#[non_exhaustive]
pub struct UploadOptions {
    /// Let every client store, replace, move and remove files; with --accounts, only users who have
    /// the right
    #[arg(long)]
    pub upload: bool,
    /// What to do with a file whose name exists [default: PUT and MOVE replace the old file, forms
    /// are refused]
    #[arg(long, value_enum, value_name = "POLICY", requires = "upload")]
    pub on_duplicate: Option<OnDuplicate>,
    /// Maximum size of an uploaded file [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "upload")]
    pub max_size: Option<u64>,
    /// Maximum size of all files in the folder together [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "upload")]
    pub quota: Option<u64>,
    /// How long an interrupted upload can be resumed; then it is removed (with --model processes,
    /// when the next upload begins)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    #[arg(requires = "upload")]
    pub partial_expiry: Duration,
    /// Answer before the file is on the disk: faster, but a power failure may lose it
    #[arg(long, requires = "upload")]
    pub no_fsync: bool,
    /// Maximum number of interrupted uploads that are kept; a user may have a tenth of them
    #[arg(long, value_name = "N", default_value_t = MAX_PARTIALS, requires = "upload")]
    pub max_partials: usize,
    /// Permission bits that new files and folders do not get, in octal; a file that replaces
    /// another one gets the permissions of the old one [default: those of the process]
    #[arg(long, value_name = "MASK", value_parser = umask, requires = "upload")]
    pub umask: Option<u32>,
    /// Command to run for each stored file, one at a time. It reads a description of the file as
    /// JSON from its standard input. Words are split as in a shell, but no shell runs them
    #[arg(long, value_name = "COMMAND", requires = "upload")]
    pub after_upload: Option<CommandLine>,
    /// Maximum run time of a command of --after-upload; then it is killed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    #[arg(requires = "after_upload")]
    pub after_upload_timeout: Duration,
}

/// The upload part of a site.
pub(crate) struct Uploads(Arc<Shared>);

struct Shared {
    site: Arc<Site>,
    store: Store,
    max_size: Option<u64>,
    on_duplicate: Option<OnDuplicate>,
    /// Runs the command of `--after-upload`.
    after: Option<AfterUpload>,
}

impl Uploads {
    /// Starts a thread of the store that removes partial uploads when they expire.
    pub(crate) fn expire_in_background(&self) {
        self.0.store.expire_in_background();
    }

    /// Accepts uploads into the folder of a site. `folder` is its path. Files of users count
    /// towards their quotas in the accounts.
    pub(crate) fn new(
        site: Arc<Site>,
        folder: &Path,
        options: &UploadOptions,
        accounts: Option<Arc<Accounts>>,
    ) -> io::Result<Uploads> {
        let store = StoreOptions {
            max_size: options.max_size,
            quota: options.quota,
            partial_expiry: options.partial_expiry,
            sync: !options.no_fsync,
            max_partials: options.max_partials,
            umask: options.umask,
        };
        let store = Store::with_accounts(folder, store, accounts)?;
        let after = options.after_upload.clone();
        let after = after
            .map(|command| AfterUpload::start(command, options.after_upload_timeout, folder))
            .transpose()?;
        Ok(Uploads(Arc::new(Shared {
            site,
            store,
            max_size: options.max_size,
            on_duplicate: options.on_duplicate,
            after,
        })))
    }

    /// Ends the thread of `--after-upload`, at the latest at `until`. Returns whether a command was
    /// aborted or not run.
    pub(crate) fn end(&self, until: Option<Instant>) -> bool {
        let after = self.0.after.as_ref();
        after.is_some_and(|after| after.end(until))
    }
}

/// The client that sends a file.
struct Sender {
    address: ClientAddress,
    permit: Permit,
}

impl Sender {
    fn of(exchange: &Exchange<'_>, permit: &Permit) -> Sender {
        Sender {
            address: exchange.client_address.clone(),
            permit: permit.clone(),
        }
    }

    /// The description of a file to be stored under this name. It counts towards the sender's
    /// quota.
    fn intent(&self, name: Name) -> Intent {
        Intent {
            quota_user: self.permit.quota_user().map(str::to_owned),
            ..Intent::new(name)
        }
    }
}

impl Shared {
    fn root(&self) -> &Dir {
        self.site.root.dir()
    }

    /// Does what every protocol needs after a file was stored under its name: updates the cache,
    /// and runs the command of `--after-upload`.
    fn stored(&self, published: &Published, sender: &Sender, method: &str) {
        let name = published.name.text();
        self.site.cache.forget(published.name.as_bytes());
        log::info!(
            "{}: {method}: stored {name:?}, {} bytes",
            sender.address,
            published.size
        );
        if let Some(after) = &self.after {
            after.run(published, sender, method);
        }
    }

    fn change(&self, exchange: &Exchange<'_>, permit: &Permit) -> Result<Response, Response> {
        let head = exchange.head;
        origin::check(&self.site.policy, head)?;
        match (head.method, head.method_name) {
            (Method::Delete, _) => change::delete(self, exchange, permit),
            (_, b"MKCOL") => change::make_collection(self, exchange, permit),
            (_, b"MOVE") => change::move_to(self, exchange, permit),
            (Method::Other, _) => Err(say(501, "The server does not know this method.")),
            _ => Err(say(405, "This method is not available here.").header("Allow", ALLOW)),
        }
    }

    /// The response to a request that changes files without sending content.
    fn respond(&self, exchange: &Exchange<'_>, permit: &Permit) -> Response {
        let changed = self.change(exchange, permit);
        if let Ok(response) = &changed {
            let (method, target) = (
                exchange.head.method_name.escape_ascii(),
                exchange.head.raw_target.escape_ascii(),
            );
            let status = response.status();
            log::info!("{}: {method} {target}: {status}", exchange.client_address);
        }
        changed.unwrap_or_else(|refused| refused)
    }

    fn options(&self, head: &Head<'_>) -> Response {
        let policy = &self.site.policy;
        let mut response = Response::new(204).header("Allow", ALLOW);
        let is_allowed = head
            .values("origin")
            .next()
            .is_some_and(|origin| policy.allows(origin));
        let methods = if is_allowed { ALLOW } else { METHODS };
        response.add_lines(
            &cors::preflight(head, methods)
                .filter(|_| policy.cors)
                .unwrap_or_default(),
        );
        tus::add_abilities(self, response)
    }
}

impl Uploads {
    /// Begins a request that changes something or queries an upload. `None` for a request that the
    /// site must handle.
    pub(crate) fn begin(&self, exchange: &Exchange<'_>, permit: &Permit) -> Option<Begun> {
        let head = exchange.head;
        if let Some(verb) = Verb::of(head) {
            return Some(self.begin_tus(verb, exchange, permit));
        }
        match head.method {
            Method::Get | Method::Head => {
                let script = upload_area::script(exchange.raw_path)?;
                (head.method == Method::Get).then_some(Begun::Respond(script))
            }
            Method::Put => Some(self.begin_receiver(put::begin, exchange, permit)),
            Method::Post => Some(self.begin_receiver(form::begin, exchange, permit)),
            Method::Options => Some(Begun::Respond(self.0.options(head))),
            _ => {
                let (shared, permit) = (Arc::clone(&self.0), permit.clone());
                Some(after_body(exchange, move |exchange| {
                    shared.respond(exchange, &permit)
                }))
            }
        }
    }

    fn begin_receiver(
        &self,
        begin: BeginReceiver,
        exchange: &Exchange<'_>,
        permit: &Permit,
    ) -> Begun {
        let sender = Sender::of(exchange, permit);
        let is_allowed = origin::check(&self.0.site.policy, exchange.head);
        match is_allowed.and_then(|()| begin(&self.0, exchange, sender)) {
            Ok(receiver) => Begun::Receive(Receiving {
                receiver,
                complete: None,
            }),
            Err(refused) => Begun::Refuse(refused),
        }
    }

    /// Begins a request of a tus client, whose response needs the headers of that protocol.
    fn begin_tus(&self, verb: Verb, exchange: &Exchange<'_>, permit: &Permit) -> Begun {
        let receiver = match exchange.head.method {
            Method::Get | Method::Head => None,
            _ => verb.receiver(),
        };
        let begun = match receiver {
            Some(begin) => self.begin_receiver(begin, exchange, permit),
            None => {
                let (shared, sender) = (Arc::clone(&self.0), Sender::of(exchange, permit));
                after_body(exchange, move |exchange| {
                    tus::respond(&shared, verb, exchange, &sender)
                })
            }
        };
        let shared = Arc::clone(&self.0);
        begun.completed(move |response| tus::add_headers(&shared, response))
    }
}

/// Begins to receive the body of a request, or refuses the request.
type BeginReceiver = fn(&Arc<Shared>, &Exchange<'_>, Sender) -> Result<Box<dyn Receiver>, Response>;

/// Stores the part of a body that has arrived, for at most one turn.
///
/// # Errors
/// The client is at fault, or the store is: then `refusal` makes the response.
fn receive(
    partial: &mut Partial,
    body: &mut Body,
    rfile: &mut RFile,
    refusal: impl Fn(&StoreError) -> Response,
) -> Result<(), Stopped> {
    let until = Instant::now() + RECEIVE_TIME_PER_TURN;
    let source = |into: &mut [u8]| {
        if Instant::now() < until {
            body.try_read(rfile, into)
        } else {
            Ok(None)
        }
    };
    partial
        .receive(source, u64::MAX)
        .map_err(|error| match error {
            ReceiveError::Source(error) => Stopped::reading(error),
            ReceiveError::Store { error, .. } => refusal(&error).into(),
        })
}

/// Checks that the content has no content coding.
///
/// # Errors
/// 415: the content is encoded, so it is not the file's bytes (RFC 9110 §8.4).
fn require_identity_encoding(head: &Head<'_>) -> Result<(), Response> {
    if head
        .values("content-encoding")
        .all(|coding| coding.eq_ignore_ascii_case(b"identity"))
    {
        return Ok(());
    }
    Err(say(
        415,
        "Nothing is stored: send the file as it is, without Content-Encoding.",
    ))
}

/// The path below the root that a request's target names.
struct DestinationPath {
    /// The requested path without a slash at either end. It is empty for the root.
    asked: Vec<u8>,
    /// The same path after resolving the symlinks in its folders. Rights and quotas are checked for
    /// it.
    path: Vec<u8>,
    /// Whether the requested path had a slash at its end.
    trailing_slash: bool,
    /// The URL path for clients, without a slash at its end.
    location: String,
}

impl DestinationPath {
    /// The path that a request changes.
    fn of(site: &Site, exchange: &Exchange<'_>) -> Result<DestinationPath, Response> {
        DestinationPath::new(site, exchange.target())
    }

    /// The folder that a request stores files in. A symlink at the end of the path is followed too.
    fn folder_of(site: &Site, exchange: &Exchange<'_>) -> Result<DestinationPath, Response> {
        let mut place = DestinationPath::of(site, exchange)?;
        let real = site.root.real_path(place.path());
        place.path = real
            .map_err(|error| refusal::of_system(&error))?
            .into_os_string()
            .into_vec();
        Ok(place)
    }

    /// The path that a raw target names.
    fn at(site: &Site, raw: &[u8]) -> Result<DestinationPath, Response> {
        DestinationPath::new(site, target::parse(raw).as_ref().map_err(|error| *error))
    }

    /// Resolves a target. A path in the folder of partial uploads is refused, because clients must
    /// not change anything there.
    fn new(
        site: &Site,
        target: Result<&Target<'_>, TargetError>,
    ) -> Result<DestinationPath, Response> {
        let target =
            target.map_err(|error| say(400, &format!("The path was refused: {error}.")))?;
        let path = site
            .policy
            .base_path
            .below(&target.path)
            .ok_or_else(|| say(404, "There is nothing at this address."))?;
        if path.split(|&byte| byte == b'/').any(is_reserved) {
            return Err(say(403, "This folder is reserved for partial uploads."));
        }
        let (location, asked) = (site.policy.base_path.url_path(path), path.to_vec());
        let path = Path::new(OsStr::from_bytes(&asked));
        if site.root.crosses_symlink(path) {
            return Err(say(
                403,
                "The path crosses a symbolic link, which this server does not follow.",
            ));
        }
        let real = site.root.real_parent(path);
        let real = real.map_err(|error| refusal::of_system(&error))?;
        Ok(DestinationPath {
            path: real.into_os_string().into_vec(),
            asked,
            trailing_slash: target.trailing_slash,
            location,
        })
    }

    /// The path for the file system.
    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// The path as a name for the store.
    fn name(&self) -> Result<Name, Response> {
        std::str::from_utf8(&self.asked)
            .map_err(|_| say(403, "The name is refused: it is not UTF-8."))?;
        Name::of_bytes(&self.path).map_err(|error| refusal::of(&error))
    }
}
