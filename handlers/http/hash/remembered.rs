//! Digests that were computed, as long as their files stay the same.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::common::digest::Digests;
use crate::http::entry::Identity;

/// Maximum number of files whose digests are cached.
const MAX_FILES: usize = 1000;

/// What a digest belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct DigestKey {
    pub(super) identity: Identity,
    /// The entity tag: a file has one for each of its codings.
    pub(super) form: String,
}

/// The digests of a site's files.
#[derive(Debug, Default)]
pub(crate) struct DigestCache(Mutex<HashMap<DigestKey, Digests>>);

impl DigestCache {
    /// The digests of a file, if all that are wanted are known.
    pub(super) fn find(&self, key: &DigestKey, wanted: &Digests) -> Option<Digests> {
        let known = self.0.lock().get(key)?.clone();
        (union(&known, wanted) == known).then_some(known)
    }

    /// Adds digests to what is known of a file.
    pub(super) fn keep(&self, key: DigestKey, digests: &Digests) {
        let mut files = self.0.lock();
        // Whichever comes first makes room: what is asked for often comes back.
        if files.len() >= MAX_FILES
            && !files.contains_key(&key)
            && let Some(victim) = files.keys().next().cloned()
        {
            files.remove(&victim);
        }
        let known = files.entry(key).or_default();
        *known = union(known, digests);
    }
}

/// What is in one of them; of what is in both, the first.
fn union(one: &Digests, other: &Digests) -> Digests {
    Digests {
        md5: one.md5.or(other.md5),
        sha1: one.sha1.or(other.sha1),
        sha256: one.sha256.or(other.sha256),
        blake3: one.blake3.or(other.blake3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(form: usize) -> DigestKey {
        let file = std::env::current_exe().and_then(std::fs::metadata).unwrap();
        DigestKey {
            identity: Identity::of(&file),
            form: form.to_string(),
        }
    }

    #[test]
    fn a_digest_is_known_when_all_that_are_wanted_are() {
        let remembered = DigestCache::default();
        let md5 = |byte| Digests {
            md5: Some([byte; 16]),
            ..Digests::default()
        };
        let sha1 = |byte| Digests {
            sha1: Some([byte; 20]),
            ..Digests::default()
        };
        assert_eq!(remembered.find(&key(0), &md5(0)), None);
        remembered.keep(key(0), &md5(1));
        assert_eq!(remembered.find(&key(0), &md5(0)), Some(md5(1)));
        assert_eq!(remembered.find(&key(0), &sha1(0)), None);
        remembered.keep(key(0), &sha1(2));
        assert_eq!(
            remembered.find(&key(0), &union(&md5(0), &sha1(0))),
            Some(union(&md5(1), &sha1(2)))
        );
        assert_eq!(remembered.find(&key(1), &md5(0)), None, "of another form");
    }

    #[test]
    fn so_many_files_are_known_and_no_more() {
        let remembered = DigestCache::default();
        let digests = Digests {
            md5: Some([1; 16]),
            ..Digests::default()
        };
        for form in 0..MAX_FILES + 10 {
            remembered.keep(key(form), &digests);
            assert!(remembered.find(&key(form), &digests).is_some());
        }
        assert_eq!(remembered.0.lock().len(), MAX_FILES);
    }
}
