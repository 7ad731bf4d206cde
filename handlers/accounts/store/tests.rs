use std::sync::Arc;

use super::*;
use crate::accounts::testing::{TestFile, add};
use crate::accounts::{Accounts, Cost, Ledger};

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn a_user_comes_back_as_he_was_added() {
    let (file, store) = TestFile::new("add");
    let user = NewUser {
        name: "ädä b",
        hash: Some("x".into()),
        home: prefix("/h"),
        quota: Some(7),
        rights: Rights::ALL,
    };
    store.add_user(&user).unwrap();
    add(&store, ANONYMOUS, "", "r");
    assert!(matches!(
        store.add_user(&user),
        Err(AccountsError::UserExists(_))
    ));
    let again = Store::open(&file.path()).unwrap();
    let account = again.account("ädä b").unwrap().unwrap();
    assert_eq!(
        (account.quota, account.used, account.has_password()),
        (Some(7), 0, true)
    );
    assert_eq!(account.rights(b"h/x"), Rights::ALL);
    assert_eq!(account.rights(b"x"), Rights::NONE, "outside of his home");
    assert_eq!(account.rights_throughout(b""), Rights::NONE);
    let names: Vec<_> = again
        .accounts()
        .unwrap()
        .into_iter()
        .map(|account| account.name)
        .collect();
    assert_eq!(names, [ANONYMOUS, "ädä b"]);
    assert!(!again.account(ANONYMOUS).unwrap().unwrap().has_password());
    assert_eq!(again.account("nobody").unwrap(), None);
}

#[test]
fn names_that_no_protocol_could_carry_are_refused() {
    let (_file, store) = TestFile::new("names");
    let long = "x".repeat(MAX_NAME_LENGTH + 1);
    for name in [
        "",
        " ",
        " a",
        "a ",
        "a:b",
        "a/b",
        "a\nb",
        "a\u{1b}[2J",
        &long,
    ] {
        let user = NewUser {
            name,
            hash: None,
            home: Prefix::root(),
            quota: None,
            rights: Rights::NONE,
        };
        assert!(
            matches!(store.add_user(&user), Err(AccountsError::BadName(_))),
            "{name:?}"
        );
    }
    for name in [
        "a",
        "a@b.example",
        "Ada Lovelace",
        "ß",
        &long[1..],
        "a'; DROP TABLE users; --",
    ] {
        add(&store, name, "x", "r");
        assert!(store.account(name).unwrap().is_some(), "{name:?}");
    }
}

#[test]
fn rights_change_by_prefix_and_begin_with_what_held_there() {
    let (_file, store) = TestFile::new("rights");
    add(&store, "ada", "x", "lr");
    let (write, delete) = (Rights::WRITE, Rights::DELETE);
    assert_eq!(
        store
            .change_rights("ada", &prefix("/in"), |own| own | write)
            .unwrap()
            .to_string(),
        "lrw"
    );
    assert_eq!(
        store
            .change_rights("ada", &prefix("/in/x"), |own| own | delete)
            .unwrap()
            .to_string(),
        "lrwd"
    );
    assert_eq!(
        store
            .change_rights("ada", &prefix("/in"), |_| Rights::NONE)
            .unwrap(),
        Rights::NONE
    );
    let account = store.account("ada").unwrap().unwrap();
    for (path, rights) in [
        ("a", "lr"),
        ("in", "-"),
        ("in/y", "-"),
        ("in/x", "lrwd"),
        ("inner", "lr"),
    ] {
        assert_eq!(
            account.rights(path.as_bytes()).to_string(),
            rights,
            "{path}"
        );
    }
    assert!(matches!(
        store.change_rights("bob", &prefix("/"), |own| own),
        Err(AccountsError::NoSuchUser(name)) if name == "bob"
    ));
}

#[test]
fn what_is_removed_leaves_no_rights_behind() {
    let (_file, store) = TestFile::new("remove");
    add(&store, "ada", "x", "lrwd");
    store.remove_user("ada").unwrap();
    assert!(matches!(
        store.remove_user("ada"),
        Err(AccountsError::NoSuchUser(_))
    ));
    assert!(matches!(
        store.set_hash("ada", "x"),
        Err(AccountsError::NoSuchUser(_))
    ));
    let left: i64 = store
        .with(|connection| {
            connection.query_row("SELECT count(*) FROM rights", [], |row| row.get(0))
        })
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn other_files_are_refused_with_their_name() {
    let (file, store) = TestFile::new("foreign");
    let path = |name: &str| file.path().with_file_name(name);
    std::fs::write(
        path("text"),
        "a text that is as long as the head of a file of SQLite would be, or longer".repeat(20),
    )
    .unwrap();
    std::fs::write(path("empty"), "").unwrap();
    Connection::open(path("other"))
        .unwrap()
        .execute_batch("CREATE TABLE users (name)")
        .unwrap();
    for name in ["text", "empty", "other", ""] {
        let error = Store::open(&path(name)).unwrap_err();
        assert!(
            matches!(error, AccountsError::Foreign(_)),
            "{name}: {error}"
        );
    }
    assert!(matches!(
        Store::open(&path("missing")),
        Err(AccountsError::Missing(_))
    ));
    assert!(!path("missing").exists());
    store
        .with(|connection| connection.pragma_update(None, "user_version", 99))
        .unwrap();
    assert!(matches!(
        Store::open(&file.path()),
        Err(AccountsError::Newer(_))
    ));
}

/// Turns the file into one of version 2, with absolute paths of files and the sums of their sizes.
const AS_VERSION_2: &str = "
    DROP TABLE mounts;
    ALTER TABLE users DROP COLUMN rate_limit; ALTER TABLE users DROP COLUMN max_sessions;
    DROP TABLE changes; DROP TABLE uploads; DROP TABLE files; DROP TABLE folders;
    CREATE TABLE files (
        path  BLOB PRIMARY KEY,
        user  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        bytes INTEGER NOT NULL CHECK (bytes >= 0)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX files_of_user ON files (user);
    CREATE TRIGGER file_entered AFTER INSERT ON files BEGIN
        UPDATE users SET used = used + new.bytes WHERE id = new.user;
    END;
    CREATE TRIGGER file_changed AFTER UPDATE OF bytes ON files BEGIN
        UPDATE users SET used = used - old.bytes + new.bytes WHERE id = new.user;
    END;
    CREATE TRIGGER file_struck AFTER DELETE ON files BEGIN
        UPDATE users SET used = used - old.bytes WHERE id = old.user;
    END;
    PRAGMA user_version = 2;";

fn batch(store: &Store, statements: &str) {
    store
        .with(|connection| connection.execute_batch(statements))
        .unwrap();
}

#[test]
fn a_file_of_the_first_version_gets_a_ledger_and_keeps_its_users() {
    let (file, store) = TestFile::new("upgrade");
    add(&store, "ada", "x", "lrwd");
    batch(&store, AS_VERSION_2);
    batch(
        &store,
        "DROP TABLE files; UPDATE users SET used = 7; PRAGMA user_version = 1",
    );
    for _ in 0..2 {
        let account = Store::open(&file.path())
            .unwrap()
            .account("ada")
            .unwrap()
            .unwrap();
        assert_eq!(
            (account.used, account.rights(b"a").to_string()),
            (0, "lrwd".to_owned())
        );
        let enter = "INSERT OR REPLACE INTO files SELECT 0, x'61', id, 1 FROM users";
        batch(&store, enter);
        batch(&store, "DELETE FROM files");
    }
}

#[test]
fn the_entries_of_the_second_version_become_those_of_their_folder() {
    let (file, store) = TestFile::new("upgrade-2");
    add(&store, "ada", "x", "lrwd");
    let folder = file.path().with_file_name("files");
    std::fs::create_dir(&folder).unwrap();
    batch(&store, AS_VERSION_2);
    let at = folder.canonicalize().unwrap();
    let at = at.to_str().unwrap();
    for (path, bytes) in [
        (format!("{at}/d/a"), 10),
        (format!("{at}/.socketserver-partial/0123.part"), 20),
        (format!("{at}0"), 40),
        ("/elsewhere".to_owned(), 80),
    ] {
        let enter = "INSERT INTO files SELECT CAST(?1 AS BLOB), id, ?2 FROM users";
        store
            .with(|connection| connection.execute(enter, (path, bytes)))
            .unwrap();
    }
    let store = Store::open(&file.path()).unwrap();
    let used = || store.account("ada").unwrap().unwrap().used;
    assert_eq!(used(), 150);
    let accounts = Accounts::open(&file.path(), Cost::CHEAP).unwrap();
    Ledger::new(Arc::new(accounts), &folder).unwrap();
    assert_eq!(used(), 150);
    let of_folder = |table: &str, column: &str| {
        let select = format!("SELECT CAST({column} AS TEXT), bytes FROM {table} WHERE folder <> 0");
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found = store.with(|connection| connection.query_row(&select, [], row));
        let found: (String, i64) = found.unwrap();
        found
    };
    assert_eq!(of_folder("files", "path"), ("d/a".to_owned(), 10));
    assert_eq!(of_folder("uploads", "id"), ("0123".to_owned(), 20));
}

/// Creates a file as an earlier version did: with these steps only, and the user ada.
fn file_of_version(version: usize, file: &TestFile) {
    std::fs::remove_file(file.path()).unwrap();
    let connection = Connection::open(file.path()).unwrap();
    let steps = &crate::accounts::schema::STEPS[..version];
    let ada = "INSERT INTO users (id, name, hash, home, quota) VALUES (1, 'ada', 'x', '/h', 7);
        INSERT INTO rights VALUES (1, '/h', 'lrw')";
    connection
        .pragma_update(None, "journal_mode", "wal")
        .unwrap();
    connection.execute_batch(&steps.concat()).unwrap();
    connection.execute_batch(ada).unwrap();
    connection
        .pragma_update(None, "application_id", 0x7373_6b74)
        .unwrap();
    connection
        .pragma_update(None, "user_version", version as i64)
        .unwrap();
}

#[test]
fn users_of_the_third_version_keep_what_they_have_and_get_no_limits_and_mounts() {
    let (file, _) = TestFile::new("upgrade-3");
    file_of_version(3, &file);
    let enter = "INSERT INTO folders (id, path, inode) VALUES (1, x'2f', 2);
        INSERT INTO files VALUES (1, x'61', 1, 5);";
    Connection::open(file.path())
        .unwrap()
        .execute_batch(enter)
        .unwrap();
    for _ in 0..2 {
        let store = Store::open(&file.path()).unwrap();
        let ada = store.account("ada").unwrap().unwrap();
        assert_eq!((ada.quota, ada.used), (Some(7), 5));
        assert_eq!((ada.rate_limit, ada.max_sessions), (None, None));
        assert_eq!(ada.mounts, []);
        assert_eq!(ada.rights(b"h").to_string(), "lrw");
    }
    let store = Store::open(&file.path()).unwrap();
    store.set_rate_limit("ada", Some(u64::MAX)).unwrap();
    store.set_max_sessions("ada", Some(3)).unwrap();
    let ada = store.account("ada").unwrap().unwrap();
    assert_eq!(
        (ada.rate_limit, ada.max_sessions),
        (Some(i64::MAX as u64), Some(3))
    );
    let nobody = store.set_max_sessions("bob", None);
    assert!(matches!(nobody, Err(AccountsError::NoSuchUser(_))));
}

#[test]
fn mounts_and_rules_come_back_together_and_go_with_their_user() {
    let (file, _) = TestFile::new("mounts");
    file_of_version(4, &file);
    let store = Store::open(&file.path()).unwrap();
    add(&store, "bob", "x", "lr");
    store.mount("ada", &prefix("/b/c"), "/srv/2").unwrap();
    store.mount("ada", &prefix("/a"), "/srv/0").unwrap();
    store.mount("ada", &prefix("/a"), "/srv/1").unwrap();
    store
        .change_rights("ada", &prefix("/h/b"), |_| Rights::ALL)
        .unwrap();
    let accounts = store.accounts().unwrap();
    let names: Vec<&str> = accounts.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["ada", "bob"]);
    assert_eq!(accounts[1].mounts, []);
    let ada = store.account("ada").unwrap().unwrap();
    assert!(ada == accounts[0]);
    let mount = |at: &str, folder: &str| Mount {
        at: prefix(at),
        folder: folder.into(),
    };
    assert_eq!(ada.mounts, [mount("/a", "/srv/1"), mount("/b/c", "/srv/2")]);
    assert_eq!(
        (ada.rights(b"h").to_string(), ada.rights(b"h/b")),
        ("lrw".into(), Rights::ALL)
    );
    store.unmount("ada", &prefix("/a")).unwrap();
    let nothing = store.unmount("ada", &prefix("/a"));
    assert!(matches!(nothing, Err(AccountsError::NoSuchMount(_))));
    for unknown in [
        store.unmount("cyd", &prefix("/a")),
        store.mount("cyd", &prefix("/a"), "/srv"),
    ] {
        assert!(matches!(unknown, Err(AccountsError::NoSuchUser(_))));
    }
    for number in 1..32 {
        store
            .mount("ada", &prefix(&format!("/{number}")), "/srv")
            .unwrap();
    }
    let many = store.mount("ada", &prefix("/32"), "/srv");
    assert!(matches!(many, Err(AccountsError::TooManyMounts)));
    assert_eq!(store.account("ada").unwrap().unwrap().mounts.len(), 32);
    store.remove_user("ada").unwrap();
    let left: i64 = store
        .with(|connection| {
            connection.query_row("SELECT count(*) FROM mounts", [], |row| row.get(0))
        })
        .unwrap();
    assert_eq!(left, 0);
}
