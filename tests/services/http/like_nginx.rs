//! `serve http` beside a real nginx over the same folder: what nginx accepts, we answer alike, or
//! say in a data file why not.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::http::raw::Answer;
use crate::neighbours::{Neighbour, exchange};
use crate::support::cases::read;
use crate::support::{TestDir, TestServer, has_tool};

const NGINX: &str = "
    types { text/plain txt; text/html html; text/css css; }
    default_type application/octet-stream;
    server { listen unix:{dir}/socket; server_name a; absolute_redirect off; root ROOT; }";

/// Tue, 02 Jan 2024 03:04:05 GMT
const MODIFIED: Duration = Duration::from_secs(1_704_164_645);

/// The fields that decide what a client does with an answer.
const COMPARED: [&str; 5] = [
    "Content-Length",
    "Content-Range",
    "Last-Modified",
    "Accept-Ranges",
    "Allow",
];

/// A separator to some systems: `handlers/http/protocol/target.rs` refuses it in a path.
const BACKSLASH: &str = "status=400/404";

/// The same folder, served twice.
struct Pair {
    _dir: TestDir,
    ours: TestServer,
    nginx: Neighbour,
}

impl Pair {
    fn start(test: &str) -> Option<Pair> {
        if !has_tool("nginx", test) {
            return None;
        }
        let dir = TestDir::new(test);
        for (name, content) in files() {
            dir.write(name, content);
            let file = File::options().write(true).open(dir.join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED)
                .unwrap();
        }
        let nginx = Neighbour::nginx(
            &format!("{test}-nginx"),
            &NGINX.replace("ROOT", dir.as_str()),
        );
        let ours = TestServer::start(&["http", dir.as_str()]);
        Some(Pair {
            _dir: dir,
            ours,
            nginx,
        })
    }

    /// What differs, in the words of the data files. `None`: nginx refuses the request, as we may
    /// too.
    fn differences(&self, ours: &[u8], nginx: &[u8]) -> Option<Vec<String>> {
        let theirs = exchange(self.nginx.connect(), nginx)?;
        // 1xx to 3xx, and what depends on the file.
        if !matches!(theirs.status, 100..400 | 404 | 412 | 416) {
            return None;
        }
        let Some(answer) = exchange(self.ours.connect(), ours) else {
            return Some(vec!["silence".to_owned()]);
        };
        Some(differences(&answer, &theirs))
    }
}

/// Names and contents.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let digits = b"0123456789".repeat(10);
    let names = [
        "index.html",
        "file.txt",
        "page.html",
        "no-extension",
        "UPPER.TXT",
        "sp ace.txt",
        "ünï.txt",
        "a+b.txt",
        "100%.txt",
        "semi;colon.txt",
        "it's.txt",
        "#hash.txt",
        "a&b=c.txt",
        "a:b.txt",
        "[b].txt",
        "~tilde.txt",
        ".hidden",
        "sub/index.html",
        "sub/file.txt",
        "sub/deep/file.txt",
        "sp ace/index.html",
        "ünï/index.html",
        "%41.txt",
        "...",
    ];
    let mut files: Vec<_> = names
        .into_iter()
        .map(|name| (name, digits.clone()))
        .collect();
    files.push(("empty.txt", Vec::new()));
    files.push(("large.bin", b"0123456789abcdef".repeat(20_000)));
    files
}

fn differences(ours: &Answer, theirs: &Answer) -> Vec<String> {
    if ours.status != theirs.status {
        return vec![format!("status={}/{}", ours.status, theirs.status)];
    }
    let mut differing = Vec::new();
    // Error pages and the short pages of redirects are each server's own.
    let is_file = matches!(ours.status, 200..300 | 304);
    if is_file && ours.body != theirs.body {
        differing.push("body".to_owned());
    }
    let counts = |name: &str| match name {
        "Content-Length" => is_file,
        // nginx drops it where a client has made use of it already.
        "Accept-Ranges" => ours.status == 200,
        _ => true,
    };
    for name in COMPARED.iter().filter(|name| counts(name)) {
        if ours.find(name) != theirs.find(name) {
            differing.push((*name).to_owned());
        }
    }
    if ours.find("ETag").is_some() != theirs.find("ETag").is_some() {
        differing.push("ETag".to_owned());
    }
    let location = |answer: &Answer| answer.find("Location").map(str::to_owned);
    if location(ours) != location(theirs) {
        differing.push("Location".to_owned());
    }
    differing
}

/// Says what is wrong with a case, if anything.
fn judge(line: usize, why: &str, expected: &str, found: Option<Vec<String>>) -> Option<String> {
    let found = match found {
        None => "a refusal of nginx, which says nothing".to_owned(),
        Some(differing) if differing.is_empty() => "same".to_owned(),
        Some(differing) => differing.join(" "),
    };
    (found != expected).then(|| format!("line {line}, {why}: expected {expected}, found {found}"))
}

#[test]
fn heads_that_nginx_accepts_are_answered_as_it_answers_them_or_refused_for_a_written_reason() {
    let Some(pair) = Pair::start("heads_that_nginx_accepts") else {
        return;
    };
    let (mut wrong, mut compared) = (Vec::new(), 0);
    // For the rest of half a head both would wait.
    for case in read(include_str!(
        "../../../handlers/http/protocol/head/data/heads.txt"
    ))
    .iter()
    .filter(|c| c.expected != "partial")
    {
        // The body that some of them announce, else the beginning of another request.
        let bytes = [&case.bytes[..], b"hello"].concat();
        let Some(found) = pair.differences(&bytes, &bytes) else {
            continue;
        };
        compared += 1;
        let is_refusal = case.expected.parse::<u16>().is_ok();
        let agreed = match &found[..] {
            [status] if is_refusal => status.starts_with(&format!("status={}/", case.expected)),
            [status] if case.bytes.starts_with(b"GET /a\\b ") => status == BACKSLASH,
            found => found.is_empty(),
        };
        if !agreed {
            wrong.push(format!(
                "line {}, {}: expected {}, found {found:?}",
                case.line, case.why, case.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(compared > 100, "nginx accepted no more than {compared}");
}

#[test]
fn files_are_served_as_nginx_serves_them() {
    let Some(pair) = Pair::start("files_are_served_as_nginx_serves_them") else {
        return;
    };
    let probe = b"HEAD /file.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    let our_etag = exchange(pair.ours.connect(), probe)
        .unwrap()
        .field("ETag")
        .to_owned();
    let their_etag = exchange(pair.nginx.connect(), probe)
        .unwrap()
        .field("ETag")
        .to_owned();
    let mut wrong = Vec::new();
    let cases = read(include_str!("../data/like_nginx_files.txt"));
    for case in &cases {
        let mut parts = std::str::from_utf8(&case.bytes).unwrap().split(" | ");
        let line = parts.next().unwrap();
        let fields: String = parts.map(|field| format!("{field}\r\n")).collect();
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let [ours, theirs] =
            [&our_etag, &their_etag].map(|etag| request.replace("{ETAG}", etag).into_bytes());
        wrong.extend(judge(
            case.line,
            case.why,
            case.expected,
            pair.differences(&ours, &theirs),
        ));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
