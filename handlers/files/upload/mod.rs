//! `serve http --upload`: files are stored, replaced, moved and removed below the root that is
//! served.
//!
//! [`Uploads`] stands before the site: it takes the methods that change something, and leaves the
//! others to it. Bytes go through the shared [`store`](crate::common::store), in which a file gets
//! its name only when it is complete.

mod after;
mod change;
mod destination;
pub mod form;
mod guard;
mod origin;
pub(crate) mod page;
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

use crate::common::accounts::Accounts;
use crate::common::store::{
    Intent, MAX_PARTIALS, Name, OnDuplicate, Published, Store, StoreOptions, is_reserved,
};
use crate::common::values::{duration, size, umask};
use crate::files::access::Permit;
use crate::files::site::Site;
use crate::files::site::files::{METHODS, path_and_query};
use crate::files::site::options::cors;
use crate::http::engine::application::{Answer, Application, Incoming, Receiver, Stopped};
use crate::http::engine::body::Body;
use crate::http::engine::message::Response;
use crate::http::engine::reply;
use crate::http::engine::reply::Frame;
use crate::http::protocol::head::{Head, Method};
use crate::http::protocol::target;
use after::AfterUpload;
pub use after::CommandLine;
use refusal::say;
use tus::Verb;

/// The methods of a site into which files are stored.
const ALLOW: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE, MKCOL, MOVE";
/// How long one turn reads from a sender that never pauses, before other connections are served.
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

/// A site into which files are stored.
pub(crate) struct Uploads(Arc<Shared>);

struct Shared {
    site: Arc<Site>,
    store: Store,
    max_size: Option<u64>,
    on_duplicate: Option<OnDuplicate>,
    after: Option<AfterUpload>,
}

impl Uploads {
    /// From now on partial uploads are removed when they expire, by a thread of the store.
    pub(crate) fn expire_in_background(&self) {
        self.0.store.expire_in_background();
    }

    /// Takes files into the folder of a site, at this path. What users store counts for their
    /// quotas in the accounts.
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

    /// Ends what does not end with the last request, at the latest at this moment. Returns whether
    /// something was aborted.
    pub(crate) fn end(&self, until: Option<Instant>) -> bool {
        let after = self.0.after.as_ref();
        after.is_some_and(|after| after.end(until))
    }
}

/// Whose file comes.
struct Sender {
    address: ClientAddress,
    permit: Permit,
}

impl Sender {
    /// A file that is to be stored under this name, at the expense of the sender.
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

    /// An answer with the fields that the site gives to all of its own.
    fn with_site_headers(&self, mut response: Response) -> Response {
        response.fields += &self.site.policy.fields;
        response
    }

    /// What follows when a file has got its name, whichever protocol brought it.
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

    fn change(&self, head: &Head<'_>, permit: &Permit) -> Result<Response, Response> {
        origin::check(&self.site.policy, head)?;
        match (head.method, head.method_name) {
            (Method::Delete, _) => change::delete(self, head, permit),
            (_, b"MKCOL") => change::make_collection(self, head, permit),
            (_, b"MOVE") => change::move_to(self, head, permit),
            (Method::Other, _) => Err(say(501, "The server does not know this method.")),
            _ => Err(say(405, "This method is not available here.").header("Allow", ALLOW)),
        }
    }

    fn options(&self, head: &Head<'_>) -> Response {
        let policy = &self.site.policy;
        let mut response = Response::new(204).header("Allow", ALLOW);
        let is_allowed = head
            .values("origin")
            .next()
            .is_some_and(|origin| policy.allows(origin));
        let methods = if is_allowed { ALLOW } else { METHODS };
        response.fields += &cors::preflight(head, methods)
            .filter(|_| policy.cors)
            .unwrap_or_default();
        tus::abilities(self, response)
    }
}

impl Application for Uploads {
    fn receive(
        &self,
        head: &Head<'_>,
        client_address: &ClientAddress,
        permit: &Permit,
    ) -> Option<Result<Box<dyn Receiver>, Response>> {
        let verb = Verb::of(head);
        let receiver = match (verb, head.method) {
            (Some(verb), _) => verb.receiver()?,
            (None, Method::Put) => put::begin,
            (None, Method::Post) => form::begin,
            _ => return None,
        };
        let sender = Sender {
            address: client_address.clone(),
            permit: permit.clone(),
        };
        let is_allowed = origin::check(&self.0.site.policy, head);
        Some(
            match is_allowed.and_then(|()| receiver(&self.0, head, sender)) {
                Ok(receiver) => Ok(Box::new(WithSiteHeaders {
                    receiver,
                    shared: Arc::clone(&self.0),
                })),
                Err(refused) if verb.is_some() => Err(self
                    .0
                    .with_site_headers(tus::with_tus_headers(&self.0, refused))),
                Err(refused) => Err(self.0.with_site_headers(refused)),
            },
        )
    }

    fn respond(&self, request: Incoming<'_>, frame: Frame) -> io::Result<Answer> {
        let head = request.head;
        let response = match head.method {
            _ if let Some(verb) = Verb::of(head) => {
                let sender = Sender {
                    address: request.client_address.clone(),
                    permit: request.permit.clone(),
                };
                tus::answer(&self.0, verb, head, &sender)
            }
            Method::Get if let Some(script) = page::script(head) => script,
            Method::Get | Method::Head => return self.0.site.respond(request, frame),
            Method::Options => self.0.options(head),
            _ => {
                let changed = self.0.change(head, request.permit);
                if let Ok(response) = &changed {
                    let (method, target) = (
                        head.method_name.escape_ascii(),
                        head.raw_target.escape_ascii(),
                    );
                    log::info!(
                        "{}: {method} {target}: {}",
                        request.client_address,
                        response.status()
                    );
                }
                changed.unwrap_or_else(|refused| refused)
            }
        };
        reply::response(
            request.body.wfile,
            frame,
            self.0.with_site_headers(response),
        )
    }
}

/// A receiver whose answers have the fields of the site.
struct WithSiteHeaders {
    receiver: Box<dyn Receiver>,
    shared: Arc<Shared>,
}

impl Receiver for WithSiteHeaders {
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<(), Stopped> {
        self.receiver
            .receive(body, rfile)
            .map_err(|stopped| match stopped {
                Stopped::Refused(response) => self.shared.with_site_headers(*response).into(),
                other => other,
            })
    }

    fn finish(self: Box<Self>) -> Response {
        self.shared.with_site_headers(self.receiver.finish())
    }
}

/// # Errors
/// 415: the content isn't the files' bytes (RFC 9110 §8.4).
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

/// What a request's target names below the root.
struct DestinationPath {
    /// The requested path without a slash at either end; empty for the root.
    asked: Vec<u8>,
    /// The same path without symlinks in its folders. Rights and quotas are checked for it.
    path: Vec<u8>,
    trailing_slash: bool,
    /// Where clients find it, without a slash at its end.
    location: String,
}

impl DestinationPath {
    /// What is to be changed by this request.
    fn of(site: &Site, head: &Head<'_>) -> Result<DestinationPath, Response> {
        DestinationPath::at(site, &path_and_query(&head.target))
    }

    /// The folder that files are to be stored in. A symlink at its end is followed, too.
    fn folder_of(site: &Site, head: &Head<'_>) -> Result<DestinationPath, Response> {
        let mut place = DestinationPath::of(site, head)?;
        let real = site.root.real_path(place.path());
        place.path = real
            .map_err(|error| refusal::of_system(&error))?
            .into_os_string()
            .into_vec();
        Ok(place)
    }

    /// Takes a raw target apart. The folder of partial uploads is no place where anything could be
    /// changed.
    fn at(site: &Site, raw: &[u8]) -> Result<DestinationPath, Response> {
        let target = target::parse(raw)
            .map_err(|error| say(400, &format!("The path was refused: {error}.")))?;
        let path = site
            .policy
            .below_base(&target.path)
            .ok_or_else(|| say(404, "There is nothing at this address."))?;
        if path.split(|&byte| byte == b'/').any(is_reserved) {
            return Err(say(403, "This folder is reserved for partial uploads."));
        }
        let (location, asked) = (site.policy.url_path(path), path.to_vec());
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

    /// The path as the system takes it.
    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// The path as a name that the store takes.
    fn name(&self) -> Result<Name, Response> {
        std::str::from_utf8(&self.asked)
            .map_err(|_| say(403, "The name is refused: it is not UTF-8."))?;
        Name::of_bytes(&self.path).map_err(|error| refusal::of(&error))
    }
}
