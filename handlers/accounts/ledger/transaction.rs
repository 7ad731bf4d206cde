//! The transaction of a ledger.

use std::ops::Deref;

use rusqlite::Connection;

/// A transaction that writes. It is rolled back if it is dropped.
///
/// In contrast to that of `rusqlite`, its statements are parsed once for each connection, and not
/// for each file.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    is_over: bool,
}

impl<'a> Transaction<'a> {
    /// Begins a transaction. No other transaction writes until its end.
    ///
    /// The exclusive reference is the proof that no transaction is under way.
    pub(super) fn begin(connection: &'a mut Connection) -> rusqlite::Result<Transaction<'a>> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Transaction {
            connection,
            is_over: false,
        })
    }

    pub(super) fn commit(mut self) -> rusqlite::Result<()> {
        run(self.connection, "COMMIT")?;
        self.is_over = true;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some errors have ended the transaction already.
        if !self.is_over
            && !self.connection.is_autocommit()
            && let Err(error) = run(self.connection, "ROLLBACK")
        {
            log::error!("a transaction of the ledger cannot be rolled back: {error}");
        }
    }
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}
