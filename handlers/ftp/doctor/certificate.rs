//! Checks the names and the dates of the certificate.

use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Finding;

/// Time before the end of a certificate during which the report has a note.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Maximum number of names that the report shows.
const MAX_SHOWN_NAMES: usize = 4;
const SUBJECT: &str = "TLS";

/// The names and the dates of a certificate.
#[derive(Debug)]
pub(super) struct Facts {
    names: Vec<String>,
    begins: Timestamp,
    ends: Timestamp,
}

impl Facts {
    /// Reads the first certificate of a file.
    ///
    /// # Errors
    /// The file cannot be read, or the certificate is malformed.
    pub(super) fn read(file: &Path) -> Result<Facts, String> {
        let der = CertificateDer::from_pem_file(file).map_err(|error| error.to_string())?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| e.to_string())?;
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|e| e.to_string());
        let validity = certificate.validity();
        Ok(Facts {
            names: names(&certificate),
            begins: time(validity.not_before.timestamp())?,
            ends: time(validity.not_after.timestamp())?,
        })
    }

    /// The finding for the report.
    pub(super) fn finding(&self, now: Timestamp) -> Finding {
        let date = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        let (begins, ends) = (date(self.begins), date(self.ends));
        let fix = "--tls-cert FILE --tls-key FILE";
        if now >= self.ends {
            let text = format!("the certificate expired on {ends}");
            return Finding::problem(SUBJECT, text).fix(fix);
        }
        if now < self.begins {
            let text = format!("the certificate is valid only from {begins} on");
            return Finding::problem(SUBJECT, text).fix(fix);
        }
        if self.names.is_empty() {
            let text = "the certificate has no name that clients accept (subjectAltName)";
            return Finding::note(SUBJECT, text);
        }
        let mut names = self.names.clone();
        names.truncate(MAX_SHOWN_NAMES);
        if names.len() < self.names.len() {
            names.push(format!("and {} more", self.names.len() - names.len()));
        }
        let text = format!("certificate for {} until {ends}", names.join(", "));
        if now + EXPIRY_NOTICE >= self.ends {
            return Finding::note(SUBJECT, text).fix(fix);
        }
        Finding::good(SUBJECT, text)
    }
}

/// The names of the server that clients accept (RFC 6125: subjectAltName only), without control
/// characters.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.replace(char::is_control, "")),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
        }
        .map(|ip| ip.to_string()),
        _ => None,
    };
    let names = &extension.value.general_names;
    names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn day(text: &str) -> Timestamp {
        format!("{text}T12:00:00Z").parse().unwrap()
    }

    #[test]
    fn a_certificate_has_names_and_an_end() {
        let file = std::env::temp_dir().join(format!("ftp-cert-{}.pem", std::process::id()));
        let names = ["ftp.example.org", "127.0.0.1"].map(str::to_owned).to_vec();
        let mut made = rcgen::CertificateParams::new(names).unwrap();
        made.not_before = rcgen::date_time_ymd(2026, 1, 1);
        made.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&file, made.self_signed(&key).unwrap().pem()).unwrap();
        let facts = Facts::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        for (today, level, text) in [
            ("2025-12-31", Level::Problem, "valid only from 2026-01-01"),
            (
                "2026-01-02",
                Level::Good,
                "for ftp.example.org, 127.0.0.1 until 2026-03-01",
            ),
            ("2026-02-20", Level::Note, "until 2026-03-01"),
            ("2026-03-01", Level::Problem, "expired on 2026-03-01"),
        ] {
            let finding = facts.finding(day(today));
            assert_eq!(finding.level, level, "{today}");
            assert!(finding.text.contains(text), "{}", finding.text);
        }
        assert!(Facts::read(&file).is_err());
    }
}
