use std::fs;

use super::*;
use crate::accounts::testing::{TestFile, add};
use crate::accounts::{AccountsError, Cost, Store};

const NO_QUOTA: Quotas = Quotas {
    folder: None,
    max_kept: 100,
};

/// The ledger of a folder in an accounts file with the users `ada` and `eve`. The quota of ada is
/// 100 bytes.
fn ledger(test: &str) -> (TestFile, Store, Ledger) {
    let (file, store) = TestFile::new(test);
    add(&store, "ada", "x", "lrwd");
    add(&store, "eve", "x", "lrwd");
    store.set_quota("ada", Some(100)).unwrap();
    let ledger = another(&file, "files");
    (file, store, ledger)
}

/// A second ledger of a folder, as in another process.
fn another(file: &TestFile, folder: &str) -> Ledger {
    let folder = file.path().with_file_name(folder);
    fs::create_dir_all(&folder).unwrap();
    Ledger::new(
        Arc::new(Accounts::open(&file.path(), Cost::CHEAP).unwrap()),
        &folder,
    )
    .unwrap()
}

fn upload<'a>(user: &'a str, id: &'a str, bytes: u64, replaces: Option<&'a str>) -> Upload<'a> {
    Upload {
        id,
        user: Some(user),
        target: replaces.unwrap_or("new").as_bytes(),
        inode: 1,
        bytes,
        replaces: replaces.map(|_| 0),
        is_kept: false,
    }
}

fn reserve(ledger: &Ledger, user: &str, id: &str, bytes: u64, replaces: Option<&str>) -> Judgement {
    let upload = upload(user, id, bytes, replaces);
    ledger.reserve(upload, NO_QUOTA).unwrap()
}

/// Stores a file.
fn store_file(ledger: &Ledger, user: &str, path: &str, bytes: u64) {
    let upload = upload(user, "part", bytes, Some(path));
    assert_eq!(
        ledger.reserve(upload, NO_QUOTA).unwrap(),
        Judgement::Fits,
        "{path}"
    );
    let put = || Some(placed(path));
    assert_eq!(
        ledger.publish(upload, NO_QUOTA, true, None, put).unwrap(),
        Judgement::Fits
    );
}

fn placed(path: &str) -> Placed {
    Placed {
        path: path.into(),
        replaced: 0,
    }
}

fn remove(ledger: &Ledger, path: &[u8]) {
    let (source, target) = (path, None);
    let change = Change { source, target };
    ledger.change(change, || 1, || Some(0)).unwrap();
}

fn rename(ledger: &Ledger, from: &[u8], to: &[u8]) {
    let (source, target) = (from, Some(to));
    let change = Change { source, target };
    ledger.change(change, || 1, || Some(0)).unwrap();
}

fn used(store: &Store, name: &str) -> u64 {
    store.account(name).unwrap().unwrap().used
}

#[test]
fn a_quota_is_used_up_to_the_last_byte_and_no_further() {
    let (_file, store, ledger) = ledger("ledger");
    let reserve = |id, bytes| reserve(&ledger, "ada", id, bytes, None);
    assert_eq!(reserve("a", 60), Judgement::Fits);
    assert_eq!(reserve("b", 41), Judgement::UserFull);
    assert_eq!(used(&store, "ada"), 60);
    assert_eq!(reserve("b", 40), Judgement::Fits);
    assert_eq!(reserve("b", 41), Judgement::UserFull, "it grows within it");
    let fits = |bytes| ledger.fits(Some("ada"), bytes, NO_QUOTA).unwrap();
    assert_eq!(
        (fits(0), fits(1), fits(u64::MAX)),
        (Judgement::Fits, Judgement::UserFull, Judgement::UserFull)
    );
    ledger.release("a").unwrap();
    assert_eq!(used(&store, "ada"), 40);
    for bytes in [1000, 1 << 40] {
        let judgement = self::reserve(&ledger, "eve", "c", bytes, None);
        assert_eq!(
            judgement,
            Judgement::Fits,
            "without a quota there is no limit"
        );
    }
    assert_eq!(used(&store, "eve"), 1 << 40);
}

#[test]
fn what_a_file_replaces_counts_no_more_for_whoever_stored_it() {
    let (_file, store, ledger) = ledger("ledger-replaced");
    store_file(&ledger, "ada", "a", 90);
    let reserve = |id, bytes, replaces| reserve(&ledger, "ada", id, bytes, Some(replaces));
    assert_eq!(reserve("1", 100, "b"), Judgement::UserFull);
    assert_eq!(reserve("1", 100, "a"), Judgement::Fits);
    // Replacing one file frees room for only one upload.
    assert_eq!(reserve("2", 100, "a"), Judgement::UserFull);
    let publish = |replaces, put: &dyn Fn() -> Option<Placed>| {
        let upload = upload("ada", "1", 100, Some(replaces));
        ledger.publish(upload, NO_QUOTA, true, None, put).unwrap()
    };
    assert_eq!(
        publish("b", &|| panic!("it does not fit")),
        Judgement::UserFull
    );
    assert_eq!(publish("a", &|| None), Judgement::Fits);
    assert_eq!(used(&store, "ada"), 190, "nothing got the name");
    assert_eq!(publish("a", &|| Some(placed("a"))), Judgement::Fits);
    assert_eq!(used(&store, "ada"), 100);
    store_file(&ledger, "eve", "a", 5);
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (0, 5));
    assert_eq!(
        reserve("4", 101, "a"),
        Judgement::UserFull,
        "another's file makes no room"
    );
}

#[test]
fn moved_files_and_folders_count_for_whom_they_did() {
    let (_file, store, ledger) = ledger("ledger-moved");
    for (user, path) in [
        ("ada", "d/a"),
        ("eve", "d/e/b"),
        ("ada", "d0"),
        ("eve", "da"),
        ("eve", "t"),
    ] {
        store_file(&ledger, user, path, 10);
    }
    rename(&ledger, b"d", b"t");
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (20, 20));
    rename(&ledger, b"t/a", b"\xff/a");
    for (path, left) in [
        (&b"d/a"[..], 20),
        (b"t/e/b", 10),
        (b"d0", 10),
        (b"da", 0),
        (b"\xff/a", 0),
    ] {
        remove(&ledger, path);
        let sum = if path == b"\xff/a" || path == b"d0" {
            used(&store, "ada")
        } else {
            used(&store, "eve")
        };
        assert_eq!(sum, left, "{}", path.escape_ascii());
    }
}

#[test]
fn a_folder_that_was_renamed_keeps_its_entries() {
    let (file, store, ledger) = ledger("ledger-folder");
    store_file(&ledger, "ada", "a", 60);
    let other = another(&file, "other");
    store_file(&other, "ada", "a", 30);
    drop((ledger, other));
    let path = |name: &str| file.path().with_file_name(name);
    // The two folders change places.
    fs::rename(path("files"), path("third")).unwrap();
    fs::rename(path("other"), path("files")).unwrap();
    fs::rename(path("third"), path("other")).unwrap();
    remove(&another(&file, "files"), b"a");
    assert_eq!(used(&store, "ada"), 60);
    remove(&another(&file, "other"), b"a");
    assert_eq!(used(&store, "ada"), 0);
}

#[test]
fn entries_are_corrected_but_not_all_the_time() {
    let (_file, store, ledger) = ledger("ledger-correct");
    for (path, bytes) in [("gone", 10), ("grown", 20), ("same", 30)] {
        store_file(&ledger, "ada", path, bytes);
    }
    store_file(&ledger, "eve", "others", 5);
    let actual = |path: &[u8], recorded| match path {
        b"grown" => Some(25),
        b"same" => Some(recorded),
        _ => None,
    };
    assert_eq!(ledger.correct("ada", actual).unwrap(), Corrected::All);
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (55, 5));
    assert_eq!(
        ledger.correct("ada", |_, _| None).unwrap(),
        Corrected::Nothing
    );
    assert_eq!(used(&store, "ada"), 55);
    assert_eq!(ledger.correct("eve", |_, _| None).unwrap(), Corrected::All);
    assert_eq!(used(&store, "eve"), 0);
}

#[test]
fn many_entries_are_corrected_in_turns() {
    let (_file, store, ledger) = ledger("ledger-turns");
    let enter = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4500)
        INSERT INTO files SELECT ?1, CAST(i AS BLOB), users.id, 1 FROM n, users
        WHERE users.name = 'eve'";
    let folder = ledger.0.folder;
    store
        .with(|connection| connection.execute(enter, [folder]))
        .unwrap();
    for (corrected, left) in [
        (Corrected::Some, 2500),
        (Corrected::Some, 500),
        (Corrected::All, 0),
        (Corrected::Nothing, 0),
    ] {
        assert_eq!(ledger.correct("eve", |_, _| None).unwrap(), corrected);
        assert_eq!(used(&store, "eve"), left);
    }
}

#[test]
fn an_upload_of_a_removed_user_is_not_stored() {
    let (_file, store, ledger) = ledger("ledger-removed");
    assert_eq!(reserve(&ledger, "ada", "part", 50, None), Judgement::Fits);
    store.remove_user("ada").unwrap();
    let upload = upload("ada", "part", 50, None);
    let put = || panic!("its user was removed");
    assert_eq!(
        ledger.publish(upload, NO_QUOTA, true, None, put).unwrap(),
        Judgement::NoUser
    );
    assert_eq!(ledger.grow(upload, NO_QUOTA).unwrap(), Judgement::NoUser);
    // A new user of the same name is another user.
    add(&store, "ada", "x", "lrwd");
    assert_eq!(
        ledger.publish(upload, NO_QUOTA, true, None, put).unwrap(),
        Judgement::NoUser
    );
    assert_eq!(used(&store, "ada"), 0);
}

#[test]
fn the_number_of_kept_uploads_of_a_user_is_limited() {
    let (_file, _store, ledger) = ledger("ledger-kept");
    let quotas = Quotas {
        folder: None,
        max_kept: 2,
    };
    let kept = |id, user| Upload {
        is_kept: true,
        ..upload(user, id, 1, None)
    };
    let reserve = |upload| ledger.reserve(upload, quotas).unwrap();
    for id in ["1", "2", "2"] {
        assert_eq!(reserve(kept(id, "ada")), Judgement::Fits);
    }
    assert_eq!(reserve(kept("3", "ada")), Judgement::TooMany);
    assert_eq!(reserve(kept("3", "eve")), Judgement::Fits);
    assert_eq!(reserve(upload("ada", "4", 1, None)), Judgement::Fits);
    assert!(!ledger.keep("4", u64::MAX, quotas).unwrap());
    ledger.release("1").unwrap();
    assert!(ledger.keep("4", u64::MAX, quotas).unwrap());
}

#[test]
fn a_folder_s_quota_counts_all_files_and_waits_for_the_count() {
    let (_file, _store, ledger) = ledger("ledger-of-folder");
    let quotas = Quotas {
        folder: Some(100),
        max_kept: 1,
    };
    let reserve = |id, bytes, replaces: Option<u64>| {
        let upload = Upload {
            user: None,
            replaces,
            ..upload("", id, bytes, None)
        };
        ledger.reserve(upload, quotas).unwrap()
    };
    assert_eq!(reserve("1", 1, None), Judgement::Uncounted);
    let (bytes, changes) = ledger.folder_bytes().unwrap();
    assert_eq!(bytes, None);
    assert!(ledger.set_folder_bytes(60, changes, false).unwrap());
    assert_eq!(reserve("1", 41, None), Judgement::FolderFull);
    assert_eq!(reserve("1", 41, Some(1)), Judgement::Fits);
    assert_eq!(reserve("2", 0, None), Judgement::Fits);
    let upload = Upload {
        user: None,
        replaces: Some(1),
        ..upload("", "1", 41, None)
    };
    let put = || {
        Some(Placed {
            path: b"a".into(),
            replaced: 1,
        })
    };
    assert_eq!(
        ledger.publish(upload, quotas, true, None, put).unwrap(),
        Judgement::Fits
    );
    assert_eq!(ledger.folder_bytes().unwrap().0, Some(100));
    assert!(
        !ledger.set_folder_bytes(7, changes, false).unwrap(),
        "a file was stored meanwhile"
    );
    assert!(ledger.set_folder_bytes(7, changes, true).unwrap());
    assert_eq!(ledger.folder_bytes().unwrap().0, Some(100));
}

#[test]
fn entries_of_a_killed_server_are_brought_up_to_date_with_the_files() {
    let (_file, store, ledger) = ledger("ledger-recovery");
    for path in ["kept", "gone", "d/a", "e/b"] {
        store_file(&ledger, "eve", path, 10);
    }
    // The process is dead: no process has the id that is set below.
    let begin = |source: &[u8], target: Option<&[u8]>, inode| {
        let change = Change { source, target };
        ledger.begin_change(change, inode).unwrap();
    };
    begin(b"kept", None, 1);
    begin(b"gone", None, 2);
    begin(b"d", Some(b"f"), 3);
    begin(b"e", Some(b"g"), 4);
    store
        .with(|connection| connection.execute("UPDATE changes SET process = 0x7fffffff", []))
        .unwrap();
    for id in ["alive", "lost", "stored"] {
        assert_eq!(reserve(&ledger, "ada", id, 30, None), Judgement::Fits);
    }
    let find = |path: &[u8]| {
        let (inode, bytes) = match path {
            b"kept" => (1, 11),
            // It was moved, with the files in it.
            b"f" => (3, 0),
            b"f/a" => (30, 10),
            // It was not moved.
            b"e" => (4, 0),
            b"e/b" => (40, 10),
            _ => return None,
        };
        Some(Found { inode, bytes })
    };
    ledger.recover_changes(find).unwrap();
    assert_eq!(used(&store, "eve"), 31);
    for path in [&b"kept"[..], b"f/a", b"e/b"] {
        let before = used(&store, "eve");
        remove(&ledger, path);
        assert!(used(&store, "eve") < before, "{}", path.escape_ascii());
    }
    ledger
        .recover_uploads(|row| match &*row.id {
            "alive" => UploadState::Alive,
            "stored" => UploadState::Stored(placed("s"), 7),
            _ => UploadState::Gone,
        })
        .unwrap();
    assert_eq!(used(&store, "ada"), 37);
    ledger.release("alive").unwrap();
    remove(&ledger, b"s");
    assert_eq!(used(&store, "ada"), 0);
}

#[test]
fn a_change_is_recorded_with_the_inode_of_the_file_that_is_changed() {
    let (_file, store, ledger) = ledger("ledger-change");
    let written = || {
        let row = "SELECT inode FROM changes";
        store.with(|connection| connection.query_row(row, [], |row| row.get::<_, i64>(0)))
    };
    // Another file gets the path between the two transactions, twice.
    let inodes = std::cell::RefCell::new(vec![3, 3, 3, 2, 2, 1]);
    let inode = || inodes.borrow_mut().pop().unwrap();
    let (source, target) = (&b"a"[..], None);
    let acted = std::cell::Cell::new(false);
    let act = || {
        // The open transaction has removed the record, but other connections still see it.
        assert_eq!(written().unwrap(), 3);
        acted.set(true);
        None
    };
    ledger
        .change(Change { source, target }, inode, act)
        .unwrap();
    assert!(acted.get() && written().is_err());
}

#[test]
fn many_threads_and_processes_share_one_quota_exactly() {
    let (file, store, ledger) = ledger("ledger-threads");
    let other = another(&file, "files");
    let enter = |ledger: &Ledger, thread: usize| {
        let fits = |file: &usize| {
            let id = format!("{thread}-{file}");
            reserve(ledger, "ada", &id, 1, None) == Judgement::Fits
        };
        (0..40).filter(fits).count()
    };
    let entered = std::thread::scope(|scope| {
        let threads = [&ledger, &ledger, &other, &other];
        let threads: Vec<_> = threads
            .into_iter()
            .enumerate()
            .map(|(thread, ledger)| scope.spawn(move || enter(ledger, thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!((entered, used(&store, "ada")), (100, 100));
}

#[test]
fn a_ledger_that_can_not_be_written_says_so() {
    let (file, _store, ledger) = ledger("ledger-broken");
    fs::remove_file(file.path()).unwrap();
    assert!(matches!(
        ledger.reserve(upload("ada", "a", 1, None), NO_QUOTA),
        Err(AccountsError::Missing(_))
    ));
}
