//! `serve http` behind a real nginx and a real HAProxy that keep their connections to it: no
//! request is answered that the proxy didn't send (request smuggling), and nobody gets another's
//! answer.

use std::io::{Read, Write};

use crate::neighbours::{Neighbour, exchange};
use crate::support::cases::{Case, read};
use crate::support::{TestDir, TestServer, has_tool, wait_until};

/// Lenient with what comes, and with all that is sent on as it comes: whatever this proxy stops
/// can't be tested.
const NGINX: &str = r#"
    log_format told '"$request" $upstream_status';
    upstream ours { server ADDRESS; keepalive 1; }
    server {
        listen unix:{dir}/socket; access_log {dir}/log told;
        ignore_invalid_headers off; underscores_in_headers on; client_max_body_size 0;
        client_header_timeout 5s; client_body_timeout 5s; lingering_close off;
        location / {
            proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
            proxy_request_buffering off; proxy_buffering off; proxy_next_upstream off;
        }
    }"#;

// One thread: each has connections of its own.
const HAPROXY: &str = "
global
    log stdout format raw local0
    nbthread 1
defaults
    mode http
    log global
    log-format \"%{+Q}r %ST %s\"
    timeout connect 5s
    timeout client 5s
    timeout server 20s
    timeout http-request 5s
frontend front
    bind unix@{dir}/socket
    option accept-invalid-http-request
    default_backend back
backend back
    http-reuse always
    retries 0
    server ours ADDRESS pool-max-conn 1
";

/// A proxy with our server behind it.
struct Chain {
    dir: TestDir,
    ours: TestServer,
    proxy: Neighbour,
    /// What a proxy writes in the place of our status when it asked nobody.
    not_forwarded: &'static str,
}

impl Chain {
    fn start(
        test: &str,
        config: &str,
        proxy: fn(&str, &str) -> Neighbour,
        not_forwarded: &'static str,
    ) -> Chain {
        let dir = TestDir::new(test);
        dir.write("site/attack.txt", "attacked");
        let (site, log) = (dir.join("site"), dir.join("access.log"));
        let ours = TestServer::start(&[
            "http",
            site.to_str().unwrap(),
            "--upload",
            "--no-fsync",
            "--access-log",
            log.to_str().unwrap(),
        ]);
        let proxy = proxy(
            &format!("{test}-proxy"),
            &config.replace("ADDRESS", &ours.address().to_string()),
        );
        Chain {
            dir,
            ours,
            proxy,
            not_forwarded,
        }
    }

    /// The files that answer `GET /NAME-NUMBER.txt` by saying who they are.
    fn write(&self, name: &str) {
        self.dir
            .write(&format!("site/{name}.txt"), format!("<I am {name}>"));
    }

    /// The requests that we logged, each as `METHOD PATH STATUS`.
    fn answered(&self) -> Vec<String> {
        let log = std::fs::read(self.dir.join("access.log")).unwrap();
        String::from_utf8_lossy(&log)
            .lines()
            .filter_map(told)
            .collect()
    }

    /// The requests that the proxy sent on, with the status that it got.
    fn forwarded(&self) -> Vec<String> {
        let log = self.proxy.file("log");
        log.lines()
            .filter(|line| !line.ends_with(self.not_forwarded))
            .filter_map(told)
            .collect()
    }

    /// Sends a case and another request behind it, and then a request of somebody else. Whose
    /// answers came, in their order.
    fn attack(&self, number: usize, method: &str, case: &Case) -> Vec<String> {
        for name in ["smuggled", "marker", "victim"] {
            self.write(&format!("{name}-{number:03}"));
        }
        let hidden = format!("GET /smuggled-{number:03}.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        let attack = format!("{method} /attack.txt HTTP/1.1\r\nHost: a\r\n");
        let bytes = replace(
            &replace(&case.bytes, b"{HIDDEN}", hidden.as_bytes()),
            b"{ATTACK}",
            attack.as_bytes(),
        );
        let marker =
            format!("GET /marker-{number:03}.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut stream = self.proxy.connect();
        // Either may end the connection before all is sent.
        let _ = stream.write_all(&[&bytes[..], marker.as_bytes()].concat());
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        let victim = format!("GET /victim-{number:03}.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = exchange(self.proxy.connect(), victim.as_bytes())
            .unwrap_or_else(|| panic!("no answer to the victim of {}", case.why));
        assert_eq!(
            (answer.status, answer.text()),
            (200, &*format!("<I am victim-{number:03}>")),
            "behind {}",
            case.why
        );
        answers.extend(answer.body);
        let answers = String::from_utf8_lossy(&answers).into_owned();
        answers
            .split("<I am ")
            .skip(1)
            .map(|text| text.split('>').next().unwrap().to_owned())
            .collect()
    }

    /// Every case by every method. What we logged, what the proxy logged and what clients were told
    /// must agree.
    fn assert_nothing_is_smuggled(&self) {
        self.assert_a_connection_is_kept();
        let (mut seen, mut number) = (Vec::new(), 0);
        for case in read(include_str!("../data/smuggling.txt")) {
            let methods: &[&str] = if case.bytes.starts_with(b"{ATTACK}") {
                &["GET", "POST", "PUT"]
            } else {
                &[""]
            };
            for method in methods {
                seen.extend(self.attack(number, method, &case));
                number += 1;
            }
        }
        let last = format!("GET /victim-{:03}.txt 200", number - 1);
        wait_until("the last request is logged", || {
            [self.answered(), self.forwarded()]
                .iter()
                .all(|log| log.contains(&last))
        });
        assert_eq!(
            self.answered(),
            self.forwarded(),
            "what we answered, and what the proxy sent"
        );
        let named: Vec<_> = self
            .answered()
            .iter()
            .filter_map(|told| name_of(told))
            .collect();
        assert_eq!(named, seen, "what we answered, and what clients were told");
    }

    /// Without that, nothing could be hidden in it.
    fn assert_a_connection_is_kept(&self) {
        self.write("first");
        for _ in 0..5 {
            let answer = exchange(
                self.proxy.connect(),
                b"GET /first.txt HTTP/1.1\r\nHost: a\r\n\r\n",
            )
            .unwrap();
            assert_eq!(answer.text(), "<I am first>");
        }
        let port = format!(":{:04X}", self.ours.address().port());
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // The third column is where a connection leads, the fourth its state: 01 is open. Another
        // server may have had our port a minute ago.
        let to_ours = |line: &&str| {
            let mut columns = line.split_whitespace().skip(2);
            columns.next().is_some_and(|remote| remote.ends_with(&port))
                && columns.next() == Some("01")
        };
        assert_eq!(
            connections.lines().filter(to_ours).count(),
            1,
            "{connections}"
        );
    }
}

/// Of `... "REQUEST LINE" STATUS ...` in a log: method, path and status. Proxies write the rest of
/// the line anew.
fn told(line: &str) -> Option<String> {
    let mut parts = line.split('"').skip(1);
    let (request, status) = (parts.next()?, parts.next()?.split_whitespace().next()?);
    let (method, target) = request.trim_end_matches(" HTTP/1.1").split_once(' ')?;
    let path = match target.strip_prefix("http://") {
        Some(absolute) => absolute.find('/').map_or("/", |at| &absolute[at..]),
        None => target,
    };
    Some(format!("{method} {path} {status}"))
}

/// The name of the file that was sent, if it is one that says so itself.
fn name_of(told: &str) -> Option<String> {
    let name = told.strip_prefix("GET /")?.strip_suffix(".txt 200")?;
    ["smuggled-", "marker-", "victim-"]
        .iter()
        .any(|kind| name.starts_with(kind))
        .then(|| name.to_owned())
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match memchr::memmem::find(bytes, from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

#[test]
fn nothing_is_smuggled_through_nginx() {
    if has_tool("nginx", "nothing_is_smuggled_through_nginx") {
        Chain::start("smuggling-nginx", NGINX, Neighbour::nginx, "-").assert_nothing_is_smuggled();
    }
}

#[test]
fn nothing_is_smuggled_through_haproxy() {
    if has_tool("haproxy", "nothing_is_smuggled_through_haproxy") {
        Chain::start("smuggling-haproxy", HAPROXY, Neighbour::haproxy, "<NOSRV>")
            .assert_nothing_is_smuggled();
    }
}
