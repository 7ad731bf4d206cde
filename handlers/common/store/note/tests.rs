use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::accounts::testing::{TestFile, add};
use crate::accounts::{Accounts, Cost, Store as Users};
use crate::common::store::tests::{Folder, code};
use crate::common::store::{Intent, Name, OnDuplicate, Partial, Store, StoreError, StoreOptions};

/// A store whose uploads use the quota of ada, which is 100 bytes.
struct Setting {
    folder: Folder,
    users: Users,
    store: Store,
    _file: TestFile,
}

impl Setting {
    fn new(test: &str) -> Setting {
        let (file, users) = TestFile::new(test);
        add(&users, "ada", "x", "lrwd");
        users.set_quota("ada", Some(100)).unwrap();
        let accounts = Arc::new(Accounts::open(&file.path(), Cost::CHEAP).unwrap());
        let folder = Folder::new();
        let options = StoreOptions {
            partial_expiry: Duration::from_secs(60),
            ..StoreOptions::default()
        };
        let store = Store::with_accounts(folder.path(), options, Some(accounts));
        Setting {
            folder,
            users,
            store: store.unwrap(),
            _file: file,
        }
    }

    fn begin(&self, name: &str) -> Result<Partial, StoreError> {
        let intent = Intent {
            quota_user: Some("ada".into()),
            ..Intent::new(Name::path(name)?)
        };
        self.store.begin(intent, OnDuplicate::Overwrite)
    }

    /// Begins an upload. This many bytes and the end of the connection arrive together.
    fn receive_whole(&self, name: &str, bytes: usize) -> Partial {
        let mut partial = self.begin(name).unwrap();
        let mut counts = [bytes, 0].into_iter();
        let mut source = |_: &mut [u8]| Ok(counts.next());
        partial.receive(&mut source, u64::MAX).unwrap();
        partial
    }

    fn used(&self) -> u64 {
        self.users.account("ada").unwrap().unwrap().used
    }

    fn notes(&self) -> Vec<String> {
        let names = self.folder.names().into_iter();
        names.filter(|name| name.ends_with(".note")).collect()
    }
}

#[test]
fn a_note_is_read_as_it_was_written() {
    for (quota_user, target) in [(None, &b"a"[..]), (Some("ada b"), b"d/a:b\xff\n")] {
        let note = Note {
            quota_user: quota_user.map(str::to_owned),
            inode: u64::MAX,
            target: target.to_vec(),
        };
        assert_eq!(Note::parse(&note.to_bytes()), Some(note));
    }
    for wrong in [&b""[..], b"ada", b"ada:1", b"ada:x:a", b"\xff:1:a"] {
        assert_eq!(Note::parse(wrong), None);
    }
}

#[test]
fn a_whole_upload_has_a_note_until_its_file_is_entered() {
    let setting = Setting::new("note-whole");
    for (name, bytes) in [("a", 60), ("empty", 0)] {
        let partial = setting.receive_whole(name, bytes);
        assert_eq!(setting.notes().len(), 1, "{name}");
        partial.publish(OnDuplicate::Overwrite).unwrap();
        assert_eq!((setting.used(), setting.notes().len()), (60, 0), "{name}");
    }
    setting
        .receive_whole("a", 100)
        .publish(OnDuplicate::Overwrite)
        .unwrap();
    assert_eq!(setting.used(), 100, "the replaced file made room");
}

#[test]
fn a_whole_upload_is_judged_when_it_gets_its_name() {
    let setting = Setting::new("note-judged");
    for (name, stored) in [("a", "ok"), ("b", "no_space")] {
        let partial = setting.receive_whole(name, 60);
        assert_eq!(code(partial.publish(OnDuplicate::Overwrite)), stored);
    }
    assert_eq!(
        (setting.used(), setting.folder.names()),
        (60, vec!["a".into()])
    );
    let partial = setting.receive_whole("c", 1);
    setting.users.remove_user("ada").unwrap();
    let refused = partial.publish(OnDuplicate::Overwrite);
    assert!(matches!(refused, Err(StoreError::NoUser)), "{refused:?}");
    assert_eq!(setting.folder.names(), ["a"]);
}

#[test]
fn a_whole_upload_that_is_not_stored_counts_while_it_can_be_resumed() {
    let setting = Setting::new("note-dropped");
    setting.receive_whole("a", 60).discard().unwrap();
    assert_eq!((setting.used(), setting.folder.names().len()), (0, 0));
    drop(setting.receive_whole("a", 60));
    assert_eq!((setting.used(), setting.notes().len()), (60, 0));
    // The upload has a row now, so it uses this row instead of a note when it is sent again.
    let partial = setting.receive_whole("a", 70);
    assert_eq!(setting.notes().len(), 0);
    partial.publish(OnDuplicate::Overwrite).unwrap();
    assert_eq!(
        (setting.used(), setting.folder.names()),
        (70, vec!["a".into()])
    );
}

#[test]
fn a_file_that_a_killed_server_has_not_entered_is_entered_later() {
    let setting = Setting::new("note-entered");
    let partial = setting.begin("other").unwrap();
    let staging = Arc::clone(&partial.staging);
    let target = setting.folder.path().join("a");
    fs::write(&target, [0; 60]).unwrap();
    let note = Note {
        quota_user: Some("ada".into()),
        inode: fs::metadata(&target).unwrap().ino(),
        target: b"a".to_vec(),
    };
    staging.write_note("1", &note).unwrap();
    assert!(staging.write_note("1", &note).is_err(), "each has one note");
    // The server that still holds the lock enters the upload itself.
    let lock = fs::File::open(&target).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    setting.store.sweep().unwrap();
    assert_eq!((setting.used(), setting.notes().len()), (0, 1));
    drop(lock);
    setting.store.sweep().unwrap();
    assert_eq!((setting.used(), setting.notes().len()), (60, 0));
    // Another file has the name, so the upload has no file.
    let stranger = Note { inode: 1, ..note };
    staging.write_note("1", &stranger).unwrap();
    setting.store.sweep().unwrap();
    assert_eq!((setting.used(), setting.notes().len()), (60, 0));
}

#[test]
fn the_bytes_that_a_killed_server_left_count_while_they_can_be_resumed() {
    let setting = Setting::new("note-left");
    let partial = setting.receive_whole("a", 60);
    setting.store.sweep().unwrap();
    assert_eq!(
        (setting.used(), setting.notes().len()),
        (0, 1),
        "it is alive"
    );
    let (staging, id) = (Arc::clone(&partial.staging), partial.id.clone());
    let note = Note {
        quota_user: Some("ada".into()),
        inode: partial.metadata().unwrap().ino(),
        target: b"a".to_vec(),
    };
    partial.discard().unwrap();
    fs::write(
        setting
            .folder
            .path()
            .join(crate::common::store::PARTIALS)
            .join(format!("{id}.part")),
        [0; 60],
    )
    .unwrap();
    staging.write_note(&id, &note).unwrap();
    setting.store.sweep().unwrap();
    assert_eq!((setting.used(), setting.notes().len()), (60, 0));
}
