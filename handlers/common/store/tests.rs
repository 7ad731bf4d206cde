use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use super::*;
use crate::common::digest::{CHUNK, Digests, Hasher};

/// A folder for one test. It is removed when this value is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "socketserver-store-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn store(&self) -> Store {
        self.store_with(|_| {})
    }

    pub(super) fn store_with(&self, change: impl FnOnce(&mut StoreOptions)) -> Store {
        let mut options = StoreOptions::default();
        change(&mut options);
        Store::open(&self.0, options).unwrap()
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(name)).ok()
    }

    /// Returns the names in the folder, followed by those in the hidden folder.
    pub(super) fn names(&self) -> Vec<String> {
        let list = |path: &Path| {
            let entries = fs::read_dir(path)
                .map(|entries| entries.map(|e| e.unwrap().file_name().into_string().unwrap()));
            let mut names: Vec<String> = entries.map(Iterator::collect).unwrap_or_default();
            names.sort();
            names
        };
        let mut names = list(&self.0);
        names.retain(|name| name != PARTIALS);
        names.extend(list(&self.0.join(PARTIALS)));
        names.retain(|name| !name.starts_with("ledger.db"));
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn intent(name: &str, size: u64) -> Intent {
    Intent {
        size: Some(size),
        ..Intent::new(Name::path(name).unwrap())
    }
}

fn with_digests(name: &str, content: &[u8]) -> Intent {
    let mut hasher = Hasher::of(&Digests {
        md5: Some([0; 16]),
        sha256: Some([0; 32]),
        ..Digests::default()
    });
    hasher.update(content);
    Intent {
        digests: hasher.finish(),
        ..intent(name, content.len() as u64)
    }
}

fn put(
    store: &Store,
    name: &str,
    content: &[u8],
    on_duplicate: OnDuplicate,
) -> Result<Published, StoreError> {
    let mut partial = store.begin(intent(name, content.len() as u64), on_duplicate)?;
    partial.write(content)?;
    partial.publish(on_duplicate)
}

pub(super) fn code<T>(result: Result<T, StoreError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn a_file_has_its_name_only_when_it_is_whole() {
    let folder = Folder::new();
    let store = folder.store();
    let mut partial = store
        .begin(with_digests("a.txt", b"hello"), OnDuplicate::Error)
        .unwrap();
    partial.write(b"he").unwrap();
    assert_eq!(folder.read("a.txt"), None);
    partial.write(b"llo").unwrap();
    let published = partial.publish(OnDuplicate::Error).unwrap();
    assert_eq!(
        (published.name.text().as_ref(), published.size),
        ("a.txt", 5)
    );
    assert_eq!(published.digests, with_digests("a.txt", b"hello").digests);
    assert_eq!(folder.read("a.txt").unwrap(), b"hello");
    assert_eq!(folder.names(), ["a.txt"]);
}

#[test]
fn a_taken_name_is_refused_overwritten_or_numbered() {
    let folder = Folder::new();
    let store = folder.store();
    assert_eq!(code(put(&store, "a.txt", b"1", OnDuplicate::Error)), "ok");
    assert_eq!(
        code(put(&store, "a.txt", b"22", OnDuplicate::Error)),
        "exists"
    );
    assert_eq!(
        put(&store, "a.txt", b"22", OnDuplicate::Rename)
            .unwrap()
            .name
            .text(),
        "a (1).txt"
    );
    assert_eq!(
        put(&store, "a.txt", b"333", OnDuplicate::Rename)
            .unwrap()
            .name
            .text(),
        "a (2).txt"
    );
    assert_eq!(folder.read("a.txt").unwrap(), b"1");
    assert_eq!(
        code(put(&store, "a.txt", b"4444", OnDuplicate::Overwrite)),
        "ok"
    );
    assert_eq!(folder.read("a.txt").unwrap(), b"4444");
    fs::create_dir(folder.0.join("d")).unwrap();
    assert_eq!(
        code(put(&store, "d", b"1", OnDuplicate::Overwrite)),
        "exists"
    );
    assert_eq!(
        put(&store, "d", b"1", OnDuplicate::Rename)
            .unwrap()
            .name
            .text(),
        "d (1)"
    );
    assert_eq!(
        folder.names(),
        ["a (1).txt", "a (2).txt", "a.txt", "d", "d (1)"]
    );
}

#[test]
fn of_two_writers_that_race_for_a_name_one_wins() {
    let folder = Folder::new();
    let store = folder.store();
    let mut first = store.begin(intent("a", 1), OnDuplicate::Error).unwrap();
    let mut second = store.begin(intent("a", 2), OnDuplicate::Error).unwrap();
    first.write(b"1").unwrap();
    second.write(b"22").unwrap();
    assert_eq!(
        code(store.begin(intent("a", 2), OnDuplicate::Error)),
        "busy"
    );
    assert_eq!(code(second.publish(OnDuplicate::Error)), "ok");
    assert_eq!(code(first.publish(OnDuplicate::Error)), "exists");
    assert_eq!(folder.read("a").unwrap(), b"22");
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn what_does_not_match_its_announcement_leaves_nothing() {
    let folder = Folder::new();
    let store = folder.store();
    let mut partial = store
        .begin(with_digests("a", b"hello"), OnDuplicate::Error)
        .unwrap();
    partial.write(b"hellO").unwrap();
    assert_eq!(
        code(partial.publish(OnDuplicate::Error)),
        "checksum_mismatch"
    );
    let mut partial = store.begin(intent("a", 5), OnDuplicate::Error).unwrap();
    assert_eq!(code(partial.write(b"hello!")), "too_large");
    drop(partial);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn an_upload_goes_on_where_it_was_cut_even_after_the_store_is_gone() {
    let folder = Folder::new();
    let content: Vec<u8> = (0..3 * CHUNK as u32 + 17)
        .map(|i| (i % 251) as u8)
        .collect();
    let half = content.len() / 2;
    let announced = || with_digests("a/b", &content);
    {
        let store = folder.store();
        let mut partial = store.begin(announced(), OnDuplicate::Error).unwrap();
        partial.write(&content[..half]).unwrap();
        assert_eq!(code(partial.publish(OnDuplicate::Error)), "truncated");
    }
    let store = folder.store();
    let listed = store.partials().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].0.id(), listed[0].1),
        (announced().id(), half as u64)
    );
    let Ok(Resumed::Partial(mut partial)) = store.resume_at_once(announced(), OnDuplicate::Error)
    else {
        panic!()
    };
    assert_eq!(partial.offset(), half as u64);
    partial.write(&content[half..]).unwrap();
    partial.publish(OnDuplicate::Error).unwrap();
    assert_eq!(folder.read("a/b").unwrap(), content);
    assert_eq!(folder.names(), ["a"]);
    assert!(matches!(
        store.resume_at_once(announced(), OnDuplicate::Error),
        Ok(Resumed::Complete(_))
    ));
    let mut changed = content.clone();
    changed[0] ^= 1;
    assert_eq!(
        code(store.resume_at_once(with_digests("a/b", &changed), OnDuplicate::Error)),
        "exists"
    );
}

#[test]
fn a_new_beginning_forgets_what_was_there() {
    let folder = Folder::new();
    let store = folder.store();
    store
        .begin(intent("a", 4), OnDuplicate::Error)
        .unwrap()
        .write(b"xxx")
        .unwrap();
    assert_eq!(store.partials().unwrap().len(), 1);
    let mut partial = store.begin(intent("a", 4), OnDuplicate::Error).unwrap();
    assert_eq!(partial.offset(), 0);
    partial.write(b"yyyy").unwrap();
    partial.publish(OnDuplicate::Error).unwrap();
    assert_eq!(folder.read("a").unwrap(), b"yyyy");
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn a_source_is_taken_as_far_as_it_goes() {
    let folder = Folder::new();
    let store = folder.store();
    let content: Vec<u8> = (0..9 * CHUNK as u32 + 5).map(|i| (i % 253) as u8).collect();
    for (pieces, most) in [
        (1000, u64::MAX),
        (CHUNK, 3 * CHUNK as u64),
        (5 * CHUNK, 1 + CHUNK as u64),
        (70_000, 100_000),
    ] {
        let mut partial = store
            .begin(with_digests("a", &content), OnDuplicate::Overwrite)
            .unwrap();
        let mut left = &content[..];
        let mut calls = 0;
        while partial.remaining() != Some(0) {
            let before = partial.offset();
            let source = |into: &mut [u8]| {
                calls += 1;
                if calls % 7 == 0 {
                    return Ok(None);
                }
                let count = into.len().min(left.len()).min(pieces);
                into[..count].copy_from_slice(&left[..count]);
                left = &left[count..];
                Ok(Some(count))
            };
            partial.receive(source, most).unwrap();
            assert!(partial.offset() - before <= most);
        }
        partial.publish(OnDuplicate::Overwrite).unwrap();
        assert_eq!(folder.read("a").unwrap(), content);
    }
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn what_came_before_a_source_failed_is_kept() {
    let folder = Folder::new();
    let store = folder.store();
    let mut partial = store.begin(intent("a", 9), OnDuplicate::Error).unwrap();
    let mut calls = 0;
    let source = |into: &mut [u8]| {
        calls += 1;
        into[..4].copy_from_slice(b"abcd");
        if calls == 1 {
            Ok(Some(4))
        } else {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    };
    assert!(matches!(
        partial.receive(source, u64::MAX),
        Err(ReceiveError::Source(_))
    ));
    assert_eq!(partial.offset(), 4);
}

#[test]
fn a_file_may_be_of_unknown_size() {
    let folder = Folder::new();
    let store =
        folder.store_with(|options| (options.max_size, options.quota) = (Some(10), Some(15)));
    let unknown = |name: &str| Intent::new(Name::path(name).unwrap());
    let mut partial = store.begin(unknown("a"), OnDuplicate::Error).unwrap();
    partial.write(b"0123456789").unwrap();
    assert_eq!(code(partial.write(b"0")), "too_large");
    assert_eq!(partial.publish(OnDuplicate::Error).unwrap().size, 10);
    let mut partial = store.begin(unknown("b"), OnDuplicate::Error).unwrap();
    partial.write(b"01234").unwrap();
    assert_eq!(code(partial.write(b"5")), "no_space");
    partial.discard().unwrap();
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn limits_are_kept_and_partial_uploads_count() {
    let folder = Folder::new();
    let store =
        folder.store_with(|options| (options.max_size, options.quota) = (Some(60), Some(100)));
    assert_eq!(
        code(put(&store, "large", &[0; 61], OnDuplicate::Error)),
        "too_large"
    );
    assert_eq!(
        code(store.begin(intent("huge", u64::MAX), OnDuplicate::Error)),
        "too_large"
    );
    assert_eq!(code(put(&store, "a", &[0; 50], OnDuplicate::Error)), "ok");
    let partial = store.begin(intent("b", 40), OnDuplicate::Error).unwrap();
    assert_eq!(
        code(put(&store, "c", &[0; 11], OnDuplicate::Error)),
        "no_space"
    );
    assert_eq!(code(put(&store, "c", &[0; 10], OnDuplicate::Error)), "ok");
    drop(partial);
    let mut partial = store.begin(intent("b", 40), OnDuplicate::Error).unwrap();
    partial.write(&[0; 30]).unwrap();
    drop(partial);
    assert_eq!(
        code(put(&store, "d", &[0; 11], OnDuplicate::Error)),
        "no_space"
    );
    assert_eq!(code(put(&store, "d", &[0; 10], OnDuplicate::Error)), "ok");
    let no_limit = folder.store();
    assert_eq!(
        code(no_limit.begin(intent("e", 1 << 60), OnDuplicate::Error)),
        "no_space"
    );
}

#[test]
fn partial_uploads_expire_unless_somebody_writes_them() {
    let folder = Folder::new();
    let store = folder.store_with(|options| options.partial_expiry = Duration::ZERO);
    store
        .begin(intent("a", 4), OnDuplicate::Error)
        .unwrap()
        .write(b"x")
        .unwrap();
    let mut written = store.begin(intent("b", 4), OnDuplicate::Error).unwrap();
    written.write(b"xxxx").unwrap();
    fs::write(folder.0.join(PARTIALS).join("0123.json"), "{}").unwrap();
    store.sweep().unwrap();
    assert_eq!(folder.names().len(), 1);
    written.publish(OnDuplicate::Error).unwrap();
    assert_eq!(folder.names(), ["b"]);
}

#[test]
fn no_link_leads_out_of_the_folder() {
    let folder = Folder::new();
    let outside = Folder::new();
    fs::write(outside.0.join("a"), "theirs").unwrap();
    std::os::unix::fs::symlink(&outside.0, folder.0.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.0.join("a"), folder.0.join("a")).unwrap();
    let store = folder.store();
    assert_ne!(
        code(put(&store, "link/b", b"1", OnDuplicate::Overwrite)),
        "ok"
    );
    assert_eq!(code(put(&store, "a", b"1", OnDuplicate::Error)), "exists");
    assert_eq!(code(put(&store, "a", b"1", OnDuplicate::Overwrite)), "ok");
    assert_eq!(outside.read("a").unwrap(), b"theirs");
    assert_eq!(
        (folder.read("a").unwrap(), outside.names().len()),
        (b"1".to_vec(), 1)
    );
    assert!(matches!(
        store.resume_at_once(intent("link/a", 6), OnDuplicate::Error),
        Err(_) | Ok(Resumed::Partial(_))
    ));
}

#[test]
fn a_file_gets_the_time_that_was_announced() {
    let folder = Folder::new();
    let store = folder.store();
    let modified = UNIX_EPOCH + Duration::from_millis(1_600_000_000_250);
    let announced = Intent {
        modified: Some(modified),
        ..intent("a", 0)
    };
    store
        .begin(announced, OnDuplicate::Error)
        .unwrap()
        .publish(OnDuplicate::Error)
        .unwrap();
    assert_eq!(
        fs::metadata(folder.0.join("a"))
            .unwrap()
            .modified()
            .unwrap(),
        modified
    );
}

#[test]
fn the_hidden_folder_may_vanish_between_uploads() {
    let folder = Folder::new();
    let store = folder.store();
    assert_eq!(code(put(&store, "a", b"1", OnDuplicate::Error)), "ok");
    fs::remove_dir_all(folder.0.join(PARTIALS)).unwrap();
    assert_eq!(code(put(&store, "b", b"1", OnDuplicate::Error)), "ok");
    assert!(store.partials().unwrap().is_empty());
}

#[test]
fn a_file_of_the_same_size_but_another_time_is_complete_only_by_its_digest() {
    let folder = Folder::new();
    let store = folder.store();
    let changed = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
    let announced = |modified, digests| Intent {
        modified,
        digests,
        ..intent("a", 5)
    };
    let mut partial = store
        .begin(
            announced(changed(1000), Digests::default()),
            OnDuplicate::Error,
        )
        .unwrap();
    partial.write(b"hello").unwrap();
    partial.publish(OnDuplicate::Error).unwrap();

    let md5 = Digests {
        md5: Some(crate::common::digest::from_hex("5d41402abc4b2a76b9719d911017c592").unwrap()),
        ..Digests::default()
    };
    for (modified, digests, complete) in [
        (None, Digests::default(), true),
        (changed(1000), Digests::default(), true),
        (changed(1001), Digests::default(), false),
        (changed(1001), md5, true),
    ] {
        let resumed = store
            .resume(announced(modified, digests), OnDuplicate::Overwrite)
            .unwrap();
        assert_eq!(
            matches!(resumed, Resumed::Complete(_)),
            complete,
            "{modified:?}"
        );
    }
    assert!(matches!(
        store.resume_at_once(
            announced(changed(1001), Digests::default()),
            OnDuplicate::Error
        ),
        Err(StoreError::Exists)
    ));
}
