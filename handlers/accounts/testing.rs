//! Helpers for tests of several modules: an accounts file and its users.

use std::path::PathBuf;

use super::{ANONYMOUS, Cost, NewUser, Prefix, Store, hash_password};

/// A folder with a new accounts file. It is removed when this value is dropped.
pub(crate) struct TestFile(PathBuf);

impl TestFile {
    pub(crate) fn new(name: &str) -> (TestFile, Store) {
        let dir = std::env::temp_dir().join(format!(
            "socketserver-accounts-{name}-{}",
            std::process::id()
        ));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let file = TestFile(dir);
        let store = Store::create(&file.path()).unwrap();
        (file, store)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("accounts.db")
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Adds a user with a password, or the anonymous one.
pub(crate) fn add(store: &Store, name: &str, password: &str, rights: &str) {
    let hash = (name != ANONYMOUS).then(|| hash_password(password, Cost::CHEAP).unwrap());
    let user = NewUser {
        name,
        hash,
        home: Prefix::root(),
        quota: None,
        rights: rights.parse().unwrap(),
    };
    store.add_user(&user).unwrap();
}
