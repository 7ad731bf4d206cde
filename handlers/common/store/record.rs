//! The record of an unfinished upload. It contains enough for any protocol to resume the upload.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Name;
use crate::common::digest::{Digests, from_hex, to_hex};

/// A file that is to be stored, as its sender announced it.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The path that the file is to get.
    pub name: Name,
    /// The size in bytes; `None` if the sender does not know it yet.
    pub size: Option<u64>,
    /// The announced digests.
    pub digests: Digests,
    /// The owner. Only the same owner can resume the upload.
    pub owner: Option<String>,
    /// The user whose quota the file uses, if the store has
    /// [accounts](super::Store::with_accounts).
    pub quota_user: Option<String>,
    /// The modification time of the sender's file. The stored file gets the same time.
    pub modified: Option<SystemTime>,
    /// A text of the protocol, which is stored with the upload. Only a
    /// [registered](super::Store::register) upload has one.
    pub memo: Option<String>,
}

impl Intent {
    /// An intent with this name and no other properties.
    pub fn new(name: Name) -> Intent {
        Intent {
            name,
            size: None,
            digests: Digests::default(),
            owner: None,
            quota_user: None,
            modified: None,
            memo: None,
        }
    }

    /// The id of the upload. It depends only on the name, size, digests and owner.
    pub fn id(&self) -> String {
        let size = self.size.map(|size| size.to_string());
        let digests = &self.digests;
        let digests = [
            digests.md5.map(|d| to_hex(&d)),
            digests.sha256.map(|d| to_hex(&d)),
            digests.blake3.map(|d| to_hex(&d)),
        ];
        let mut hasher = blake3::Hasher::new();
        for part in [
            Some(self.name.as_bytes()),
            size.as_deref().map(str::as_bytes),
            self.owner.as_deref().map(str::as_bytes),
        ]
        .into_iter()
        .chain(
            digests
                .iter()
                .map(|digest| digest.as_deref().map(str::as_bytes)),
        ) {
            // The length separates the parts: (`ab`, `c`) differs from (`a`, `bc`).
            hasher.update(
                &part
                    .map_or(u64::MAX, |part| part.len() as u64)
                    .to_le_bytes(),
            );
            hasher.update(part.unwrap_or_default());
        }
        to_hex(&hasher.finalize().as_bytes()[..16])
    }
}

/// An [`Intent`] as JSON. It is stored beside the received bytes.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Record {
    name: String,
    /// The bytes of the name in hexadecimal, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(rename = "payer", skip_serializing_if = "Option::is_none")]
    quota_user: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<f64>,
    /// Seconds since 1970.
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memo: Option<String>,
    /// The offset of a piece whose digests were not compared yet. The bytes behind it must not be
    /// used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checked: Option<u64>,
    /// The name of the file that a registered upload has become.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
    /// The bytes of `stored` in hexadecimal, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<String>,
}

fn bytes_beside_text(name: &Name) -> Option<String> {
    let is_text = std::str::from_utf8(name.as_bytes()).is_ok();
    (!is_text).then(|| to_hex(name.as_bytes()))
}

fn name_of(text: &str, bytes: Option<&str>) -> Option<Name> {
    let Some(hex) = bytes else {
        return Name::path(text).ok();
    };
    let pairs = hex.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Name::of_bytes(&bytes.collect::<Option<Vec<u8>>>()?).ok()
}

impl Record {
    pub(super) fn of(intent: &Intent) -> Record {
        let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Record {
            name: intent.name.text().into_owned(),
            name_bytes: bytes_beside_text(&intent.name),
            size: intent.size,
            md5: intent.digests.md5.map(|digest| to_hex(&digest)),
            sha256: intent.digests.sha256.map(|digest| to_hex(&digest)),
            blake3: intent.digests.blake3.map(|digest| to_hex(&digest)),
            owner: intent.owner.clone(),
            quota_user: intent.quota_user.clone(),
            modified: intent.modified.map(|time| since_1970(time).as_secs_f64()),
            created: since_1970(SystemTime::now()).as_secs(),
            memo: intent.memo.clone(),
            checked: None,
            stored: None,
            stored_bytes: None,
        }
    }

    /// The name of the file that the upload has become.
    pub(super) fn stored(&self) -> Option<Name> {
        name_of(self.stored.as_deref()?, self.stored_bytes.as_deref())
    }

    pub(super) fn set_stored(&mut self, name: &Name) {
        self.stored = Some(name.text().into_owned());
        self.stored_bytes = bytes_beside_text(name);
    }

    /// The announced properties; `None` if another program has damaged the record.
    pub(super) fn intent(&self) -> Option<Intent> {
        fn digest<const N: usize>(text: Option<&String>) -> Option<Option<[u8; N]>> {
            text.map(|text| from_hex(text)).transpose().ok()
        }
        let modified = self
            .modified
            .map(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Some(Intent {
            name: name_of(&self.name, self.name_bytes.as_deref())?,
            size: self.size,
            digests: Digests {
                md5: digest(self.md5.as_ref())?,
                sha256: digest(self.sha256.as_ref())?,
                blake3: digest(self.blake3.as_ref())?,
                sha1: None,
            },
            owner: self.owner.clone(),
            quota_user: self.quota_user.clone(),
            modified: modified
                .flatten()
                .and_then(|since| UNIX_EPOCH.checked_add(since)),
            memo: self.memo.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(name: &str, size: Option<u64>) -> Intent {
        Intent {
            size,
            ..Intent::new(Name::path(name).unwrap())
        }
    }

    #[test]
    fn an_upload_is_known_by_name_size_digests_and_owner() {
        let base = intent("a", Some(1));
        let digests = Digests {
            md5: Some([0; 16]),
            ..Digests::default()
        };
        let others = [
            intent("b", Some(1)),
            intent("a", Some(2)),
            intent("a", None),
            Intent {
                digests,
                ..base.clone()
            },
            Intent {
                owner: Some("a".into()),
                ..base.clone()
            },
            Intent {
                owner: Some(String::new()),
                ..base.clone()
            },
        ];
        let mut ids: Vec<String> = others.iter().map(Intent::id).collect();
        ids.push(base.id());
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), others.len() + 1);
        assert_eq!(
            base.id(),
            Intent {
                modified: Some(UNIX_EPOCH),
                ..base.clone()
            }
            .id()
        );
    }

    #[test]
    fn a_record_says_what_was_announced() {
        let announced = Intent {
            digests: Digests {
                md5: Some([1; 16]),
                sha256: Some([2; 32]),
                blake3: Some([3; 32]),
                sha1: None,
            },
            owner: Some("ada".into()),
            quota_user: Some("eve".into()),
            modified: Some(UNIX_EPOCH + Duration::from_millis(1500)),
            memo: Some("x".into()),
            ..intent("a/b", Some(7))
        };
        let text = serde_json::to_string(&Record::of(&announced)).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        let read = read.intent().unwrap();
        assert_eq!(read.id(), announced.id());
        assert_eq!(
            (read.quota_user, read.modified, read.memo),
            (announced.quota_user, announced.modified, announced.memo)
        );
        for meddled in [
            r#"{"name": "../a", "created": 0}"#,
            r#"{"name": "a", "md5": "00", "created": 0}"#,
        ] {
            assert!(
                serde_json::from_str::<Record>(meddled)
                    .unwrap()
                    .intent()
                    .is_none(),
                "{meddled}"
            );
        }
    }
}
