//! Which downloads by a limited link were begun: a client that fetches a file in parts, or goes on
//! after a cut, uses the link once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long after its last request a download can go on.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Maximum number of downloads that are remembered at the same time.
const MAX_DOWNLOADS: usize = 4096;

/// One client that fetches one file by one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Download<'a> {
    pub(super) share: i64,
    pub(super) client: Option<IpAddr>,
    pub(super) path: &'a [u8],
}

/// The downloads of the last hour. A server that is started again counts a download that goes on as
/// another one.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    hasher: RandomState,
    /// When each one was last seen, by its hash: paths may be long.
    seen: Mutex<HashMap<u64, Instant>>,
}

impl Downloads {
    /// Whether it was begun.
    pub(super) fn is_begun(&self, download: Download<'_>, now: Instant) -> bool {
        let key = self.key(download);
        self.seen
            .lock()
            .get(&key)
            .is_some_and(|last| is_recent(*last, now))
    }

    /// It is begun, or goes on.
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
    now.saturating_duration_since(last) < MEMORY
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
        downloads.note(download, start + MEMORY / 2);
        assert!(downloads.is_begun(download, start + MEMORY));
        assert!(!downloads.is_begun(download, start + MEMORY * 3 / 2));
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
