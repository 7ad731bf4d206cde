//! Remembers downloads through share links with a limited number of downloads. A client that
//! downloads a file in parts, or resumes a download, uses the link only once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time after its last request in which a download can be resumed.
const RESUME_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Maximum number of downloads that are remembered at the same time.
const MAX_DOWNLOADS: usize = 4096;

/// The download of one file by one client through one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Download<'a> {
    pub(super) share: i64,
    pub(super) client: Option<IpAddr>,
    pub(super) path: &'a [u8],
}

/// The downloads of the last hour. They are not stored on disk: after a restart of the server, a
/// resumed download counts as a new one.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    hasher: RandomState,
    /// The time of the last request of each download. The key is the download's hash, because paths
    /// may be long.
    seen: Mutex<HashMap<u64, Instant>>,
}

impl Downloads {
    /// Whether the download was begun and can still be resumed.
    pub(super) fn is_begun(&self, download: Download<'_>, now: Instant) -> bool {
        let key = self.key(download);
        self.seen
            .lock()
            .get(&key)
            .is_some_and(|last| is_recent(*last, now))
    }

    /// Records a request of the download.
    pub(super) fn note(&self, download: Download<'_>, now: Instant) {
        let key = self.key(download);
        let mut seen = self.seen.lock();
        if seen.len() >= MAX_DOWNLOADS {
            seen.retain(|_, last| is_recent(*last, now));
        }
        if seen.len() >= MAX_DOWNLOADS
            && let Some(oldest) = seen
                .iter()
                .min_by_key(|(_, last)| **last)
                .map(|(key, _)| *key)
        {
            seen.remove(&oldest);
        }
        seen.insert(key, now);
    }

    fn key(&self, download: Download<'_>) -> u64 {
        self.hasher
            .hash_one((download.share, download.client, download.path))
    }
}

fn is_recent(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) < RESUME_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_one_client_one_file_and_one_link_for_an_hour_after_its_last_part() {
        let (downloads, start) = (Downloads::default(), Instant::now());
        let download = Download {
            share: 1,
            client: "192.0.2.1".parse().ok(),
            path: b"a",
        };
        assert!(!downloads.is_begun(download, start));
        downloads.note(download, start);
        downloads.note(download, start + RESUME_TIMEOUT / 2);
        assert!(downloads.is_begun(download, start + RESUME_TIMEOUT));
        assert!(!downloads.is_begun(download, start + RESUME_TIMEOUT * 3 / 2));
        for other in [
            Download {
                share: 2,
                ..download
            },
            Download {
                client: "192.0.2.2".parse().ok(),
                ..download
            },
            Download {
                client: None,
                ..download
            },
            Download {
                path: b"b",
                ..download
            },
        ] {
            assert!(!downloads.is_begun(other, start), "{other:?}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let (downloads, start) = (Downloads::default(), Instant::now());
        let download = |share| Download {
            share,
            client: None,
            path: b"a",
        };
        for share in 0..=MAX_DOWNLOADS as i64 {
            downloads.note(download(share), start + Duration::from_millis(share as u64));
        }
        assert_eq!(downloads.seen.lock().len(), MAX_DOWNLOADS);
        let now = start + Duration::from_secs(10);
        assert!(!downloads.is_begun(download(0), now) && downloads.is_begun(download(1), now));
    }
}
