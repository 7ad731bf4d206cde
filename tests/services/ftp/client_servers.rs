//! `client ftp` against our own server and pyftpdlib, in the clear and over TLS.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::ftp::client::{client, paths_in};
use crate::support::{BoundedCommand, PythonServer, TestDir, TestServer, has_tool, run_with_input};
use crate::upload::{MIB, content};

/// Serves a folder on a free port, which it prints; over TLS if a certificate is given.
const SERVER: &str = "
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
authorizer = DummyAuthorizer()
authorizer.add_user('ada', 'secret', sys.argv[1], perm='elradfmwMT')
handler = FTPHandler
if len(sys.argv) > 2:
    from pyftpdlib.handlers import TLS_FTPHandler
    handler = TLS_FTPHandler
    handler.certfile, handler.keyfile = sys.argv[2:]
    handler.tls_control_required = handler.tls_data_required = True
handler.authorizer = authorizer
server = FTPServer(('127.0.0.1', 0), handler)
print(server.socket.getsockname()[1], flush=True)
server.serve_forever()
";

/// `None`, after a visible line, if a module is missing.
fn pyftpdlib(test: &str, modules: &str, arguments: &[&str]) -> Option<PythonServer> {
    if !has_tool("python3", test) {
        return None;
    }
    let import = format!("import {modules}");
    let found = Command::new("python3").args(["-c", &import]).succeeds();
    if !found {
        let why =
            format!("SKIPPED {test}: Python has no {modules}; `pip install pyftpdlib pyopenssl`");
        let _ = writeln!(std::io::stderr(), "{why}");
        return None;
    }
    Some(PythonServer::start(SERVER, arguments))
}

/// A tree with names that some clients mishandle.
fn tree(home: &TestDir) {
    for name in [
        " lead",
        "-la",
        "~root",
        "a b",
        "quo\"te",
        "semi;colon; x",
        "\u{e9}\u{1f600}",
        "[x]",
    ] {
        home.write(&format!("from/{name}"), name);
        home.write(&format!("from/d/e/{name}"), name);
    }
    home.write("from/large", content(5 * MIB + 1));
    home.write("from/empty", "");
    fs::create_dir_all(home.join("from/void")).unwrap();
}

fn same(one: &Path, other: &Path) {
    let paths = paths_in(one);
    assert_eq!(paths, paths_in(other));
    for path in paths.iter().filter(|path| !path.ends_with('/')) {
        let read = |folder: &Path| fs::read(folder.join(path)).unwrap();
        assert!(read(one) == read(other), "{path}");
    }
}

/// Mirrors a tree to the server and back, with these options.
fn there_and_back(home: &TestDir, port: u16, options: &[&str]) {
    let url = format!("ftp://ada@localhost:{port}/x/y");
    let (from, back) = (home.join("from"), home.join("back"));
    let up = [
        "mirror",
        &url,
        from.to_str().unwrap(),
        "--reverse",
        "--jobs",
        "3",
    ];
    let (code, stdout, stderr) = client(home, &[&up[..], options].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    same(&from, &home.join("root/x/y"));
    let (code, stdout, _) = client(home, &[&up[..], options].concat());
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "sent 0 files, 0 bytes; 18 up to date\n")
    );
    let down = ["mirror", &url, back.to_str().unwrap(), "--jobs", "3"];
    let (code, stdout, stderr) = client(home, &[&down[..], options].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    same(&from, &back);
}

#[test]
fn pyftpdlib_is_mirrored_both_ways() {
    let home = TestDir::new("ftp-pyftpdlib");
    tree(&home);
    fs::create_dir_all(home.join("root")).unwrap();
    let root = home.join("root");
    let arguments = [root.to_str().unwrap()];
    let Some(server) = pyftpdlib("pyftpdlib_is_mirrored_both_ways", "pyftpdlib", &arguments) else {
        return;
    };
    there_and_back(&home, server.address.port(), &[]);
}

#[test]
fn pyftpdlib_is_mirrored_both_ways_over_tls() {
    let test = "pyftpdlib_is_mirrored_both_ways_over_tls";
    let home = TestDir::new("ftp-pyftpdlib-tls");
    tree(&home);
    fs::create_dir_all(home.join("root")).unwrap();
    let (certificate, key) = certificate(&home);
    let root = home.join("root");
    let arguments = [root.to_str().unwrap(), &certificate, &key];
    let Some(server) = pyftpdlib(test, "pyftpdlib, OpenSSL", &arguments) else {
        return;
    };
    there_and_back(&home, server.address.port(), &["--tls-ca", &certificate]);
}

/// A certificate for `localhost` and its key, as files.
fn certificate(home: &TestDir) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    home.write("cert.pem", made.cert.pem());
    home.write("key.pem", made.signing_key.serialize_pem());
    let path = |name| home.join(name).to_str().unwrap().to_owned();
    (path("cert.pem"), path("key.pem"))
}

/// Our own server with the user ada.
fn our_server(home: &TestDir, options: &[&str]) -> TestServer {
    fs::create_dir_all(home.join("root")).unwrap();
    let path = |name| home.join(name).to_str().unwrap().to_owned();
    let (root, accounts) = (path("root"), path("accounts.db"));
    let user = [
        "users",
        "add",
        "ada",
        "--rights",
        "lrwd",
        "--accounts",
        &accounts,
    ];
    let added = run_with_input(&[&user[..], &["--password-stdin"]].concat(), b"secret\n");
    assert_eq!(added.0, Some(0), "{}", added.2);
    let serve = ["ftp", &root, "--accounts", &accounts, "--no-fsync"];
    TestServer::start(&[&serve[..], options].concat())
}

#[test]
fn our_own_server_is_mirrored_both_ways() {
    let home = TestDir::new("ftp-own");
    tree(&home);
    let server = our_server(&home, &[]);
    there_and_back(&home, server.address().port(), &[]);
}

#[test]
fn our_own_server_is_mirrored_both_ways_over_tls_of_both_kinds() {
    for (kind, server_option, client_option) in [
        ("explicit", "--require-tls=all", "--tls"),
        ("implicit", "--tls-implicit", "--tls-implicit"),
    ] {
        let home = TestDir::new(&format!("ftp-own-{kind}"));
        tree(&home);
        let (certificate, key) = certificate(&home);
        let options = ["--tls-cert", &certificate, "--tls-key", &key, server_option];
        let server = our_server(&home, &options);
        let options = [client_option, "--tls-ca", &certificate];
        there_and_back(&home, server.address().port(), &options);
    }
}
