//! The options of a site. They are converted to a `Policy` once, before the first request, so that
//! responses need no further conversion.

pub(crate) mod cors;
pub(crate) mod redirect;

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use clap::{Args, ValueEnum};
use socketserver_http::protocol::base_path::BasePath;
use socketserver_http::protocol::{head, target};

use crate::common::values::duration;
use crate::files::site::options::redirect::Redirect;

/// How a site answers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Site")]
#[non_exhaustive]
pub struct SiteOptions {
    /// File name of a folder's page; may be given several times, the first one that exists is used
    #[arg(long, value_name = "NAME", value_parser = file_name, default_value = "index.html")]
    pub index: Vec<String>,
    /// Page that browsers get, with status 200, for every path that does not exist (single-page
    /// applications)
    #[arg(long, value_name = "FILE", value_parser = path_below)]
    pub spa: Option<PathBuf>,
    /// Serve about.html for /about
    #[arg(long)]
    pub try_html: bool,
    /// Header for every answer; may be given several times
    #[arg(long, value_name = "NAME: VALUE", value_parser = header_field)]
    pub header: Vec<String>,
    /// Origin whose pages may read the files (CORS); * allows all
    #[arg(long, value_name = "ORIGIN", value_parser = cors::origin)]
    pub cors: Option<String>,
    /// URL path of the folder
    #[arg(long, value_name = "/PATH", value_parser = base_path)]
    pub base_path: Option<BasePath>,
    /// Redirect from a path to another path or to a URL, with status 301; 302:/FROM=TO for another
    /// status; may be given several times
    #[arg(long, value_name = "/FROM=TO", value_parser = Redirect::parse)]
    pub redirect: Vec<Redirect>,
    /// How long clients may cache the files: 1h, 7d, or a value of Cache-Control such as no-cache
    #[arg(long, value_name = "TIME", value_parser = cache_control)]
    pub cache_control: Option<String>,
    /// Whether symbolic links are followed: inside the folder, or never
    #[arg(long, value_enum, default_value = "inside")]
    pub symlinks: Symlinks,
    /// Compress text for clients that accept it (gzip, br, zstd). FILE.gz, FILE.br and FILE.zst
    /// next to a file are used in either case
    #[arg(long, value_enum, default_value = "on")]
    pub compress: Switch,
}

/// What becomes of a path that leads through a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Symlinks {
    /// It isn't found.
    Off,
    /// It is followed if it leads to something below the root.
    Inside,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Switch {
    Off,
    On,
}

impl Default for SiteOptions {
    /// The options of a command line without arguments.
    fn default() -> SiteOptions {
        SiteOptions {
            index: vec!["index.html".to_owned()],
            spa: None,
            try_html: false,
            header: Vec::new(),
            cors: None,
            base_path: None,
            redirect: Vec::new(),
            cache_control: None,
            symlinks: Symlinks::Inside,
            compress: Switch::On,
        }
    }
}

/// The options of a site in the form that responses need.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) index: Vec<OsString>,
    pub(crate) spa: Option<PathBuf>,
    pub(crate) try_html: bool,
    pub(crate) follow_symlinks: bool,
    pub(crate) compress: bool,
    /// Header lines of every response.
    pub(crate) headers: String,
    /// Header lines of responses with a file, in addition to `headers`.
    pub(crate) file_headers: String,
    /// Whether pages of other origins may send requests.
    pub(crate) cors: bool,
    /// The origin of those pages, or `*`.
    allowed_origin: Option<String>,
    pub(crate) base_path: BasePath,
    redirects: Vec<Redirect>,
}

impl Policy {
    pub(crate) fn new(options: SiteOptions) -> Policy {
        let mut headers: String = options
            .header
            .iter()
            .map(|field| format!("{field}\r\n"))
            .collect();
        if let Some(origin) = &options.cors {
            headers += &cors::headers(origin);
        }
        let cache_control = options
            .cache_control
            .map_or(String::new(), |value| format!("Cache-Control: {value}\r\n"));
        Policy {
            index: options.index.into_iter().map(OsString::from).collect(),
            spa: options.spa,
            try_html: options.try_html,
            follow_symlinks: options.symlinks == Symlinks::Inside,
            compress: options.compress == Switch::On,
            file_headers: cache_control,
            headers,
            cors: options.cors.is_some(),
            allowed_origin: options.cors,
            base_path: options.base_path.unwrap_or_default(),
            redirects: options.redirect,
        }
    }

    /// Whether pages of this origin may change files. `*` does not allow that, because it does not
    /// name the origin.
    pub(crate) fn allows(&self, origin: &[u8]) -> bool {
        self.allowed_origin
            .as_deref()
            .is_some_and(|allowed| allowed != "*" && allowed.as_bytes() == origin)
    }

    /// The redirect for a path below the root, if there is one: the status and the `Location`.
    pub(crate) fn redirect(&self, path: &[u8], query: Option<&[u8]>) -> Option<(u16, String)> {
        let redirect = self
            .redirects
            .iter()
            .find(|redirect| redirect.is_of(path))?;
        Some((
            redirect.status(),
            redirect.location(&self.base_path.url_path(b""), query),
        ))
    }
}

fn file_name(text: &str) -> Result<String, String> {
    let mut components = Path::new(text).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) if name == text => Ok(text.to_owned()),
        _ => Err("expected the name of a file, without a folder".to_owned()),
    }
}

fn path_below(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let is_below = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if text.is_empty() || !is_below {
        Err("expected a file below the folder".to_owned())
    } else {
        Ok(path.to_owned())
    }
}

fn base_path(text: &str) -> Result<BasePath, String> {
    let target = target::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    match target.path {
        path if path.is_empty() => Err("the folder stands at / without this option".to_owned()),
        _ if target.query.is_some() => Err("a path has no `?`".to_owned()),
        path => Ok(BasePath::of(path.into_owned())),
    }
}

fn cache_control(text: &str) -> Result<String, String> {
    match duration(text) {
        Ok(time) => Ok(format!("max-age={}", time.as_secs())),
        Err(_) => field_value(text).map(str::to_owned),
    }
}

/// Parses a header line without a line end.
fn header_field(text: &str) -> Result<String, String> {
    /// Headers that only the server can set.
    const OWN: [&str; 15] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "etag",
        "keep-alive",
        "last-modified",
        "location",
        "server",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-content-type-options",
    ];
    let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
    if name.is_empty() || !name.bytes().all(head::is_token) {
        return Err(format!("invalid header name `{}`", name.escape_debug()));
    }
    if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!("{name} is for the server to say"));
    }
    Ok(format!("{name}: {}", field_value(value)?))
}

fn field_value(text: &str) -> Result<&str, String> {
    let value = text.trim_matches([' ', '\t']);
    if value.is_empty() || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!(
            "`{}` can't be the value of a field",
            value.escape_debug()
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
