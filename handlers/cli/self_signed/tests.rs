use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::*;

/// The current time in whole seconds, which is the resolution of certificates.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

/// A folder for one test. It is removed when this value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!(
            "socketserver-self-signed-{test}-{}",
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&folder);
        Folder(folder.join("made/by/the/server"))
    }

    fn ensure(&self, names: &[&str], now: Timestamp) -> (Vec<u8>, Facts) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let files = SelfSigned::in_folder(&self.0, names, now).unwrap();
        assert_fits(&files);
        let text = fs::read_to_string(&files.certificate).unwrap();
        (
            CertificateDer::from_pem_slice(text.as_bytes())
                .unwrap()
                .to_vec(),
            Facts::read(&text).unwrap(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.ancestors().nth(4).unwrap());
    }
}

fn assert_fits(files: &SelfSigned) {
    let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    CertifiedKey::from_der(vec![certificate], key, &default_provider()).unwrap();
}

#[test]
fn the_second_start_uses_what_the_first_made() {
    let (folder, now) = (Folder::new("again"), now());
    let (first, facts) = folder.ensure(&["localhost", "127.0.0.1"], now);
    assert_eq!(
        folder
            .ensure(&["localhost"], now + SignedDuration::from_hours(357 * 24))
            .0,
        first
    );
    assert_eq!(facts.expires, now + LIFETIME);
    let mode = |name: &str| {
        fs::metadata(folder.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("development-key.pem"), 0o600);
    assert_eq!(mode("."), 0o700);
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        2,
        "nothing is left aside"
    );
}

#[test]
fn a_certificate_that_expires_within_a_week_is_renewed_for_the_same_key() {
    let (folder, now) = (Folder::new("expires"), now());
    let (first, before) = folder.ensure(&["localhost", "gone"], now);
    let later = now + SignedDuration::from_hours(358 * 24 + 1);
    let (second, after) = folder.ensure(&["localhost"], later);
    assert_ne!(first, second);
    assert_eq!(
        after,
        Facts {
            names: ["localhost".to_owned()].into(),
            expires: later + LIFETIME,
            key: before.key
        }
    );
}

#[test]
fn a_new_name_is_added_to_those_that_other_servers_use() {
    let (folder, now) = (Folder::new("names"), now());
    let (first, _) = folder.ensure(&["one"], now);
    let (second, facts) = folder.ensure(&["two"], now);
    assert_ne!(first, second);
    assert_eq!(facts.names, ["one", "two"].map(str::to_owned).into());
    assert_eq!(folder.ensure(&["one"], now).0, second);
}

#[test]
fn a_certificate_of_another_key_or_without_sense_is_replaced() {
    let (folder, now) = (Folder::new("key"), now());
    let (first, _) = folder.ensure(&["one"], now);
    fs::remove_file(folder.path("development-key.pem")).unwrap();
    let (second, _) = folder.ensure(&["one"], now);
    assert_ne!(first, second);
    fs::write(folder.path("development-certificate.pem"), "Names: one\n").unwrap();
    folder.ensure(&["one"], now);
}

#[test]
fn a_key_that_is_none_is_named_and_left_alone() {
    let (folder, now) = (Folder::new("none"), now());
    folder.ensure(&["one"], now);
    fs::write(folder.path("development-key.pem"), "somebody's notes").unwrap();
    let error = SelfSigned::in_folder(&folder.0, ["one".to_owned()].into(), now).unwrap_err();
    assert!(error.to_string().contains("development-key.pem"), "{error}");
    assert_eq!(
        fs::read_to_string(folder.path("development-key.pem")).unwrap(),
        "somebody's notes"
    );
}

#[test]
fn servers_that_start_together_end_with_files_that_fit() {
    const SERVERS: usize = 8;
    for round in 0..8 {
        let (folder, together) = (Folder::new(&format!("race-{round}")), Barrier::new(SERVERS));
        let start = |server: usize| {
            together.wait();
            let files = SelfSigned::in_folder(&folder.0, [format!("server{server}")].into(), now())
                .unwrap();
            assert_fits(&files);
        };
        std::thread::scope(|scope| {
            (0..SERVERS).for_each(|server| drop(scope.spawn(move || start(server))))
        });
        assert_eq!(
            fs::read_dir(&folder.0).unwrap().count(),
            2,
            "nothing is left aside"
        );
        let text = fs::read_to_string(folder.path("development-certificate.pem")).unwrap();
        assert_eq!(
            Facts::read(&text).unwrap().names.len(),
            SERVERS,
            "every server finds its name"
        );
    }
}

#[test]
fn bound_addresses_are_names_and_wildcards_are_not() {
    let addresses = [
        "0.0.0.0:1",
        "[::]:1",
        ":1",
        "unix:/a",
        "[2001:DB8::1]:1",
        "Example.ORG:1",
        "127.0.0.2:1",
    ];
    let names = names(&addresses.map(|text| text.parse().unwrap()));
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "2001:db8::1",
        "example.org",
        "127.0.0.2",
    ] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert!(
        !names.contains("0.0.0.0") && !names.contains("::"),
        "{names:?}"
    );
}
