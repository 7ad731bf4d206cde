//! The schema of the accounts file, as a list of steps. A new file goes through all of them, an
//! older file through those that it lacks.

/// The step with index N leads from version N to version N + 1.
pub(super) const STEPS: [&str; 5] = [
    USERS,
    FILES_OF_USERS,
    LEDGER_OF_FOLDERS,
    LIMITS_OF_USERS,
    MOUNTS_OF_USERS,
];

/// The current version (`PRAGMA user_version`).
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// `AUTOINCREMENT`: the id of a removed share is never used again. Otherwise an old link would open
/// a new share.
const USERS: &str = "
CREATE TABLE users (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    hash  TEXT,
    home  TEXT NOT NULL,
    quota INTEGER CHECK (quota >= 0),
    used  INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0)
) STRICT;
CREATE TABLE rights (
    user   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    prefix TEXT NOT NULL,
    rights TEXT NOT NULL,
    PRIMARY KEY (user, prefix)
) STRICT, WITHOUT ROWID;
CREATE TABLE shares (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    path     TEXT NOT NULL,
    expires  INTEGER,
    max_uses INTEGER,
    used     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Which user has stored which file, by absolute path. Files that are older than this table count
/// for no user.
const FILES_OF_USERS: &str = "
CREATE TABLE files (
    path  BLOB PRIMARY KEY,
    user  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;
UPDATE users SET used = 0;
";

/// Paths are relative to a folder, so that it can be renamed. Uploads and changes that are under
/// way have tables of their own. After a server was killed, their rows show what it was doing.
///
/// The entries of version 2 are moved to folder 0, which is the root of the file system. When a
/// server opens the folder that an entry lies in, the entry moves to that folder. An upload without
/// a user counts for its folder only.
const LEDGER_OF_FOLDERS: &str = "
CREATE TABLE folders (
    id       INTEGER PRIMARY KEY,
    path     BLOB NOT NULL UNIQUE,
    inode    INTEGER NOT NULL,
    bytes    INTEGER CHECK (bytes >= 0),
    reserved INTEGER NOT NULL DEFAULT 0,
    changes  INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO folders (id, path, inode) VALUES (0, x'', 0);
DROP TRIGGER IF EXISTS file_entered;
DROP TRIGGER IF EXISTS file_changed;
DROP TRIGGER IF EXISTS file_struck;
ALTER TABLE files RENAME TO files_of_version_2;
CREATE TABLE files (
    folder INTEGER NOT NULL REFERENCES folders (id) ON DELETE CASCADE,
    path   BLOB NOT NULL,
    user   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    bytes  INTEGER NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (folder, path)
) STRICT, WITHOUT ROWID;
INSERT INTO files SELECT 0, substr(path, 2), user, bytes FROM files_of_version_2;
DROP TABLE files_of_version_2;
CREATE INDEX files_of_users ON files (user, folder, path);
CREATE TABLE uploads (
    folder INTEGER NOT NULL REFERENCES folders (id) ON DELETE CASCADE,
    id     TEXT NOT NULL,
    user   INTEGER REFERENCES users (id) ON DELETE CASCADE,
    target BLOB NOT NULL,
    inode  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL CHECK (bytes >= 0),
    kept   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (folder, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_of_users ON uploads (user);
CREATE TABLE changes (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    folder  INTEGER NOT NULL REFERENCES folders (id) ON DELETE CASCADE,
    process INTEGER NOT NULL,
    begun   INTEGER NOT NULL,
    inode   INTEGER NOT NULL,
    source  BLOB NOT NULL,
    target  BLOB
) STRICT;
CREATE TRIGGER file_entered AFTER INSERT ON files BEGIN
    UPDATE users SET used = used + new.bytes WHERE id = new.user;
END;
CREATE TRIGGER file_changed AFTER UPDATE OF bytes, user ON files BEGIN
    UPDATE users SET used = used - old.bytes WHERE id = old.user;
    UPDATE users SET used = used + new.bytes WHERE id = new.user;
END;
CREATE TRIGGER file_struck AFTER DELETE ON files BEGIN
    UPDATE users SET used = used - old.bytes WHERE id = old.user;
END;
CREATE TRIGGER upload_begun AFTER INSERT ON uploads BEGIN
    UPDATE users SET used = used + new.bytes WHERE id = new.user;
    UPDATE folders SET reserved = reserved + new.bytes WHERE id = new.folder;
END;
CREATE TRIGGER upload_changed AFTER UPDATE OF bytes, user ON uploads BEGIN
    UPDATE users SET used = used - old.bytes WHERE id = old.user;
    UPDATE users SET used = used + new.bytes WHERE id = new.user;
    UPDATE folders SET reserved = reserved - old.bytes + new.bytes WHERE id = new.folder;
END;
CREATE TRIGGER upload_ended AFTER DELETE ON uploads BEGIN
    UPDATE users SET used = used - old.bytes WHERE id = old.user;
    UPDATE folders SET reserved = reserved - old.bytes WHERE id = old.folder;
END;
";

/// Limits of a user's FTP sessions. A user without a value has the limit of the server.
const LIMITS_OF_USERS: &str = "
ALTER TABLE users ADD COLUMN rate_limit INTEGER CHECK (rate_limit >= 0);
ALTER TABLE users ADD COLUMN max_sessions INTEGER CHECK (max_sessions >= 1);
";

/// Folders of the system that users see below their home directories.
const MOUNTS_OF_USERS: &str = "
CREATE TABLE mounts (
    user   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    path   TEXT NOT NULL,
    folder TEXT NOT NULL,
    PRIMARY KEY (user, path)
) STRICT, WITHOUT ROWID;
";
