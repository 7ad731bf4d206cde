//! Checks the names and the dates of the certificate.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Finding;
use super::x509::Certificate;

/// Time before the end of the certificate's validity from which the report has a note.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Maximum number of names that the report shows.
const MAX_SHOWN_NAMES: usize = 4;
const SUBJECT: &str = "TLS";

/// The names and the dates of a certificate.
#[derive(Debug)]
pub(super) struct Facts(Certificate);

impl Facts {
    /// Reads the first certificate of a file.
    ///
    /// # Errors
    /// The file cannot be read, or the certificate is malformed.
    pub(super) fn read(file: &Path) -> Result<Facts, String> {
        let der = CertificateDer::from_pem_file(file).map_err(|error| error.to_string())?;
        let certificate = Certificate::from_der(&der);
        certificate
            .map(Facts)
            .ok_or_else(|| "the certificate is malformed".to_owned())
    }

    /// The finding for the report.
    pub(super) fn finding(&self, now: Timestamp) -> Finding {
        let date = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        let certificate = &self.0;
        let (begins, ends) = (date(certificate.begins), date(certificate.ends));
        let fix = "--tls-cert FILE --tls-key FILE";
        if now >= certificate.ends {
            let text = format!("the certificate expired on {ends}");
            return Finding::problem(SUBJECT, text).fix(fix);
        }
        if now < certificate.begins {
            let text = format!("the certificate is valid only from {begins} on");
            return Finding::problem(SUBJECT, text).fix(fix);
        }
        if certificate.names.is_empty() {
            let text = "the certificate has no name that clients accept (subjectAltName)";
            return Finding::note(SUBJECT, text);
        }
        let mut names = certificate.names.clone();
        names.truncate(MAX_SHOWN_NAMES);
        if names.len() < certificate.names.len() {
            names.push(format!(
                "and {} more",
                certificate.names.len() - names.len()
            ));
        }
        let text = format!("certificate for {} until {ends}", names.join(", "));
        if now + EXPIRY_NOTICE >= certificate.ends {
            return Finding::note(SUBJECT, text).fix(fix);
        }
        Finding::good(SUBJECT, text)
    }
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
