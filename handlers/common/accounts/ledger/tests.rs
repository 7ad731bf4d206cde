use std::fs;

use super::*;
use crate::common::accounts::testing::{TestFile, add};
use crate::common::accounts::{AccountsError, Cost, Store};

/// A folder's ledger in a file with the users `ada` and `eve`, of whom ada has a quota of 100
/// bytes.
fn ledger(test: &str) -> (TestFile, Store, Ledger) {
    let (file, store) = TestFile::new(test);
    add(&store, "ada", "x", "lrwd");
    add(&store, "eve", "x", "lrwd");
    store.set_quota("ada", Some(100)).unwrap();
    let ledger = another(&file);
    (file, store, ledger)
}

/// The same ledger, as another process has it.
fn another(file: &TestFile) -> Ledger {
    let folder = file.path().with_file_name("files");
    fs::create_dir_all(&folder).unwrap();
    Ledger::new(
        Arc::new(Accounts::open(&file.path(), Cost::CHEAP).unwrap()),
        &folder,
    )
    .unwrap()
}

/// Stores a file, and nothing is known before.
fn settle(ledger: &Ledger, user: &str, path: &str, bytes: u64) {
    assert!(
        ledger
            .settle(user, "part", bytes, None, || Some(path.to_owned()))
            .unwrap()
    );
}

fn used(store: &Store, name: &str) -> u64 {
    store.account(name).unwrap().unwrap().used
}

#[test]
fn a_quota_is_used_up_to_the_last_byte_and_no_further() {
    let (_file, store, ledger) = ledger("ledger");
    assert!(ledger.enter("ada", "a", 60, None).unwrap());
    assert!(!ledger.enter("ada", "b", 41, None).unwrap());
    assert_eq!(used(&store, "ada"), 60);
    assert!(ledger.enter("ada", "b", 40, None).unwrap());
    assert!(
        !ledger.enter("ada", "b", 41, None).unwrap(),
        "an entry grows within the quota only"
    );
    assert!(!ledger.fits("ada", 1, None).unwrap() && ledger.fits("ada", 0, None).unwrap());
    assert!(!ledger.fits("ada", u64::MAX, None).unwrap());
    ledger.strike("a").unwrap();
    assert_eq!(used(&store, "ada"), 40);
    for bytes in [1000, 1 << 40] {
        assert!(
            ledger.enter("eve", "c", bytes, None).unwrap(),
            "without a quota there is no limit"
        );
    }
    assert_eq!(used(&store, "eve"), 1 << 40);
}

#[test]
fn what_a_file_replaces_counts_no_more_for_whoever_stored_it() {
    let (_file, store, ledger) = ledger("ledger-replaced");
    settle(&ledger, "ada", "a", 90);
    assert!(!ledger.enter("ada", "1.part", 100, Some("b")).unwrap());
    assert!(ledger.enter("ada", "1.part", 100, Some("a")).unwrap());
    // One file can't make room for two.
    assert!(!ledger.enter("ada", "2.part", 100, Some("a")).unwrap());
    let put = |path: &'static str| move || Some(path.to_owned());
    assert!(
        !ledger
            .settle("ada", "1.part", 100, Some("b"), || panic!("it doesn't fit"))
            .unwrap()
    );
    assert!(
        ledger
            .settle("ada", "1.part", 100, Some("a"), || None)
            .unwrap(),
        "nothing was put there"
    );
    assert_eq!(used(&store, "ada"), 190);
    assert!(
        ledger
            .settle("ada", "1.part", 100, Some("a"), put("a"))
            .unwrap()
    );
    assert_eq!(used(&store, "ada"), 100);
    settle(&ledger, "eve", "a", 5);
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (0, 5));
    assert!(
        !ledger.enter("ada", "4.part", 101, Some("a")).unwrap(),
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
        settle(&ledger, user, path, 10);
    }
    ledger.moved(b"d", b"t").unwrap();
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (20, 20));
    ledger.moved(b"t/a", b"\xff/a").unwrap();
    for (path, left) in [
        (&b"d/a"[..], 20),
        (b"t/e/b", 10),
        (b"d0", 10),
        (b"da", 0),
        (b"\xff/a", 0),
    ] {
        ledger.removed(path).unwrap();
        let sum = if path == b"\xff/a" || path == b"d0" {
            used(&store, "ada")
        } else {
            used(&store, "eve")
        };
        assert_eq!(sum, left, "{}", path.escape_ascii());
    }
}

#[test]
fn a_file_that_was_stored_again_is_not_struck_off() {
    let (_file, store, ledger) = ledger("ledger-again");
    settle(&ledger, "ada", "a", 10);
    fs::write(ledger.folder().join("a"), "").unwrap();
    ledger.removed(b"a").unwrap();
    assert_eq!(used(&store, "ada"), 10);
}

#[test]
fn entries_are_corrected_but_not_all_the_time() {
    let (_file, store, ledger) = ledger("ledger-correct");
    for (path, bytes) in [("gone", 10), ("grown", 20), ("same", 30)] {
        settle(&ledger, "ada", path, bytes);
    }
    settle(&ledger, "eve", "others", 5);
    let actual = |path: &Path, noted| match path
        .strip_prefix(ledger.folder())
        .unwrap()
        .to_str()
        .unwrap()
    {
        "grown" => Some(25),
        "same" => Some(noted),
        _ => None,
    };
    assert!(ledger.correct("ada", actual).unwrap());
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (55, 5));
    assert!(!ledger.correct("ada", |_, _| None).unwrap());
    assert_eq!(used(&store, "ada"), 55);
    assert!(ledger.correct("eve", |_, _| None).unwrap());
    assert_eq!(used(&store, "eve"), 0);
}

#[test]
fn a_user_who_was_removed_pays_for_nothing() {
    let (_file, store, ledger) = ledger("ledger-removed");
    assert!(ledger.enter("ada", "part", 50, None).unwrap());
    store.remove_user("ada").unwrap();
    settle(&ledger, "ada", "a", 50);
    assert!(ledger.enter("ada", "part", 1000, None).unwrap());
    add(&store, "ada", "x", "lrwd");
    assert_eq!(used(&store, "ada"), 0);
}

#[test]
fn many_threads_and_processes_share_one_quota_exactly() {
    let (file, store, ledger) = ledger("ledger-threads");
    let other = another(&file);
    let enter = |ledger: &Ledger, thread: usize| {
        (0..40)
            .filter(|file| {
                ledger
                    .enter("ada", &format!("{thread}-{file}"), 1, None)
                    .unwrap()
            })
            .count()
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
        ledger.enter("ada", "a", 1, None),
        Err(AccountsError::Missing(_))
    ));
}
